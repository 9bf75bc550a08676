"""Whether the database is there at all."""

from __future__ import annotations

import asyncio

from sqlalchemy import text

from core.log import logger
from core.work import Workplace

log = logger("ui")

PATIENCE_S = 2.0


async def database_answers(workplace: Workplace) -> bool:
    """True when a read comes back before anybody's patience ends."""
    try:
        async with asyncio.timeout(PATIENCE_S), workplace.reading() as connection:
            await connection.execute(text("SELECT 1"))
    except Exception as trouble:  # noqa: BLE001 - any failure to read is the answer
        log.warning("database_unreachable", error=type(trouble).__name__)
        return False
    return True
