"""Rows of SNMP targets and bindings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, delete, insert, select, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from snmp.store.tables import binding, target


async def _target(connection: AsyncConnection, *where: ColumnElement[bool]) -> Row[Any] | None:
    return (await connection.execute(select(target).where(*where))).one_or_none()


async def target_row(connection: AsyncConnection, target_id: str) -> Row[Any] | None:
    """The target with that id."""
    return await _target(connection, target.c.id == target_id)


async def target_named(connection: AsyncConnection, name: str) -> Row[Any] | None:
    """The target with that name."""
    return await _target(connection, target.c.name == name)


async def enabled_targets(connection: AsyncConnection) -> Sequence[Row[Any]]:
    """The targets to poll, by name."""
    statement = select(target).where(target.c.enabled.is_(True)).order_by(target.c.name)
    return (await connection.execute(statement)).all()


async def insert_target(connection: AsyncConnection, values: Mapping[str, Any]) -> None:
    """A new target."""
    await connection.execute(insert(target).values(**values))


async def update_target(connection: AsyncConnection, target_id: str, values: Mapping[str, Any]) -> None:
    """Change columns of a target."""
    await connection.execute(update(target).where(target.c.id == target_id).values(**values))


async def bindings_of(connection: AsyncConnection, target_id: str) -> Sequence[Row[Any]]:
    """The bindings of a target, by interface name."""
    statement = select(binding).where(binding.c.target_id == target_id).order_by(binding.c.if_name)
    return (await connection.execute(statement)).all()


async def binding_at(connection: AsyncConnection, target_id: str, if_name: str) -> Row[Any] | None:
    """Whose interface it is."""
    statement = select(binding).where(binding.c.target_id == target_id, binding.c.if_name == if_name)
    return (await connection.execute(statement)).one_or_none()


async def insert_binding(connection: AsyncConnection, values: Mapping[str, Any]) -> None:
    """A new binding."""
    await connection.execute(insert(binding).values(**values))


async def delete_binding(connection: AsyncConnection, binding_id: str) -> None:
    """An interface that is nobody's any more."""
    await connection.execute(delete(binding).where(binding.c.id == binding_id))
