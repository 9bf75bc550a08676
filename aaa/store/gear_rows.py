"""Rows of operators' logins to network gear, and of what came of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.store.tables import credential, gear_login, gear_sign_in, nas
from core.database import insert_for


async def put(connection: AsyncConnection, values: Mapping[str, Any]) -> None:
    """Give an operator a login, or another one in its place."""
    statement = insert_for(connection, gear_login).values(**values)
    kept = {name: value for name, value in values.items() if name not in ("operator_id", "created_at")}
    await connection.execute(statement.on_conflict_do_update(index_elements=["operator_id"], set_=kept))


async def take_away(connection: AsyncConnection, operator_id: str) -> bool:
    """Delete an operator's login; True when he had one."""
    gone = await connection.execute(delete(gear_login).where(gear_login.c.operator_id == operator_id))
    return gone.rowcount == 1


async def set_enabled(connection: AsyncConnection, operator_id: str, *, enabled: bool) -> bool:
    """Let a login count or not; True when there is one."""
    changed = await connection.execute(
        update(gear_login).where(gear_login.c.operator_id == operator_id).values(enabled=enabled)
    )
    return changed.rowcount == 1


async def logins(connection: AsyncConnection) -> Sequence[Any]:
    """Every login, by name."""
    return (await connection.execute(select(gear_login).order_by(gear_login.c.name))).all()


async def is_a_subscribers(connection: AsyncConnection, name: str) -> bool:
    """Whether a subscriber's credential has that name."""
    found = select(credential.c.id).where(credential.c.username == name).limit(1)
    return (await connection.execute(found)).first() is not None


async def record(connection: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Keep what came of sign-ins; one that is known by its key already stays as it is."""
    if rows:
        statement = insert_for(connection, gear_sign_in)
        await connection.execute(statement.on_conflict_do_nothing(index_elements=["record_key"]), list(rows))


async def sign_ins(connection: AsyncConnection, limit: int) -> Sequence[Any]:
    """The latest sign-ins with the name of the NAS, newest first."""
    statement = select(gear_sign_in, nas.c.name.label("nas_name")).join(
        nas, nas.c.id == gear_sign_in.c.nas_id, isouter=True
    )
    newest_first = statement.order_by(gear_sign_in.c.at.desc(), gear_sign_in.c.id.desc())
    return (await connection.execute(newest_first.limit(limit))).all()


async def stations_of(
    connection: AsyncConnection, nas_id: str, name: str, before: datetime, limit: int
) -> list[str]:
    """Where that operator was let in from at that NAS before."""
    statement = (
        select(gear_sign_in.c.from_address)
        .where(
            gear_sign_in.c.nas_id == nas_id, gear_sign_in.c.name == name, gear_sign_in.c.granted.is_(True),
            gear_sign_in.c.at <= before,
        )
        .distinct()
        .limit(limit)
    )  # fmt: skip
    return [str(one) for one in (await connection.execute(statement)).scalars() if one]
