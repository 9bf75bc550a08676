"""The lab's clock is one clock for all who open it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.clock import LabClock, open_clock

START = datetime(2026, 3, 1, tzinfo=UTC)


def test_a_lab_clock_is_moved_by_one_and_seen_by_all(tmp_path: Path) -> None:
    mover = LabClock.create(tmp_path / "clock", START)
    other = open_clock(f"lab:{tmp_path / 'clock'}")
    assert abs(other.now() - mover.now()) < timedelta(seconds=5)
    mover.move_to(START + timedelta(days=30))
    assert timedelta(days=30) <= other.now() - START < timedelta(days=30, minutes=5)


def test_a_rate_of_zero_stands_still(tmp_path: Path) -> None:
    clock = LabClock.create(tmp_path / "clock", START, rate=0.0)
    assert clock.now() == START == clock.now()


def test_an_unknown_clock_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="clock.source"):
        open_clock("sundial")
