"""When revenue that was billed in advance is earned: by the actual days of its service period.

A line of amount A over n days has earned, d days in, ``round(A * d / n)`` (halves away from zero, so that a
credit mirrors its charge). What a day earns is the difference of two such cumulative amounts: the days always
sum to A. Nothing is earned before the line was booked; a line that came late catches up at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta

from billing.domain.proration import prorate
from core.periods import Period, add_months

ONE_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class DeferredLines:
    """So many lines (``count``) of the same amount and period. ``booked_on``: the day of their invoices."""

    revenue: str
    currency: str
    entity_id: str | None
    booked_on: date
    period: Period
    amount_minor: int
    count: int = 1


@dataclass(frozen=True, slots=True)
class RevenueKey:
    """What recognition is summed up by: a revenue name of an entity in a currency."""

    revenue: str
    currency: str
    entity_id: str | None = None

    @property
    def order(self) -> tuple[str, str, str]:
        """For a stable order."""
        return self.currency, self.revenue, self.entity_id or ""


def earned_through(amount_minor: int, period: Period, through: date) -> int:
    """How much of the amount is earned at the end of the day ``through``."""
    if through < period.start:
        return 0
    if through >= period.end - ONE_DAY:
        return amount_minor
    return prorate(amount_minor, Period(period.start, through + ONE_DAY), period)


def earned_of(lines: DeferredLines, through: date) -> int:
    """The same of all these lines together; nothing before they were booked."""
    if through < lines.booked_on:
        return 0
    return lines.count * earned_through(lines.amount_minor, lines.period, through)


def earned_by_key(lines: Iterable[DeferredLines], through: date) -> dict[RevenueKey, int]:
    """What is earned through that day, by revenue; zeros are told as well."""
    sums: dict[RevenueKey, int] = {}
    for one in lines:
        key = RevenueKey(one.revenue, one.currency, one.entity_id)
        sums[key] = sums.get(key, 0) + earned_of(one, through)
    return sums


@dataclass(frozen=True, slots=True)
class MonthEarned:
    """A line of the recognition schedule: what will be earned in the month that begins on ``month``."""

    month: date
    revenue: str
    currency: str
    entity_id: str | None
    amount_minor: int


def recognition_schedule(
    lines: Iterable[DeferredLines], earned_before: dict[RevenueKey, int], after: date
) -> list[MonthEarned]:
    """What will be earned month by month after the day ``after``, of what is billed by now.

    ``earned_before``: what is recognised by now; what the lines had earned by ``after`` beyond that is shown
    with the first month, where it will be booked.
    """
    kept = list(lines)
    last = max((one.period.end for one in kept), default=after)
    before = dict(earned_before)
    rows: list[MonthEarned] = []
    month = (after + ONE_DAY).replace(day=1)
    while month <= max(last, after + ONE_DAY):
        following = add_months(month, 1, 1)
        by_then = _whole_by_key(kept, following - ONE_DAY)
        for key in sorted(by_then.keys() | before.keys(), key=lambda one: one.order):
            amount = by_then.get(key, 0) - before.get(key, 0)
            if amount:
                rows.append(MonthEarned(month, key.revenue, key.currency, key.entity_id, amount))
        before, month = by_then, following
    return rows


def _whole_by_key(lines: Iterable[DeferredLines], through: date) -> dict[RevenueKey, int]:
    sums: dict[RevenueKey, int] = {}
    for one in lines:
        key = RevenueKey(one.revenue, one.currency, one.entity_id)
        amount = one.count * earned_through(one.amount_minor, one.period, through)
        sums[key] = sums.get(key, 0) + amount
    return sums
