"""Days, zones and anchors: the lines of the field notes on billing time."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.periods import Period, add_months, cycle_containing, local_date, start_of_day

ZONES = [
    "America/Denver",
    "Europe/Berlin",
    "America/Santiago",
    "Asia/Kolkata",
    "Pacific/Apia",
    "Africa/Cairo",
]


@pytest.mark.parametrize(
    ("day", "hours"), [(date(2026, 3, 8), 23), (date(2026, 11, 1), 25), (date(2026, 5, 5), 24)]
)
def test_days_have_23_24_or_25_hours(day: date, hours: int) -> None:
    start, end = Period(day, day + timedelta(days=1)).instants("America/Denver")
    assert end - start == timedelta(hours=hours)


def test_a_midnight_that_does_not_exist_is_the_instant_after_the_gap() -> None:
    # Chile springs forward at midnight: 2026-09-06 begins at 01:00 local.
    start = start_of_day(date(2026, 9, 6), "America/Santiago")
    assert start == datetime(2026, 9, 6, 4, 0, tzinfo=UTC)
    assert local_date(start, "America/Santiago") == date(2026, 9, 6)
    assert local_date(start - timedelta(microseconds=1), "America/Santiago") == date(2026, 9, 5)


@given(st.dates(date(2020, 1, 1), date(2035, 12, 31)), st.sampled_from(ZONES))
def test_the_days_of_a_zone_tile_time(day: date, zone_name: str) -> None:
    start, end = start_of_day(day, zone_name), start_of_day(day + timedelta(days=1), zone_name)
    if start == end:  # Apia skipped a day in 2011; none in this span
        pytest.fail("a day of no length")
    assert local_date(start, zone_name) == day
    assert local_date(end - timedelta(microseconds=1), zone_name) == day


def test_the_anchor_is_kept_and_clamped_month_by_month() -> None:
    turns = [date(2026, 1, 31)]
    for _ in range(4):
        turns.append(add_months(turns[-1], 1, 31))
    assert turns == [
        date(2026, 1, 31),
        date(2026, 2, 28),
        date(2026, 3, 31),
        date(2026, 4, 30),
        date(2026, 5, 31),
    ]


@given(st.dates(date(2020, 1, 1), date(2035, 12, 31)), st.integers(1, 31))
def test_cycles_tile_the_calendar(day: date, anchor: int) -> None:
    cycle = cycle_containing(day, anchor)
    assert day in cycle
    following = cycle_containing(cycle.end, anchor)
    assert following.start == cycle.end
    assert cycle_containing(cycle.end - timedelta(days=1), anchor) == cycle


def test_leap_day_anchors() -> None:
    assert cycle_containing(date(2028, 2, 29), 29) == Period(date(2028, 2, 29), date(2028, 3, 29))
    assert cycle_containing(date(2027, 3, 1), 30) == Period(date(2027, 2, 28), date(2027, 3, 30))
