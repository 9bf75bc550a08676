"""The collector: every target at its own pace. Waiting is real time; samples carry the product's time."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.engine import Row

from core.log import logger
from core.secrets import Sealer, SealError
from core.work import Workplace
from snmp.config import SnmpSettings
from snmp.domain.pacing import Pace, interval_s, wait_s
from snmp.poll import Collector, PollOutcome
from snmp.store import target_rows

_log = logger("snmp")


@dataclass(slots=True)
class _Course:
    """One target's next poll, on the monotonic clock."""

    due_s: float
    pace: Pace = field(default_factory=Pace)
    polling: bool = False


async def run_collector(
    settings: SnmpSettings,
    workplace: Workplace,
    sealer: Sealer,
    stop: asyncio.Event,
    ready: asyncio.Event | None = None,
) -> None:
    """Poll until ``stop``; ``ready`` is set when the targets were read for the first time."""
    timetable = _Timetable(settings, workplace, sealer)
    try:
        while not stop.is_set():
            delay_s = await timetable.start_due()
            if ready is not None:
                ready.set()
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), delay_s)
    finally:
        await timetable.end()


class _Timetable:
    def __init__(self, settings: SnmpSettings, workplace: Workplace, sealer: Sealer) -> None:
        self._settings = settings
        self._workplace = workplace
        self._collector = Collector(workplace, sealer, settings)
        self._courses: dict[str, _Course] = {}
        self._places = asyncio.Semaphore(settings.concurrent_targets)
        self._tasks: set[asyncio.Task[None]] = set()

    async def start_due(self) -> float:
        """Start the polls that are due; returns how many seconds to wait."""
        async with self._workplace.reading() as connection:
            targets = await target_rows.enabled_targets(connection)
        now_s = self._workplace.clock.monotonic_s()
        self._courses = {one.id: self._courses.get(one.id) or _Course(now_s) for one in targets}
        for target in targets:
            course = self._courses[target.id]
            if not course.polling and course.due_s <= now_s:
                course.polling = True
                task = asyncio.create_task(self._poll(target, course))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        waits = [course.due_s - now_s for course in self._courses.values() if not course.polling]
        return max(0.05, min([self._settings.refresh_s, *waits]))

    async def _poll(self, target: Row[Any], course: _Course) -> None:
        settings = self._settings
        interval = interval_s(
            course.pace,
            target.poll_interval_s,
            settings.narrow_poll_interval_s,
            settings.shortest_poll_interval_s,
        )
        async with self._places:
            course.pace = await self._ask(target, course.pace, interval)
        after = interval_s(
            course.pace,
            target.poll_interval_s,
            settings.narrow_poll_interval_s,
            settings.shortest_poll_interval_s,
        )
        wait = wait_s(after, course.pace.failures, settings.longest_backoff_s)
        course.due_s = self._workplace.clock.monotonic_s() + wait
        course.polling = False

    async def _ask(self, target: Row[Any], pace: Pace, interval: float) -> Pace:
        """One device's trouble stays with that device."""
        try:
            outcome = await self._collector.poll(target, interval, pace.failures)
        except SealError:
            _log.error("snmp credentials cannot be opened", target=target.name)
            return pace.failed()
        except Exception:  # noqa: BLE001 - the boundary of one device
            _log.exception("poll failed", target=target.name)
            return pace.failed()
        _tell(outcome, pace)
        if outcome.trouble is not None:
            return pace.failed()
        return pace.answered(narrow=outcome.narrow, poll_sooner=outcome.poll_sooner)

    async def end(self) -> None:
        """Let the polls under way come to an end, then close the devices."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._collector.close()


def _tell(outcome: PollOutcome, before: Pace) -> None:
    """Once down, once up."""
    if outcome.trouble is not None and before.failures == 0:
        _log.warning("target does not answer", target=outcome.target_name, trouble=outcome.trouble)
    if outcome.trouble is None and before.failures > 0:
        _log.info("target answers again", target=outcome.target_name)
