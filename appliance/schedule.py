"""The timetable: the one door to APScheduler.

Jobs are looked at every so many real seconds and do whatever is due by the product's clock, so a missed
turn, a restart or a moved clock changes when something happens and never whether.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger

from core.database import again_when_it_gave_way
from core.log import logger

_log = logger("appliance")
_LOOK_EVERY_S = 5.0
_SLEW = timedelta(seconds=1)  # a clock that is only drawn, not stepped, moves a turn by less


@dataclass(frozen=True, slots=True)
class Job:
    """``run`` every ``every_s`` real seconds, never twice at once; the first time at once.

    ``beat`` is called when a turn begins and when it has ended, well or badly.
    """

    name: str
    every_s: float
    run: Callable[[], Awaitable[object]]
    beat: Callable[[], None]


class _Pace(BaseTrigger):  # type: ignore[misc] # APScheduler is untyped
    """The next turn is one pause from now.

    APScheduler's interval counts from the last turn and walks all it missed: millions after a leap of years.
    """

    def __init__(self, every: timedelta) -> None:
        self.every = every

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime:
        return now if previous is None else now + self.every


class Timetable:
    """Runs jobs until stopped. A job that fails is logged and tried again at its next turn."""

    def __init__(self, jobs: list[Job]) -> None:
        self._scheduler = AsyncIOScheduler(timezone="UTC")
        self._look: asyncio.TimerHandle | None = None
        for job in jobs:
            self._scheduler.add_job(
                _guarded(job),
                _Pace(timedelta(seconds=job.every_s)),
                id=job.name,
                max_instances=1,
                misfire_grace_time=None,
            )

    def start(self) -> None:
        """Begin on the running event loop."""
        self._scheduler.start()
        self._look_at_clock()

    def stop(self) -> None:
        """Take no further turns."""
        if self._look is not None:
            self._look.cancel()
        self._scheduler.shutdown(wait=False)

    def _look_at_clock(self) -> None:
        """Call the jobs that a clock stepped back has left in its future.

        APScheduler keeps next turns in wall time and would wait until the clock has caught up. A step ahead
        needs nothing: turns come early, once.
        """
        now = datetime.now(UTC)
        for job in self._scheduler.get_jobs():
            if job.next_run_time > now + job.trigger.every + _SLEW:
                _log.warning("clock_stepped_back", job=job.id, was_due=job.next_run_time.isoformat())
                job.modify(next_run_time=now)
        self._look = asyncio.get_running_loop().call_later(_LOOK_EVERY_S, self._look_at_clock)


def _guarded(job: Job) -> Callable[[], Awaitable[None]]:
    async def turn() -> None:
        job.beat()
        try:
            await again_when_it_gave_way(job.run)
        except Exception as trouble:  # noqa: BLE001 - the boundary of one job
            _log.error("job_failed", job=job.name, error=f"{type(trouble).__name__}: {trouble}")
        finally:
            job.beat()

    return turn
