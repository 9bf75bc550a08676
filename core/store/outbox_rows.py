"""Rows of the outbox."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.facts import RecordedFact
from core.store.tables import fact


async def undispatched(connection: AsyncConnection, limit: int) -> list[tuple[RecordedFact, datetime | None]]:
    """The oldest waiting facts, each with the instant before which it must not be tried."""
    rows = await connection.execute(
        select(fact).where(fact.c.dispatched_at.is_(None)).order_by(fact.c.seq).limit(limit)
    )
    return [
        (
            RecordedFact(row.seq, row.kind, row.subject, row.payload, row.occurred_at, row.attempts),
            row.next_attempt_at,
        )
        for row in rows
    ]


async def mark_dispatched(connection: AsyncConnection, seq: int, at: datetime) -> bool:
    """Take the fact; False when it was taken already."""
    taken = await connection.execute(
        update(fact).where(fact.c.seq == seq, fact.c.dispatched_at.is_(None)).values(dispatched_at=at)
    )
    return bool(taken.rowcount)


async def postpone(connection: AsyncConnection, seq: int, attempts: int, until: datetime, error: str) -> None:
    """Leave the fact waiting until ``until``, with what went wrong."""
    await connection.execute(
        update(fact)
        .where(fact.c.seq == seq)
        .values(attempts=attempts, next_attempt_at=until, last_error=error[:2000])
    )
