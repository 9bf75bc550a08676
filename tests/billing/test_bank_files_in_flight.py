"""Dunning learns whose debit is under way."""

from __future__ import annotations

from datetime import date

import pytest
from billing_story import Town
from sqlalchemy import insert, update

from billing.store.in_flight_rows import accounts_with_debit_in_flight
from billing.store.tables import ach_batch, ach_entry, ach_originator, bank_account


@pytest.mark.parametrize(
    ("batch_state", "entry_state", "in_flight"),
    [
        ("draft", "drafted", False), ("approved", "drafted", True), ("approved", "removed", False),
        ("sent", "in_flight", True), ("sent", "settled", False), ("sent", "returned", False),
        ("cancelled", "drafted", False),
    ],
)  # fmt: skip
async def test_a_debit_is_in_flight_from_approval_until_it_settles_or_comes_back(
    town: Town, batch_state: str, entry_state: str, in_flight: bool
) -> None:
    ann, ben = await town.account("Ann"), await town.account("Ben")
    async with town.workplace.work("operator:test") as work:
        rows = {
            ach_originator: {"id": "o", "name": "x", "profile": {}, "created_at": work.now},
            bank_account: {
                "id": "b", "account_id": ann, "holder_name": "Ann", "account_type": "checking", "routing_number": "091400606",
                "number_sealed": "-", "last_four": "6789", "mark": "-", "sec_code": "WEB", "authorised_on": date(2026, 1, 1),
                "mandate": "form 1", "autopay": True, "recorded_at": work.now, "recorded_by": "x",
            },
            ach_batch: {
                "id": "h", "originator_id": "o", "state": batch_state, "effective_on": date(2026, 3, 12), "same_day": False,
                "drafted_at": work.now, "drafted_by": "x",
            },
            ach_entry: {
                "id": "e", "batch_id": "h", "account_id": ann, "bank_account_id": "b", "kind": "debit", "amount_minor": 100,
                "invoices": [], "state": entry_state,
            },
        }  # fmt: skip
        for table, values in rows.items():
            await work.connection.execute(insert(table).values(values))
        assert await accounts_with_debit_in_flight(work.connection, [ann, ben]) == (
            {ann} if in_flight else set()
        )
        await work.connection.execute(update(ach_entry).values(kind="prenote"))
        assert await accounts_with_debit_in_flight(work.connection, [ann, ben]) == set()
