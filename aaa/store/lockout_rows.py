"""Rows of who is held back after wrong passwords."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.store.tables import lockout, nas, session
from core.database import insert_for

_KEY = ("nas_id", "identity", "calling_station")


async def keep(connection: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write what is held back; of two workers' words on one the later end counts."""
    if not rows:
        return
    statement = insert_for(connection, lockout)
    new = statement.excluded
    kept = {
        "failures": new.failures, "until": new.until, "service_id": new.service_id, "let_go_at": None,
        "let_go_by": None,
    }  # fmt: skip
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=list(_KEY), set_=kept, where=lockout.c.until < new.until
        ),
        list(rows),
    )


async def let_go_since(connection: AsyncConnection, since: datetime) -> Sequence[Any]:
    """(nas_id, identity, calling_station, let_go_at) of what an operator let go."""
    statement = select(
        lockout.c.nas_id, lockout.c.identity, lockout.c.calling_station, lockout.c.let_go_at
    ).where(lockout.c.let_go_at >= since)
    return (await connection.execute(statement)).all()


async def let_go(
    connection: AsyncConnection, identity: str, nas_id: str | None, at: datetime, by: str
) -> int:
    """Let go of an identity, everywhere or at one NAS; returns how many places that were."""
    statement = update(lockout).where(lockout.c.identity == identity, lockout.c.until > at)
    if nas_id is not None:
        statement = statement.where(lockout.c.nas_id == nas_id)
    return (await connection.execute(statement.values(until=at, let_go_at=at, let_go_by=by))).rowcount


async def forget_before(connection: AsyncConnection, before: datetime) -> None:
    """Delete what has long been over."""
    await connection.execute(delete(lockout).where(lockout.c.until < before))


async def held(connection: AsyncConnection, now: datetime, limit: int) -> Sequence[Any]:
    """What is held back now with the NAS's name, the longest first."""
    statement = select(lockout, nas.c.name.label("nas_name")).join(nas, nas.c.id == lockout.c.nas_id)
    statement = statement.where(lockout.c.until > now).order_by(lockout.c.until.desc(), lockout.c.identity)
    return (await connection.execute(statement.limit(limit))).all()


async def stations_of(
    connection: AsyncConnection, nas_id: str, username: str, before: datetime, limit: int
) -> list[str]:
    """Calling stations that had a session under this name at this NAS, begun before ``before``."""
    statement = (
        select(session.c.calling_station)
        .where(
            session.c.nas_id == nas_id,
            session.c.username == username,
            session.c.calling_station.is_not(None),
            session.c.started_at <= before,
        )
        .distinct()
        .limit(limit)
    )
    return [str(one) for one in (await connection.execute(statement)).scalars()]
