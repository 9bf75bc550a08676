"""Commands for files to and from banks: ACH debits with their returns, and bank statements with the inbox."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import select

from appliance.commands.running import (
    actor,
    currency_or_house,
    day,
    fail,
    in_house,
    in_transaction,
    outcome_or_fail,
    read_secret,
    say,
    show,
    write_file,
)
from appliance.lookup import find
from appliance.wiring import House
from billing.store import ach_rows, bank_rows
from billing.store import tables as billing
from core.money import format_money, parse_amount

ach = typer.Typer(help="Debits by ACH file, and what the bank sends back.", no_args_is_help=True)
bank = typer.Typer(help="Bank statements, and money nobody was found for.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="As JSON.")]
Account = Annotated[str, typer.Argument(help="Account number or id.")]
Batch = Annotated[str, typer.Argument(help="The batch's id; see: hilltop ach list.")]
File = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The file from the bank.")]
Home = Annotated[str, typer.Argument(help="Name or id; see: hilltop bank accounts.")]
Line = Annotated[str, typer.Argument(help="The line's id; see: hilltop bank inbox.")]
Reason = Annotated[str, typer.Option(help="Why, for the people who look later.")]
_LARGEST = 21 * 2**20


def _octets(path: Path) -> bytes:
    try:
        with path.open("rb") as opened:
            return opened.read(_LARGEST)
    except OSError as trouble:
        fail(f"{path} cannot be read: {trouble.strerror}", 2)


def _print(title: str, rows: list[dict[str, Any]], output: bool) -> None:
    if output:
        typer.echo(json.dumps(rows, indent=2))
        return
    names = list(rows[0]) if rows else ["nothing"]
    show(title, names, [[row[name] for name in names] for row in rows])


@ach.command("originator")
def ach_originator(
    name: Annotated[str, typer.Argument(help="Yours, such as main.")],
    destination: Annotated[str, typer.Option(help="Routing number of the bank that takes the file.")],
    destination_name: Annotated[str, typer.Option(help="Its name.")],
    origin: Annotated[str, typer.Option(help="Immediate origin, as the bank told.")],
    origin_name: Annotated[str, typer.Option(help="Your name in the file header.")],
    company_name: Annotated[str, typer.Option(help="What customers read, 16 characters.")],
    company_id: Annotated[str, typer.Option(help="Company identification, as the bank told.")],
    odfi: Annotated[str, typer.Option(help="First eight digits of the originating bank's routing number.")],
    description: Annotated[str, typer.Option(help="Company entry description.")] = "INTERNET",
    settle_days: Annotated[int, typer.Option(help="Banking days until money counts as arrived.")] = 3,
    time_zone: Annotated[str, typer.Option(help="Of the bank's cut-off.")] = "America/New_York",
) -> None:
    """Define who hands in ACH files, or change what the bank said."""
    from billing.payments.ach.define_originator import define_originator

    made = in_transaction(
        lambda work, _: define_originator(
            work,
            name=name,
            destination=destination,
            destination_name=destination_name,
            origin=origin,
            origin_name=origin_name,
            company_name=company_name,
            company_id=company_id,
            odfi=odfi,
            description=description,
            settle_days=settle_days,
            time_zone=time_zone,
        )
    )
    say(f"originator {name}: {made}")


@ach.command("bank-account")
def ach_bank_account(
    account: Account,
    holder: Annotated[str, typer.Option(help="Name on the bank account.")],
    routing: Annotated[str, typer.Option(help="Routing number, nine digits.")],
    authorised_on: Annotated[
        datetime, typer.Option(formats=["%Y-%m-%d"], help="Day of the customer's authorisation.")
    ],
    mandate: Annotated[str, typer.Option(help="Where the authorisation is kept.")],
    kind: Annotated[str, typer.Option(help="checking or savings")] = "checking",
    sec: Annotated[str, typer.Option(help="PPD (signed), CCD (company) or WEB (by internet).")] = "WEB",
    number_file: Annotated[
        Path | None, typer.Option(help="File with the account number, - for standard input; else typed.")
    ] = None,
    autopay: Annotated[bool, typer.Option("--autopay/--by-hand", help="Due invoices by themselves.")] = True,
    prenote: Annotated[bool, typer.Option("--prenote", help="Try with an entry of nothing first.")] = False,
) -> None:
    """Keep a customer's bank account for debits; its number is sealed."""
    from billing.payments.ach.keep_bank_account import keep_bank_account

    number = read_secret("account number", number_file)

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            made = outcome_or_fail(
                await keep_bank_account(
                    work, house.sealer, account_id=await find(work.connection, "account", account),
                    holder_name=holder, account_type=kind, routing_number=routing, account_number=number,
                    sec_code=sec, authorised_on=authorised_on.date(), mandate=mandate, autopay=autopay,
                    prenote=prenote,
                )
            )  # fmt: skip
        say(f"bank account {made}")

    in_house(body)


