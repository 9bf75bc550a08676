"""The ladder for late accounts, as data, and the one decision over it.

The stage of an account is a function of what is overdue, the calendar and the account's exceptions. Days are
local dates of the account.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Any

from core.money import format_money
from core.periods import Period


class Stage(StrEnum):
    """How far the account has come, mildest first."""

    CLEAR = "clear"
    REMINDED = "reminded"
    RESTRICTED = "restricted"
    SUSPENDED = "suspended"
    ENDED = "ended"

    @property
    def rank(self) -> int:
        """Place on the ladder, 0 for clear."""
        return list(Stage).index(self)

    @property
    def touches_service(self) -> bool:
        """Whether the subscriber feels it on the line; a reminder is only words."""
        return self.rank >= Stage.RESTRICTED.rank


@dataclass(frozen=True, slots=True)
class Rung:
    """From ``days_overdue`` days after the due date on, the account is at ``stage``."""

    stage: Stage
    days_overdue: int


@dataclass(frozen=True, slots=True)
class Policy:
    """A ladder and its exceptions. Below ``minimum_balance_minor`` overdue nobody is bothered."""

    ladder: tuple[Rung, ...]
    minimum_balance_minor: int = 0
    skip_weekends: bool = True


STANDARD_LADDER = (Rung(Stage.REMINDED, 3), Rung(Stage.RESTRICTED, 10), Rung(Stage.SUSPENDED, 15))


def parse_ladder(described: Iterable[Mapping[str, Any]]) -> tuple[Rung, ...]:
    """A ladder from its JSON form ``[{"stage": "reminded", "days_overdue": 3}, …]``.

    Stages and days must both rise, days from 1. Raises ``ValueError`` naming the rung.
    """
    ladder = tuple(_parse_rung(index, one) for index, one in enumerate(described, start=1))
    for lower, upper in pairwise(ladder):
        if upper.stage.rank <= lower.stage.rank or upper.days_overdue <= lower.days_overdue:
            raise ValueError(f"{upper.stage} after {lower.stage}: stages and days_overdue must rise together")
    return ladder


def _parse_rung(index: int, described: Mapping[str, Any]) -> Rung:
    if set(described) != {"stage", "days_overdue"}:
        raise ValueError(f"rung {index} needs stage and days_overdue; got {sorted(described)}")
    stage, days = described["stage"], described["days_overdue"]
    if stage not in list(Stage)[1:]:
        raise ValueError(f"rung {index}: {stage!r} is not reminded, restricted, suspended or ended")
    if isinstance(days, bool) or not isinstance(days, int) or days < 1:
        raise ValueError(f"rung {index}: days_overdue must be a whole number from 1")
    return Rung(Stage(stage), days)


def ladder_as_json(ladder: Iterable[Rung]) -> list[dict[str, Any]]:
    """The stored form of a ladder."""
    return [{"stage": str(rung.stage), "days_overdue": rung.days_overdue} for rung in ladder]


@dataclass(frozen=True, slots=True)
class UnpaidInvoice:
    """An open invoice. ``held`` are the days on which a payment covered it before it was taken back."""

    number: str
    due_on: date
    open_minor: int
    held: tuple[Period, ...] = ()

    def days_overdue(self, on: date) -> int:
        """Days since the due date on which nobody held the money; 0 on the due date itself."""
        late = Period(self.due_on, max(self.due_on, on))
        held = sum(shared.days for shared in (late.intersect(span) for span in self.held) if shared)
        return late.days - held


@dataclass(frozen=True, slots=True)
class Debtor:
    """An account as the ladder sees it. ``evaluated_on`` is the last day already decided."""

    stage: Stage
    evaluated_on: date
    unpaid: tuple[UnpaidInvoice, ...]
    currency: str
    promise_until: date | None = None
    immune: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """The stage for one day and why, in words the operator reads."""

    on: date
    stage: Stage
    because: str
    overdue_minor: int = 0
    days_overdue: int = 0


def decide_stage(debtor: Debtor, policy: Policy, on: date) -> Decision:
    """The stage on day ``on``, starting from the debtor's present stage."""
    wanted = _rung_reached(debtor, policy, on)
    if wanted.stage.rank <= debtor.stage.rank:
        return wanted
    if debtor.promise_until is not None and on <= debtor.promise_until:
        return _held_back(wanted, debtor.stage, f"promised to pay by {debtor.promise_until}")
    if wanted.stage.touches_service and policy.skip_weekends and on.weekday() >= 5:
        return _held_back(wanted, _mildest_step(debtor.stage), "no cut on a weekend")
    return wanted


