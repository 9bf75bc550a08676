"""Which schema a database has, asked without loading what migrates it."""

from __future__ import annotations

from sqlalchemy import inspect, text
from sqlalchemy.ext.asyncio import AsyncConnection


async def revision_of(connection: AsyncConnection) -> str | None:
    """The revision as this transaction sees it; None for a database without one."""
    if not await connection.run_sync(lambda sync: inspect(sync).has_table("alembic_version")):
        return None
    found: str | None = await connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found
