"""Rejects on their way to the record: counted in memory, bounded while the database is away."""

from __future__ import annotations

from dataclasses import replace

from aaa.record_rejects import RejectSighting, record_rejects
from core.clock import Clock
from core.work import Workplace
from radius.counters import Counters
from radius.pipeline import Rejection

_KINDS_KEPT = 5_000


class RejectLog:
    """One sighting for each (NAS, identity, rule) since the last flush."""

    def __init__(self, clock: Clock, counters: Counters) -> None:
        self._clock = clock
        self._counters = counters
        self._sightings: dict[tuple[str, str, str], RejectSighting] = {}

    def note(self, rejection: Rejection) -> None:
        """Count a reject. Beyond the bound new kinds are only counted."""
        now, reject = self._clock.now(), rejection.reject
        self._merge(
            RejectSighting(
                rejection.nas_id, reject.identity, reject.rule, reject.explanation, reject.remedy,
                rejection.calling_station, reject.service_id, now, now, 1,
            )
        )  # fmt: skip

    def _merge(self, one: RejectSighting) -> None:
        key = (one.nas_id, one.identity, one.rule)
        known = self._sightings.get(key)
        if known is not None:
            one = replace(one, first_at=min(known.first_at, one.first_at), count=known.count + one.count)
        elif len(self._sightings) >= _KINDS_KEPT:
            self._counters.rejects_not_recorded += one.count
            return
        self._sightings[key] = one

    async def flush(self, workplace: Workplace) -> int:
        """Write what was noted; when that fails it is kept for the next time, and the trouble is raised."""
        taken, self._sightings = self._sightings, {}
        if not taken:
            return 0
        try:
            async with workplace.work("system:radius") as work:
                await record_rejects(work, list(taken.values()))
        except Exception:
            later, self._sightings = self._sightings, taken
            for one in later.values():
                self._merge(one)
            raise
        return len(taken)
