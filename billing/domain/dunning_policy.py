"""Dunning policies as data: stages, rungs and their notices, the calendar of cuts, fees, caps, approvals.

Days are local dates of the account; amounts are minor units of its currency.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, time, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Any

CHANNELS = ("email", "sms", "letter")
_SATURDAY = 5
_LONGEST_CLOSURE = 31
"""How far ahead an open day is looked for: a calendar closed for a month is a calendar closed for good."""


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
        return _RANKS[self]

    @property
    def touches_service(self) -> bool:
        """Whether the subscriber feels it on the line; a reminder is only words."""
        return _RANKS[self] >= _TOUCHING


_RANKS = {stage: rank for rank, stage in enumerate(Stage)}
_TOUCHING = 2


@dataclass(frozen=True, slots=True)
class Notice:
    """Words to the subscriber: by which channel (email, sms, letter), from which template."""

    channel: str
    template: str


@dataclass(frozen=True, slots=True)
class Rung:
    """From ``days_overdue`` days after the due date on, the account is at ``stage`` and has these notices."""

    stage: Stage
    days_overdue: int
    notices: tuple[Notice, ...] = ()


class RestoreBy(StrEnum):
    """What lifts a cut: what is left reaches no such rung, nothing is left, or a share of it is paid."""

    RUNG = "rung"
    FULL = "full"
    PERCENT = "percent"


@dataclass(frozen=True, slots=True)
class Restoring:
    """``percent`` of what was overdue at the cut must be paid; then no cut for ``respite_days``."""

    by: RestoreBy = RestoreBy.RUNG
    percent: int = 100
    respite_days: int = 7


@dataclass(frozen=True, slots=True)
class CutHours:
    """Local hours within which somebody may be cut; ``not_after`` is the first moment that is too late."""

    not_before: time | None = None
    not_after: time | None = None


@dataclass(frozen=True, slots=True)
class Cap:
    """The most accounts cut in one night: a count, a percentage of the policy's accounts, or the lesser."""

    accounts: int | None = None
    percent: int | None = None

    def allows(self, base: int) -> int:
        """How many of ``base`` accounts; a percentage allows at least one, else nobody's turn would come."""
        bounds = [] if self.accounts is None else [self.accounts]
        bounds += [] if self.percent is None else [max(1, base * self.percent // 100)]
        return min(bounds, default=base)


@dataclass(frozen=True, slots=True)
class Approving:
    """Stages that an operator must approve; what nobody decided is asked anew after ``days``."""

    stages: frozenset[Stage]
    days: int = 14


@dataclass(frozen=True, slots=True)
class ClosedDays:
    """Which holidays count: a country (ISO 3166), its part, and days of the provider's own."""

    country: str | None = None
    subdivision: str | None = None
    own: tuple[date, ...] = ()


@dataclass(frozen=True, slots=True)
class LateFee:
    """Owed for an invoice more than ``grace_days`` late: ``flat`` and a share of what is open and undisputed.

    The whole is at least ``minimum_minor`` and at most ``maximum_minor``; ``monthly`` repeats it every month
    up to ``most_times``.
    """

    flat_minor: int = 0
    percent_ppm: int = 0
    minimum_minor: int = 0
    maximum_minor: int | None = None
    grace_days: int = 0
    monthly: bool = False
    most_times: int = 12


@dataclass(frozen=True, slots=True)
class Policy:
    """A ladder and its exceptions. Below ``minimum_balance_minor`` overdue nobody is bothered.

    ``weekdays`` says for a stage on which days (0 Monday to 6 Sunday) it may begin; where it says nothing,
    ``skip_weekends`` keeps cuts to Monday to Friday. ``holidays`` are the names of the days that ``closed``
    stands for; ``skip_eves``: no cut on the day before a closed one. Fees are net. Amounts are of
    ``currency``: see ``in_currency``; without one, of the smallest unit of each account's own.
    """

    ladder: tuple[Rung, ...]
    minimum_balance_minor: int = 0
    skip_weekends: bool = True
    weekdays: Mapping[Stage, frozenset[int]] = field(default_factory=dict)
    closed: ClosedDays = ClosedDays()
    skip_eves: bool = False
    hours: CutHours = CutHours()
    restoring: Restoring = Restoring()
    cap: Cap | None = None
    approving: Approving | None = None
    late_fee: LateFee | None = None
    reconnect_fee_minor: int = 0
    fee_tax_class: str = "fee"
    longest_promise_days: int | None = None
    broken_promises: int | None = None
    write_off_days: int | None = None
    on_restored: tuple[Notice, ...] = ()
    on_promise_broken: tuple[Notice, ...] = ()
    holidays: Mapping[date, str] = field(default_factory=dict)
    version_id: str = ""
    currency: str | None = None

    def on(self, day: date) -> Policy:
        """This policy, whatever the day: see ``PolicyHistory``."""
        return self

    def turns(self) -> tuple[date, ...]:
        """No day on which it changes."""
        return ()

    def in_currency(self, currency: str) -> Policy:
        """This policy for an account that pays in ``currency``: amounts of another one do not apply to it.

        It then has neither fees nor a minimum balance, for 5.00 USD are not 5.00 KWD.
        """
        if self.currency in {None, currency}:
            return self
        return replace(self, minimum_balance_minor=0, late_fee=None, reconnect_fee_minor=0)

    @property
    def bound_to_days(self) -> tuple[Stage, ...]:
        """The stages of the ladder that may not begin on every day."""
        stages = {rung.stage for rung in self.ladder}
        return tuple(one for one in stages if one.touches_service or one in self.weekdays)

    @property
    def charges_late(self) -> bool:
        """Whether it ever asks for a late fee."""
        return self.late_fee is not None


@dataclass(frozen=True, slots=True)
class PolicyHistory:
    """The dated versions of a policy, oldest first; each is in force from its day to the next one's."""

    versions: tuple[tuple[date, Policy], ...]

    def on(self, day: date) -> Policy:
        """The version in force; before the first one, the first."""
        for valid_from, policy in reversed(self.versions):
            if valid_from <= day:
                return policy
        return self.versions[0][1]

    def turns(self) -> tuple[date, ...]:
        """The days on which another version takes effect."""
        return tuple(valid_from for valid_from, _ in self.versions[1:])

    def in_currency(self, currency: str) -> PolicyHistory:
        """Every version for an account that pays in ``currency``."""
        if all(policy.currency in {None, currency} for _, policy in self.versions):
            return self
        return PolicyHistory(tuple((day, policy.in_currency(currency)) for day, policy in self.versions))

    @property
    def charges_late(self) -> bool:
        """Whether any version asks for a late fee."""
        return any(policy.late_fee is not None for _, policy in self.versions)


Ladders = Policy | PolicyHistory

STANDARD_LADDER = (
    Rung(Stage.REMINDED, 3, (Notice("email", "reminder_1"),)),
    Rung(Stage.RESTRICTED, 10, (Notice("email", "restriction_notice"),)),
    Rung(Stage.SUSPENDED, 15, (Notice("email", "suspension_notice"),)),
)


def parse_ladder(described: Iterable[Mapping[str, Any]]) -> tuple[Rung, ...]:
    """A ladder from its JSON form ``[{"stage": "reminded", "days_overdue": 3, "notices": […]}, …]``.

    Days must rise, from 1; stages must not fall: several reminders may follow each other. A notice is
    ``{"channel": "email", "template": "reminder_1"}``. Raises ``ValueError`` naming the rung.
    """
    ladder = tuple(_parse_rung(index, one) for index, one in enumerate(described, start=1))
    for lower, upper in pairwise(ladder):
        if upper.stage.rank < lower.stage.rank or upper.days_overdue <= lower.days_overdue:
            raise ValueError(f"{upper.stage} after {lower.stage}: stages and days_overdue must rise together")
    return ladder


def _parse_rung(index: int, described: Mapping[str, Any]) -> Rung:
    if set(described) - {"notices"} != {"stage", "days_overdue"}:
        raise ValueError(f"rung {index} needs stage and days_overdue; got {sorted(described)}")
    stage, days = described["stage"], described["days_overdue"]
    if stage not in list(Stage)[1:]:
        raise ValueError(f"rung {index}: {stage!r} is not reminded, restricted, suspended or ended")
    if isinstance(days, bool) or not isinstance(days, int) or days < 1:
        raise ValueError(f"rung {index}: days_overdue must be a whole number from 1")
    try:
        return Rung(Stage(stage), days, parse_notices(described.get("notices", ())))
    except ValueError as trouble:
        raise ValueError(f"rung {index}: {trouble}") from None


def parse_notices(described: Iterable[Any]) -> tuple[Notice, ...]:
    """Notices from their JSON form. Raises ``ValueError`` naming what is no channel or template."""
    notices = []
    for one in described:
        if not isinstance(one, Mapping) or set(one) != {"channel", "template"}:
            raise ValueError("a notice needs channel and template")
        if one["channel"] not in CHANNELS:
            raise ValueError(f"{one['channel']!r} is not one of {', '.join(CHANNELS)}")
        template = one["template"]
        if not isinstance(template, str) or not template.isidentifier() or len(template) > 40:
            raise ValueError(f"{template!r} is no template; name it like reminder_1")
        notices.append(Notice(one["channel"], template))
    return tuple(notices)


def ladder_as_json(ladder: Iterable[Rung]) -> list[dict[str, Any]]:
    """The stored form of a ladder."""
    return [
        {
            "stage": str(rung.stage),
            "days_overdue": rung.days_overdue,
            "notices": notices_as_json(rung.notices),
        }
        for rung in ladder
    ]


def notices_as_json(notices: Iterable[Notice]) -> list[dict[str, str]]:
    """The stored form of notices."""
    return [{"channel": one.channel, "template": one.template} for one in notices]


@dataclass(frozen=True, slots=True)
class Bar:
    """What keeps an account from a worse rung. ``code`` is for programs, ``words`` for people."""

    code: str
    words: str


def stage_at(policy: Policy, passed: int) -> Stage:
    """The stage when that many rungs are passed."""
    return policy.ladder[passed - 1].stage if passed else Stage.CLEAR


def find_closure(policy: Policy, stage: Stage, on: date) -> Bar | None:
    """Why the stage may not begin on that day of the calendar, if so."""
    weekdays = policy.weekdays.get(stage)
    if weekdays is not None:
        if on.weekday() not in weekdays:
            weekend = stage.touches_service and on.weekday() >= _SATURDAY
            return Bar("weekday", "no cut on a weekend" if weekend else f"not on a {on:%A}")
    elif stage.touches_service and policy.skip_weekends and on.weekday() >= _SATURDAY:
        return Bar("weekday", "no cut on a weekend")
    if not stage.touches_service:
        return None
    if (name := policy.holidays.get(on)) is not None:
        return Bar("holiday", f"no cut on a holiday ({name})")
    if policy.skip_eves:
        morrow = on + timedelta(days=1)
        resting = policy.skip_weekends and morrow.weekday() >= _SATURDAY
        if policy.holidays.get(morrow) is not None or resting:
            return Bar("eve", "no cut on the day before a closed one")
    return None


def next_open(policy: Policy, stage: Stage, day: date) -> date:
    """That day, or the first after it on which the calendar lets the stage begin."""
    for _ in range(_LONGEST_CLOSURE):
        if find_closure(policy, stage, day) is None:
            return day
        day += timedelta(days=1)
    return day
