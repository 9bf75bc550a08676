"""Do not bill until the clock is known to be good."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.config import BillingSettings
from billing.domain.clock_trust import decide_clock_doubt
from billing.store import invoices
from core.health import HealthIssue, close_issue, open_issue
from core.refusal import Refusal, Refused
from core.work import Work, Workplace

ISSUE_KEY = "billing.clock_untrusted"
_REMEDY = (
    "Set the clock (timedatectl, chrony) and run again; if the clock is right, run once with --trust-clock."
)


class ClockDoubted(Refused):
    """Rolls back the transaction that was about to act by a doubtful instant."""


async def find_clock_doubt(
    connection: AsyncConnection, now: datetime, settings: BillingSettings
) -> Refusal | None:
    """Why money must not move by this clock, or None.

    A leap is measured from the last bill run: what others wrote down meanwhile carries the false instant as
    well, makes it no truer, and is no reason for doubt when the clock is right again.
    """
    last_run = await invoices.last_run(connection)
    horizon = None if last_run is None else last_run + timedelta(days=settings.clock_leap_days)
    leapt = horizon is not None and now > horizon
    latest = last_run if leapt else await invoices.latest_record(connection, horizon)
    doubt = decide_clock_doubt(now, latest, settings.clock_tolerance_s, settings.clock_leap_days)
    return Refusal("clock_untrusted", f"{doubt}. {_REMEDY}", "clock") if doubt else None


async def stand_by_clock(work: Work, settings: BillingSettings) -> None:
    """Look at the very instant this transaction acts by: the clock may have stepped since the last look.

    Raises ``ClockDoubted``.
    """
    doubt = await find_clock_doubt(work.connection, work.now, settings)
    if doubt is not None:
        raise ClockDoubted(doubt)


async def check_clock(workplace: Workplace, settings: BillingSettings, actor: str) -> Refusal | None:
    """As ``find_clock_doubt``, with the health issue opened or closed."""
    async with workplace.reading() as connection:
        doubt = await find_clock_doubt(connection, workplace.clock.now(), settings)
    async with workplace.work(actor) as work:
        if doubt is None:
            await close_issue(work, ISSUE_KEY)
        else:
            issue = HealthIssue(ISSUE_KEY, "critical", f"Billing waits: {doubt.message}", _REMEDY)
            await open_issue(work, issue)
    return doubt
