"""How often something turns: every so many days, weeks, months, quarters or years.

Months, quarters and years turn on the account's billing day, which is kept for good and clamped month by
month (31 Jan, 28 Feb, 31 Mar); days and weeks are counted from an origin.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache

from core.periods import Period, add_months, cycle_containing

UNITS = {"day": "day", "week": "week", "month": "month", "quarter": "quarter", "year": "year"}
_DAYS = {"day": 1, "week": 7}
_MONTHS = {"month": 1, "quarter": 3, "year": 12}


@dataclass(frozen=True, slots=True)
class Cadence:
    """Every ``count`` of ``unit`` (day, week, month, quarter, year)."""

    unit: str
    count: int = 1

    @property
    def months(self) -> int:
        """Its length in months; 0 for days and weeks."""
        return _MONTHS.get(self.unit, 0) * self.count

    @property
    def days(self) -> int:
        """Its length in days; 0 for what is counted in months."""
        return _DAYS.get(self.unit, 0) * self.count

    def containing(self, day: date, origin: date, anchor_day: int) -> Period:
        """The period with ``day`` in it; periods of several months are counted from the one of ``origin``."""
        return _containing(self, day, origin, anchor_day)

    def after(self, period: Period, origin: date, anchor_day: int) -> Period:
        """The period that begins where ``period`` ends."""
        return _containing(self, period.end, origin, anchor_day)

    def between(self, start: date, end: date, origin: date, anchor_day: int) -> Iterator[Period]:
        """Every period that shares a day with ``[start, end)``, in order."""
        if start >= end:
            return
        period = _containing(self, start, origin, anchor_day)
        while period.start < end:
            yield period
            period = _containing(self, period.end, origin, anchor_day)

    def __str__(self) -> str:
        return self.unit if self.count == 1 else f"{self.count} {self.unit}s"

    def words(self) -> str:
        """``1 month``."""
        return f"{self.count} {self.unit}" + ("" if self.count == 1 else "s")


MONTHLY = Cadence("month")


@lru_cache(maxsize=65_536)
def _containing(cadence: Cadence, day: date, origin: date, anchor_day: int) -> Period:
    if cadence.days:
        start = day - timedelta(days=(day - origin).days % cadence.days)
        return Period(start, start + timedelta(days=cadence.days))
    month = cycle_containing(day, anchor_day)
    if cadence.months == 1:
        return month
    first = cycle_containing(origin, anchor_day).start
    apart = (month.start.year - first.year) * 12 + month.start.month - first.month
    start = add_months(month.start, -(apart % cadence.months), anchor_day)
    return Period(start, add_months(start, cadence.months, anchor_day))


@dataclass(frozen=True, slots=True)
class Era:
    """How something turned before it was changed. ``until``: the first day on which it no longer did."""

    until: date
    cadence: Cadence
    origin: date
    anchor_day: int


@dataclass(frozen=True, slots=True)
class Turns:
    """A calendar of periods, whose way of turning may have changed on days between them.

    A period that a change cuts ends or begins with it; ``whole`` tells how long it would have been, which is
    what its price is a share of.
    """

    cadence: Cadence
    origin: date
    anchor_day: int
    former: tuple[Era, ...] = ()

    def containing(self, day: date) -> Period:
        """The period with ``day`` in it."""
        if not self.former:
            return _containing(self.cadence, day, self.origin, self.anchor_day)
        begun = date.min
        for era in self.former:
            if day < era.until:
                found = _containing(era.cadence, day, era.origin, era.anchor_day)
                return Period(max(found.start, begun), min(found.end, era.until))
            begun = era.until
        found = _containing(self.cadence, day, self.origin, self.anchor_day)
        return Period(max(found.start, begun), found.end)

    def whole(self, period: Period) -> Period:
        """The period as it would be if no change had cut it."""
        for era in self.former:
            if period.start < era.until:
                return _containing(era.cadence, period.start, era.origin, era.anchor_day)
        if not self.former or period.start > self.former[-1].until:
            return period
        return _containing(self.cadence, period.start, self.origin, self.anchor_day)

    def after(self, period: Period) -> Period:
        """The period that begins where ``period`` ends."""
        return self.containing(period.end)

    def between(self, start: date, end: date) -> Iterator[Period]:
        """Every period that shares a day with ``[start, end)``, in order."""
        if start >= end:
            return
        period = self.containing(start)
        while period.start < end:
            yield period
            period = self.containing(period.end)


def parse_cadence(unit: object, count: object = 1) -> Cadence:
    """Raises ``ValueError`` naming what is wrong."""
    if unit not in UNITS:
        raise ValueError(f"{unit!r} is no period; use {', '.join(UNITS)}")
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= 366:
        raise ValueError(f"a period is 1 to 366 {unit}s, not {count!r}")
    found = Cadence(str(unit), count)
    if found.months > 120:
        raise ValueError(f"a period of {found.words()} is too long; at most ten years")
    return found
