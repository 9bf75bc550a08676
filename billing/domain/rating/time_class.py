"""Time classes: hours of the week in which usage counts or costs differently, by the clock on the wall."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any, Final

from billing.domain.rating.calendar import Calendar, Window
from billing.domain.rating.charge_model import ChargeModel, Percentile95, parse_model
from billing.domain.rating.described import Described
from billing.domain.rating.slices import microseconds
from billing.domain.rating.unit import Unit, ratio_text, round_ratio
from core.periods import start_of_day, zone

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
HOLIDAYS: Final = ("as_weekday", "also", "never")
STANDARD: Final = "standard"
"""The class of all other hours."""
_DAY_MINUTES: Final = 1440
_MILLION: Final = 10**6
_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)|24:00")


@dataclass(frozen=True, slots=True)
class TimeClass:
    """``from_minute`` until ``until_minute`` on ``days`` (0 is Monday); equal ends are the whole day.

    A window whose end is not behind its begin runs on into the next day and belongs to the day it began on.
    ``holidays``: they count ``as_weekday``, or the class holds on them ``also`` (as on a day of its own), or
    ``never``. Usage of the class counts with ``weight_ppm`` millionths towards allowance and price, or has a
    ``model`` of its own and leaves the allowance alone.
    """

    name: str
    days: frozenset[int]
    from_minute: int
    until_minute: int
    holidays: str = "as_weekday"
    weight_ppm: int = _MILLION
    model: ChargeModel | None = None

    def holds_on(self, day: date, holidays: frozenset[date]) -> bool:
        """Whether a window begins on that day."""
        if self.holidays != "as_weekday" and day in holidays:
            return self.holidays == "also"
        return day.weekday() in self.days

    def holds_at(self, wall: datetime, holidays: frozenset[date]) -> bool:
        """Whether that local time is within a window."""
        minute, today = wall.hour * 60 + wall.minute, wall.date()
        if self.from_minute < self.until_minute:
            return self.from_minute <= minute < self.until_minute and self.holds_on(today, holidays)
        if minute >= self.from_minute and self.holds_on(today, holidays):
            return True
        yesterday = today - timedelta(days=1)
        return minute < self.until_minute and self.holds_on(yesterday, holidays)

    def weigh(self, quantity: int) -> int:
        """What counts of a quantity of this class."""
        return quantity if self.weight_ppm == _MILLION else round_ratio(quantity * self.weight_ppm, _MILLION)

    def as_json(self, unit: Unit) -> dict[str, Any]:
        """As stored in a plan version."""
        said: dict[str, Any] = {
            "name": self.name,
            "days": [DAYS[day] for day in sorted(self.days)],
            "from": _time_text(self.from_minute),
            "until": _time_text(self.until_minute),
            "holidays": self.holidays,
        }
        if self.model is None:
            return said | {"weight": ratio_text(self.weight_ppm, _MILLION)}
        return said | {"model": self.model.as_json(unit)}


def parse_time_class(form: Described, unit: Unit) -> TimeClass:
    """A time class from its JSON form; raises ``ValueError`` naming the field."""
    form.only(("name", "days", "from", "until", "holidays", "weight", "model"))
    name = form.word("name")
    if name == STANDARD:
        raise ValueError(f"{form.path('name')}: {STANDARD} is the name of all other hours")
    if form.has("weight") and form.has("model"):
        raise ValueError(f"{form.path('weight')}: a class has a weight or a model of its own, not both")
    model = parse_model(form.part("model"), unit) if form.has("model") else None
    if isinstance(model, Percentile95):
        raise ValueError(f"{form.path('model')}.kind: a percentile is taken of all hours")  # noqa: TRY004
    return TimeClass(
        name,
        _days(form),
        _minute(form, "from", "00:00"),
        _minute(form, "until", "24:00"),
        form.choice("holidays", HOLIDAYS, default="as_weekday"),
        _weight(form),
        model,
    )


def _days(form: Described) -> frozenset[int]:
    listed = form.fields.get("days", list(DAYS))
    if not isinstance(listed, list | tuple) or not all(one in DAYS for one in listed):
        raise ValueError(f"{form.path('days')} is a list of {', '.join(DAYS)}")
    return frozenset(DAYS.index(one) for one in listed)


def _minute(form: Described, name: str, default: str) -> int:
    text = form.fields.get(name, default)
    if not isinstance(text, str) or not _TIME.fullmatch(text):
        raise ValueError(f"{form.path(name)} is a time of day such as 22:00; it is {text!r}")
    return int(text[:2]) * 60 + int(text[3:])


def _weight(form: Described) -> int:
    if not form.has("weight"):
        return _MILLION
    nano = form.price("weight")
    if nano % 1000 or nano > 100 * 10**9:
        raise ValueError(f"{form.path('weight')} is from 0 to 100 with at most 6 decimals")
    return nano // 1000


def _time_text(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


@dataclass(frozen=True, slots=True)
class Span:
    """From its start (microseconds since 1970) up to the next one's: one class (an index, -1: standard) in
    one window (an index)."""

    start_us: int
    time_class: int
    window: int


@lru_cache(maxsize=512)
def spans(
    classes: tuple[TimeClass, ...],
    window_starts: tuple[date, ...],
    part_days: tuple[date, date],
    zone_name: str,
    holidays: frozenset[date],
) -> tuple[Span, ...]:
    """The part as spans of one class and window each, in order.

    A day with a clock change has the hours that the wall shows: an hour shown twice is in its class twice,
    one that is skipped is in none.
    """
    start, end = part_days
    found: list[Span] = []
    for instant, wall in _instants(classes, start, end, zone_name):
        index = next((i for i, one in enumerate(classes) if one.holds_at(wall, holidays)), -1)
        window = _last_at(window_starts, wall.date())
        if not found or (found[-1].time_class, found[-1].window) != (index, window):
            found.append(Span(microseconds(instant), index, window))
    return tuple(found)


def spans_of(classes: tuple[TimeClass, ...], turns: Sequence[Window], calendar: Calendar) -> tuple[Span, ...]:
    """The spans of a part with these windows."""
    part = calendar.part
    starts = tuple(one.part.start for one in turns)
    return spans(classes, starts, (part.start, part.end), calendar.zone, calendar.holidays)


def _last_at(starts: tuple[date, ...], day: date) -> int:
    index = len(starts) - 1
    while index > 0 and starts[index] > day:
        index -= 1
    return index


def _instants(
    classes: tuple[TimeClass, ...], start: date, end: date, zone_name: str
) -> list[tuple[datetime, datetime]]:
    """Every instant at which a class may begin or end, with the time on the wall then."""
    where = zone(zone_name)
    minutes = {minute for one in classes for minute in (one.from_minute, one.until_minute)}
    minutes -= {0, _DAY_MINUTES}
    found: set[datetime] = set()
    day, first = start, start_of_day(start, zone_name)
    while day < end:
        following = start_of_day(day + timedelta(days=1), zone_name)
        found.add(first)
        for minute in minutes:
            wall = datetime.combine(day, time(minute // 60, minute % 60), tzinfo=where)
            found |= {wall.astimezone(UTC), wall.replace(fold=1).astimezone(UTC)}
        if classes and first.astimezone(where).utcoffset() != following.astimezone(where).utcoffset():
            found.add(_clock_change(first, following, zone_name))
        day, first = day + timedelta(days=1), following
    begin, until = start_of_day(start, zone_name), start_of_day(end, zone_name)
    return [(one, one.astimezone(where)) for one in sorted(found) if begin <= one < until]


def _clock_change(first: datetime, following: datetime, zone_name: str) -> datetime:
    """The instant between the two at which the zone's offset changes, to the second."""
    where = zone(zone_name)
    before = first.astimezone(where).utcoffset()
    low, high = 0, int((following - first).total_seconds())
    while high - low > 1:
        middle = (low + high) // 2
        same = (first + timedelta(seconds=middle)).astimezone(where).utcoffset() == before
        low, high = (middle, high) if same else (low, middle)
    return first + timedelta(seconds=high)
