"""From an account's case to what is to be done about it at an instant; nothing is written here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time

from billing.domain.dunning import Course, Decision, Moment, decide_stage, run_course
from billing.domain.dunning_policy import Bar, Stage
from billing.domain.late_fees import FeeDue, fees_due
from billing.dunning.debtors import Case
from core.periods import zone

CAPPED = Bar("cap", "as many as may be cut in one night are cut already")


@dataclass(frozen=True, slots=True)
class Outcome:
    """Steps and fees of the days made up for, and the word of the last one.

    ``look_again_at``: today's word will be another then.
    """

    case: Case
    steps: tuple[Decision, ...]
    last: Decision
    fees: tuple[FeeDue, ...] = ()
    look_again_at: datetime | None = None
    in_catch_up: bool = True  # False: today alone was decided

    @property
    def stage(self) -> Stage:
        """Where the account comes to stand."""
        return self.last.stage

    @property
    def because(self) -> str:
        """Why it came there: the words of the last step, or of the last day when nothing moved."""
        return (self.steps[-1] if self.steps else self.last).because

    @property
    def is_cut(self) -> bool:
        """Whether a service is taken away that was there, or more of it."""
        return self.stage.touches_service and self.stage.rank > self.case.state.stage.rank


def settle(case: Case, now: datetime, *, may_cut: bool = True, any_hour: bool = False) -> Outcome:
    """All days not decided yet up to the account's today. ``any_hour``: as if its cut-off hours were open."""
    hours, opens_at = (None, None) if any_hour else _hours_bar(case, now)
    cuts = hours or (None if may_cut else CAPPED)
    moment = Moment(case.bar, cuts)
    course = run_course(case.debtor, case.ladders, case.today, moment)
    return _outcome(case, course, moment, opens_at)


def _outcome(case: Case, course: Course, moment: Moment, opens_at: datetime | None) -> Outcome:
    fees = fees_due(case.debtor, case.ladders, case.today, case.charged, moment)
    waits = course.last.deferred is not None and course.last.deferred.code == "hours"
    return Outcome(case, course.steps, course.last, tuple(fees), opens_at if waits else None)


def settle_relief(case: Case) -> Outcome:
    """Today's word when only what is milder may happen."""
    today = max(case.today, case.state.evaluated_on)
    decision = decide_stage(case.debtor, case.ladders, today)
    steps = (decision,) if decision.stage.rank < case.state.stage.rank else ()
    fees = fees_due(case.debtor, case.ladders, case.today, case.charged) if steps else ()
    return Outcome(case, steps, decision, tuple(fees), in_catch_up=False)


def _hours_bar(case: Case, now: datetime) -> tuple[Bar | None, datetime | None]:
    """Why nobody is cut at this hour of the account's day, and when its window opens, if it still does."""
    hours = case.policy.hours
    if hours.not_before is not None:
        opens = _instant(case.today, hours.not_before, case.state.time_zone)
        if now < opens:
            return Bar("hours", f"no cut before {hours.not_before:%H:%M}"), opens
    if hours.not_after is not None and now >= _instant(case.today, hours.not_after, case.state.time_zone):
        return Bar("hours", f"no cut after {hours.not_after:%H:%M}"), None
    return None, None


def _instant(day: date, hour: time, time_zone: str) -> datetime:
    """The hour on the wall of that day; of an hour that comes twice the first (PEP 495, fold 0).

    In an hour that the zone leaves out it is as long after midnight as it would have been.
    """
    return datetime.combine(day, hour, tzinfo=zone(time_zone)).astimezone(UTC)
