"""Closed days, locks and reopenings in the database: one chain, inserted and read, never changed."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date
from typing import Any

from sqlalchemy import ColumnElement, Date, String, func, insert, literal, select, text, tuple_
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.closing import DAY, FIRST_HASH, ClosingAct, OpenDays, open_days
from billing.domain.ledger import BookedEntry
from billing.store.tables import closing_act, ledger_entry, posting
from core.store.columns import from_microseconds, to_microseconds

_LOCK_NOT_AVAILABLE = "55P03"  # PostgreSQL manual, appendix A
PAGE = 5_000


async def hold_days(connection: AsyncConnection) -> None:
    """Until this transaction ends no day is closed beneath it.

    SQLite has one writer and needs nothing; in PostgreSQL this is the lock that the insert takes anyway,
    taken before the days are looked at.
    """
    if connection.dialect.name == "postgresql":
        await connection.execute(text("LOCK TABLE billing_ledger_entry IN ROW EXCLUSIVE MODE"))


async def stop_bookings(connection: AsyncConnection) -> bool:
    """Until this transaction ends nobody else books; False when somebody is booking: try again.

    It waits for less than PostgreSQL takes to look for deadlocks (a second), so it is never the cause of one.
    """
    if connection.dialect.name != "postgresql":
        return True
    await connection.execute(text("SET LOCAL lock_timeout = '500ms'"))
    try:
        await connection.execute(text("LOCK TABLE billing_ledger_entry IN SHARE ROW EXCLUSIVE MODE"))
    except DBAPIError as trouble:
        if getattr(trouble.orig, "sqlstate", None) == _LOCK_NOT_AVAILABLE:
            return False
        raise
    await connection.execute(text("SET LOCAL lock_timeout = 0"))
    return True


async def find_open_days(connection: AsyncConnection) -> OpenDays:
    """Which days may be booked on."""
    act = closing_act.c
    closed = await connection.scalar(select(func.max(act.day)).where(act.kind == DAY))
    query = select(act.kind, act.day, act.until).where(act.kind != DAY).order_by(act.number)
    return open_days(closed, [(row.kind, row.day, row.until) for row in await connection.execute(query)])


async def closes_of(connection: AsyncConnection, days: Collection[date]) -> dict[date, int]:
    """How often each of the days was closed; days that never were are left out."""
    if not days:
        return {}
    act = closing_act.c
    query = select(act.day, func.count()).where(act.kind == DAY, act.day.in_(list(days))).group_by(act.day)
    return {row[0]: int(row[1]) for row in await connection.execute(query)}


async def last_link(connection: AsyncConnection) -> tuple[int, str]:
    """``(number, hash)`` of the last act; ``(0, …)`` when there is none."""
    query = select(closing_act.c.number, closing_act.c.hash).order_by(closing_act.c.number.desc()).limit(1)
    row = (await connection.execute(query)).one_or_none()
    return (0, FIRST_HASH) if row is None else (int(row.number), str(row.hash))


async def insert_act(connection: AsyncConnection, act: ClosingAct, previous_hash: str, own_hash: str) -> None:
    """The next link of the chain."""
    await connection.execute(
        insert(closing_act).values(
            number=act.number,
            kind=act.kind,
            day=act.day,
            until=act.until,
            supplement=act.supplement,
            entries=act.entries,
            postings=act.postings,
            sums=act.sums,
            reason=act.reason,
            recorded_at=from_microseconds(act.recorded_us),
            recorded_by=act.recorded_by,
            previous_hash=previous_hash,
            hash=own_hash,
        )
    )


async def acts(connection: AsyncConnection) -> list[tuple[ClosingAct, str, str]]:
    """``(act, previous hash, hash)`` of the whole chain in order."""
    query = select(closing_act).order_by(closing_act.c.number)
    return [_act(row) for row in await connection.execute(query)]


async def newest_acts(connection: AsyncConnection, limit: int) -> list[tuple[ClosingAct, str, str]]:
    """The same, newest first, at most so many."""
    query = select(closing_act).order_by(closing_act.c.number.desc()).limit(limit)
    return [_act(row) for row in await connection.execute(query)]


def _act(row: Any) -> tuple[ClosingAct, str, str]:
    act = ClosingAct(
        row.number, row.kind, row.day, row.until, row.supplement, row.entries, row.postings, row.sums,
        row.reason, to_microseconds(row.recorded_at), row.recorded_by,
    )  # fmt: skip
    return act, row.previous_hash, row.hash


async def first_booked_day(connection: AsyncConnection) -> date | None:
    """The day of the first entry, None for empty books."""
    day: date | None = await connection.scalar(select(func.min(ledger_entry.c.booked_on)))
    return day


async def days_to_supplement(connection: AsyncConnection, through: date) -> list[tuple[date, int]]:
    """``(day, supplement)`` of what was booked on reopened days and is not closed yet."""
    entry, act = ledger_entry.c, closing_act.c
    closed = select(act.number).where(
        act.kind == DAY, act.day == entry.booked_on, act.supplement == entry.supplement
    )
    query = (
        select(entry.booked_on, entry.supplement)
        .where(entry.supplement > 0, entry.booked_on <= through, ~closed.exists())
        .group_by(entry.booked_on, entry.supplement)
        .order_by(entry.booked_on, entry.supplement)
    )
    return [(row.booked_on, row.supplement) for row in await connection.execute(query)]


async def sums_of_day(
    connection: AsyncConnection, day: date, supplement: int
) -> tuple[int, dict[str, dict[str, int]]]:
    """How many postings, and their sums by currency and ledger account, of one close; zeros are kept."""
    query = (
        select(posting.c.currency, posting.c.ledger_account, func.sum(posting.c.amount_minor), func.count())
        .join(ledger_entry, ledger_entry.c.id == posting.c.entry_id)
        .where(ledger_entry.c.booked_on == day, ledger_entry.c.supplement == supplement)
        .group_by(posting.c.currency, posting.c.ledger_account)
    )
    sums: dict[str, dict[str, int]] = {}
    count = 0
    for currency, name, amount, number in await connection.execute(query):
        sums.setdefault(currency, {})[name] = int(amount)
        count += int(number)
    return count, sums


def beyond(day: ColumnElement[date], key: ColumnElement[str], mark: tuple[date, str]) -> ColumnElement[bool]:
    """What comes after a day and key, in a form that both databases answer from an index."""
    return tuple_(day, key) > tuple_(literal(mark[0], Date), literal(mark[1], String))


async def digests_of_day(
    connection: AsyncConnection, day: date, supplement: int
) -> list[tuple[str, str | None]]:
    """``(entry id, digest)`` of one close, ids in order of their octets; None: older than digests are."""
    entry = ledger_entry.c
    query = select(entry.id, entry.digest).where(entry.booked_on == day, entry.supplement == supplement)
    return sorted(((row[0], row[1]) for row in await connection.execute(query)), key=lambda one: one[0])


Sides = list[tuple[str, str | None, str, int]]


async def entries_page(
    connection: AsyncConnection, first: date, last: date, after: tuple[date, str] | None
) -> list[tuple[date, BookedEntry, str | None, Sides]]:
    """``(day, entry, stored digest, postings)`` by day and id from ``first`` to ``last``: the next page.

    Ids are in the order of the database.
    """
    entry = ledger_entry.c
    page = select(ledger_entry).where(entry.booked_on.between(first, last))
    page = page.order_by(entry.booked_on, entry.id).limit(PAGE)
    if after is not None:
        page = page.where(beyond(entry.booked_on, entry.id, after))
    rows = (await connection.execute(page)).all()
    chosen = page.with_only_columns(entry.id).subquery()
    sides: dict[str, Sides] = {}
    query = (
        select(
            posting.c.entry_id, posting.c.ledger_account, posting.c.account_id, posting.c.currency,
            posting.c.amount_minor,
        )
        .join(chosen, chosen.c.id == posting.c.entry_id)
        .order_by(posting.c.seq)
    )  # fmt: skip
    for entry_id, name, owner, currency, amount in await connection.execute(query):
        sides.setdefault(entry_id, []).append((name, owner, currency, amount))
    return [
        (
            row.booked_on,
            BookedEntry(
                row.id, row.booked_on.isoformat(), row.happened_on.isoformat() if row.happened_on else None,
                row.supplement, row.source_kind, row.source_id, row.description, row.entity_id,
                to_microseconds(row.recorded_at),
            ),
            row.digest,
            sides.get(row.id, []),
        )
        for row in rows
    ]  # fmt: skip


async def entry_of(connection: AsyncConnection, entry_id: str) -> tuple[BookedEntry, Sides]:
    """One entry with its postings."""
    row = (await connection.execute(select(ledger_entry).where(ledger_entry.c.id == entry_id))).one()
    query = (
        select(posting.c.ledger_account, posting.c.account_id, posting.c.currency, posting.c.amount_minor)
        .where(posting.c.entry_id == entry_id)
        .order_by(posting.c.seq)
    )
    sides = [(one[0], one[1], one[2], int(one[3])) for one in await connection.execute(query)]
    booked = BookedEntry(
        row.id, row.booked_on.isoformat(), row.happened_on.isoformat() if row.happened_on else None,
        row.supplement, row.source_kind, row.source_id, row.description, row.entity_id,
        to_microseconds(row.recorded_at),
    )  # fmt: skip
    return booked, sides
