"""The ledger as an hledger journal (hledger manual, "Journal"), with every account and commodity declared."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import date

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.chart import AccountKind, chart_line
from billing.ledger.export_scope import (
    ExportScope,
    Names,
    Opened,
    amount,
    one_line,
    opened_accounts,
)
from billing.store import journal_rows
from billing.store.journal_rows import AccountUse, JournalEntry
from core.money import minor_digits

_TYPES = {
    AccountKind.ASSET: "A", AccountKind.LIABILITY: "L", AccountKind.EQUITY: "E", AccountKind.INCOME: "R",
    AccountKind.EXPENSE: "X",
}  # fmt: skip


def words(text: str) -> str:
    """A description: a semicolon would begin a comment, a bar divides payee and note."""
    return one_line(text).replace(";", ",").replace("|", "/")


def tag(text: str) -> str:
    """The value of a tag, which ends at a comma."""
    return one_line(text).replace(",", " ")


async def hledger(connection: AsyncConnection, export: ExportScope) -> AsyncIterator[str]:
    """The file, in parts."""
    names = Names(await journal_rows.codes(connection), export.by_customer)
    opened, before = await opened_accounts(connection, export, names)
    yield _head(opened)
    if before and export.scope.first is not None:
        yield _opening(export.scope.first, before, names)
    async for page in journal_rows.journal_pages(connection, export.scope):
        yield "".join(_entry(one, names) for one in page)


def _head(opened: Sequence[Opened]) -> str:
    lines = ["; Hilltop ledger", "decimal-mark ."]
    currencies = sorted({currency for one in opened for currency in one.currencies})
    lines += [f"commodity 1000.{'0' * minor_digits(currency)} {currency}" for currency in currencies]
    lines += [f"account {one.name}  ; type: {_type(one.ledger_account)}" for one in opened]
    return "\n".join(lines) + "\n"


def _type(ledger_account: str) -> str:
    line = chart_line(ledger_account)
    return _TYPES[AccountKind.EQUITY if line is None else line.kind]


def _side(name: str, amount_minor: int, currency: str, comment: str = "") -> str:
    return f"    {name}  {amount(amount_minor, currency)} {currency}{comment}\n"


def _entry(entry: JournalEntry, names: Names) -> str:
    tags = f"source: {tag(entry.source_kind)} {tag(entry.source_id)}"
    if entry.happened_on is not None:
        tags += f", happened: {entry.happened_on}"
    if entry.entity_id is not None:
        tags += f", entity: {tag(entry.entity_id)}"
    head = f"\n{entry.booked_on} * ({entry.id}) {words(entry.description)}  ; {tags}\n"
    return head + "".join(
        _side(
            names.of(one), one.amount_minor, entry.currency,
            "" if one.customer_number is None else f"  ; customer: {tag(one.customer_number)}",
        )
        for one in entry.postings
    )  # fmt: skip


def _opening(first: date, before: Sequence[AccountUse], names: Names) -> str:
    sides = "".join(_side(names.of(one), one.amount_minor, one.currency) for one in before)
    return f"\n{first} * Balances brought forward\n{sides}"
