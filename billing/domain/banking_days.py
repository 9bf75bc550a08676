"""Days on which the Federal Reserve settles: no weekend, no holiday of its own list.

A holiday on a Saturday is not moved, one on a Sunday is kept on the Monday (Federal Reserve Board, K.8).
"""

from __future__ import annotations

from datetime import date, timedelta
from functools import lru_cache


@lru_cache(maxsize=32)
def _holidays(year: int) -> frozenset[date]:
    from holidays import financial_holidays  # loaded where a file is made, not by every role

    return frozenset(financial_holidays("XFED", years=year).keys())


def is_banking_day(day: date) -> bool:
    """True when ACH entries settle on ``day``."""
    return day.weekday() < 5 and day not in _holidays(day.year)


def banking_day_from(day: date) -> date:
    """``day`` itself, or the first banking day after it."""
    while not is_banking_day(day):
        day += timedelta(days=1)
    return day


def add_banking_days(day: date, count: int) -> date:
    """The ``count``-th banking day after ``day``; 0 is the first one from ``day`` on."""
    day = banking_day_from(day)
    for _ in range(count):
        day = banking_day_from(day + timedelta(days=1))
    return day