@ach.command("bank-accounts")
def ach_bank_accounts(account: Account, output: Json = False) -> None:
    """An account's bank accounts, ended ones too."""

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            account_id = await find(connection, "account", account)
            rows = await ach_rows.bank_accounts_of(connection, account_id, ended_too=True)
        told = [
            {
                "id": one.id, "holder": one.holder_name, "type": one.account_type,
                "routing": one.routing_number, "ending": one.last_four, "sec": one.sec_code,
                "autopay": one.autopay, "usable_from": str(one.usable_from or "after its prenote"),
                "ended": one.ended_because or "",
            }
            for one in rows
        ]  # fmt: skip
        _print("Bank accounts", told, output)

    in_house(body)


@ach.command("end-bank-account")
def ach_end_bank_account(bank_account: str, reason: Reason) -> None:
    """No further debit from a bank account."""
    from billing.payments.ach.keep_bank_account import end_bank_account

    in_transaction(lambda work, _: end_bank_account(work, bank_account_id=bank_account, reason=reason))
    say(f"{bank_account}: ended")


@ach.command("draft")
def ach_draft(
    originator: Annotated[str, typer.Argument(help="Name of the originator.")],
    effective: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Banking day; else the next.")
    ] = None,
    due_until: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Invoices due by then.")
    ] = None,
    account: Annotated[
        list[str] | None, typer.Option(help="This account (number or id), autopay or not; may be repeated.")
    ] = None,
    same_day: Annotated[bool, typer.Option("--same-day", help="Same-day entries.")] = False,
) -> None:
    """Draft a batch of the invoices that are due; nothing is sent."""
    from billing.payments.ach.draft_batch import draft_ach_batch

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            named = None
            if account:
                named = [await find(work.connection, "account", one) for one in account]
            draft = outcome_or_fail(
                await draft_ach_batch(
                    work, originator=originator, effective_on=day(effective, "--effective"),
                    due_until=day(due_until, "--due-until"), same_day=same_day, account_ids=named,
                )
            )  # fmt: skip
        say(
            f"batch {draft.batch_id}: {draft.entries} entries, {format_money(draft.total_minor, 'USD')}, "
            f"effective {draft.effective_on}"
        )
        for account_id, why in draft.left_out:
            say(f"  left out {account_id}: {why}")

    in_house(body)


@ach.command("list")
def ach_list(output: Json = False) -> None:
    """Batches, newest first."""

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            rows = await ach_rows.list_batches(connection)
        told = [
            {
                "id": one.id, "state": one.state, "effective_on": str(one.effective_on),
                "entries": one.entries, "total": format_money(int(one.total_minor), "USD"),
                "file": one.file_name or "", "settles_on": str(one.settles_on or ""),
            }
            for one in rows
        ]  # fmt: skip
        _print("ACH batches", told, output)

    in_house(body)


@ach.command("show")
def ach_show(batch: Batch, output: Json = False) -> None:
    """A batch's entries."""

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            rows = await ach_rows.entries_of(connection, batch)
        told = [
            {
                "id": one.id, "account": one.account_number, "name": one.account_name, "kind": one.kind,
                "amount": format_money(one.amount_minor, "USD"), "ending": one.last_four,
                "state": one.state, "trace": one.trace_number or "",
            }
            for one in rows
        ]  # fmt: skip
        _print(f"Batch {batch}", told, output)

    in_house(body)


@ach.command("remove")
def ach_remove(batch: Batch, entry: str) -> None:
    """Take an entry out of a draft."""
    from billing.payments.ach.draft_batch import remove_ach_entry

    in_transaction(lambda work, _: remove_ach_entry(work, batch_id=batch, entry_id=entry))
    say(f"{entry}: taken out")


@ach.command("approve")
def ach_approve(batch: Batch) -> None:
    """Approve a draft: its debits count as under way, and its file can be made."""
    from billing.payments.ach.draft_batch import approve_ach_batch

    in_transaction(lambda work, _: approve_ach_batch(work, batch_id=batch))
    say(f"{batch}: approved")


