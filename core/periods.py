"""Local dates, zones and billing cycles.

Boundaries are stored as local dates and a zone; instants are computed late, so a day has 23, 24 or 25 hours
as the zone says. The anchor day is kept for good and clamped month by month (31 Jan, 28 Feb, 31 Mar).
"""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError


def zone(name: str) -> ZoneInfo:
    """The time zone ``name``; raises ``ValueError`` for an unknown one."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError(f"{name!r} is not a time zone; write it like America/Denver") from None


def start_of_day(day: date, zone_name: str) -> datetime:
    """The first instant of the local ``day``, in UTC.

    Where midnight does not exist (a zone that springs forward at 00:00) this is the instant after the gap.
    """
    local = datetime.combine(day, time.min, tzinfo=zone(zone_name))
    instant = local.astimezone(UTC)
    if instant.astimezone(local.tzinfo).date() < day:
        instant += timedelta(hours=1)
    return instant


def local_date(instant: datetime, zone_name: str) -> date:
    """The date on the wall in ``zone_name`` at ``instant``."""
    return instant.astimezone(zone(zone_name)).date()


@dataclass(frozen=True, slots=True)
class Period:
    """Half-open span of local dates: ``start`` is in it, ``end`` is not."""

    start: date
    end: date

    def __post_init__(self) -> None:
        if self.end < self.start:
            raise ValueError(f"a period cannot end ({self.end}) before it starts ({self.start})")

    @property
    def days(self) -> int:
        return (self.end - self.start).days

    def __contains__(self, day: date) -> bool:
        return self.start <= day < self.end

    def instants(self, zone_name: str) -> tuple[datetime, datetime]:
        """The half-open span of instants in ``zone_name``."""
        return start_of_day(self.start, zone_name), start_of_day(self.end, zone_name)

    def intersect(self, other: Period) -> Period | None:
        """The days in both, or None."""
        start, end = max(self.start, other.start), min(self.end, other.end)
        return Period(start, end) if start < end else None

    def __str__(self) -> str:
        return f"{self.start}..{self.end}"


def anchored(year: int, month: int, anchor_day: int) -> date:
    """The anchor day in that month, clamped to the month's length."""
    return date(year, month, min(anchor_day, monthrange(year, month)[1]))


def add_months(day: date, months: int, anchor_day: int) -> date:
    """The anchor day ``months`` months from the month of ``day``."""
    index = day.year * 12 + day.month - 1 + months
    return anchored(index // 12, index % 12 + 1, anchor_day)


def cycle_containing(day: date, anchor_day: int) -> Period:
    """The monthly billing cycle with ``day`` in it, turning on ``anchor_day`` (1 to 31)."""
    if not 1 <= anchor_day <= 31:
        raise ValueError(f"the billing day is {anchor_day}; it must be 1 to 31")
    this_turn = anchored(day.year, day.month, anchor_day)
    start = this_turn if this_turn <= day else add_months(day, -1, anchor_day)
    return Period(start, add_months(start, 1, anchor_day))
