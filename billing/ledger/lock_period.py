"""Lock a month, quarter or year, and open a period again: both are acts in the chain of closes."""

from __future__ import annotations

from datetime import date

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.clock_doubt import find_clock_doubt
from billing.config import BillingSettings
from billing.domain.closing import LOCK, ONE_DAY, REOPEN, ClosingAct, link_hash, read_period
from billing.ledger.close_day import close_one, close_through, last_ended_day
from billing.ledger.recognise import BUSY
from billing.store import closing_rows
from core.periods import Period
from core.refusal import Refusal
from core.store.columns import to_microseconds
from core.work import Work


async def lock_period(
    work: Work, *, period: str, reason: str = "", settings: BillingSettings | None = None
) -> ClosingAct | Refusal:
    """Nothing is booked any more through the end of ``2026-03``, ``2026-Q1``, ``2026`` or a day.

    Its days are recognised and closed first, and what was booked on reopened days by supplements. Refused
    for a period that is not over everywhere, for one that is locked already with nothing reopened, and
    while the clock is doubted.
    """
    wanted = _read(period)
    if isinstance(wanted, Refusal):
        return wanted
    last = wanted.end - ONE_DAY
    ended = last_ended_day(work.now)
    if last > ended:
        return Refusal(
            "period_not_over", f"{period} is not over; it can be locked from {last + ONE_DAY} on", "period"
        )
    doubt = await find_clock_doubt(work.connection, work.now, settings or BillingSettings())
    if doubt is not None:
        return doubt
    if not await closing_rows.stop_bookings(work.connection):
        return BUSY
    days = await closing_rows.find_open_days(work.connection)
    reopened = any(one.start <= last for one in days.reopened)
    if days.locked_through is not None and days.locked_through >= last and not reopened:
        return Refusal(
            "locked_before", f"everything through {days.locked_through} is locked already", "period"
        )
    await close_through(work, last)
    for day, supplement in await closing_rows.days_to_supplement(work.connection, last):
        await close_one(work, day, supplement)
    act = await _add(work, LOCK, last, None, reason.strip() or None)
    await work.audit("billing.period_locked", f"ledger:{period.strip()}", through=last.isoformat())
    return act


async def reopen_period(work: Work, *, period: str, reason: str) -> ClosingAct | Refusal:
    """The days of a closed or locked period may be booked on again until it is locked; the reason is kept.

    Closes that were made stay as they are. Refused without a reason and for days that are open.
    """
    wanted = _read(period)
    if isinstance(wanted, Refusal):
        return wanted
    if not reason.strip():
        return Refusal("reason_missing", "say why the period is opened again", "reason")
    if not await closing_rows.stop_bookings(work.connection):
        return BUSY
    days = await closing_rows.find_open_days(work.connection)
    if days.shut_through is None or wanted.start > days.shut_through or days.is_open(wanted.start):
        return Refusal("period_open", f"{period} is open; there is nothing to open again", "period")
    until = min(wanted.end - ONE_DAY, days.shut_through)
    act = await _add(work, REOPEN, wanted.start, until, reason.strip()[:500])
    await work.audit(
        "billing.period_reopened", f"ledger:{period.strip()}", until=until.isoformat(), reason=reason.strip()
    )
    return act


def _read(period: str) -> Period | Refusal:
    try:
        return read_period(period)
    except ValueError as trouble:
        return Refusal("bad_period", str(trouble), "period")


async def _add(work: Work, kind: str, day: date, until: date | None, reason: str | None) -> ClosingAct:
    number, previous = await closing_rows.last_link(work.connection)
    act = ClosingAct(number + 1, kind, day, until, 0, 0, 0, {}, reason, to_microseconds(work.now), work.actor)
    await closing_rows.insert_act(work.connection, act, previous, link_hash(previous, act, []))
    return act


async def refuse_shut_day(connection: AsyncConnection, day: date, field: str) -> Refusal | None:
    """For use cases in which a person names the day of a booking: why it cannot be that day, or None."""
    days = await closing_rows.find_open_days(connection)
    if days.is_open(day):
        return None
    first, _ = days.place(day)
    return Refusal("day_closed", f"{day} is closed in the ledger; the first open day is {first}", field)
