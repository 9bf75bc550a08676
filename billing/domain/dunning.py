"""The one decision over the ladder for late accounts.

The stage of an account is a function of what is overdue, the calendar and the account's exceptions. Days are
local dates of the account.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta

from billing.domain.dunning_policy import (
    Bar,
    Ladders,
    Notice,
    Policy,
    RestoreBy,
    Stage,
    find_closure,
    next_open,
    stage_at,
)
from core.money import format_money
from core.periods import Period

_FRIDAY = 4  # the eve of a weekend


@dataclass(frozen=True, slots=True)
class UnpaidInvoice:
    """An open invoice. ``held``: days that do not count as late, in order and apart from each other.

    They are the days on which a payment covered it before it was taken back, and those on which the whole of
    it was disputed.
    """

    number: str
    due_on: date
    open_minor: int
    held: tuple[Period, ...] = ()
    id: str = ""

    def days_overdue(self, on: date) -> int:
        """Days since the due date on which nobody held the money; 0 on the due date itself."""
        if not self.held:
            return max(0, (on - self.due_on).days)
        late = Period(self.due_on, max(self.due_on, on))
        held = sum(shared.days for shared in (late.intersect(span) for span in self.held) if shared)
        return late.days - held


@dataclass(frozen=True, slots=True)
class Deferral:
    """Nothing worsens on these days, because of an open outage, a ticket, a pause. ``days.end`` is free."""

    days: Period
    reason: str


@dataclass(frozen=True, slots=True)
class Dispute:
    """An amount that does not count as overdue on these days: of one invoice, or of the account (None).

    ``amount_minor`` None: all of it.
    """

    days: Period
    invoice: str | None = None
    amount_minor: int | None = None


@dataclass(frozen=True, slots=True)
class Debtor:
    """An account as the ladder sees it. ``evaluated_on`` is the last day already decided.

    ``reached``: days_overdue of the last rung passed, None when only the stage is known. ``cut_minor``: what
    was overdue when it was cut. ``approved``: the worst stage an operator has approved; ``declined_until``
    the last day on which he does not want to be asked again. ``written_off_minor``: debts given up and not
    forgiven, which restore nobody.
    """

    stage: Stage
    evaluated_on: date
    unpaid: tuple[UnpaidInvoice, ...]
    currency: str
    promise_until: date | None = None
    immune: bool = False
    immune_until: date | None = None
    reached: int | None = None
    respite_until: date | None = None
    cut_minor: int | None = None
    deferrals: tuple[Deferral, ...] = ()
    disputes: tuple[Dispute, ...] = ()
    approved: Stage | None = None
    declined_until: date | None = None
    written_off_minor: int = 0

    def is_immune(self, on: date) -> bool:
        """Whether the account is left alone that day."""
        return self.immune and (self.immune_until is None or on <= self.immune_until)


@dataclass(frozen=True, slots=True)
class Moment:
    """What bars steps just now, whatever the day: ``all`` of them, or the ``cuts`` alone."""

    all: Bar | None = None
    cuts: Bar | None = None


ANY_MOMENT = Moment()


@dataclass(frozen=True, slots=True)
class Decision:
    """The stage for one day and why, in words the operator reads.

    ``wanted`` is where the ladder would have it, ``deferred`` what keeps it from there; ``notices`` are those
    of the rung it came to; ``version_id``: the policy version it was decided by.
    """

    on: date
    stage: Stage
    because: str
    overdue_minor: int = 0
    days_overdue: int = 0
    wanted: Stage = Stage.CLEAR
    deferred: Bar | None = None
    reached: int = 0
    notices: tuple[Notice, ...] = ()
    respite_until: date | None = None
    cut_minor: int | None = None
    version_id: str = ""


@dataclass(frozen=True, slots=True)
class Course:
    """What became of an account in the days made up for: each step, and the word of the last day."""

    steps: tuple[Decision, ...]
    last: Decision


@dataclass(frozen=True, slots=True)
class _View:
    """What counts on one day: the amount, the oldest invoice, how many rungs it has passed, what exempts."""

    overdue_minor: int
    days: int
    oldest: UnpaidInvoice | None
    passed: int
    exempt: str | None


def _assess(debtor: Debtor, policy: Policy, on: date) -> _View:
    overdue, days, oldest = 0, 0, None
    for one, counted in _counted(debtor, on):
        overdue += counted
        late_by = one.days_overdue(on)
        if late_by > days:
            days, oldest = late_by, one
    if oldest is None:
        exempt = "nothing is overdue"
        if any(on in one.days for one in debtor.disputes) and any(one.due_on < on for one in debtor.unpaid):
            exempt = "what is overdue is disputed"
        return _View(0, 0, None, 0, exempt)
    if debtor.is_immune(on):
        return _View(overdue, days, oldest, 0, "immune to dunning")
    if overdue < policy.minimum_balance_minor:
        amount = format_money(overdue, debtor.currency)
        return _View(overdue, days, oldest, 0, f"{amount} overdue is below the minimum balance")
    passed = 0
    for rung in policy.ladder:
        if rung.days_overdue > days:
            break
        passed += 1
    return _View(overdue, days, oldest, passed, None)


def _counted(debtor: Debtor, on: date) -> Iterator[tuple[UnpaidInvoice, int]]:
    """The late invoices and what of each is not disputed; disputes of the account eat the oldest first."""
    if not debtor.disputes:
        for one in debtor.unpaid:
            if one.due_on < on and one.open_minor > 0 and one.days_overdue(on) > 0:
                yield one, one.open_minor
        return
    disputes = [one for one in debtor.disputes if on in one.days]
    at_large = [one.amount_minor for one in disputes if one.invoice is None]
    if None in at_large:
        return
    rest = sum(amount for amount in at_large if amount is not None)
    for one in sorted(debtor.unpaid, key=lambda unpaid: (unpaid.due_on, unpaid.number)):
        if one.due_on >= on or one.open_minor <= 0 or one.days_overdue(on) <= 0:
            continue
        own = [dispute.amount_minor for dispute in disputes if dispute.invoice == one.number]
        counted = 0 if None in own else max(0, one.open_minor - sum(amount or 0 for amount in own))
        eaten = min(rest, counted)
        rest, counted = rest - eaten, counted - eaten
        if counted:
            yield one, counted


def overdue_on(debtor: Debtor, on: date) -> int:
    """What counts as overdue that day, in minor units."""
    return sum(counted for _, counted in _counted(debtor, on))


def counted_of(debtor: Debtor, on: date) -> list[tuple[UnpaidInvoice, int]]:
    """The late invoices with what counts of each that day."""
    return list(_counted(debtor, on))


def _present(debtor: Debtor, policy: Policy) -> int:
    """How many rungs of this policy the account has passed already."""
    if debtor.reached is None:
        return max(
            (index for index, rung in enumerate(policy.ladder, start=1) if rung.stage is debtor.stage),
            default=0,
        )
    return sum(1 for rung in policy.ladder if rung.days_overdue <= debtor.reached)


def _is_worse(policy: Policy, passed: int, debtor: Debtor, present: int) -> bool:
    rank, now = stage_at(policy, passed).rank, debtor.stage.rank
    return rank > now or (rank == now and passed > present and passed > 0)


def decide_stage(
    debtor: Debtor, ladders: Ladders, on: date, moment: Moment = ANY_MOMENT, today: date | None = None
) -> Decision:
    """The stage on day ``on``, starting from the debtor's present stage.

    A missed day is made up for ``today``: what bars a step then bars it as well.
    """
    policy = ladders.on(on)
    return _decide(debtor, ladders, on, _assess(debtor, policy, on), moment=moment, today=today)


def _decide(
    debtor: Debtor, ladders: Ladders, on: date, view: _View, *, moment: Moment, today: date | None
) -> Decision:
    policy = ladders.on(on)
    present = _present(debtor, policy)
    if _share_is_paid(debtor, policy, view):
        return _restored_by_share(debtor, policy, view, on)
    if not _is_worse(policy, view.passed, debtor, present):
        return _no_worse(debtor, policy, view, on, present)
    first: Bar | None = None
    for passed in range(view.passed, 0, -1):
        if not _is_worse(policy, passed, debtor, present):
            break
        bar = _find_bar(debtor, policy, policy.ladder[passed - 1].stage, on, moment)
        if bar is None and today is not None and today != on:
            bar = _find_bar(debtor, ladders.on(today), policy.ladder[passed - 1].stage, today, moment)
        if bar is None:
            return _step(debtor, policy, view, on, passed=passed, deferred=first)
        first = first or bar
    stay = _decision(debtor, policy, view, on, stage=debtor.stage, deferred=first)
    return replace(stay, reached=policy.ladder[present - 1].days_overdue if present else 0)


def _share_is_paid(debtor: Debtor, policy: Policy, view: _View) -> bool:
    if policy.restoring.by is not RestoreBy.PERCENT or view.exempt or debtor.written_off_minor:
        return False
    if not debtor.stage.touches_service or debtor.cut_minor is None:
        return False
    return view.overdue_minor * 100 <= debtor.cut_minor * (100 - policy.restoring.percent)


def _restored_by_share(debtor: Debtor, policy: Policy, view: _View, on: date) -> Decision:
    """Back to the words-only part of the ladder, with days to pay the rest."""
    passed = view.passed
    while passed and policy.ladder[passed - 1].stage.touches_service:
        passed -= 1
    until = on + timedelta(days=policy.restoring.respite_days)
    restored = _decision(debtor, policy, view, on, stage=stage_at(policy, passed))
    paid = f"{policy.restoring.percent} % of what was overdue is paid, the rest may take until {until}"
    return replace(
        restored, because=f"{restored.because}; {paid}", respite_until=until, cut_minor=None,
        reached=policy.ladder[passed - 1].days_overdue if passed else 0,
    )  # fmt: skip


def _no_worse(debtor: Debtor, policy: Policy, view: _View, on: date, present: int) -> Decision:
    wanted = stage_at(policy, view.passed)
    stage, because = wanted, None
    if wanted.rank < debtor.stage.rank and debtor.stage.touches_service and not debtor.is_immune(on):
        if debtor.written_off_minor:
            because = f"{format_money(debtor.written_off_minor, debtor.currency)} written off restores nobody"
        elif not view.exempt and policy.restoring.by is RestoreBy.FULL:
            because = "only the whole of it restores the service"
        elif not view.exempt and policy.restoring.by is RestoreBy.PERCENT:
            because = f"{policy.restoring.percent} % of it must be paid to restore the service"
        stage = debtor.stage if because else wanted
    decided = _decision(debtor, policy, view, on, stage=stage)
    if because:
        reached = policy.ladder[present - 1].days_overdue if present else 0
        return replace(decided, because=f"{decided.because}; {because}", reached=reached)
    return decided


def _step(
    debtor: Debtor, policy: Policy, view: _View, on: date, *, passed: int, deferred: Bar | None
) -> Decision:
    rung = policy.ladder[passed - 1]
    decided = _decision(debtor, policy, view, on, stage=rung.stage, deferred=deferred)
    cut = view.overdue_minor if rung.stage.touches_service else debtor.cut_minor
    return replace(decided, reached=rung.days_overdue, notices=rung.notices, cut_minor=cut)


def _decision(
    debtor: Debtor, policy: Policy, view: _View, on: date, *, stage: Stage, deferred: Bar | None = None
) -> Decision:
    wanted = stage_at(policy, view.passed)
    because = view.exempt or _in_words(debtor, view, on)
    if deferred is not None:
        because = f"{because}; {wanted} deferred: {deferred.words}"
    return Decision(
        on, stage, because, view.overdue_minor, 0 if view.exempt else view.days, wanted, deferred,
        policy.ladder[view.passed - 1].days_overdue if view.passed else 0, (), debtor.respite_until,
        debtor.cut_minor if stage.touches_service else None, policy.version_id,
    )  # fmt: skip


def _in_words(debtor: Debtor, view: _View, on: date) -> str:
    oldest = view.oldest
    if oldest is None:
        return "nothing is overdue"
    amount = format_money(view.overdue_minor, debtor.currency)
    late_by = f"unpaid for {view.days} days" if oldest.held else f"{view.days} days late"
    return f"{amount} overdue; invoice {oldest.number}, due on {oldest.due_on}, {late_by} on {on}"


def find_deferral(debtor: Debtor, on: date) -> Bar | None:
    """What defers every worsening that day, a reminder and a fee as well."""
    if debtor.promise_until is not None and on <= debtor.promise_until:
        return Bar("promise", f"promised to pay by {debtor.promise_until}")
    for one in debtor.deferrals:
        if on in one.days:
            return Bar("deferral", one.reason)
    return None


def _find_bar(debtor: Debtor, policy: Policy, stage: Stage, on: date, moment: Moment) -> Bar | None:
    bar = find_deferral(debtor, on) or moment.all
    if bar is not None:
        return bar
    if stage.touches_service and debtor.respite_until is not None and on <= debtor.respite_until:
        return Bar("respite", f"a part is paid, the rest may take until {debtor.respite_until}")
    if policy.approving is not None and stage in policy.approving.stages:
        if debtor.declined_until is not None and on <= debtor.declined_until:
            return Bar("declined", f"an operator declined it until {debtor.declined_until}")
        if debtor.approved is None or debtor.approved.rank < stage.rank:
            return Bar("approval", "it waits for an operator's approval")
    return find_closure(policy, stage, on) or (moment.cuts if stage.touches_service else None)


def run_course(debtor: Debtor, ladders: Ladders, today: date, moment: Moment = ANY_MOMENT) -> Course:
    """Decide each day after the last evaluated one up to ``today``, in order.

    A clock that stands before ``evaluated_on`` is treated as that day, so stepping back undoes nothing and
    suspends nobody twice. A missed weekday is made up for, but nothing is cut while *today* bars it.
    """
    today = max(today, debtor.evaluated_on)
    steps: list[Decision] = []
    for day in days_that_matter(debtor, ladders, today):
        policy = ladders.on(day)
        view = _assess(debtor, policy, day)
        if day < today and _is_at_rest(debtor, policy, view):
            continue
        last = _decide(debtor, ladders, day, view, moment=moment, today=today)
        if last.stage is not debtor.stage or last.notices:
            steps.append(last)
        after = (last.stage, last.reached, last.respite_until, last.cut_minor)
        if day < today and after != (debtor.stage, debtor.reached, debtor.respite_until, debtor.cut_minor):
            debtor = replace(
                debtor, stage=last.stage, reached=last.reached, respite_until=last.respite_until,
                cut_minor=last.cut_minor,
            )  # fmt: skip
    return Course(tuple(steps), last)  # today always matters


def _is_at_rest(debtor: Debtor, policy: Policy, view: _View) -> bool:
    """Whether the account is where the day would have it: by far the most days of most accounts."""
    if stage_at(policy, view.passed) is not debtor.stage or (debtor.reached is None and view.passed):
        return False
    return view.passed == _present(debtor, policy) and not _share_is_paid(debtor, policy, view)


def replay_days(debtor: Debtor, ladders: Ladders, today: date) -> Iterator[Decision]:
    """The steps of the days after the last evaluated one: each change of stage, each rung with notices."""
    yield from run_course(debtor, ladders, today).steps


def days_that_matter(debtor: Debtor, ladders: Ladders, today: date) -> list[date]:
    """The days not yet evaluated, up to ``today``, on which the stage can change; ``today`` is always one.

    These are the first such day, those on which an invoice becomes late or reaches a rung, an exception or a
    version begins or ends, and after each of them the first day on which the calendar allows the step.
    """
    first = min(debtor.evaluated_on + timedelta(days=1), today)
    if first == today:
        return [today]
    if any(one.held for one in debtor.unpaid):
        return [first + timedelta(days=offset) for offset in range((today - first).days + 1)]
    turns = {day for day in _turns(debtor, ladders) if first < day < today}
    turns |= {first}
    for day, policy in [(day, ladders.on(day)) for day in turns]:
        if day.weekday() < _FRIDAY and not policy.holidays and not policy.weekdays:
            continue  # an ordinary day: quick, for there are many
        for stage in policy.bound_to_days:
            opens = next_open(policy, stage, day)
            if day < opens < today:
                turns.add(opens)
    return sorted(turns | {today})


def _turns(debtor: Debtor, ladders: Ladders) -> Iterator[date]:
    one_day = timedelta(days=1)
    versions = ladders.turns()
    policies = [ladders.on(day) for day in versions] + [ladders.on(debtor.evaluated_on)]
    steps = {1, *(rung.days_overdue for policy in policies for rung in policy.ladder)}
    for one in debtor.unpaid:
        for step in steps:
            yield one.due_on + timedelta(days=step)
    yield from versions
    for until in (debtor.promise_until, debtor.respite_until, debtor.immune_until, debtor.declined_until):
        if until is not None:
            yield until + one_day
    for days in (*(one.days for one in debtor.deferrals), *(one.days for one in debtor.disputes)):
        yield days.start
        yield days.end


def decide_relief(debtor: Debtor, ladders: Ladders, today: date) -> Decision | None:
    """The milder stage that a payment brings about, or None: money received never makes anything worse."""
    decision = decide_stage(debtor, ladders, max(today, debtor.evaluated_on))
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


def join_periods(periods: Iterable[Period]) -> tuple[Period, ...]:
    """The same days as spans in order and apart from each other."""
    joined: list[Period] = []
    for one in sorted(periods, key=lambda period: period.start):
        if joined and one.start <= joined[-1].end:
            joined[-1] = Period(joined[-1].start, max(joined[-1].end, one.end))
        else:
            joined.append(one)
    return tuple(joined)


def decide_promise(until: date, promised_minor: int, paid_minor: int, overdue_minor: int, today: date) -> str:
    """``kept`` once the promised amount came, or when nothing is overdue after its day; else open or broken.

    Nothing overdue before its day proves nothing: what was promised may not be due yet. A promise of 0 was
    for whatever is overdue on its day.
    """
    if promised_minor and paid_minor >= promised_minor:
        return "kept"
    if today <= until:
        return "open"
    return "kept" if overdue_minor == 0 else "broken"
