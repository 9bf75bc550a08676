"""Do not bill until the clock is known to be good."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.config import BillingSettings
from billing.domain.clock_trust import decide_clock_doubt
from billing.store import clock_trust, invoices
from billing.store.clock_trust import ClockTrust
from core.clock import Clock
from core.database import take_lane
from core.health import HealthIssue, close_issue, open_issue
from core.refusal import Refusal, Refused
from core.work import Work, Workplace

ISSUE_KEY = "billing.clock_untrusted"
_REMEDY = (
    "Set the clock (timedatectl, chrony) and run again; if the clock is right, run once with --trust-clock."
)
_NOBODY_SAID = (
    "nobody has said yet that the clock is right, and no time server has set it; "
    "it says {now:%Y-%m-%d %H:%M} UTC"
)
_REMEDY_NOBODY = (
    "Let a time server be reached (DNS and UDP port 123 outwards) and wait some minutes; or look at the "
    "clock and say that it is right: the panel's health page, hilltop clock trust, or the console."
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
    """As ``find_clock_doubt``, and somebody must have found the clock right; opens or closes the issue."""
    async with workplace.reading() as connection:
        doubt = await find_clock_doubt(connection, workplace.clock.now(), settings)
    remedy = _REMEDY
    async with workplace.work(actor) as work:
        if doubt is None and not await _trusted(work, workplace.clock):
            words, remedy = _NOBODY_SAID.format(now=work.now), _REMEDY_NOBODY
            doubt = Refusal("clock_untrusted", f"{words}. {remedy}", "clock")
        if doubt is None:
            await close_issue(work, ISSUE_KEY)
        else:
            issue = HealthIssue(ISSUE_KEY, "critical", f"Billing waits: {doubt.message}", remedy)
            await open_issue(work, issue)
    return doubt


async def _trusted(work: Work, clock: Clock) -> bool:
    """True once the clock was found right; the first time that a time server says so is remembered."""
    if await clock_trust.find(work.connection) is not None:
        return True
    if not clock.synchronised():
        return False
    await take_lane(work.connection, "bill_run")
    if await clock_trust.find(work.connection) is None:
        await _keep_trust(work, "synchronised")
    return True


async def _keep_trust(work: Work, how: str) -> None:
    await clock_trust.keep(work.connection, ClockTrust(work.now, work.actor, how))
    await work.audit("billing.clock_trusted", "clock", how=how)


async def vouch_for_clock(work: Work, settings: BillingSettings) -> Refusal | None:
    """Somebody has looked at the clock and says it is right; refused while the records say otherwise."""
    doubt = await find_clock_doubt(work.connection, work.now, settings)
    if doubt is not None:
        return doubt
    await take_lane(work.connection, "bill_run")
    await _keep_trust(work, "vouched")
    await close_issue(work, ISSUE_KEY)
    return None


@dataclass(frozen=True, slots=True)
class ClockStanding:
    """What is known of the clock; ``doubt`` says why the records contradict it."""

    now: datetime
    synchronised: bool
    trust: ClockTrust | None
    doubt: str | None

    @property
    def words(self) -> str:
        """In half a line."""
        kept = "kept by a time server" if self.synchronised else "not kept by a time server"
        if self.doubt is not None:
            return f"{kept}; doubted"
        return f"{kept}; {'trusted' if self.trust or self.synchronised else 'not trusted yet, billing waits'}"


async def clock_standing(
    connection: AsyncConnection, clock: Clock, settings: BillingSettings
) -> ClockStanding:
    """How the clock stands now."""
    now = clock.now()
    doubt = await find_clock_doubt(connection, now, settings)
    return ClockStanding(
        now, clock.synchronised(), await clock_trust.find(connection), doubt.message if doubt else None
    )
