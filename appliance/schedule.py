"""The timetable: the one door to APScheduler.

Jobs are looked at every so many real seconds and do whatever is due by the product's clock, so a missed
turn, a restart or a moved clock changes when something happens and never whether.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from core.database import again_when_it_gave_way
from core.log import logger

_log = logger("appliance")


@dataclass(frozen=True, slots=True)
class Job:
    """``run`` every ``every_s`` real seconds, never twice at once; the first time at once."""

    name: str
    every_s: float
    run: Callable[[], Awaitable[object]]


class Timetable:
    """Runs jobs until stopped. A job that fails is logged and tried again at its next turn."""

    def __init__(self, jobs: list[Job]) -> None:
        self._scheduler = AsyncIOScheduler(timezone="UTC")
        for job in jobs:
            self._scheduler.add_job(
                _guarded(job),
                "interval",
                seconds=job.every_s,
                id=job.name,
                max_instances=1,
                coalesce=True,
                misfire_grace_time=None,
            )
            self._scheduler.add_job(_guarded(job), id=f"{job.name}-first", max_instances=1)

    def start(self) -> None:
        """Begin on the running event loop."""
        self._scheduler.start()

    def stop(self) -> None:
        """Take no further turns."""
        self._scheduler.shutdown(wait=False)


def _guarded(job: Job) -> Callable[[], Awaitable[None]]:
    busy = False

    async def turn() -> None:
        nonlocal busy
        if busy:  # the first turn and the interval's turn share this guard
            return
        busy = True
        try:
            await again_when_it_gave_way(job.run)
        except Exception as trouble:  # noqa: BLE001 - the boundary of one job
            _log.error("job_failed", job=job.name, error=f"{type(trouble).__name__}: {trouble}")
        finally:
            busy = False

    return turn
