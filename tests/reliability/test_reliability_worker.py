"""The worker killed -9 again and again, and two of them at once, while money and towers move for two months."""

from __future__ import annotations

import asyncio
import random
import re
from datetime import date
from pathlib import Path

import pytest
from reliability_box import Box, Nursery, open_box, times
from reliability_valley import EVENTFUL_DAYS, FIRST_DAY, LAST_DAY, Valley, open_valley

from core.clock import LabClock

CYCLES = [date(2026, 3, 1), date(2026, 4, 1), date(2026, 5, 1)]
RATE = 60.0  # between moves a second is a minute, so leases and pauses end while one watches


class _Killing:
    """Kills the worker at random moments until it is told to stop, at least so often."""

    def __init__(self, box: Box, chance: random.Random) -> None:
        self._box = box
        self._chance = chance
        self.kills = 0

    async def go_on(self) -> None:
        while True:
            doomed = await self._box.start("worker", wait=self._chance.random() < 0.8)
            await asyncio.sleep(self._chance.uniform(0.1, 1.6))
            await doomed.kill()
            self.kills += 1


async def _two_months(valley: Valley, killing: _Killing, kills: int) -> None:
    """Day after day. Invoices come in time, because due dates follow them; all else may be left to later days."""
    day = 0
    while day < LAST_DAY or killing.kills < kills:
        day = min(day + 1, LAST_DAY)
        valley.move_to_day(day)
        await valley.report_all()
        await asyncio.sleep(valley.chance.uniform(0.15, 0.45))
        await valley.billed()
        await valley.pay_what_is_due()


async def _until_the_late_have_paid(valley: Valley) -> None:
    """The last stragglers, with a worker that lives."""
    for _ in range(5):
        await valley.settled()
        before = valley.payments
        await valley.pay_what_is_due()
        if valley.payments == before:
            return


async def _check(valley: Valley) -> None:
    await valley.check_usage()
    await valley.check_books(CYCLES)
    await valley.check_towers()
    await valley.check_who_paid_was_left_alone()
    assert all(one.was_cut_off for one in valley.of("late")), "the late were never cut off"
    defects = re.findall(r".*(?:job_failed|turn_failed|fact_not_delivered).*", valley.box.log("worker"))
    assert defects == []


async def _killed(tmp_path: Path, nursery: Nursery, database_url: str, people: int, kills: int) -> None:
    clock = LabClock.create(tmp_path / "clock", FIRST_DAY, rate=RATE)
    async with (
        open_box(tmp_path, nursery, database_url=database_url, clock=f"lab:{tmp_path / 'clock'}") as box,
        open_valley(box, clock, people, seed=4) as valley,
    ):
        await box.start("radius")
        await box.start("collector")
        await valley.dial_all()
        killing = _Killing(box, random.Random(44))
        killer = asyncio.create_task(killing.go_on())
        try:
            await _two_months(valley, killing, kills)
        finally:
            killer.cancel()
            await asyncio.gather(killer, return_exceptions=True)
        for daemon in box.running:
            if daemon.role == "worker" and not daemon.ended.is_set():
                await daemon.kill()
        await box.start("worker")
        await _until_the_late_have_paid(valley)
        await _check(valley)
        assert killing.kills >= kills


async def test_the_worker_is_killed_at_any_moment(tmp_path: Path, nursery: Nursery) -> None:
    await _killed(tmp_path, nursery, "", people=30, kills=times(20, 200))


@pytest.mark.postgresql
@pytest.mark.slow
async def test_the_worker_is_killed_at_any_moment_on_postgresql(
    tmp_path: Path, nursery: Nursery, postgresql_url: str
) -> None:
    await _killed(tmp_path, nursery, postgresql_url, people=12, kills=times(8, 100))


async def test_two_workers_at_once(tmp_path: Path, nursery: Nursery, any_database_url: str) -> None:
    """Nothing is billed, counted, moved or listed twice, and neither worker stands in the other's way."""
    clock = LabClock.create(tmp_path / "clock", FIRST_DAY, rate=RATE)
    async with (
        open_box(tmp_path, nursery, database_url=any_database_url, clock=f"lab:{tmp_path / 'clock'}") as box,
        open_valley(box, clock, people=12, seed=5) as valley,
    ):
        for role in ("radius", "collector", "collector"):
            await box.start(role)
        await valley.dial_all()
        workers = [await box.start("worker"), await box.start("worker")]
        for day in EVENTFUL_DAYS:
            valley.move_to_day(day)
            await valley.report_all()
            await valley.settled()
            await valley.pay_what_is_due()
        await _until_the_late_have_paid(valley)
        await _check(valley)
        assert not any(one.ended.is_set() for one in workers)
