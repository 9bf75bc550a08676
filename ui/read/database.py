"""Whether the database is there at all, and whether the machine does its work."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from sqlalchemy import select, text

from core.health import ROLE_ISSUE
from core.log import logger
from core.schema import revision_of
from core.store.tables import health_issue
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


@dataclass(frozen=True, slots=True)
class Wellbeing:
    """The schema the database has, and the roles that cannot run."""

    schema: str | None
    failing: frozenset[str]


async def wellbeing(workplace: Workplace) -> Wellbeing | None:
    """How the machine is, for those who may know no more; None when the database does not answer."""
    broken = select(health_issue.c.key).where(
        health_issue.c.key.startswith(ROLE_ISSUE, autoescape=True),
        health_issue.c.severity == "critical",
        health_issue.c.closed_at.is_(None),
    )
    try:
        async with asyncio.timeout(PATIENCE_S), workplace.reading() as connection:
            keys = (await connection.execute(broken)).scalars().all()
            schema = await revision_of(connection)
    except Exception as trouble:  # noqa: BLE001 - any failure to read is the answer
        log.warning("database_unreachable", error=type(trouble).__name__)
        return None
    return Wellbeing(schema, frozenset(key.removeprefix(ROLE_ISSUE) for key in keys))
