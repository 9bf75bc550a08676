"""What a plan does to its services by itself: in hours of the week, or when a quota is used up. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from aaa.domain import checks
from aaa.domain.effect import Effect
from core.periods import Period, add_months, anchored, cycle_containing, local_date, zone
from core.quantities import format_octets
from core.refusal import Refusal

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
EFFECTS: Final = (Effect.THROTTLE.value, Effect.WALLED_GARDEN.value)
PERIODS: Final = {"day": "day", "week": "week", "month": "month", "billing": "billing cycle"}
DIRECTIONS: Final = {"down": "download", "up": "upload", "sum": "download and upload"}
MOST_OCTETS: Final = 10**15
MOST_RULES: Final = 16
_DAY_MINUTES: Final = 1_440


@dataclass(frozen=True, slots=True)
class HoursRule:
    """``effect`` from ``from_minute`` until ``until_minute`` of the provider's local day.

    ``days``: on which a window begins (0 is Monday). One whose end is not behind its begin ends on the next
    day. Minutes are those on the wall: on the day the clock springs forward a window may be an hour short.
    """

    name: str
    effect: Effect
    days: frozenset[int]
    from_minute: int
    until_minute: int

    def is_on(self, now: datetime, zone_name: str) -> bool:
        """Whether ``now`` is within a window."""
        local = now.astimezone(zone(zone_name))
        minute, today = local.hour * 60 + local.minute, local.weekday()
        if self.from_minute < self.until_minute:
            return today in self.days and self.from_minute <= minute < self.until_minute
        yesterday = (today - 1) % 7
        return (today in self.days and minute >= self.from_minute) or (
            yesterday in self.days and minute < self.until_minute
        )

    def __str__(self) -> str:
        days = format_days(self.days)
        return f"{days} {format_minute(self.from_minute)} to {format_minute(self.until_minute)}"

    @property
    def reason(self) -> str:
        """What the hold says."""
        return f"{self.name}: {self}"


@dataclass(frozen=True, slots=True)
class QuotaRule:
    """``effect`` from when ``octets`` in ``direction`` are used up until the period turns."""

    name: str
    effect: Effect
    octets: int
    period: str
    direction: str

    def counted(self, octets_in: int, octets_out: int) -> int:
        """The octets that count; in is from the subscriber, his upload."""
        return {"up": octets_in, "down": octets_out, "sum": octets_in + octets_out}[self.direction]

    def fastest_bps(self, down_bps: int, up_bps: int) -> int:
        """How fast the quota can be used up at most."""
        return {"up": up_bps, "down": down_bps, "sum": down_bps + up_bps}[self.direction]

    def __str__(self) -> str:
        return f"{format_octets(self.octets)} of {DIRECTIONS[self.direction]} a {PERIODS[self.period]}"

    def reason(self, period: Period) -> str:
        """What the hold says; the same as long as the period lasts."""
        return f"{self.name}: {self} are used up; until {period.end}"


Rule = HoursRule | QuotaRule


def period_containing(kind: str, now: datetime, zone_name: str, anchor_day: int) -> Period:
    """The quota's period around ``now`` in local days of the zone; weeks begin on Monday."""
    today = local_date(now, zone_name)
    if kind == "day":
        return Period(today, today + timedelta(days=1))
    if kind == "week":
        monday = today - timedelta(days=today.weekday())
        return Period(monday, monday + timedelta(days=7))
    if kind == "month":
        return Period(_first(today), add_months(_first(today), 1, 1))
    return cycle_containing(today, anchor_day)


def _first(day: date) -> date:
    return anchored(day.year, day.month, 1)


def format_minute(minute: int) -> str:
    """``18:00``; the end of a day is ``24:00``."""
    return f"{minute // 60:02}:{minute % 60:02}"


def format_days(days: frozenset[int]) -> str:
    """``mon-fri`` for a run of days, else ``sat,sun``."""
    ordered = sorted(days)
    if len(ordered) > 2 and ordered[-1] - ordered[0] == len(ordered) - 1:
        return f"{DAYS[ordered[0]]}-{DAYS[ordered[-1]]}"
    return ",".join(DAYS[day] for day in ordered)


def read_days(text: str) -> frozenset[int] | Refusal:
    """``mon-fri``, ``sat,sun``, ``fri-mon``, ``daily``."""
    found: set[int] = set()
    for part in text.lower().replace(" ", "").split(","):
        first, dash, last = part.partition("-")
        if part in ("daily", "all"):
            found.update(range(7))
        elif first in DAYS and (last in DAYS if dash else not last):
            start, end = DAYS.index(first), DAYS.index(last) if dash else DAYS.index(first)
            found.update((start + step) % 7 for step in range((end - start) % 7 + 1))
        else:
            return Refusal(
                "days.malformed", f"{text!r} are no days; write mon-fri, or sat,sun, or daily", "days"
            )
    return frozenset(found)


def read_minute(text: str, field: str) -> int | Refusal:
    """``18:00`` as a minute of the day; ``24:00`` is its end."""
    hours, colon, minutes = text.strip().partition(":")
    digits = (hours + minutes).isascii() and hours.isdigit() and minutes.isdigit() and len(minutes) == 2
    minute = int(hours) * 60 + int(minutes) if digits and len(hours) <= 2 else _DAY_MINUTES + 1
    if not colon or minute > _DAY_MINUTES or int(minutes) > 59:
        return Refusal(f"{field}.malformed", f"{text!r} is no time of day; write it like 18:00", field)
    return minute


def check_hours(*, name: str, effect: str, days: str, begins: str, ends: str) -> HoursRule | Refusal:
    """A rule by the clock, or what is wrong with it."""
    checked = _check_head(name, effect)
    on, start, end = read_days(days), read_minute(begins, "begins"), read_minute(ends, "ends")
    for one in (checked, on, start, end):
        if isinstance(one, Refusal):
            return one
    if isinstance(on, Refusal) or isinstance(start, Refusal) or isinstance(end, Refusal):
        raise TypeError("refusals are returned above")
    if start == _DAY_MINUTES:
        return Refusal("begins.malformed", "a window cannot begin at 24:00; write 00:00", "begins")
    return HoursRule(name.strip(), Effect(effect), on, start, end or _DAY_MINUTES)


def check_quota(*, name: str, effect: str, octets: int, period: str, direction: str) -> QuotaRule | Refusal:
    """A quota, or what is wrong with it."""
    checked = _check_head(name, effect)
    if checked is not None:
        return checked
    if not 1 <= octets <= MOST_OCTETS:
        return Refusal(
            "octets.range", f"a quota of {octets} octets; give 1 to {MOST_OCTETS}, as 10^9 for a GB", "octets"
        )
    for field, value, choices in (("period", period, PERIODS), ("direction", direction, DIRECTIONS)):
        chosen = checks.check_choice(value, field, tuple(choices))
        if isinstance(chosen, Refusal):
            return chosen
    return QuotaRule(name.strip(), Effect(effect), octets, period, direction)


def _check_head(name: str, effect: str) -> Refusal | None:
    for checked in (checks.check_printable(name, "name", 80), checks.check_choice(effect, "effect", EFFECTS)):
        if isinstance(checked, Refusal):
            return checked
    return None


def strongest(rules: Sequence[HoursRule]) -> HoursRule | None:
    """The rule of the strongest effect; of equal ones the first by name."""
    return min(rules, key=lambda rule: (-rule.effect.rank, rule.name), default=None)
