"""What programs may ask of contracts."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.subscriptions.turn_contracts import ContractView, contracts_of
from core.periods import local_date
from core.refusal import Refusal, Refused
from ui.api import shapes
from ui.api.declare import Answer, Ask, Operations, Parameter
from ui.read import subscriber

operations = Operations()


async def account_of(connection: AsyncConnection, text: str) -> str:
    """The id behind a number or id. Raises ``Refused`` for an unknown one."""
    found = await subscriber.account_id_of(connection, text)
    if found is None:
        raise Refused(Refusal("account.unknown_id", f"there is no account {text[:60]!r}", "account"))
    return found


@operations.get(
    "/accounts/{account}/contracts",
    "How an account is bound: until when, what follows, what leaving today would cost.",
    shapes.record(contracts=shapes.listed(shapes.of(ContractView))),
    Parameter("account", "The account's number or id.", in_path=True, required=True),
)  # fmt: skip
async def contracts(ask: Ask) -> Answer:
    """Of its running subscriptions."""
    async with ask.panel.workplace.reading() as connection:
        account_id = await account_of(connection, ask.text("account"))
        zone = await subscriber.time_zone_of(connection, account_id)
        today = local_date(ask.panel.workplace.clock.now(), zone or "UTC")
        return {"contracts": await contracts_of(connection, account_id, today)}
