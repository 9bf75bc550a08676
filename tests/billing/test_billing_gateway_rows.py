"""Which accounts have a payment in flight."""

from __future__ import annotations

import pytest
from billing_story import Town
from sqlalchemy import insert

from billing.store.gateway_rows import accounts_with_payment_in_flight
from billing.store.tables import gateway_charge

STATES = {
    "begun": True, "sent": True, "unknown": True, "in_flight": True,
    "succeeded": False, "failed": False, "abandoned": False, "charged_back": False,
}  # fmt: skip


async def test_dunning_hears_of_every_payment_whose_end_is_not_known(any_town: Town) -> None:
    accounts = {state: await any_town.account(state) for state in STATES}
    quiet = await any_town.account("Quiet")
    async with any_town.workplace.work("system:test") as work:
        for state, account_id in accounts.items():
            await work.connection.execute(
                insert(gateway_charge).values(
                    id=work.ids.new("chg"), key=state, account_id=account_id, gateway="stripe",
                    cause="operator", amount_minor=100, currency="USD", begun_at=work.now, begun_by="test",
                    state=state, state_at=work.now, looks=0,
                )
            )  # fmt: skip
    async with any_town.workplace.reading() as connection:
        found = await accounts_with_payment_in_flight(connection, [*accounts.values(), quiet])
        nobody = await accounts_with_payment_in_flight(connection, [])
    assert found == {accounts[state] for state, waits in STATES.items() if waits}
    assert nobody == set()


@pytest.mark.parametrize("asked", [1, 1200])
async def test_any_number_of_accounts_may_be_asked_about(town: Town, asked: int) -> None:
    async with town.workplace.reading() as connection:
        assert await accounts_with_payment_in_flight(connection, [f"acc_{n}" for n in range(asked)]) == set()
