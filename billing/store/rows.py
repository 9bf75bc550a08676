"""What every store module does to rows."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from core.database import insert_for


async def insert_if_absent(connection: AsyncConnection, table: Any, values: dict[str, Any]) -> bool:
    """Insert the row; False when a unique key of it exists (the database decides: two at once are safe)."""
    statement = insert_for(connection, table).values(values).on_conflict_do_nothing()
    return (await connection.execute(statement)).rowcount == 1