def _rung_reached(debtor: Debtor, policy: Policy, on: date) -> Decision:
    late = [one for one in debtor.unpaid if one.open_minor > 0 and one.days_overdue(on) > 0]
    overdue = sum(one.open_minor for one in late)
    if not late:
        return Decision(on, Stage.CLEAR, "nothing is overdue")
    if debtor.immune:
        return Decision(on, Stage.CLEAR, "immune to dunning", overdue)
    amount = format_money(overdue, debtor.currency)
    if overdue < policy.minimum_balance_minor:
        return Decision(on, Stage.CLEAR, f"{amount} overdue is below the minimum balance", overdue)
    oldest = max(late, key=lambda one: one.days_overdue(on))
    days = oldest.days_overdue(on)
    reached = [rung.stage for rung in policy.ladder if rung.days_overdue <= days]
    late_by = f"unpaid for {days} days" if oldest.held else f"{days} days late"
    because = f"{amount} overdue; invoice {oldest.number}, due on {oldest.due_on}, {late_by} on {on}"
    return Decision(on, reached[-1] if reached else Stage.CLEAR, because, overdue, days)


def _held_back(wanted: Decision, stage: Stage, why: str) -> Decision:
    return replace(wanted, stage=stage, because=f"{wanted.because}; {wanted.stage} deferred: {why}")


def _mildest_step(stage: Stage) -> Stage:
    """On a weekend the only step left is the reminder."""
    return stage if stage.rank >= Stage.REMINDED.rank else Stage.REMINDED


def replay_days(debtor: Debtor, policy: Policy, today: date) -> Iterator[Decision]:
    """Decide each day after the last evaluated one up to ``today``; one decision for each change of stage.

    A clock that stands before ``evaluated_on`` is treated as that day, so stepping back undoes nothing and
    suspends nobody twice. A missed weekday is made up for, but nothing is cut while *today* is a weekend day.
    """
    today = max(today, debtor.evaluated_on)
    resting = policy.skip_weekends and today.weekday() >= 5
    for day in days_that_matter(debtor, policy, today):
        decision = decide_stage(debtor, policy, day)
        if resting and decision.stage.touches_service and decision.stage.rank > debtor.stage.rank:
            decision = _held_back(decision, _mildest_step(debtor.stage), "no cut on a weekend")
        if decision.stage is not debtor.stage:
            debtor = replace(debtor, stage=decision.stage)
            yield decision


def days_that_matter(debtor: Debtor, policy: Policy, today: date) -> list[date]:
    """The days not yet evaluated, up to ``today``, on which the stage can change; ``today`` is always one.

    These are the first such day, the days on which an invoice becomes late or reaches a rung, the Monday
    after a weekend and the day after a promise.
    """
    first = min(debtor.evaluated_on + timedelta(days=1), today)
    if any(one.held for one in debtor.unpaid):
        return [first + timedelta(days=offset) for offset in range((today - first).days + 1)]
    steps = {1, *(rung.days_overdue for rung in policy.ladder)}
    turns = {one.due_on + timedelta(days=step) for one in debtor.unpaid for step in steps}
    turns |= {day + timedelta(days=7 - day.weekday()) for day in {first, *turns} if day.weekday() >= 5}
    if debtor.promise_until is not None:
        after = debtor.promise_until + timedelta(days=1)
        turns |= {after, after + timedelta(days=-after.weekday() % 7)}
    return sorted({first, today} | {day for day in turns if first < day < today})


def decide_relief(debtor: Debtor, policy: Policy, today: date) -> Decision | None:
    """The milder stage that a payment brings about, or None: money received never makes anything worse."""
    decision = decide_stage(debtor, policy, max(today, debtor.evaluated_on))
    return decision if decision.stage.rank < debtor.stage.rank else None


def held_periods(total_minor: int, history: Iterable[tuple[date, int]]) -> tuple[Period, ...]:
    """The days on which an invoice of ``total_minor`` was fully paid before payments were taken back.

    ``history`` holds every allocation in order, those taken back as negative amounts.
    """
    held = []
    paid, since = 0, None
    for day, amount in history:
        paid += amount
        if paid >= total_minor and since is None:
            since = day
        elif paid < total_minor and since is not None:
            held.append(Period(since, max(since, day)))
            since = None
    return tuple(held)
