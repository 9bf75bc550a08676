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
class Recognition:
    """One recognition of a revenue: through which day, and when it was written."""

    entry_id: str
    key: RevenueKey
    through: date
    written_at: datetime
    amount_minor: int


def _recognitions() -> Select[Any]:
    entry, side = ledger_entry.c, posting.c
    day = func.coalesce(entry.happened_on, entry.booked_on)
    return (
        select(
            entry.id, side.ledger_account, side.currency, entry.entity_id, day, entry.recorded_at,
            side.amount_minor,
        )
        .join(posting, side.entry_id == entry.id)
        .where(entry.source_kind == RECOGNITION, side.ledger_account.startswith(_DEFERRED))
    )  # fmt: skip


def _recognition(row: Any) -> Recognition:
    key = RevenueKey(row[1].removeprefix(_DEFERRED), row[2], row[3])
    return Recognition(row[0], key, row[4], row[5], int(row[6]))


async def newest_recognitions(connection: AsyncConnection, limit: int) -> list[Recognition]:
    """Recognitions, newest first."""
    query = _recognitions().order_by(ledger_entry.c.recorded_at.desc(), ledger_entry.c.id.desc())
    return [_recognition(row) for row in await connection.execute(query.limit(limit))]


async def find_recognition(connection: AsyncConnection, entry_id: str) -> Recognition | None:
    """The recognition that an entry is."""
    row = (await connection.execute(_recognitions().where(ledger_entry.c.id == entry_id))).one_or_none()
    return None if row is None else _recognition(row)


async def recognition_before(connection: AsyncConnection, one: Recognition) -> Recognition | None:
    """The one before it of the same revenue."""
    entity = ledger_entry.c.entity_id
    query = (
        _recognitions()
        .where(
            posting.c.ledger_account == f"{_DEFERRED}{one.key.revenue}",
            posting.c.currency == one.key.currency,
            entity.is_(None) if one.key.entity_id is None else entity == one.key.entity_id,
            (ledger_entry.c.recorded_at < one.written_at)
            | and_(ledger_entry.c.recorded_at == one.written_at, ledger_entry.c.id < one.entry_id),
        )
        .order_by(ledger_entry.c.recorded_at.desc(), ledger_entry.c.id.desc())
        .limit(1)
    )
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else _recognition(row)


@dataclass(frozen=True, slots=True)
class EarningLine:
    """A line behind a recognition; ``known_before``: it was there when the one before was written."""

    invoice_id: str
    invoice_number: str
    account_number: str
    account_name: str
    position: int
    description: str
    amount_minor: int
    period: Period
    known_before: bool


async def lines_earning(
    connection: AsyncConnection, one: Recognition, before: Recognition | None, limit: int
) -> Sequence[EarningLine]:
    """Lines that gave something to a recognition since the one before it."""
    line, key = invoice_line.c, one.key
    known = and_(invoice.c.issued_on <= one.through, invoice.c.created_at <= one.written_at)
    asked = and_(line.revenue == key.revenue, invoice.c.currency == key.currency, known)
    asked = and_(asked, line.period_start <= one.through)
    entity = invoice.c.entity_id
    asked = and_(asked, entity.is_(None) if key.entity_id is None else entity == key.entity_id)
    if before is not None:  # what was over and known then gives nothing since
        late = (invoice.c.issued_on > before.through) | (invoice.c.created_at > before.written_at)
        asked = and_(asked, (line.period_end > before.through + ONE_DAY) | late)
    query = (
        _lines(
            invoice.c.id, invoice.c.number, account.c.number, account.c.name, line.position, line.description,
            line.amount_minor, line.period_start, line.period_end, invoice.c.issued_on, invoice.c.created_at,
        )
        .join(account, account.c.id == invoice.c.account_id)
        .where(asked)
        .order_by(invoice.c.number, line.position)
        .limit(limit)
    )  # fmt: skip
    return [
        EarningLine(
            row[0], row[1], row[2], row[3], row[4], row[5], int(row[6]), Period(row[7], row[8]),
            before is not None and row[9] <= before.through and row[10] <= before.written_at,
        )
        for row in await connection.execute(query)
    ]  # fmt: skip
