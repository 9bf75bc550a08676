"""Commands for invoices and explanations."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import select

from appliance.commands.running import (
    Limit,
    actor,
    day,
    fail,
    in_house,
    in_transaction,
    opened,
    outcome_or_fail,
    progress_bar,
    say,
    show,
    write_file,
)
from appliance.lookup import find
from appliance.wiring import House
from billing.store import tables as billing
from core.money import format_money, parse_amount

invoices = typer.Typer(help="Invoices.", no_args_is_help=True)


@invoices.command("list")
def invoice_list(limit: Limit = 50) -> None:
    """Invoices, newest first."""

    async def body(house: House) -> None:
        table = billing.invoice
        async with house.workplace.reading() as connection:
            rows = (
                await connection.execute(
                    select(table, billing.account.c.name)
                    .join(billing.account, billing.account.c.id == table.c.account_id)
                    .order_by(table.c.number.desc())
                    .limit(limit)
                )
            ).all()
        show(
            "Invoices",
            ["number", "account", "issued", "due", "total", "open", "status"],
            [
                [
                    r.number,
                    r.name,
                    r.issued_on,
                    r.due_on,
                    format_money(r.total_minor, r.currency),
                    format_money(r.open_minor, r.currency),
                    r.status,
                ]
                for r in rows
            ],
        )

    in_house(body)


@invoices.command("pdf")
def invoice_pdf_file(
    number: Annotated[str, typer.Argument(help="Invoice number.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write it (-: standard output).")],
) -> None:
    """Write an invoice as PDF, as it was issued: the same octets each time."""
    from billing.documents.render import as_issued, invoice_pdf, invoice_view

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            view = await invoice_view(connection, number, house.settings.billing, house.usage, house.sealer)
        write_file(output, invoice_pdf(as_issued(outcome_or_fail(view))))

    in_house(body)


def explain(
    invoice: Annotated[str, typer.Argument(help="Invoice number.")],
    line: Annotated[int, typer.Argument(help="Line of the invoice, from 1.")],
) -> None:
    """Walk from an invoice line to the counter samples behind it."""
    from billing.invoicing.explain import explain_line, format_explanation

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            explanation = outcome_or_fail(await explain_line(connection, house.usage, invoice, line))
        say(format_explanation(explanation))

    in_house(body)


@invoices.command("html")
def invoice_html_file(
    number: Annotated[str, typer.Argument(help="Invoice number.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where to write it (-: standard output).")
    ] = Path("-"),
) -> None:
    """Write an invoice as HTML, with what was paid since."""
    from billing.documents.render import invoice_html, invoice_view

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            view = await invoice_view(connection, number, house.settings.billing, house.usage, house.sealer)
        write_file(output, invoice_html(outcome_or_fail(view)).encode())

    in_house(body)


@invoices.command("now")
def invoice_charges_now(account: Annotated[str, typer.Argument(help="Account number or id.")]) -> None:
    """Invoice the one-off charges that wait, today; what recurs keeps its cycle."""
    from billing.invoicing.invoice_now import invoice_now
    from billing.taxes.set_engine import asked_tax_engine

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            account_id = await find(connection, "account", account)
        async with asked_tax_engine(house.workplace, house.sealer) as engine:
            issued = outcome_or_fail(
                await invoice_now(
                    house.workplace, account_id=account_id, actor=actor(),
                    settings=house.settings.billing, engine=engine,
                )
            )  # fmt: skip
        say(f"{issued.number}: {format_money(issued.draft.total_minor, issued.draft.account.currency)}")

    in_house(body)


@invoices.command("credit")
def invoice_credit(
    number: Annotated[str, typer.Argument(help="Invoice number.")],
    reason: Annotated[str, typer.Option(help="Why; the customer reads it.")],
    line: Annotated[
        list[str] | None,
        typer.Option(help="LINE=AMOUNT, like 1=12.50; repeatable. Without one, all that is left of it."),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            help="What it comes from, such as a ticket: the same once more changes nothing; "
            "without one, the same command twice credits twice."
        ),
    ] = None,
) -> None:
    """Issue a credit note; its tax comes back as it was charged."""
    from billing.invoicing.credit_note import issue_credit_note
    from billing.store.invoice_rows import find_invoice

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            invoice_id = await find(work.connection, "invoice", number)
            found = await find_invoice(work.connection, invoice_id)
            currency = "USD" if found is None else found.currency
            note = outcome_or_fail(
                await issue_credit_note(
                    work,
                    invoice=invoice_id,
                    reason=reason,
                    source=source or work.ids.new("cli"),
                    amounts_minor=_credited_lines(line, currency) if line else None,
                    settings=house.settings.billing,
                )
            )
        again = " (it was issued before)" if note.outcome == "exists" else ""
        say(f"{note.number}: {format_money(note.total_minor, currency)}{again}")

    in_house(body)


def _credited_lines(lines: list[str], currency: str) -> dict[int, int]:
    credited = dict(_credited(one, currency) for one in lines)
    if len(credited) < len(lines):
        fail("--line: name each line once, with all that is credited of it", 2)
    return credited


def _credited(text: str, currency: str) -> tuple[int, int]:
    position, equals, amount = text.partition("=")
    if not (equals and position.isascii() and position.isdigit()):
        fail(f"--line {text!r}: write it LINE=AMOUNT, like 1=12.50", 2)
    try:
        return int(position[:9]), parse_amount(amount, currency)
    except ValueError as trouble:
        fail(f"--line {text!r}: {trouble}", 2)


@invoices.command("bulk")
def invoice_bulk(
    output: Annotated[Path, typer.Option("--output", "-o", help="Archive to write, or folder for sheaves.")],
    from_on: Annotated[
        datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="Issued on this day or later.")
    ] = None,
    until_on: Annotated[
        datetime | None, typer.Option("--until", formats=["%Y-%m-%d"], help="Issued up to and on this day.")
    ] = None,
    run: Annotated[str | None, typer.Option(help="Id of a bill run.")] = None,
    delivery: Annotated[str | None, typer.Option(help="Of accounts told by email, paper or none.")] = None,
    sheaves: Annotated[
        bool,
        typer.Option("--print", help="Sheaves of fifty in one PDF each, to print, instead of an archive."),
    ] = False,
    workers: Annotated[int | None, typer.Option(min=1, max=64, help="Processes that typeset.")] = None,
) -> None:
    """Write many invoices as PDF: an archive, or sheaves for a printer."""
    from billing.documents.bulk import Choice, chosen_invoices, printed_invoices, printers, zipped

    choice = Choice(run, day(from_on, "--from"), day(until_on, "--until"), delivery)

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            ids = outcome_or_fail(await chosen_invoices(connection, choice))
        with progress_bar("invoices", len(ids)) as advance:
            async with printers(workers) as pool:
                files = printed_invoices(
                    house.workplace, house.settings.billing, house.usage, house.sealer, ids, pool,
                    form="print" if sheaves else "zip", progress=lambda done, _: advance(done),
                )  # fmt: skip
                if sheaves:
                    async for name, content in files:
                        write_file(output / name, content)
                    return
                with opened(output) as archive:
                    async for part in zipped(files):
                        archive.write(part)
        say(f"{len(ids)} invoices in {output}")

    in_house(body)


@invoices.command("send")
def invoice_send(number: Annotated[str, typer.Argument(help="Invoice number.")]) -> None:
    """Send an invoice to its account once more."""
    from billing.delivery.queue import queue_invoice

    in_transaction(lambda work, _: queue_invoice(work, number, again=True))
    say(f"{number} is queued; see: hilltop mail list")
