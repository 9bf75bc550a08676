"""Rows of the operator's own reply lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete, insert, select
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.store.tables import reply_template


async def template_of(connection: AsyncConnection, scope: str) -> Row[Any] | None:
    """The template of a scope."""
    statement = select(reply_template).where(reply_template.c.scope == scope)
    return (await connection.execute(statement)).one_or_none()


async def insert_template(connection: AsyncConnection, values: Mapping[str, Any]) -> None:
    """A new template."""
    await connection.execute(insert(reply_template).values(**values))


async def delete_template(connection: AsyncConnection, template_id: str) -> None:
    """Take a template away."""
    await connection.execute(delete(reply_template).where(reply_template.c.id == template_id))
