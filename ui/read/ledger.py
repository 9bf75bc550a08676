"""The ledger as its pages show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.chart import CHART, chart_line, heading
from billing.domain.closing import OpenDays
from billing.ledger.map_accounts import account_codes
from billing.ledger.verify import trial_balance
from billing.store import closing_rows, journal_rows
from billing.store.journal_rows import JournalEntry, Scope
from billing.store.tables import account, invoice


@dataclass(frozen=True, slots=True)
class BalanceRow:
    """One ledger account in the trial balance."""

    ledger_account: str
    code: str
    kind: str
    currency: str
    debit_minor: int | None
    credit_minor: int | None


@dataclass(frozen=True, slots=True)
class BalanceTotal:
    """Both sides of a currency: equal."""

    currency: str
    debit_minor: int
    credit_minor: int


async def balance_rows(connection: AsyncConnection, on: date | None) -> list[BalanceRow]:
    """The trial balance at the end of a day, accounts without a balance left out."""
    codes = await account_codes(connection)
    rows = []
    for name, currency, amount in await trial_balance(connection, on):
        line = chart_line(name)
        code = codes.get(name) or codes.get(heading(name), "")
        debit, credit = (amount, None) if amount > 0 else (None, -amount)
        if amount:
            kind = "unknown" if line is None else line.kind.value
            rows.append(BalanceRow(name, code, kind, currency, debit, credit))
    return rows


def totals(rows: Sequence[BalanceRow]) -> list[BalanceTotal]:
    """The sums of the trial balance by currency."""
    return [
        BalanceTotal(
            currency,
            sum(row.debit_minor or 0 for row in rows if row.currency == currency),
            sum(row.credit_minor or 0 for row in rows if row.currency == currency),
        )
        for currency in sorted({row.currency for row in rows})
    ]


@dataclass(frozen=True, slots=True)
class JournalRow:
    """One posting of the journal, for its file."""

    booked_on: date
    entry: str
    source_kind: str
    description: str
    ledger_account: str
    account_number: str
    account_name: str
    currency: str
    amount_minor: int
    happened_on: date | None


def journal_lines(entries: Sequence[JournalEntry]) -> list[JournalRow]:
    """Entries as rows."""
    return [
        JournalRow(
            entry.booked_on, entry.id, entry.source_kind, entry.description, one.ledger_account,
            one.customer_number or "", one.customer_name or "", entry.currency, one.amount_minor,
            entry.happened_on,
        )
        for entry in entries
        for one in entry.postings
    ]  # fmt: skip


async def journal(
    connection: AsyncConnection, *, first: date | None, last: date | None, currency: str,
    ledger_account: str, customer: str, source_kind: str, before: str, limit: int,
) -> list[JournalEntry] | None:  # fmt: skip
    """Entries, newest first; None: there is no such customer. ``before``: ``day,id`` of the last one seen."""
    account_id = ""
    if customer:
        query = select(account.c.id).where((account.c.number == customer) | (account.c.id == customer))
        found = (await connection.execute(query)).scalar_one_or_none()
        if found is None:
            return None
        account_id = str(found)
    return await journal_rows.journal_newest(
        connection, Scope(first, last, currency or None), ledger_account=ledger_account,
        account_id=account_id, source_kind=source_kind, before=_mark(before), limit=limit,
    )  # fmt: skip


async def source_kinds(connection: AsyncConnection) -> list[str]:
    """Every kind of source that was booked."""
    return await journal_rows.source_kinds(connection)


def _mark(before: str) -> tuple[date, str] | None:
    day, _, entry_id = before.partition(",")
    try:
        return date.fromisoformat(day), entry_id
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class ActRow:
    """One act of closing."""

    number: int
    kind: str
    day: date
    until: date | None
    supplement: int
    entries: int
    postings: int
    reason: str
    recorded_by: str
    hash: str


async def closing_acts(connection: AsyncConnection, limit: int) -> list[ActRow]:
    """The chain, newest first."""
    return [
        ActRow(
            act.number, act.kind, act.day, act.until, act.supplement, act.entries, act.postings,
            act.reason or "", act.recorded_by, own,
        )
        for act, _, own in await closing_rows.newest_acts(connection, limit)
    ]  # fmt: skip


async def open_days(connection: AsyncConnection) -> OpenDays:
    """What is closed, locked and open again."""
    return await closing_rows.find_open_days(connection)


@dataclass(frozen=True, slots=True)
class ChartRow:
    """A line of the chart with the operator's code."""

    name: str
    pattern: str
    kind: str
    meaning: str
    code: str


async def chart_rows(connection: AsyncConnection) -> list[ChartRow]:
    """The chart, then single accounts that have codes of their own."""
    codes = await account_codes(connection)
    rows = [
        ChartRow(line.name, line.pattern, line.kind.value, line.meaning, codes.get(line.name, ""))
        for line in CHART
    ]
    headings = {line.name for line in CHART}
    for name, code in sorted(codes.items()):
        line = chart_line(name)
        if name not in headings:
            rows.append(ChartRow(name, name, "unknown" if line is None else line.kind.value, "", code))
    return rows


async def currencies(connection: AsyncConnection) -> list[str]:
    """Every currency that accounts have."""
    query = select(account.c.currency).distinct().order_by(account.c.currency)
    return [row.currency for row in await connection.execute(query)]


async def entities(connection: AsyncConnection) -> list[str]:
    """Every legal entity that has issued an invoice."""
    query = select(invoice.c.entity_id).where(invoice.c.entity_id.is_not(None)).distinct()
    return [row.entity_id for row in await connection.execute(query.order_by(invoice.c.entity_id))]
