"""The timetable under a clock that is moved: every job goes on at its pace, neither silent nor in a storm."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta, tzinfo

import apscheduler.schedulers.base
import pytest
from appliance_running import until

import appliance.schedule
from appliance.schedule import Job, Timetable

PAUSE_S = 0.2


class Wall(datetime):
    """The machine's wall clock, moved; the monotonic one goes on."""

    ahead = timedelta()

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Wall:
        told = datetime.now(tz or UTC) + cls.ahead
        return cls.combine(told.date(), told.timetz())


@pytest.fixture(autouse=True)
def wall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Wall, "ahead", timedelta())
    monkeypatch.setattr(apscheduler.schedulers.base, "datetime", Wall)
    monkeypatch.setattr(appliance.schedule, "datetime", Wall)
    monkeypatch.setattr(appliance.schedule, "_LOOK_EVERY_S", 0.1)


@asynccontextmanager
async def counting(every_s: float = PAUSE_S) -> AsyncIterator[list[int]]:
    """How often each of two jobs was called; the second always fails."""
    turns = [0, 0]

    async def count() -> None:
        turns[0] += 1

    async def fail() -> None:
        turns[1] += 1
        raise ValueError("as it always does")

    def beat() -> None:
        pass

    timetable = Timetable([Job("count", every_s, count, beat), Job("fail", every_s, fail, beat)])
    timetable.start()
    try:
        yield turns
    finally:
        timetable.stop()


@pytest.mark.parametrize(
    "step",
    [timedelta(hours=-2), timedelta(days=-365 * 20), timedelta(hours=2), timedelta(days=365 * 20)],
    ids=str,
)
async def test_a_moved_clock_neither_silences_a_job_nor_lets_it_storm(step: timedelta) -> None:
    async with counting() as turns:
        await until(lambda: min(turns) >= 2, "the first turns")
        Wall.ahead = step
        before = list(turns)
        begun_s = asyncio.get_running_loop().time()
        await until(
            lambda: all(now >= was + 4 for now, was in zip(turns, before, strict=True)), "more turns", 10
        )
        took_s = asyncio.get_running_loop().time() - begun_s
        for now, was in zip(turns, before, strict=True):
            assert now - was <= took_s / PAUSE_S + 2


async def test_a_clock_that_swings_calls_a_slow_job_once_for_each_step_back() -> None:
    async with counting(every_s=3600) as turns:
        await until(lambda: turns == [1, 1], "the first turns")
        for swing in range(1, 4):
            Wall.ahead = timedelta(hours=-3 * swing)
            await until(lambda expected=swing + 1: turns == [expected, expected], "the call after the step")
            await asyncio.sleep(0.3)
            assert turns == [swing + 1, swing + 1]


async def test_a_job_is_never_run_twice_at_once_and_beats_around_each_turn() -> None:
    running, most, beats = 0, 0, 0

    def beat() -> None:
        nonlocal beats
        beats += 1

    async def slow() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.3)
        running -= 1

    timetable = Timetable([Job("slow", 0.05, slow, beat)])
    timetable.start()
    await until(lambda: beats >= 6, "three turns")
    timetable.stop()
    assert most == 1
