"""Which schema a database has and which one this release wants, without loading what migrates it."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import inspect, text
from sqlalchemy.ext.asyncio import AsyncConnection

from core.database import Database

VERSIONS = Path(__file__).parent / "migrations" / "versions"


def newest_revision() -> str:
    """The revision that this release's code expects: migrations are numbered in their order."""
    numbers = [path.name.partition("_")[0] for path in VERSIONS.glob("[0-9]*_*.py")]
    if not numbers:
        raise RuntimeError("the release carries no migrations")
    return max(numbers)


async def current_revision(database: Database) -> str | None:
    """The revision the database is at; None for an empty one."""
    async with database.read() as connection:
        return await revision_of(connection)


async def revision_of(connection: AsyncConnection) -> str | None:
    """The revision as this transaction sees it."""
    if not await connection.run_sync(lambda sync: inspect(sync).has_table("alembic_version")):
        return None
    found: str | None = await connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found
