"""Rejects on their way to the record: counted in memory, bounded while the database is away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from aaa.authorize import Reject
from aaa.record_rejects import RejectSighting, prune_rejects, record_rejects
from core.clock import Clock
from core.work import Workplace
from radius.serving.counters import Counters

_KINDS_KEPT = 5_000
_KINDS_KEPT_OF_ONE = 500
_KINDS_BETWEEN_PRUNINGS = 1_000


@dataclass(frozen=True, slots=True)
class Rejection:
    """A reject to be recorded: who was refused where, and why."""

    nas_id: str
    reject: Reject
    calling_station: str | None


class RejectLog:
    """One sighting for each (NAS, identity, rule) since the last flush.

    Identities are whatever a device, or somebody in its network, makes up. Each NAS has its share of the
    memory, and its rows in the database are pruned to the newest.
    """

    def __init__(self, clock: Clock, counters: Counters) -> None:
        self._clock = clock
        self._counters = counters
        self._sightings: dict[tuple[str, str, str], RejectSighting] = {}
        self._kinds: Counter[str] = Counter()
        self._unpruned: Counter[str] = Counter()
        self.listener: Callable[[Rejection], None] | None = None
        """Told of each reject while somebody watches."""

    def note(self, rejection: Rejection) -> None:
        """Count a reject. Beyond the bound new kinds are only counted."""
        if self.listener is not None:
            self.listener(rejection)
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
        elif len(self._sightings) >= _KINDS_KEPT or self._kinds[one.nas_id] >= _KINDS_KEPT_OF_ONE:
            self._counters.rejects_not_recorded += one.count
            return
        else:
            self._kinds[one.nas_id] += 1
        self._sightings[key] = one

    async def flush(self, workplace: Workplace) -> int:
        """Write what was noted; when that fails it is kept for the next time, and the trouble is raised."""
        taken, self._sightings = self._sightings, {}
        kinds, self._kinds = self._kinds, Counter()
        if not taken:
            return 0
        unpruned = self._unpruned + kinds
        due = {nas_id for nas_id, count in unpruned.items() if count >= _KINDS_BETWEEN_PRUNINGS}
        try:
            async with workplace.work("system:radius") as work:
                await record_rejects(work, list(taken.values()))
                for nas_id in sorted(due):
                    await prune_rejects(work, nas_id)
        except Exception:
            later, self._sightings, self._kinds = self._sightings, taken, kinds
            for one in later.values():
                self._merge(one)
            raise
        self._unpruned = Counter({nas_id: count for nas_id, count in unpruned.items() if nas_id not in due})
        return len(taken)
