"""Rows of the outbox."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.facts import RecordedFact
from core.store.tables import fact


async def due(
    connection: AsyncConnection, now: datetime, longest_pause_ends: datetime, limit: int
) -> list[RecordedFact]:
    """The oldest waiting facts of subjects of which none is paused: a queue of paused ones starves nobody.

    A pause that would end after ``longest_pause_ends`` was set by a clock that has stepped back since.
    """
    waiting = fact.c.dispatched_at.is_(None)
    paused = select(fact.c.subject).where(
        waiting, fact.c.next_attempt_at > now, fact.c.next_attempt_at <= longest_pause_ends
    )
    rows = await connection.execute(
        select(fact).where(waiting, fact.c.subject.not_in(paused)).order_by(fact.c.seq).limit(limit)
    )
    return [
        RecordedFact(row.seq, row.kind, row.subject, row.payload, row.occurred_at, row.attempts)
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
