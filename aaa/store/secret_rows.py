"""Rows of a NAS secret that is being rotated."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.store.tables import nas, nas_secret_use
from core.database import insert_for


async def begin(connection: AsyncConnection, nas_id: str, secrets: tuple[str, str], until: datetime) -> None:
    """Set (new, old), both sealed, and forget who used which of the former pair."""
    new, old = secrets
    await forget_uses(connection, nas_id)
    await connection.execute(
        update(nas)
        .where(nas.c.id == nas_id)
        .values(secret_sealed=new, old_secret_sealed=old, old_secret_until=until)
    )


async def end(connection: AsyncConnection, nas_id: str) -> None:
    """The new secret alone counts from now on."""
    await forget_uses(connection, nas_id)
    await connection.execute(
        update(nas).where(nas.c.id == nas_id).values(old_secret_sealed=None, old_secret_until=None)
    )


async def forget_uses(connection: AsyncConnection, nas_id: str) -> None:
    """Forget which addresses used which secret."""
    await connection.execute(delete(nas_secret_use).where(nas_secret_use.c.nas_id == nas_id))


async def uses_of(connection: AsyncConnection, nas_id: str) -> Sequence[Any]:
    """Addresses of the NAS with when they were last seen to use which secret, in order."""
    statement = select(nas_secret_use).where(nas_secret_use.c.nas_id == nas_id)
    return (await connection.execute(statement.order_by(nas_secret_use.c.address))).all()


async def note_use(
    connection: AsyncConnection, nas_id: str, address: str, at: datetime, *, is_old: bool
) -> None:
    """The address was seen to use one of the two."""
    column = "old_at" if is_old else "new_at"
    statement = insert_for(connection, nas_secret_use).values(
        {"nas_id": nas_id, "address": address, column: at}
    )
    await connection.execute(
        statement.on_conflict_do_update(index_elements=["nas_id", "address"], set_={column: at})
    )


async def shorten(connection: AsyncConnection, nas_id: str, until: datetime) -> bool:
    """Let the old secret end at ``until`` if that is sooner than planned; True when it was."""
    changed = await connection.execute(
        update(nas).where(nas.c.id == nas_id, nas.c.old_secret_until > until).values(old_secret_until=until)
    )
    return changed.rowcount == 1


async def rotating(connection: AsyncConnection, nas_ids: Sequence[str]) -> Sequence[Any]:
    """Those of these NASes whose old secret still counts."""
    statement = select(nas).where(nas.c.id.in_(list(nas_ids)), nas.c.old_secret_sealed.is_not(None))
    return (await connection.execute(statement.order_by(nas.c.id))).all()


async def over(connection: AsyncConnection, now: datetime) -> Sequence[Any]:
    """NASes whose old secret has come to its end and is still there."""
    statement = select(nas).where(nas.c.old_secret_sealed.is_not(None), nas.c.old_secret_until <= now)
    return (await connection.execute(statement.order_by(nas.c.id))).all()
