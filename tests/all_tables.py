"""Every room's tables, made straight from their definitions (migrations have tests of their own)."""

from __future__ import annotations

from appliance.migrate import ALL_METADATA
from core.database import Database


async def create_tables(database: Database) -> None:
    """Create all of them in an empty database."""
    async with database.write() as connection:
        for metadata in ALL_METADATA:
            await connection.run_sync(metadata.create_all)
