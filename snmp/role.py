"""The collector: every target at its own pace. Waiting is real time; samples carry the product's time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy.engine import Row

from core.log import logger
from core.secrets import Sealer
from core.uninterrupted import uninterrupted
from core.work import Workplace
from snmp.config import SnmpSettings
from snmp.domain.pacing import Pace, interval_s, wait_s
from snmp.store import target_rows

if TYPE_CHECKING:
    from snmp.poll import Collector, PollOutcome

_log = logger("snmp")


async def run_collector(  # noqa: PLR0917 - the same order for every role
    settings: SnmpSettings,
    workplace: Workplace,
    sealer: Sealer,
    stop: asyncio.Event,
    ready: asyncio.Event | None = None,
    beat: Callable[[], None] = lambda: None,
) -> None:
    """Poll until ``stop``; ``ready`` is set when the targets were read for the first time.

    ``beat`` is called before each look at the targets.
    """
    rounds = _Rounds(settings, workplace, sealer)
    try:
        while not stop.is_set():
            beat()
            if await rounds.follow_targets() and ready is not None:
                ready.set()
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), settings.refresh_s)
    finally:
        await rounds.end()


@dataclass(slots=True)
class _Course:
    """One target: its row as last read, how it answers, and the task that polls it."""

    target: Row[Any]
    pace: Pace = field(default_factory=Pace)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class _Rounds:
    """A task for each enabled target, so that none waits for another."""

    def __init__(self, settings: SnmpSettings, workplace: Workplace, sealer: Sealer) -> None:
        self._settings = settings
        self._workplace = workplace
        self._sealer = sealer
        self._collector: Collector | None = None
        self._courses: dict[str, _Course] = {}
        self._places = asyncio.Semaphore(settings.concurrent_targets)
        self._failing_places = asyncio.Semaphore(settings.concurrent_failing_targets)

    async def follow_targets(self) -> bool:
        """Start polling what is new, leave what is gone, note what changed; False if it cannot be read."""
        try:
            targets = await uninterrupted(self._enabled_targets())
        except Exception:  # noqa: BLE001 - the database may be away; the targets known are polled on
            _log.exception("targets cannot be read")
            return False
        for target_id in self._courses.keys() - targets.keys():
            await self._leave(target_id)
        if targets and self._collector is None:
            self._collector = await asyncio.to_thread(self._load_collector)
        for target in targets.values():
            self._follow(target)
        return True

    def _load_collector(self) -> Collector:
        """The SNMP library is 4 MB and slow to load: it comes with the first target."""
        from snmp.poll import Collector

        return Collector(self._workplace, self._sealer, self._settings)

    async def _enabled_targets(self) -> dict[str, Row[Any]]:
        async with self._workplace.reading() as connection:
            return {one.id: one for one in await target_rows.enabled_targets(connection)}

    def _follow(self, target: Row[Any]) -> None:
        course = self._courses.get(target.id)
        if course is None:
            self._courses[target.id] = course = _Course(target)
            course.task = asyncio.create_task(self._run(course))
            return
        if _told(course.target) != _told(target):
            course.changed.set()
        course.target = target

    async def _leave(self, target_id: str) -> None:
        task = self._courses.pop(target_id).task
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if self._collector is not None:
            self._collector.forget(target_id)

    async def _run(self, course: _Course) -> None:
        """Poll one target for as long as it is to be polled."""
        loop = asyncio.get_running_loop()
        while True:
            course.changed.clear()
            started_s = loop.time()
            places = self._failing_places if course.pace.failures else self._places
            async with places:
                course.pace = await self._poll(course)
            wait = wait_s(self._interval_s(course), course.pace.failures, self._settings.longest_backoff_s)
            with suppress(TimeoutError):
                await asyncio.wait_for(course.changed.wait(), max(0.0, started_s + wait - loop.time()))

    def _interval_s(self, course: _Course) -> float:
        return interval_s(
            course.target.poll_interval_s, course.pace.narrow_bps, self._settings.shortest_poll_interval_s
        )

    async def _poll(self, course: _Course) -> Pace:
        """One device's trouble stays with that device."""
        pace = course.pace
        if self._collector is None:
            return pace
        try:
            outcome = await self._collector.poll(course.target, self._interval_s(course))
        except Exception:  # noqa: BLE001 - the boundary of one device
            _log.exception("poll failed", target=course.target.name)
            return Pace(pace.failures + 1, pace.narrow_bps)
        _tell(outcome, pace)
        if outcome.trouble is not None:
            return Pace(pace.failures + 1, pace.narrow_bps)
        return Pace(0, outcome.narrow_bps)

    async def end(self) -> None:
        """End all polls; one that is being recorded is recorded first."""
        await asyncio.gather(*(self._leave(target_id) for target_id in list(self._courses)))
        if self._collector is not None:
            self._collector.close()


def _told(target: Row[Any]) -> tuple[Any, ...]:
    """What the operator says of a target, without what polls write."""
    return (
        target.address, target.port, target.version, target.username, target.community_sealed,
        target.auth_sealed, target.privacy_sealed, target.poll_interval_s,
    )  # fmt: skip


def _tell(outcome: PollOutcome, before: Pace) -> None:
    """Once down, once up."""
    if outcome.trouble is not None and before.failures == 0:
        _log.warning("target cannot be read", target=outcome.target_name, trouble=outcome.trouble)
    if outcome.trouble is None and before.failures > 0:
        _log.info("target answers again", target=outcome.target_name)
