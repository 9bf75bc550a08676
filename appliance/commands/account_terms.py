"""Commands that change an account: its terms, and who pays for it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer

from appliance.commands.running import actor, day, fail, in_house, outcome_or_fail, say, show
from appliance.lookup import find
from appliance.wiring import House

AccountArgument = Annotated[str, typer.Argument(help="Account number or id.")]


def set_terms(
    account: AccountArgument,
    name: Annotated[str | None, typer.Option(help="Who pays.")] = None,
    email: Annotated[str | None, typer.Option(help="Where invoices go; empty: nowhere.")] = None,
    phone: Annotated[str | None, typer.Option(help="As it is dialled.")] = None,
    street: Annotated[str | None, typer.Option(help="Street and house number.")] = None,
    city: Annotated[str | None, typer.Option(help="Town.")] = None,
    region: Annotated[str | None, typer.Option(help="State or province; picks the tax.")] = None,
    postal_code: Annotated[str | None, typer.Option(help="Postal code.")] = None,
    country: Annotated[str | None, typer.Option(help="ISO 3166 code.")] = None,
    currency: Annotated[str | None, typer.Option(help="ISO 4217 code; only while nothing is in it.")] = None,
    account_class: Annotated[str | None, typer.Option("--class", help="Picks the dunning policy.")] = None,
    billing_day: Annotated[int | None, typer.Option(help="1 to 31; short months end earlier.")] = None,
    cycle: Annotated[
        str | None, typer.Option(help="How long: 'month', '2 weeks', '10 days', 'quarter', 'year'.")
    ] = None,
    invoice_offset: Annotated[
        int | None, typer.Option(help="Days from the turn to the invoice, -28 to 28.")
    ] = None,
    terms: Annotated[int | None, typer.Option(help="Days from issue to due date.")] = None,
    locale: Annotated[str | None, typer.Option(help="Like de_DE; empty: the house's.")] = None,
    delivery: Annotated[str | None, typer.Option(help="email, paper or none")] = None,
    entity: Annotated[
        str | None, typer.Option(help="Legal entity, empty: the house; only while nothing is booked.")
    ] = None,
) -> None:
    """Change an account; what was issued stays. Its day of automatic payment: hilltop gateway autopay."""
    from billing.accounts.change_account import change_account
    from billing.accounts.turn_cycle import priced_by_cycle

    unit, count = _cycle(cycle)
    given: dict[str, Any] = {
        "name": name, "email": email, "phone": phone, "street": street, "city": city, "region": region,
        "postal_code": postal_code, "country": country, "currency": currency, "account_class": account_class,
        "anchor_day": billing_day, "cycle_unit": unit, "cycle_count": count,
        "invoice_offset_days": invoice_offset, "payment_terms_days": terms, "locale": locale,
        "delivery": delivery, "entity_id": entity,
    }  # fmt: skip
    changes = {field: value for field, value in given.items() if value is not None}
    if not changes:
        fail("say what to change; see: hilltop account set --help", 2)

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            account_id = await find(work.connection, "account", account)
            changed = outcome_or_fail(await change_account(work, account_id=account_id, changes=changes))
            by_cycle = await priced_by_cycle(work.connection, account_id) if cycle and changed else []
        say(f"{account}: {', '.join(changed) if changed else 'nothing differs'}")
        for one in by_cycle:
            say(f"{one} has no period of its own: its price is now for {cycle}")

    in_house(body)


def _cycle(text: str | None) -> tuple[str | None, int | None]:
    if text is None:
        return None, None
    number, _, unit = text.strip().rpartition(" ")
    if number and not (number.isascii() and number.isdigit() and len(number) < 5):
        fail(f"--cycle {text!r}: write it like 'month' or '2 weeks'", 2)
    return unit.removesuffix("s"), int(number or 1)


def set_payer(
    account: AccountArgument,
    payer: Annotated[str | None, typer.Argument(help="Who pays for it; none: it pays itself again.")] = None,
    from_on: Annotated[
        datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="First day; else today.")
    ] = None,
) -> None:
    """Another account pays from a day on: one invoice for all, and one ladder that cuts all."""
    from billing.accounts import set_payer as room

    first = day(from_on, "--from")

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            account_id = await find(work.connection, "account", account)
            payer_id = None if payer is None else await find(work.connection, "account", payer)
            when = outcome_or_fail(
                await room.set_payer(work, account_id=account_id, payer_id=payer_id, from_on=first)
            )
        say(f"{account}: {'pays itself' if payer is None else f'{payer} pays'} from {when} on")

    in_house(body)


def show_terms(account: AccountArgument) -> None:
    """An account's terms, who pays for it and for whom it pays."""
    from ui.read.accounts import account_terms

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            found = await account_terms(connection, await find(connection, "account", account))
        if found is None:
            fail(f"there is no account {account!r}")
        related = {"children", "payers", "payer"}
        rows = [[name, getattr(found, name)] for name in found.__dataclass_fields__ if name not in related]
        rows.append(
            ["payer", "itself" if found.payer is None else f"{found.payer.number} {found.payer.name}"]
        )
        rows += [["pays for", f"{one.number} {one.name}"] for one in found.children]
        rows += [
            [
                f"payer from {one.from_on}",
                f"{one.account_number or 'itself'} ({one.state}, {one.recorded_by})",
            ]
            for one in found.payers
        ]
        show("Account", ["term", "value"], rows)

    in_house(body)
