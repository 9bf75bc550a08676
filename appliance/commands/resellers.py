"""Commands for resellers: terms, accounts, commission statements, payouts."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import astuple, fields
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from appliance.commands.running import (
    actor,
    currency_or_house,
    day,
    fail,
    in_house,
    in_transaction,
    outcome_or_fail,
    say,
    show,
    write_file,
)
from appliance.lookup import find
from appliance.wiring import House
from core.money import format_money, parse_amount
from core.refusal import Refusal, Refused

if TYPE_CHECKING:
    from ui.read.resellers import LineRow, ResellerView

resellers = typer.Typer(help="Who sells for you, and what they earn.", no_args_is_help=True)

ResellerArgument = Annotated[str, typer.Argument(help="His short name; see: hilltop reseller list.")]
AccountArgument = Annotated[str, typer.Argument(help="Account number or id.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="As CSV into a file (-: here).")]
_ISO = ["%Y-%m-%d"]


async def _view(house: House, reseller: str) -> ResellerView:
    from ui.read.resellers import reseller_view

    async with house.workplace.reading() as connection:
        found = await reseller_view(connection, reseller)
    if found is None:
        raise Refused(Refusal("unknown_reseller", f"there is no reseller {reseller!r}", "reseller_id"))
    return found


@resellers.command("list")
def reseller_list() -> None:
    """All of them, with what they are owed."""
    from ui.read.resellers import reseller_list as listed

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            rows = await listed(connection)
        show(
            "Resellers",
            ["id", "name", "sells for", "accounts", "posted before", "owed"],
            [
                [one.id, one.name, one.entity_id or "the house", one.accounts, one.posted_until,
                 format_money(one.payable_minor, one.currency)]
                for one in rows
            ],
        )  # fmt: skip

    in_house(body)


@resellers.command("add")
def reseller_add(
    reseller: Annotated[str, typer.Argument(help="Short name for good, like ridge-shop.")],
    name: Annotated[str, typer.Argument(help="Who he is.")],
    currency: Annotated[str | None, typer.Option(help="ISO 4217 code; else the house's.")] = None,
    entity: Annotated[str | None, typer.Option(help="Legal entity he sells for; else the house.")] = None,
    email: Annotated[str | None, typer.Option(help="E-mail.")] = None,
    phone: Annotated[str | None, typer.Option(help="Telephone.")] = None,
) -> None:
    """A new reseller; he earns nothing until he has terms and accounts."""
    from billing.accounts.reseller import define_reseller

    made = in_transaction(
        lambda work, _: define_reseller(
            work,
            reseller_id=reseller,
            name=name,
            currency=currency_or_house(currency),
            entity_id=entity,
            email=email,
            phone=phone,
        )
    )
    say(f"reseller {made}")


@resellers.command("terms")
def reseller_set_terms(
    reseller: ResellerArgument,
    percent: Annotated[str, typer.Option(help="Of the net, like 10 or 2.5.")] = "0",
    of: Annotated[str, typer.Option(help="collected or invoiced")] = "collected",
    flat: Annotated[str, typer.Option(help="For each account and month, like 2.00.")] = "0",
    from_on: Annotated[
        datetime | None, typer.Option("--from", formats=_ISO, help="First day; else today.")
    ] = None,
) -> None:
    """Other terms from a day on; what is posted stays."""
    from billing.accounts.reseller import change_terms

    first = day(from_on, "--from")
    try:
        share = Decimal(percent[:12])
    except InvalidOperation:
        share = Decimal("NaN")
    if not share.is_finite():
        fail(f"--percent {percent!r}: write it like 10 or 2.5", 2)

    async def body(house: House) -> None:
        currency = (await _view(house, reseller)).reseller.currency
        async with house.workplace.work(actor()) as work:
            since = outcome_or_fail(
                await change_terms(
                    work, reseller_id=reseller, basis=of, percent_ppm=round(share * 10_000),
                    flat_minor=_minor("--flat", flat, currency), valid_from=first,
                )
            )  # fmt: skip
        say(f"{reseller}: terms from {since} on")

    in_house(body)


def _minor(option: str, text: str, currency: str) -> int:
    try:
        return parse_amount(text, currency)
    except ValueError as trouble:
        fail(f"{option}: {trouble}", 2)


@resellers.command("assign")
def reseller_assign(
    reseller: ResellerArgument,
    account: AccountArgument,
    from_on: Annotated[
        datetime | None, typer.Option("--from", formats=_ISO, help="First day, also a past one; else today.")
    ] = None,
) -> None:
    """An account is his from a day on."""
    from billing.accounts.reseller import assign_account

    first = day(from_on, "--from")

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            account_id = await find(work.connection, "account", account)
            since = outcome_or_fail(
                await assign_account(work, reseller_id=reseller, account_id=account_id, from_on=first)
            )
        say(f"{account}: {reseller}'s from {since} on")

    in_house(body)


@resellers.command("release")
def reseller_release(
    account: AccountArgument,
    on: Annotated[
        datetime | None, typer.Option(formats=_ISO, help="First day on which it is not; else today.")
    ] = None,
) -> None:
    """An account is no reseller's any more."""
    from billing.accounts.reseller import release_account

    last = day(on, "--on")

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            account_id = await find(work.connection, "account", account)
            until = outcome_or_fail(await release_account(work, account_id=account_id, until_on=last))
        say(f"{account}: no reseller's from {until} on")

    in_house(body)


