"""Close the days of the ledger, one after the other; see `billing.domain.closing` for what that means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.clock_doubt import check_clock, stand_by_clock
from billing.config import BillingSettings
from billing.domain.closing import DAY, ONE_DAY, ClosingAct, link_hash
from billing.domain.ledger import entry_digest
from billing.ledger.recognise import BUSY, Reckoned, book_reckoned, reckon, recognise_through
from billing.store import closing_rows
from core.refusal import Refusal, Refused, granted
from core.store.columns import to_microseconds
from core.work import Work, Workplace

_WESTERNMOST = timedelta(hours=12)  # Baker Island, UTC-12: the last place where a day ends


@dataclass(frozen=True, slots=True)
class ClosedDay:
    """A day that was closed: what the operator may write down."""

    day: date
    entries: int
    postings: int
    hash: str


def last_ended_day(now: datetime) -> date:
    """The newest day that is over everywhere on earth, so that no account can still be billed on it."""
    return (now.astimezone(UTC) - _WESTERNMOST).date() - ONE_DAY


async def close_days(
    workplace: Workplace,
    *,
    through: date | None = None,
    actor: str = "system:billing",
    settings: BillingSettings | None = None,
    trust_clock: bool = False,
) -> list[ClosedDay] | Refusal:
    """Close every day that is not closed yet, in order, through ``through`` (else as the settings say).

    Of each day first the revenue is recognised, then it is closed. Killed anywhere, the next call goes on.
    Refused when the clock cannot be trusted, and for a day that is not over everywhere.
    """
    settings = settings or BillingSettings()
    doubt = await check_clock(workplace, settings, actor, vouched=trust_clock)
    if doubt is not None:
        return doubt
    ended = last_ended_day(workplace.clock.now())
    if through is not None and through > ended:
        message = f"{through} is not over everywhere on earth; the newest day that can be closed is {ended}"
        return Refusal("day_not_over", message, "through")
    limit = ended - timedelta(days=settings.close_after_days) if through is None else through
    closed: list[ClosedDay] = []
    while (day := await _next_day(workplace, limit)) is not None:
        one = await _recognise_and_close(workplace, day, actor, settings)
        if isinstance(one, Refusal):
            return one
        closed.append(one)
    return closed


async def _next_day(workplace: Workplace, limit: date) -> date | None:
    """The first day that is not closed, or None when that is after ``limit``."""
    async with workplace.reading() as connection:
        day = await _first_not_closed(connection)
    return None if day is None or day > limit else day


async def _first_not_closed(connection: AsyncConnection) -> date | None:
    days = await closing_rows.find_open_days(connection)
    if days.closed_through is not None:
        return days.closed_through + ONE_DAY
    return await closing_rows.first_booked_day(connection)


async def _recognise_and_close(
    workplace: Workplace, day: date, actor: str, settings: BillingSettings
) -> ClosedDay | Refusal:
    """Recognition is reckoned beside the writers, who wait only while it is booked and the day is closed."""
    at = workplace.clock.now()
    async with workplace.reading() as connection:
        reckoned = await reckon(connection, day, at)
    try:
        if isinstance(reckoned, Reckoned) and reckoned.amounts:
            async with workplace.work(actor) as work:
                await stand_by_clock(work, settings)
                granted(await book_reckoned(work, reckoned))
        async with workplace.work(actor) as work:
            await stand_by_clock(work, settings)
            if not await closing_rows.stop_bookings(work.connection):
                return BUSY
            if await _first_not_closed(work.connection) != day:
                return Refusal("closed_meanwhile", f"somebody else closed {day} meanwhile; try again")
            return await close_one(work, day, 0)
    except Refused as refused:
        return refused.refusal


async def close_through(work: Work, last: date) -> None:
    """Recognise and close every day that is not closed through ``last``; bookings must be stopped."""
    while (day := await _first_not_closed(work.connection)) is not None and day <= last:
        outcome = await recognise_through(work, day)
        if isinstance(outcome, Refusal) and outcome.code != "recognised_further":
            raise Refused(outcome)
        await close_one(work, day, 0)


async def close_days_by_itself(workplace: Workplace, settings: BillingSettings) -> int:
    """The worker's turn: as many days as are due, none when the settings leave it to a person."""
    if not settings.close_days_by_itself:
        return 0
    async with workplace.reading() as connection:
        first = await closing_rows.first_booked_day(connection)
        days = await closing_rows.find_open_days(connection)
    limit = last_ended_day(workplace.clock.now()) - timedelta(days=settings.close_after_days)
    if first is None or first > limit or days.closed_before(limit):
        return 0
    closed = await close_days(workplace, settings=settings)
    return 0 if isinstance(closed, Refusal) else len(closed)


async def close_one(work: Work, day: date, supplement: int) -> ClosedDay:
    """The act that closes a day (or what was added to it); bookings must be stopped and the order right."""
    digests: list[str] = []
    for entry_id, stored in await closing_rows.digests_of_day(work.connection, day, supplement):
        digests.append(stored or entry_digest(*await closing_rows.entry_of(work.connection, entry_id)))
    postings, sums = await closing_rows.sums_of_day(work.connection, day, supplement)
    number, previous = await closing_rows.last_link(work.connection)
    act = ClosingAct(
        number + 1, DAY, day, None, supplement, len(digests), postings, sums, None,
        to_microseconds(work.now), work.actor,
    )  # fmt: skip
    own = link_hash(previous, act, digests)
    await closing_rows.insert_act(work.connection, act, previous, own)
    return ClosedDay(day, len(digests), postings, own)


async def chain(workplace: Workplace, limit: int = 100) -> Sequence[tuple[ClosingAct, str, str]]:
    """The newest acts with the hash before and their own."""
    async with workplace.reading() as connection:
        return await closing_rows.newest_acts(connection, limit)
