"""What the database says of the house in numbers, for those who draw curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.list_pools import PoolLine, list_pools
from aaa.store.tables import lockout, service, session
from core.store.tables import fact, health_issue
from provisioning.store.tables import task


@dataclass(frozen=True, slots=True)
class HouseCounts:
    """Counts of one instant. Pairs are (label, count)."""

    sessions: int
    services: Sequence[tuple[str, int]]
    tasks: Sequence[tuple[str, int]]
    issues: Sequence[tuple[str, int]]
    facts_waiting: int
    oldest_fact_at: datetime | None
    held_back: int
    pools: Sequence[PoolLine]


async def count_house(connection: AsyncConnection, now: datetime) -> HouseCounts:
    """Everything that is counted in the database."""
    facts = select(func.count(), func.min(fact.c.occurred_at)).where(fact.c.dispatched_at.is_(None))
    waiting, oldest = (await connection.execute(facts)).one()
    return HouseCounts(
        sessions=await _count(connection, select(func.count()).where(session.c.stopped_at.is_(None))),
        services=await _by(connection, service.c.lifecycle, None),
        tasks=await _by(connection, task.c.status, task.c.status.in_(["waiting", "claimed", "parked"])),
        issues=await _by(connection, health_issue.c.severity, health_issue.c.closed_at.is_(None)),
        facts_waiting=int(waiting),
        oldest_fact_at=oldest,
        held_back=await _count(connection, select(func.count()).where(lockout.c.until > now)),
        pools=await list_pools(connection),
    )


async def _count(connection: AsyncConnection, statement: object) -> int:
    return int((await connection.execute(statement)).scalar_one())  # type: ignore[call-overload]


async def _by(connection: AsyncConnection, column: object, where: object) -> list[tuple[str, int]]:
    statement = select(column, func.count()).group_by(column).order_by(column)  # type: ignore[call-overload]
    if where is not None:
        statement = statement.where(where)
    return [(str(label), int(count)) for label, count in (await connection.execute(statement)).all()]
