"""The calendar of a rating: the cycle, the part of it that is rated, and the windows of an allowance."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import lru_cache
from typing import Final

from billing.domain.rating.charge_model import WHOLE, Portion
from core.periods import Period, add_months

PERIODS: Final = ("cycle", "month", "week", "day")
_MOST_MONTHS: Final = 60


@dataclass(frozen=True, slots=True)
class Calendar:
    """Local dates of the account. ``part`` lies within ``cycle``; ``anchor_day`` only matters at month ends.

    ``holidays`` are those that the terms name (``billing.rating.public_holidays`` knows them).
    """

    cycle: Period
    part: Period
    zone: str
    anchor_day: int | None = None
    holidays: frozenset[date] = field(default=frozenset(), repr=False)

    def __post_init__(self) -> None:
        if self.part.start < self.cycle.start or self.part.end > self.cycle.end or not self.part.days:
            raise ValueError(f"{self.part} is not within the cycle {self.cycle}")

    @property
    def portion(self) -> Portion:
        """The part as a share of the cycle."""
        return WHOLE if self.part == self.cycle else portion(self.part, self.cycle)

    @property
    def anchor(self) -> int:
        """The billing day, as told or as the cycle's own days show it."""
        return self.anchor_day or max(self.cycle.start.day, self.cycle.end.day)


def portion(part: Period, whole: Period) -> Portion:
    """``part`` as a share of ``whole``."""
    return Portion((part.start - whole.start).days, part.days, whole.days)


@dataclass(frozen=True, slots=True)
class Window:
    """One turn of an allowance: ``whole`` as the calendar has it, ``part`` as far as it is rated."""

    whole: Period
    part: Period

    @property
    def is_finished(self) -> bool:
        """Whether the part reaches the window's end."""
        return self.part.end == self.whole.end


def windows(per: str, calendar: Calendar, within: Period, week_starts: int = 0) -> tuple[Window, ...]:
    """The windows of an allowance ``per`` day, week, month or cycle that touch ``within``, in order.

    Months are counted from the cycle's first day, so that a monthly cycle is one of them; weeks begin on
    ``week_starts`` (0 is Monday) wherever the cycle begins.
    """
    if per == "cycle":
        return (Window(calendar.cycle, within),)
    return _windows(per, calendar.cycle, calendar.anchor, within, week_starts)


@lru_cache(maxsize=512)
def _windows(per: str, cycle: Period, anchor: int, within: Period, week_starts: int) -> tuple[Window, ...]:
    """Remembered: the same few cycles are asked for by every account of a bill run."""
    if per == "month":
        wholes = _months(cycle, anchor)
    elif per == "week":
        wholes = _runs(within.start - timedelta(days=(within.start.weekday() - week_starts) % 7), 7, within)
    else:
        wholes = _runs(within.start, 1, within)
    touching = ((whole, whole.intersect(within)) for whole in wholes)
    return tuple(Window(whole, part) for whole, part in touching if part is not None)


def _months(cycle: Period, anchor: int) -> list[Period]:
    start, found = cycle.start, []
    while start < cycle.end:
        end = add_months(start, 1, anchor)
        found.append(Period(start, end))
        start = end
    return found


def _runs(start: date, days: int, within: Period) -> list[Period]:
    step, found = timedelta(days=days), []
    while start < within.end:
        found.append(Period(start, start + step))
        start += step
    return found


def after_periods(per: str, window: Window, count: int, calendar: Calendar) -> date:
    """The day on which the ``count``-th window after ``window`` ends."""
    end = window.whole.end
    if per == "day":
        return end + timedelta(days=count)
    if per == "week":
        return end + timedelta(days=7 * count)
    months = 1 if per == "month" else _months_of(calendar)
    if months is None:
        return end + timedelta(days=calendar.cycle.days * count)
    return add_months(end, months * count, calendar.anchor)


def _months_of(calendar: Calendar) -> int | None:
    """How many months the cycle has; None when it is counted in days."""
    start, end = calendar.cycle.start, calendar.cycle.end
    months = (end.year - start.year) * 12 + end.month - start.month
    fits = 0 < months <= _MOST_MONTHS and add_months(start, months, calendar.anchor) == end
    return months if fits else None
