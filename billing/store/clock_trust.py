"""Who found the clock right, and when, in the database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.store.tables import bill_run, clock_trust, invoice

_ONE = "clock"


@dataclass(frozen=True, slots=True)
class ClockTrust:
    """Since ``at`` the clock is trusted: ``how`` is ``synchronised``, ``vouched`` or ``billed``."""

    at: datetime
    by: str
    how: str


async def find(connection: AsyncConnection) -> ClockTrust | None:
    """Why the clock is trusted; who has billed by it before trusts it, whatever was remembered."""
    query = select(clock_trust.c.at, clock_trust.c.by, clock_trust.c.how).where(clock_trust.c.id == _ONE)
    row = (await connection.execute(query)).one_or_none()
    if row is not None:
        return ClockTrust(*row)
    for instant in (bill_run.c.started_at, invoice.c.created_at):
        first: datetime | None = await connection.scalar(select(func.min(instant)))
        if first is not None:
            return ClockTrust(first, "bill run", "billed")
    return None


async def keep(connection: AsyncConnection, trust: ClockTrust) -> None:
    """Remember it in place of what was remembered."""
    await connection.execute(delete(clock_trust).where(clock_trust.c.id == _ONE))
    await connection.execute(insert(clock_trust).values(id=_ONE, at=trust.at, by=trust.by, how=trust.how))
