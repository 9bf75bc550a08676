"""What programs may ask of contracts and of equipment at customers' places."""

from __future__ import annotations

from billing.store import equipment_rows
from billing.store.equipment_rows import Loan
from billing.subscriptions.lend_equipment import Lent, Returned, lend_equipment, return_equipment
from billing.subscriptions.turn_contracts import ContractView, contracts_of
from core.periods import local_date
from core.refusal import granted
from ui.api import shapes
from ui.api.declare import Answer, Ask, Kind, Operations, Parameter
from ui.api.named import account_named
from ui.read import subscriber

operations = Operations()


@operations.get(
    "/accounts/{account}/contracts",
    "How an account is bound: until when, what follows, what leaving today would cost.",
    shapes.record(contracts=shapes.listed(shapes.of(ContractView))),
    Parameter("account", "The account's number or id.", in_path=True, required=True),
)  # fmt: skip
async def contracts(ask: Ask) -> Answer:
    """Of its running subscriptions."""
    async with ask.panel.workplace.reading() as connection:
        account_id = await account_named(connection, ask.text("account"))
        zone = await subscriber.time_zone_of(connection, account_id)
        today = local_date(ask.panel.workplace.clock.now(), zone or "UTC")
        return {"contracts": await contracts_of(connection, account_id, today)}


@operations.get(
    "/equipment", "What of ours is lent: at customers' places now, or of one account or serial number.",
    shapes.record(loans=shapes.listed(shapes.of(Loan))),
    Parameter("account", "The account's number or id: what it had, too."),
    Parameter("serial", "A serial number: where it was, too."),
    Parameter("limit", "How many at most.", Kind.COUNT, default=100, at_least=1),
)  # fmt: skip
async def equipment(ask: Ask) -> Answer:
    """The newest first."""
    async with ask.panel.workplace.reading() as connection:
        account, serial = ask.text("account"), ask.text("serial")
        account_id = await account_named(connection, account) if account else ""
        found = await equipment_rows.loans(
            connection, account_id=account_id, serial=serial, out=not (account or serial),
            limit=ask.count("limit"),
        )  # fmt: skip
    return {"loans": found}


@operations.post(
    "/equipment", "Equipment is at a customer's; the same serial number there again changes nothing.",
    shapes.record(lent=shapes.of(Lent)),
    Parameter("subscription", "The id of what it goes with (sub_…).", required=True),
    Parameter("name", "What it is.", required=True),
    Parameter("serial", "Its serial number.", required=True),
    Parameter("value_minor", "Charged when it never comes back.", Kind.COUNT, default=0, at_most=10**11),
    Parameter("lent_on", "Since this day; else today.", Kind.DAY),
)  # fmt: skip
async def lend(ask: Ask) -> Answer:
    """Once for each serial number."""
    async with ask.panel.workplace.work(ask.actor) as work:
        return {
            "lent": granted(
                await lend_equipment(
                    work, subscription_id=ask.text("subscription"), name=ask.text("name"),
                    serial=ask.text("serial"), value_minor=ask.count("value_minor"),
                    lent_on=ask.day("lent_on"),
                )
            )
        }  # fmt: skip


@operations.post(
    "/equipment/{loan_id}/return", "Equipment came back: its rental stops.",
    shapes.record(returned=shapes.of(Returned)),
    Parameter("loan_id", "Its id (loan_…).", in_path=True, required=True),
    Parameter("returned_on", "The first day on which it is not rented; else today.", Kind.DAY),
    Parameter("note", "For people who look later."),
)  # fmt: skip
async def give_back(ask: Ask) -> Answer:
    """The same again changes nothing."""
    async with ask.panel.workplace.work(ask.actor) as work:
        return {
            "returned": granted(
                await return_equipment(
                    work, loan_id=ask.text("loan_id"), returned_on=ask.day("returned_on"),
                    note=ask.text("note"),
                )
            )
        }  # fmt: skip
