"""Holidays of usage terms, by the ``holidays`` library and by the terms themselves."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from functools import lru_cache

from billing.domain.rating.calendar import Calendar
from billing.domain.rating.terms import Holidays, UsageTerms


def with_holidays(calendar: Calendar, terms: UsageTerms) -> Calendar:
    """The calendar with the holidays that the time classes of ``terms`` ask about; else as it was.

    Raises ``ValueError`` for a country or part that the library does not know.
    """
    if terms.holidays is None or not terms.classes:
        return calendar
    cycle = calendar.cycle
    found = frozenset().union(
        *(_of_year(terms.holidays, year) for year in range(cycle.start.year - 1, cycle.end.year + 1))
    )
    near = frozenset(day for day in found if (cycle.start - day).days <= 1 and day < cycle.end)
    return replace(calendar, holidays=near)


def check_holidays(terms: UsageTerms) -> None:
    """Raises ``ValueError`` when the library does not know the country or part that the terms name."""
    if terms.holidays is not None:
        _of_year(terms.holidays, 2026)


@lru_cache(maxsize=256)
def _of_year(named: Holidays, year: int) -> frozenset[date]:
    own = frozenset(day for day in named.days if day.year == year)
    if named.country is None:
        return own
    import holidays  # only terms that name a country need the library

    try:
        found = holidays.country_holidays(named.country, subdiv=named.subdivision, years=year)
    except NotImplementedError:
        where = named.country + (f"-{named.subdivision}" if named.subdivision else "")
        raise ValueError(
            f"holidays.country: none are known for {where}; use ISO codes such as US and NM"
        ) from None
    return own | frozenset(found)
