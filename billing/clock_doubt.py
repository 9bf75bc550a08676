"""Do not bill until the clock is known to be good."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.config import BillingSettings
from billing.domain.clock_trust import BUILD_EPOCH, decide_clock_doubt
from billing.store import clock_rows
from billing.store.clock_rows import ClockTrust
from core.clock import Clock
from core.database import take_lane
from core.health import HealthIssue, close_issue, open_issue
from core.refusal import Refusal, Refused
from core.work import Work, Workplace

ISSUE_KEY = "billing.clock_untrusted"
_NOBODY_SAID = (
    "nobody has said yet that the clock is right, and no time server has set it; "
    "it says {now:%Y-%m-%d %H:%M} UTC"
)
_REMEDY_NOBODY = (
    "Let a time server be reached (DNS and UDP port 123 outwards) and wait some minutes; or look at the "
    "clock and say that it is right: the panel's health page, hilltop clock trust, or the console."
)
_REMEDY = (
    "Set the clock right (timedatectl, chrony, or the console) and wait some minutes; if it is right, say "
    "so: the panel's health page, hilltop clock trust, or the console."
)
_REMEDY_EARLY = "Set the clock right (timedatectl, chrony, or the console)."


class ClockDoubted(Refused):
    """Rolls back the transaction that was about to act by a doubtful instant."""


async def find_clock_doubt(
    connection: AsyncConnection, now: datetime, settings: BillingSettings
) -> Refusal | None:
    """Why money must not move by this clock, or None.

    Records bear witness only from the moment the clock was found right: what a new machine wrote down before
    may carry any instant. A leap is measured from that moment or the last bill run since: what others wrote
    down meanwhile carries the false instant as well, makes it no truer, and is no reason for doubt when the
    clock is right again.
    """
    words = await _find_contradiction(connection, now, settings)
    return _refusal(words, _remedy(now)) if words else None


async def _find_contradiction(
    connection: AsyncConnection, now: datetime, settings: BillingSettings
) -> str | None:
    latest = await _latest_witness(connection, now, settings)
    return decide_clock_doubt(now, latest, settings.clock_tolerance_s, settings.clock_leap_days)


def _refusal(words: str, remedy: str) -> Refusal:
    return Refusal("clock_untrusted", f"{words}. {remedy}", "clock")


def _remedy(now: datetime) -> str:
    return _REMEDY_EARLY if now < BUILD_EPOCH else _REMEDY


def refuse_impossible_clock(now: datetime) -> Refusal | None:
    """Money follows the day on which a subscription begins or ends: it is not taken from such a clock."""
    words = decide_clock_doubt(now, None, tolerance_s=0, leap_days=1)
    return _refusal(words, _REMEDY_EARLY) if words else None


async def _latest_witness(
    connection: AsyncConnection, now: datetime, settings: BillingSettings
) -> datetime | None:
    trust = await clock_rows.find(connection)
    if trust is None:
        return None
    since = await clock_rows.since_trusted(connection)
    sure = max(trust.at, await clock_rows.last_run(connection, since) or trust.at)
    horizon = sure + timedelta(days=settings.clock_leap_days)
    if now > horizon:
        return sure
    return max(sure, await clock_rows.latest_record(connection, since, horizon) or sure)


async def stand_by_clock(work: Work, settings: BillingSettings) -> None:
    """Look at the very instant this transaction acts by: the clock may have stepped since the last look.

    Raises ``ClockDoubted``.
    """
    doubt = await find_clock_doubt(work.connection, work.now, settings)
    if doubt is not None:
        raise ClockDoubted(doubt)


async def check_clock(
    workplace: Workplace, settings: BillingSettings, actor: str, *, vouched: bool = False
) -> Refusal | None:
    """As ``find_clock_doubt``, and somebody must have found the clock right; opens or closes the issue.

    ``vouched``: the actor has looked at it just now and says that it is right.
    """
    async with workplace.work(actor) as work:
        if vouched:
            return await vouch_for_clock(work, settings)
        words = await _find_contradiction(work.connection, work.now, settings)
        remedy = _remedy(work.now)
        if await _time_server_is_believed(work, workplace.clock, words):
            words = None
        elif words is None and await clock_rows.find(work.connection) is None:
            words, remedy = _NOBODY_SAID.format(now=work.now), _REMEDY_NOBODY
        if words is None:
            await close_issue(work, ISSUE_KEY)
            return None
        await open_issue(work, HealthIssue(ISSUE_KEY, "critical", f"Billing waits: {words}", remedy))
        return _refusal(words, remedy)


async def _time_server_is_believed(work: Work, clock: Clock, doubt: str | None) -> bool:
    """Its word is enough, and remembered, while nobody trusts the clock or nothing was billed by it yet.

    Later a contradiction between it and the books is for a person to resolve.
    """
    if work.now < BUILD_EPOCH or not clock.synchronised():
        return False
    if doubt is None and await clock_rows.find(work.connection) is not None:
        return True
    if doubt is not None and await clock_rows.first_billed(work.connection) is not None:
        return False
    await take_lane(work.connection, "bill_run")
    if doubt is not None or await clock_rows.find(work.connection) is None:
        await _keep_trust(work, "synchronised", doubt)
    return True


async def _keep_trust(work: Work, how: str, doubt: str | None) -> None:
    despite = {"despite": doubt} if doubt else {}
    await clock_rows.keep(work.connection, ClockTrust(work.now, work.actor, how))
    newest = await clock_rows.newest_fact(work.connection)
    await work.audit(clock_rows.TRUSTED, clock_rows.SUBJECT, how=how, after_fact=newest, **despite)


async def vouch_for_clock(work: Work, settings: BillingSettings) -> Refusal | None:
    """Somebody has looked at the clock and says it is right, whatever the records say.

    Refused when it cannot be right: before this software was made.
    """
    impossible = refuse_impossible_clock(work.now)
    if impossible is not None:
        return impossible
    doubt = await _find_contradiction(work.connection, work.now, settings)
    await take_lane(work.connection, "bill_run")
    await _keep_trust(work, "vouched", doubt)
    await close_issue(work, ISSUE_KEY)
    return None


@dataclass(frozen=True, slots=True)
class ClockStanding:
    """What is known of the clock; ``doubt``: why the records contradict it, ``remedy``: what to do then."""

    now: datetime
    synchronised: bool
    trust: ClockTrust | None
    doubt: str | None
    remedy: str

    @property
    def good(self) -> bool:
        """Whether bills may be run by it, now or at the next look."""
        return self.doubt is None and (self.trust is not None or self.synchronised)

    @property
    def words(self) -> str:
        """In half a line."""
        kept = "kept by a time server" if self.synchronised else "not kept by a time server"
        if self.doubt is not None:
            return f"{kept}; doubted, billing waits"
        return f"{kept}; {'trusted' if self.good else 'not trusted yet, billing waits'}"


async def clock_standing(
    connection: AsyncConnection, clock: Clock, settings: BillingSettings
) -> ClockStanding:
    """How the clock stands now."""
    now = clock.now()
    words = await _find_contradiction(connection, now, settings)
    trust = await clock_rows.find(connection)
    return ClockStanding(now, clock.synchronised(), trust, words, _remedy(now))