@resellers.command("show")
def reseller_show(reseller: ResellerArgument) -> None:
    """His terms, accounts, statements and payouts, and what is earned and not posted."""
    from billing.accounts.commission import draft_commission

    async def body(house: House) -> None:
        view = await _view(house, reseller)
        today = house.clock.now().astimezone(UTC).date()
        async with house.workplace.reading() as connection:
            draft = outcome_or_fail(await draft_commission(connection, reseller, today))
        currency = view.reseller.currency
        say(f"{view.reseller.name}: owed {format_money(view.payable_minor, currency)}")
        say(f"earned and not posted: {format_money(draft.amount_minor, currency)}")
        show("Terms", ["from", "earns", "by"], [[t.valid_from, t.words, t.recorded_by] for t in view.terms])
        show(
            "Accounts", ["number", "name", "from", "until"],
            [[a.account_number, a.account_name, a.from_on, a.until_on] for a in view.accounts],
        )  # fmt: skip
        show(
            "Statements", ["number", "from", "before", "amount"],
            [
                [s.number, s.from_on, s.until_on, format_money(s.amount_minor, currency)]
                for s in view.statements
            ],
        )  # fmt: skip
        show(
            "Paid", ["on", "amount", "method", "reference"],
            [
                [p.paid_on, format_money(p.amount_minor, currency), p.method, p.reference]
                for p in view.payouts
            ],
        )  # fmt: skip

    in_house(body)


@resellers.command("preview")
def reseller_preview(
    reseller: ResellerArgument,
    before: Annotated[datetime | None, typer.Option(formats=_ISO, help="Not included; else today.")] = None,
    output: Output = None,
) -> None:
    """What a statement would say; nothing is posted."""
    from billing.accounts.commission import draft_commission
    from ui.read.resellers import draft_lines

    until = day(before, "--before")

    async def body(house: House) -> None:
        last = until or house.clock.now().astimezone(UTC).date()
        async with house.workplace.reading() as connection:
            draft = outcome_or_fail(await draft_commission(connection, reseller, last))
            lines = await draft_lines(connection, draft)
        _print(lines, draft.currency, output)

    in_house(body)


@resellers.command("post")
def reseller_post(
    reseller: ResellerArgument,
    before: Annotated[
        datetime | None, typer.Option(formats=_ISO, help="Not included; else this month.")
    ] = None,
) -> None:
    """Post what he earned as owed to him; a period is posted once."""
    from billing.accounts.commission import post_commission

    until = day(before, "--before")

    async def body(house: House) -> None:
        last = until or house.clock.now().astimezone(UTC).date().replace(day=1)
        async with house.workplace.work(actor()) as work:
            done = outcome_or_fail(
                await post_commission(
                    work, reseller_id=reseller, until_on=last, settings=house.settings.billing
                )
            )
        amount = format_money(done.amount_minor, done.currency)
        say(f"statement {done.number}, {done.from_on} until {done.until_on}: {amount} ({done.outcome})")

    in_house(body)


@resellers.command("statement")
def reseller_statement(
    reseller: ResellerArgument,
    number: Annotated[int, typer.Argument(help="Of the statement; see: hilltop reseller show.")],
    output: Output = None,
) -> None:
    """A posted statement, line by line."""
    from ui.read.resellers import statement_lines

    async def body(house: House) -> None:
        view = await _view(house, reseller)
        async with house.workplace.reading() as connection:
            lines = await statement_lines(connection, reseller, number)
        if lines is None:
            fail(f"{reseller} has no statement {number}")
        _print(lines, view.reseller.currency, output)

    in_house(body)


def _print(lines: Sequence[LineRow], currency: str, output: Path | None) -> None:
    if output is not None:
        from ui.read.resellers import LineRow as Row

        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([one.name for one in fields(Row)])
        writer.writerows(astuple(one) for one in lines)
        write_file(output, text.getvalue().encode())
        return
    show(
        "Commission",
        ["account", "name", "for", "on", "earned as of", "net", "commission"],
        [
            [
                one.account_number, one.account_name, one.source, one.happened_on, one.earned_on,
                format_money(one.net_minor, currency), format_money(one.commission_minor, currency),
            ]
            for one in lines
        ],
        none="nothing is earned",
    )  # fmt: skip
    say(f"together {format_money(sum(one.commission_minor for one in lines), currency)}")


@resellers.command("pay")
def reseller_pay(
    reseller: ResellerArgument,
    amount: Annotated[str, typer.Argument(help="Such as 49.00.")],
    key: Annotated[str, typer.Option(help="Your id of this payout: the same again changes nothing.")],
    method: Annotated[str, typer.Option(help="transfer, cheque or cash")] = "transfer",
    reference: Annotated[str | None, typer.Option(help="Number of the cheque or transfer.")] = None,
) -> None:
    """Record that he was paid; at most what he is owed."""
    from billing.accounts.commission import pay_commission

    async def body(house: House) -> None:
        currency = (await _view(house, reseller)).reseller.currency
        async with house.workplace.work(actor()) as work:
            made = outcome_or_fail(
                await pay_commission(
                    work, reseller_id=reseller, amount_minor=_minor("AMOUNT", amount, currency),
                    method=method, idempotency_key=key, reference=reference,
                )
            )  # fmt: skip
        say(f"{reseller}: paid {amount}, {made}")

    in_house(body)
