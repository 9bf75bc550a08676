"""Commands for equipment at customers' places."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from appliance.commands.running import Limit, actor, day, fail, in_house, outcome_or_fail, say, show
from appliance.lookup import find, subscription_named
from appliance.wiring import House
from billing.store import account_rows, equipment_rows, subscription_rows
from core.money import format_money, parse_amount

equipment = typer.Typer(
    help="What of ours stands at customers' places: lent, back, lost.", no_args_is_help=True
)
_ISO = ["%Y-%m-%d"]


@equipment.command("list")
def equipment_list(
    account: Annotated[str, typer.Option(help="Of this account, what it gave back too.")] = "",
    serial: Annotated[str, typer.Option(help="Where this piece is and was.")] = "",
    limit: Limit = 100,
) -> None:
    """What is at customers' places now."""

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            account_id = await find(connection, "account", account) if account else ""
            found = await equipment_rows.loans(
                connection, account_id=account_id, serial=serial, out=not (account or serial), limit=limit
            )
        show(
            "Equipment",
            ["id", "serial", "what", "account", "since", "back", "value"],
            [
                [one.id, one.serial, one.name, f"{one.account_number} {one.account_name}", one.lent_on,
                 one.returned_on, format_money(one.value_minor, one.currency) if one.value_minor else None]
                for one in found
            ],
        )  # fmt: skip

    in_house(body)


@equipment.command("lend")
def equipment_lend(
    subscription: Annotated[str, typer.Argument(help="Subscription id, or the label of its line.")],
    serial: Annotated[str, typer.Argument(help="Serial number.")],
    name: Annotated[str, typer.Option(help="What it is, such as Router AX3.")],
    value: Annotated[str, typer.Option(help="Charged when it never comes back, such as 80.00.")] = "0",
    since: Annotated[datetime | None, typer.Option(formats=_ISO, help="Else today.")] = None,
) -> None:
    """It is at the customer's; its rental runs until it is back."""
    from billing.subscriptions.lend_equipment import lend_equipment

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            subscription_id = await subscription_named(work.connection, subscription)
            one = await subscription_rows.find_subscription(work.connection, subscription_id)
            owner = None if one is None else await account_rows.find_account(work.connection, one.account_id)
            try:
                minor = parse_amount(value, "USD" if owner is None else owner.currency)
            except ValueError as trouble:
                fail(f"--value: {trouble}", 2)
            done = outcome_or_fail(
                await lend_equipment(
                    work, subscription_id=subscription_id, name=name, serial=serial, value_minor=minor,
                    lent_on=day(since, "--since"),
                )
            )  # fmt: skip
        say(f"{done.outcome}: {serial} since {done.lent_on} ({done.loan_id})")

    in_house(body)


@equipment.command("return")
def equipment_return(
    serial: Annotated[str, typer.Argument(help="Serial number, or the id of the loan.")],
    on: Annotated[datetime | None, typer.Option(formats=_ISO, help="Else today.")] = None,
    note: Annotated[str, typer.Option(help="Its state, for people who look later.")] = "",
) -> None:
    """It came back: what was rented alone ends, a rental within a plan rests."""
    from billing.subscriptions.lend_equipment import return_equipment

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            out = await equipment_rows.loans(work.connection, serial=serial, out=True)
            done = outcome_or_fail(
                await return_equipment(
                    work, loan_id=out[0].id if out else serial, returned_on=day(on, "--on"), note=note
                )
            )
        say(f"{done.outcome}: back on {done.returned_on}; {done.follows.replace('_', ' ')}")

    in_house(body)


@equipment.command("settle")
def equipment_settle() -> None:
    """Charge what never came back and give deposits back, as the worker does by itself."""
    from billing.subscriptions.settle_ends import settle_ends

    async def body(house: House) -> None:
        done = await settle_ends(house.workplace, house.settings.billing, actor=actor())
        say(f"{done} settled")

    in_house(body)