@ach.command("cancel")
def ach_cancel(batch: Batch, reason: Reason) -> None:
    """Give up a batch of which no file was made."""
    from billing.payments.ach.draft_batch import cancel_ach_batch

    in_transaction(lambda work, _: cancel_ach_batch(work, batch_id=batch, reason=reason))
    say(f"{batch}: cancelled")


@ach.command("file")
def ach_file(
    batch: Batch,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where to; - prints it.")] = None,
) -> None:
    """Make the file of an approved batch, once; afterwards the same octets again."""
    from billing.payments.ach.make_file import make_ach_file

    made = in_transaction(
        lambda work, house: make_ach_file(work, house.sealer, batch_id=batch, settings=house.settings.billing)
    )
    write_file(output or Path(made.name), made.content)
    if str(output) != "-":
        say(f"{made.outcome}; sha256 {made.sha256}")


@ach.command("returns")
def ach_returns(file: File) -> None:
    """Import a file of returns and notifications of change."""
    from billing.payments.ach.import_returns import import_ach_returns

    content = _octets(file)

    taken = in_transaction(
        lambda work, house: import_ach_returns(
            work, house.sealer, content=content, name=file.name, settings=house.settings.billing
        )
    )
    counts = ", ".join(f"{count} {name}" for name, count in sorted(taken.counts.items()))
    again = f"this file came before ({counts}); nothing was changed"
    say(again if taken.outcome == "exists" else f"{taken.outcome}: {counts}")


@ach.command("list-returns")
def ach_list_returns(output: Json = False) -> None:
    """What came back, newest first."""

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            rows = await ach_rows.list_returns(connection)
        told = [
            {
                "sent_on": str(one.sent_on), "account": one.account_number or "", "code": one.code,
                "amount": format_money(one.amount_minor, "USD"), "outcome": one.outcome, "told": one.told,
            }
            for one in rows
        ]  # fmt: skip
        _print("Returns", told, output)

    in_house(body)


@ach.command("settle")
def ach_settle() -> None:
    """Move debits whose day has come from transit to cash; the worker does it by itself too."""
    from billing.payments.ach.settle_debits import settle_debits

    async def body(house: House) -> None:
        done = outcome_or_fail(
            await settle_debits(house.workplace, actor=actor(), settings=house.settings.billing)
        )
        say(f"{done} debits settled")

    in_house(body)


@bank.command("account")
def bank_account(
    name: Annotated[str, typer.Argument(help="Yours, such as checking.")],
    currency: Annotated[str | None, typer.Option(help="ISO 4217; else the house's.")] = None,
    identification: Annotated[str, typer.Option(help="IBAN or number, as its statements name it.")] = "",
    mapping: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="JSON that says how the bank writes CSV.")
    ] = None,
) -> None:
    """Define a bank account of the house whose statements are imported."""
    from billing.payments.bank.define_house_account import define_house_account

    told = None
    if mapping is not None:
        try:
            told = json.loads(_octets(mapping))
        except ValueError as trouble:
            fail(f"{mapping} is not JSON: {trouble}", 2)
        if not isinstance(told, dict):
            fail(f"{mapping} must hold an object of columns", 2)

    chosen = currency_or_house(currency)
    made = in_transaction(
        lambda work, _: define_house_account(
            work, name=name, currency=chosen, identification=identification, csv_mapping=told
        )
    )
    say(f"bank account {name}: {made}")


@bank.command("import")
def bank_import(
    home: Home,
    file: File,
    preview: Annotated[bool, typer.Option("--preview", help="Say what would be; write nothing.")] = False,
) -> None:
    """Import a statement: MT940, camt.053, or CSV by the account's mapping."""
    from billing.payments.bank.import_statement import import_statement, preview_statement

    content = _octets(file)

    async def body(house: House) -> None:
        if preview:
            async with house.workplace.reading() as connection:
                seen = outcome_or_fail(
                    await preview_statement(connection, house.sealer, house_account=home, content=content)
                )
                names = await _account_numbers(connection)
            rows = [
                [
                    one.line.booked_on, format_money(one.line.amount_minor, one.line.currency),
                    one.line.payer_name, one.line.remittance[:60], "known" if one.known else "new",
                    names.get(one.match.certain.account_id, "") if one.match.certain else "",
                ]
                for one in seen.lines
            ]  # fmt: skip
            show(f"{seen.format}", ["booked", "amount", "payer", "text", "line", "certain"], rows)
            return
        async with house.workplace.work(actor()) as work:
            taken = outcome_or_fail(
                await import_statement(
                    work, house.sealer, house_account=home, content=content, name=file.name
                )
            )
        counts = (
            f"{taken.lines} lines, {taken.new_lines} new, {taken.matched} recorded, "
            f"{taken.waiting} in the inbox"
        )
        if taken.outcome == "exists":
            say(f"this file came before ({counts}); nothing was changed")
            return
        say(f"taken: {counts}")

    in_house(body)


