"""A subscription as a fold of dated changes: from which day to which it is on which plan, how many, paused.

Changes are never edited. What was wrong is withdrawn by a change of its own, and a change that was written
later wins over an earlier one of the same day: the order of writing decides, the order of arrival does not.
A change of kind ``again`` changes nothing: from its day on invoices look again, because somebody else pays or
the calendar turned.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from core.periods import Period

KINDS = ("start", "plan", "quantity", "pause", "resume", "end", "withdraw", "again")
FOREVER = date.max


@dataclass(frozen=True, slots=True)
class Change:
    """One dated change. ``effective_on``: the first day on which it holds; an end's day is exclusive."""

    id: str
    subscription_id: str
    effective_on: date
    kind: str
    plan_version_id: str | None
    quantity: int | None
    withdraws_id: str | None
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class Phase:
    """Days over which nothing changes. ``end`` is exclusive, ``FOREVER`` while nothing is known to come."""

    start: date
    end: date
    plan_version_id: str
    quantity: int
    paused: bool

    def within(self, period: Period) -> Period | None:
        """Its days in ``period``."""
        start = max(period.start, self.start)
        end = min(period.end, self.end)
        return Period(start, end) if start < end else None


def standing(changes: Iterable[Change]) -> list[Change]:
    """The changes that hold: neither withdrawn nor a withdrawal, in the order in which they take effect."""
    every = list(changes)
    if len(every) == 1:
        return every
    withdrawn = {one.withdraws_id for one in every if one.kind == "withdraw"}
    holding = [one for one in every if one.kind != "withdraw" and one.id not in withdrawn]
    return sorted(holding, key=lambda one: (one.effective_on, one.recorded_at, one.id))


def fold_phases(changes: Iterable[Change]) -> tuple[Phase, ...]:
    """The phases of one subscription; none when its start was withdrawn or it ended before it began."""
    phases: list[Phase] = []
    since: date | None = None
    version, quantity, paused = "", 1, False
    holding = standing(changes)
    end = min((one.effective_on for one in holding if one.kind == "end"), default=FOREVER)
    for one in holding:
        if one.kind == "end":
            continue
        if since is None and one.kind != "start":
            continue
        on = min(one.effective_on, end)
        if since is not None and since < on:
            phases.append(Phase(since, on, version, quantity, paused))
        since = on if since is None or since < on else since
        version = one.plan_version_id or version
        quantity = one.quantity or quantity
        paused = one.kind == "pause" or (paused and one.kind != "resume")
    if since is not None and since < end:
        phases.append(Phase(since, end, version, quantity, paused))
    return _joined(phases)


def _joined(phases: Sequence[Phase]) -> tuple[Phase, ...]:
    """Adjoining phases that do not differ are one: a change to the same changes nothing."""
    joined: list[Phase] = []
    for one in phases:
        last = joined[-1] if joined else None
        if (
            last is not None
            and last.end == one.start
            and (last.plan_version_id, last.quantity, last.paused)
            == (one.plan_version_id, one.quantity, one.paused)
        ):
            joined[-1] = Phase(last.start, one.end, one.plan_version_id, one.quantity, one.paused)
        else:
            joined.append(one)
    return tuple(joined)


def phase_on(phases: Iterable[Phase], day: date) -> Phase | None:
    """The phase with ``day`` in it."""
    return next((one for one in phases if one.start <= day < one.end), None)
