"""The health of all RADIUS processes on the same ports: each reports, the leader opens and closes issues."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from core.health import HealthIssue, close_issue, open_issue
from core.work import Workplace
from radius.nas.table import NOTHING_SEEN, NasTable, Seen
from radius.serving.findings import NasWatch
from radius.serving.place import Place
from radius.serving.siblings import Siblings, WorkerReport


class FamilyHealth:
    """One process's part of it; ``own_issues`` says what this process finds of itself."""

    def __init__(
        self,
        place: Place,
        nases: NasTable,
        watch: NasWatch,
        own_issues: Callable[[], list[HealthIssue]],
    ) -> None:
        self._place = place
        self._nases = nases
        self._watch = watch
        self._own_issues = own_issues
        self._reports: dict[int, WorkerReport] = {}
        self._seen: dict[str, Seen] = {}
        self._open: set[str] = set()
        self._inherited: set[str] = set()

    def inherit(self, keys: set[str]) -> None:
        """What an earlier process may have found is closed, unless this one finds it again."""
        self._inherited = keys

    def hear(self, report: WorkerReport) -> None:
        """What another process noticed goes into the leader's next look."""
        self._reports[report.worker] = report
        _add(self._seen, report.seen)

    async def turn(self, workplace: Workplace, siblings: Siblings | None) -> None:
        """Report to the leader; the leader itself changes the issues that have changed."""
        seen, names = self._nases.take_seen(), self._nases.names
        self._watch.count(seen, names)
        own = self._own_issues()
        if siblings is not None and not self._place.leads:
            siblings.report(WorkerReport(self._place.index, seen, own))
            return
        _add(seen, self._seen)
        self._seen = {}
        told = [*own, *(issue for report in self._reports.values() for issue in report.issues)]
        wanted = {issue.key: issue for issue in [*self._watch.issues(seen, names), *told]}
        await self._open_and_close(workplace, wanted)

    async def _open_and_close(self, workplace: Workplace, wanted: dict[str, HealthIssue]) -> None:
        opening = wanted.keys() - self._open
        closing = (self._open | self._inherited) - wanted.keys()
        if not opening and not closing:
            return
        async with workplace.work("system:radius") as work:
            for key in opening:
                await open_issue(work, wanted[key])
            for key in closing:
                await close_issue(work, key)
        self._open, self._inherited = set(wanted), set()


def _add(seen: dict[str, Seen], more: Mapping[str, Seen]) -> None:
    for nas_id, counts in more.items():
        seen[nas_id] = counts.plus(seen.get(nas_id, NOTHING_SEEN))