@bank.command("accounts")
def bank_accounts(output: Json = False) -> None:
    """The house's bank accounts."""

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            rows = await bank_rows.list_house_accounts(connection)
        told = [
            {
                "id": one.id, "name": one.name, "currency": one.currency,
                "identification": one.identification, "csv": "yes" if one.csv_mapping else "no",
            }
            for one in rows
        ]  # fmt: skip
        _print("Bank accounts of the house", told, output)

    in_house(body)


async def _account_numbers(connection: Any) -> dict[str, str]:
    rows = await connection.execute(select(billing.account.c.id, billing.account.c.number))
    return {row.id: row.number for row in rows}


@bank.command("inbox")
def bank_inbox(output: Json = False) -> None:
    """Lines that wait for somebody to say whose they are, with suggestions."""
    from billing.payments.bank.suggest_accounts import suggest_accounts

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            rows = await bank_rows.list_lines(connection)
            hints = await suggest_accounts(connection, rows)
            names = await _account_numbers(connection)
        told = [
            {
                "id": one.id, "booked_on": str(one.booked_on), "payer": one.payer_name,
                "amount": format_money(one.amount_minor, one.currency), "text": one.remittance[:80],
                "perhaps": "; ".join(f"{names[hint.account_id]} ({hint.because})" for hint in hints[one.id]),
            }
            for one in rows
        ]  # fmt: skip
        _print("Inbox", told, output)

    in_house(body)


@bank.command("assign")
def bank_assign(
    line: Line,
    account: Annotated[list[str], typer.Argument(help="Account, or ACCOUNT=AMOUNT for each part.")],
    remember: Annotated[
        bool, typer.Option("--remember", help="This payer's money goes there from now on.")
    ] = False,
) -> None:
    """Say whose a line is, whole or in parts."""
    from billing.payments.bank.decide_line import assign_line

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            found = await bank_rows.lock_line(work.connection, line)
            if found is None:
                fail(f"there is no line {line}")
            parts = []
            for one in account:
                name, _, amount = one.partition("=")
                try:
                    part = parse_amount(amount, found.currency) if amount else found.amount_minor
                except ValueError as trouble:
                    fail(f"{one}: {trouble}", 2)
                parts.append((await find(work.connection, "account", name), part))
            made = outcome_or_fail(await assign_line(work, line_id=line, parts=parts, remember=remember))
        say(f"recorded: {', '.join(made)}")

    in_house(body)


@bank.command("reverse")
def bank_reverse(line: Line, payment: Annotated[str, typer.Argument(help="Id of the payment.")]) -> None:
    """Money that went out took a payment back."""
    from billing.payments.bank.decide_line import reverse_by_line

    in_transaction(
        lambda work, house: reverse_by_line(
            work, line_id=line, payment_id=payment, settings=house.settings.billing
        )
    )
    say(f"payment {payment}: taken back")


@bank.command("ignore")
def bank_ignore(line: Line, reason: Reason) -> None:
    """The line is no customer's payment."""
    from billing.payments.bank.decide_line import ignore_line

    in_transaction(lambda work, _: ignore_line(work, line_id=line, reason=reason))
    say(f"{line}: ignored")


@bank.command("undo")
def bank_undo(line: Line, reason: Reason) -> None:
    """Open a decided line again; its payments are taken back."""
    from billing.payments.bank.decide_line import undo_line

    in_transaction(
        lambda work, house: undo_line(work, line_id=line, reason=reason, settings=house.settings.billing)
    )
    say(f"{line}: open again")


@bank.command("rules")
def bank_rules(output: Json = False) -> None:
    """Payers whose account the house has learnt."""

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            rows = await bank_rows.list_rules(connection)
        told = [
            {
                "id": one.id, "payer": one.payer_name, "bank_account": one.payer_shown,
                "account": one.account_number, "learnt_by": one.learnt_by,
            }
            for one in rows
        ]  # fmt: skip
        _print("Learnt payers", told, output)

    in_house(body)


@bank.command("forget")
def bank_forget(rule: Annotated[str, typer.Argument(help="The rule's id.")]) -> None:
    """Withdraw what was learnt of a payer."""
    from billing.payments.bank.decide_line import withdraw_payer_rule

    in_transaction(lambda work, _: withdraw_payer_rule(work, rule_id=rule))
    say(f"{rule}: forgotten")
