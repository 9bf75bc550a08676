"""Who found the clock right, and when, in the database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.store.tables import bill_run, clock_trust, invoice
from core.store.tables import audit, fact

SUBJECT = "clock"
"""Of the one row, and of what is on record about it."""
TRUSTED = "billing.clock_trusted"
_RECENT_ROWS = 1000


@dataclass(frozen=True, slots=True)
class ClockTrust:
    """Since ``at`` the clock is trusted: ``how`` is ``synchronised``, ``vouched`` or ``billed``."""

    at: datetime
    by: str
    how: str


async def find(connection: AsyncConnection) -> ClockTrust | None:
    """Why the clock is trusted; who has billed by it before trusts it, whatever was remembered."""
    query = select(clock_trust.c.at, clock_trust.c.by, clock_trust.c.how).where(clock_trust.c.id == SUBJECT)
    row = (await connection.execute(query)).one_or_none()
    if row is not None:
        return ClockTrust(*row)
    first = await first_billed(connection)
    return None if first is None else ClockTrust(first, "bill run", "billed")


async def first_billed(connection: AsyncConnection) -> datetime | None:
    """When bills were run for the first time."""
    for instant in (bill_run.c.started_at, invoice.c.created_at):
        first: datetime | None = await connection.scalar(select(func.min(instant)))
        if first is not None:
            return first
    return None


async def keep(connection: AsyncConnection, trust: ClockTrust) -> None:
    """Remember it in place of what was remembered."""
    await connection.execute(delete(clock_trust).where(clock_trust.c.id == SUBJECT))
    await connection.execute(insert(clock_trust).values(id=SUBJECT, at=trust.at, by=trust.by, how=trust.how))


@dataclass(frozen=True, slots=True)
class Since:
    """The newest audit row and fact there were when the clock was found right; 0: all are younger.

    In the order of writing: an instant that a wrong clock wrote down tells nothing of when that was.
    """

    audit_seq: int = 0
    fact_seq: int = 0


async def since_trusted(connection: AsyncConnection) -> Since:
    """From where on the records bear witness to the clock."""
    query = (
        select(audit.c.seq, audit.c.detail)
        .where(audit.c.subject == SUBJECT, audit.c.action == TRUSTED)
        .order_by(audit.c.seq.desc())
        .limit(1)
    )
    row = (await connection.execute(query)).one_or_none()
    return Since() if row is None else Since(row.seq, row.detail.get("after_fact", 0))


async def newest_fact(connection: AsyncConnection) -> int:
    """The place of the newest fact, 0 when there is none."""
    return int(await connection.scalar(select(func.max(fact.c.seq))) or 0)


async def last_run(connection: AsyncConnection, since: Since) -> datetime | None:
    """When the last of the bill runs that were finished since then began."""
    finished = select(audit.c.seq).where(audit.c.subject == bill_run.c.id, audit.c.seq > since.audit_seq)
    began: datetime | None = await connection.scalar(
        select(func.max(bill_run.c.started_at)).where(finished.exists())
    )
    return began


async def latest_record(connection: AsyncConnection, since: Since, until: datetime) -> datetime | None:
    """The newest instant, but none after ``until``, of the audit rows and facts written since then.

    Whatever moves money leaves an audit row or a fact.
    """
    rows = (
        select(audit.c.at.label("at"))
        .where(audit.c.seq > since.audit_seq, audit.c.at <= until)
        .order_by(audit.c.seq.desc()),
        select(fact.c.occurred_at.label("at"))
        .where(fact.c.seq > since.fact_seq, fact.c.occurred_at <= until)
        .order_by(fact.c.seq.desc()),
    )
    found = [
        await connection.scalar(select(func.max(one.limit(_RECENT_ROWS).subquery().c.at))) for one in rows
    ]
    return max((instant for instant in found if instant is not None), default=None)
