"""Commands for the double-entry ledger: proofs, closing, recognition, exports."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from appliance.commands.running import (
    Limit,
    actor,
    day,
    fail,
    in_house,
    in_transaction,
    outcome_or_fail,
    say,
    show,
)
from appliance.wiring import House
from core.money import format_money

ledger = typer.Typer(help="The double-entry ledger.", no_args_is_help=True)
_DAY = ["%Y-%m-%d"]
_Day = Annotated[datetime | None, typer.Option(formats=_DAY, help="A day such as 2026-03-31.")]
_From = Annotated[
    datetime | None, typer.Option("--from", formats=_DAY, help="First day; else from the start.")
]
_To = Annotated[datetime | None, typer.Option("--to", formats=_DAY, help="Last day; else to the end.")]
_TrustClock = Annotated[bool, typer.Option("--trust-clock", help="You have looked at the clock.")]


@ledger.command("verify")
def ledger_verify(since: _Day = None) -> None:
    """Prove the ledger: balances, documents, deferred revenue, the chain of closed days.

    With --since the digests and hashes of earlier days are taken as proved.
    """
    from billing.ledger.verify import trial_balance, verify_ledger

    first = day(since, "--since")

    async def body(house: House) -> bool:
        async with house.workplace.reading() as connection:
            balances = await trial_balance(connection)
            faults = await verify_ledger(connection, first)
        show(
            "Trial balance",
            ["account", "balance"],
            [[name, format_money(amount, currency)] for name, currency, amount in balances],
        )
        for fault in faults:
            typer.echo(str(fault), err=True)
        say("the ledger is sound" if not faults else f"{len(faults)} faults")
        return not faults

    if not in_house(body):
        raise typer.Exit(1)


@ledger.command("trial-balance")
def ledger_trial_balance(on: _Day = None) -> None:
    """Every ledger account with its balance at the end of a day, or now."""
    from billing.domain.chart import chart_line
    from billing.ledger.map_accounts import account_codes
    from billing.ledger.verify import trial_balance

    last = day(on, "--on")

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            balances = await trial_balance(connection, last)
            codes = await account_codes(connection)
        rows = []
        for name, currency, amount in balances:
            line = chart_line(name)
            code = codes.get(name) or codes.get(name.partition(":")[0], "")
            rows.append(
                [name, "unknown" if line is None else line.kind, code, format_money(amount, currency)]
            )
        show("Trial balance", ["account", "kind", "code", "balance"], rows)

    in_house(body)


@ledger.command("close-day")
def ledger_close_day(through: _Day = None, trust_clock: _TrustClock = False) -> None:
    """Close every day that is due, in order: recognise its revenue, then seal it with a hash."""
    from billing.ledger.close_day import close_days

    last = day(through, "--through")

    async def body(house: House) -> None:
        closed = outcome_or_fail(
            await close_days(
                house.workplace, through=last, actor=actor(), settings=house.settings.billing,
                trust_clock=trust_clock,
            )
        )  # fmt: skip
        for one in closed:
            say(f"{one.day}: {one.entries} entries, {one.postings} postings, {one.hash}")
        say(f"{len(closed)} days closed")

    in_house(body)


@ledger.command("closes")
def ledger_closes(limit: Limit = 50) -> None:
    """Closed days, locks and reopenings, newest first, with their hashes."""
    from billing.ledger.close_day import chain

    async def body(house: House) -> None:
        rows = [
            [
                act.number, act.kind, act.day, act.until, act.supplement or "", act.entries, act.reason,
                act.recorded_by, own,
            ]
            for act, _, own in await chain(house.workplace, limit)
        ]  # fmt: skip
        columns = ["act", "kind", "day", "until", "supplement", "entries", "reason", "by", "hash"]
        show("Closing acts", columns, rows)

    in_house(body)


_PERIOD = "A year (2026), quarter (2026-Q1), month (2026-03) or day."


@ledger.command("lock")
def ledger_lock(
    period: Annotated[str, typer.Argument(help=_PERIOD)],
    reason: Annotated[str, typer.Option(help="For the people who look later.")] = "",
) -> None:
    """Nothing is booked any more through the end of that period."""
    from billing.ledger.lock_period import lock_period

    act = in_transaction(
        lambda work, house: lock_period(work, period=period, reason=reason, settings=house.settings.billing)
    )
    say(f"locked through {act.day}")


@ledger.command("reopen")
def ledger_reopen(
    period: Annotated[str, typer.Argument(help=_PERIOD)],
    reason: Annotated[str, typer.Option(help="Why; it is kept in the chain.")],
) -> None:
    """Let a closed or locked period be booked on again, until it is locked; closes that were made stay."""
    from billing.ledger.lock_period import reopen_period

    act = in_transaction(lambda work, _: reopen_period(work, period=period, reason=reason))
    say(f"open again: {act.day} to {act.until}; lock the period when you have finished")


@ledger.command("recognise")
def ledger_recognise(
    through: Annotated[datetime, typer.Option(formats=_DAY, help="The last day that is earned.")],
) -> None:
    """Turn deferred revenue into earned revenue through a day; closing a day does it by itself."""
    from billing.ledger.recognise import recognise_through

    last = day(through, "--through")

    async def body(house: House) -> None:
        if last is None:
            return
        async with house.workplace.work(actor()) as work:
            entries = outcome_or_fail(await recognise_through(work, last))
        for entry in entries:
            say(f"{entry.description}: {format_money(entry.postings[0].amount_minor, entry.currency)}")
        say(f"{len(entries)} entries")

    in_house(body)


@ledger.command("schedule")
def ledger_schedule() -> None:
    """How much of what is billed by now will be earned in which month."""
    from billing.ledger.recognise import schedule

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            months = await schedule(connection, house.clock.now().date())
        show(
            "Recognition schedule",
            ["month", "revenue", "entity", "to be earned"],
            [
                [
                    f"{one.month:%Y-%m}",
                    one.revenue,
                    one.entity_id,
                    format_money(one.amount_minor, one.currency),
                ]
                for one in months
            ],
        )

    in_house(body)


@ledger.command("earned")
def ledger_earned(
    entry: Annotated[
        str, typer.Argument(help="The id of a recognition (le_…); see: hilltop ledger journal.")
    ],
    limit: Limit = 200,
) -> None:
    """The invoice lines behind a recognition, with what each earned."""
    from billing.ledger.recognise import lines_behind

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            behind = outcome_or_fail(await lines_behind(connection, entry, limit))
        show(
            f"Earned of {behind.recognition.key.revenue} through {behind.recognition.through}",
            ["invoice", "customer", "line", "from", "to", "amount", "earned"],
            [
                [
                    one.invoice_number, one.account_number, one.description, one.period_start, one.period_end,
                    format_money(one.amount_minor, one.currency),
                    format_money(one.earned_minor, one.currency),
                ]
                for one in behind.lines
            ],
        )  # fmt: skip
        if behind.more:
            say("there are more; see --limit")

    in_house(body)


@ledger.command("journal")
def ledger_journal(
    first: _From = None,
    last: _To = None,
    account: Annotated[str, typer.Option(help="A ledger account, or a heading such as tax.")] = "",
    limit: Limit = 50,
) -> None:
    """Entries with their postings, newest first."""
    from billing.store.journal_rows import Scope, journal_newest

    scope = Scope(day(first, "--from"), day(last, "--to"))

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            entries = await journal_newest(connection, scope, ledger_account=account, limit=limit)
        show(
            "Journal",
            ["day", "entry", "description", "account", "customer", "amount"],
            [
                [
                    entry.booked_on if place == 0 else "", entry.id if place == 0 else "",
                    entry.description if place == 0 else "", one.ledger_account, one.customer_number,
                    format_money(one.amount_minor, entry.currency),
                ]
                for entry in entries
                for place, one in enumerate(entry.postings)
            ],
        )  # fmt: skip

    in_house(body)


@ledger.command("accounts")
def ledger_accounts() -> None:
    """The chart of accounts, with your own codes."""
    from billing.domain.chart import CHART
    from billing.ledger.map_accounts import account_codes

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            codes = await account_codes(connection)
        rows = [[line.pattern, line.kind, codes.get(line.name, ""), line.meaning] for line in CHART]
        headings = {line.name for line in CHART}
        rows += [[name, "", code, ""] for name, code in sorted(codes.items()) if name not in headings]
        show("Chart of accounts", ["account", "kind", "code", "meaning"], rows)

    in_house(body)


@ledger.command("code")
def ledger_code(
    account: Annotated[str, typer.Argument(help="A ledger account (cash:card) or a heading (tax).")],
    code: Annotated[str, typer.Argument(help="What your own books call it; empty: no code.")],
) -> None:
    """Give an account the code of your own books, for the exports."""
    from billing.ledger.map_accounts import set_account_code

    in_transaction(lambda work, _: set_account_code(work, ledger_account=account, code=code))
    say(f"{account}: {code or 'no code'}")


@ledger.command("export")
def ledger_export(
    form: Annotated[
        str, typer.Argument(metavar="FORMAT", help="beancount, hledger, iif, journal, invoices or payments.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write it (-: standard output).")],
    first: _From = None,
    last: _To = None,
    currency: Annotated[str, typer.Option(help="One currency alone, such as USD.")] = "",
    entity: Annotated[str, typer.Option(help="One legal entity alone; house: the house's own.")] = "",
    by_customer: Annotated[bool, typer.Option("--by-customer", help="Accounts for each customer.")] = False,
    opening: Annotated[bool, typer.Option("--opening", help="Begin with what was before --from.")] = False,
) -> None:
    """Write the books for another program; the same period gives the same file."""
    from billing.ledger.exports import prepare_export

    days = day(first, "--from"), day(last, "--to")

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            prepared = outcome_or_fail(
                await prepare_export(
                    connection, form, first=days[0], last=days[1], currency=currency, entity=entity,
                    by_customer=by_customer, opening=opening,
                )
            )  # fmt: skip
            await _write_parts(output, prepared.write(connection))

    in_house(body)


async def _write_parts(path: Path, parts: AsyncIterator[str]) -> None:
    if str(path) == "-":
        async for part in parts:
            sys.stdout.buffer.write(part.encode())
        return
    try:
        with path.open("wb") as file:
            async for part in parts:
                file.write(part.encode())
    except OSError as trouble:
        fail(f"{path} cannot be written: {trouble.strerror}; choose another place with --output")
    say(f"wrote {path}")
