"""What was billed in advance and what of it was recognised, read in groups: never a row for each line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Select, and_, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.ledger import RECOGNITION
from billing.domain.recognition import ONE_DAY, DeferredLines, RevenueKey
from billing.store.tables import account, invoice, invoice_line, ledger_entry, posting
from core.periods import Period

_DEFERRED = "deferred:"


def _lines(*columns: Any) -> Select[Any]:
    """Deferred lines of numbered invoices."""
    return (
        select(*columns)
        .select_from(invoice_line)
        .join(invoice, invoice.c.id == invoice_line.c.invoice_id)
        .where(
            invoice_line.c.deferred.is_(True),
            invoice_line.c.period_start.is_not(None),
            invoice.c.number.is_not(None),
        )
    )


_KEY = (invoice_line.c.revenue, invoice.c.currency, invoice.c.entity_id)


def _after(day: date) -> date:
    return day if day == date.max else day + ONE_DAY


async def whole_by_key(
    connection: AsyncConnection, through: date, *, ended: bool = True, known_at: datetime | None = None
) -> dict[RevenueKey, int]:
    """What lines booked by that day come to; with ``ended`` only those whose period is over at its end.

    ``known_at``: only lines that were written by that instant.
    """
    query = _lines(*_KEY, func.sum(invoice_line.c.amount_minor)).where(invoice.c.issued_on <= through)
    if known_at is not None:
        query = query.where(invoice.c.created_at <= known_at)
    if ended:
        query = query.where(invoice_line.c.period_end <= _after(through))
    rows = await connection.execute(query.group_by(*_KEY))
    return {RevenueKey(row[0], row[1], row[2]): int(row[3]) for row in rows}


async def running_lines(
    connection: AsyncConnection, through: date, *, booked_by: date | None = None,
    known_at: datetime | None = None,
) -> list[DeferredLines]:  # fmt: skip
    """Lines booked by that day whose period has begun and goes on after it, alike ones together.

    ``known_at``: as above. ``booked_by``: lines booked up to then, and those too whose period begins later.
    """
    line = invoice_line.c
    columns = (*_KEY, invoice.c.issued_on, line.period_start, line.period_end, line.amount_minor)
    query = _lines(*columns, func.count()).where(
        invoice.c.issued_on <= (booked_by or through), line.period_end > _after(through)
    )
    if booked_by is None:
        query = query.where(line.period_start <= through)
    if known_at is not None:
        query = query.where(invoice.c.created_at <= known_at)
    return [
        DeferredLines(row[0], row[1], row[2], row[3], Period(row[4], row[5]), int(row[6]), int(row[7]))
        for row in await connection.execute(query.group_by(*columns))
    ]


async def recognised_by_key(connection: AsyncConnection) -> dict[RevenueKey, int]:
    """What was recognised so far."""
    query = (
        select(
            posting.c.ledger_account, posting.c.currency, ledger_entry.c.entity_id,
            func.sum(posting.c.amount_minor),
        )
        .join(ledger_entry, ledger_entry.c.id == posting.c.entry_id)
        .where(
            ledger_entry.c.source_kind == RECOGNITION, posting.c.ledger_account.startswith(_DEFERRED)
        )
        .group_by(posting.c.ledger_account, posting.c.currency, ledger_entry.c.entity_id)
    )  # fmt: skip
    rows = await connection.execute(query)
    return {RevenueKey(row[0].removeprefix(_DEFERRED), row[1], row[2]): int(row[3]) for row in rows}


async def deferred_balances(connection: AsyncConnection) -> dict[RevenueKey, int]:
    """What the ledger still holds as deferred (positive: to be earned)."""
    query = (
        select(
            posting.c.ledger_account, posting.c.currency, ledger_entry.c.entity_id,
            func.sum(posting.c.amount_minor),
        )
        .join(ledger_entry, ledger_entry.c.id == posting.c.entry_id)
        .where(posting.c.ledger_account.startswith(_DEFERRED))
        .group_by(posting.c.ledger_account, posting.c.currency, ledger_entry.c.entity_id)
    )  # fmt: skip
    rows = await connection.execute(query)
    return {RevenueKey(row[0].removeprefix(_DEFERRED), row[1], row[2]): -int(row[3]) for row in rows}


async def sources_since(connection: AsyncConnection, prefix: str) -> int:
    """How many recognitions have a source that begins so."""
    query = select(func.count()).where(
        ledger_entry.c.source_kind == RECOGNITION,
        ledger_entry.c.source_id.startswith(prefix, autoescape=True),
    )
    return int(await connection.scalar(query) or 0)


async def last_recognition(connection: AsyncConnection) -> tuple[date, datetime] | None:
    """The newest day that was recognised through, and when that was written."""
    entry = ledger_entry.c
    day = func.coalesce(entry.happened_on, entry.booked_on)
    query = (
        select(day, func.max(entry.recorded_at))
        .where(entry.source_kind == RECOGNITION)
        .group_by(day)
        .order_by(day.desc())
        .limit(1)
    )
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else (row[0], row[1])


@dataclass(frozen=True, slots=True)
class EarningLine:
    """A line behind a recognition."""

    invoice_number: str
    account_number: str
    account_name: str
    position: int
    description: str
    amount_minor: int
    period: Period
    booked_on: date


async def lines_earning(
    connection: AsyncConnection, key: RevenueKey, after: date | None, through: date, limit: int
) -> Sequence[EarningLine]:
    """Lines of a revenue that earned something after the day ``after`` through ``through``, or came then."""
    line = invoice_line.c
    earns = and_(line.period_start <= through, invoice.c.issued_on <= through)
    if after is not None:  # what was over and booked by then earns nothing since
        earns = and_(earns, (line.period_end > after + ONE_DAY) | (invoice.c.issued_on > after))
    query = (
        _lines(
            invoice.c.number, account.c.number, account.c.name, line.position, line.description,
            line.amount_minor, line.period_start, line.period_end, invoice.c.issued_on,
        )
        .join(account, account.c.id == invoice.c.account_id)
        .where(line.revenue == key.revenue, invoice.c.currency == key.currency, earns)
        .where(
            invoice.c.entity_id.is_(None) if key.entity_id is None else invoice.c.entity_id == key.entity_id
        )
        .order_by(invoice.c.number, line.position)
        .limit(limit)
    )  # fmt: skip
    return [
        EarningLine(row[0], row[1], row[2], row[3], row[4], int(row[5]), Period(row[6], row[7]), row[8])
        for row in await connection.execute(query)
    ]
