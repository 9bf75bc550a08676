"""Which usage an invoice prices: parts in view, those rated again, and the closes they are made of. Pure.

What is closed belongs to a subscription and stays as it was; terms may be changed back-dated. So a part is
put together from the closes that share days with it, and only days that none has are closed anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from billing.domain.catalogue import Account, PlanVersion, Subscription
from billing.domain.items import Item
from billing.domain.owed import Key, View, turns_of
from billing.domain.phases import FOREVER, Phase
from billing.domain.rating.calendar import Calendar
from billing.domain.rating.parts import bucket_of
from billing.domain.rating.slices import Slice, cut_slices
from billing.domain.rating.terms import UsageTerms
from core.periods import Period


@dataclass(frozen=True, slots=True)
class UsagePart:
    """Days of one period of a usage item, on one plan version: what is priced together.

    ``opens``: the first day of the period, which is later than that of ``period`` if a change of the billing
    day cut it.
    """

    version: PlanVersion
    item: Item
    terms: UsageTerms
    part: Period
    period: Period
    opens: date

    @property
    def key(self) -> Key:
        """What it is charged as."""
        return self.version.id, self.item.code, self.part.start

    @property
    def turn(self) -> date:
        """From which day on it draws on its bucket: those who share one begin with their period."""
        return self.part.start if self.terms.shared is None else self.opens

    def calendar(self, account: Account) -> Calendar:
        """The part with its period, in the account's zone."""
        return Calendar(self.period, self.part, account.time_zone, account.anchor_day)

    def needs_slices(self, account: Account) -> bool:
        """Whether totals are too little to price it."""
        return self.terms.needs_slices_in(self.calendar(account))


@dataclass(frozen=True, slots=True)
class ClosedSpan:
    """What a close froze of a subscription's usage over some days; ``records`` and ``digest`` if known."""

    close_id: str
    span: Period
    octets_in: int
    octets_out: int
    records: int | None = None
    digest: str | None = None

    def as_json(self) -> list[Any]:
        """As rated charges keep it."""
        span = self.span
        return [self.close_id, span.start.isoformat(), span.end.isoformat(), self.octets_in, self.octets_out]


def parse_closed(stored: Sequence[Any]) -> ClosedSpan:
    """From ``ClosedSpan.as_json``."""
    close_id, start, end, octets_in, octets_out = stored
    return ClosedSpan(
        close_id, Period(date.fromisoformat(start), date.fromisoformat(end)), octets_in, octets_out
    )


RatedBefore = tuple[str, str, date, date, str, Sequence[Sequence[Any]] | None, int, int, int]
"""``(plan version id, item code, first day, day after the last, close id, closes, octets in, octets out,
minor units)`` of a rated charge; ``closes`` (``ClosedSpan.as_json``) None: its one close has just its
days."""


def closes_of(rated: Iterable[RatedBefore]) -> list[ClosedSpan]:
    """The closes behind rated charges, each once."""
    found: dict[str, ClosedSpan] = {}
    for _, _, start, end, close_id, closes, octets_in, octets_out, _ in rated:
        if closes is None:
            found[close_id] = ClosedSpan(close_id, Period(start, end), octets_in, octets_out)
        else:
            found |= {one[0]: parse_closed(one) for one in closes}
    return list(found.values())


def charged_of(rated: Iterable[RatedBefore]) -> dict[Key, int]:
    """What was charged for each part, adjustments included."""
    charged: dict[Key, int] = {}
    for version_id, code, start, *_, amount in rated:
        key = (version_id, code, start)
        charged[key] = charged.get(key, 0) + amount
    return charged


def parts_to_rate(
    account: Account,
    subscription: Subscription,
    phases: Sequence[Phase],
    versions: Mapping[str, PlanVersion],
    seen: Period,
) -> list[UsagePart]:
    """The days of every usage item's periods, by plan version, that are over when ``seen`` is.

    From the period with the first day of ``seen`` in it on.
    """
    since, opening = seen.start, seen.end
    if subscription.service_id is None:
        return []
    found = []
    end = phases[-1].end if phases else FOREVER
    for phase in phases:
        if phase.start >= opening:
            break
        version = versions[phase.plan_version_id]
        for item in version.items:
            if item.usage is None:
                continue
            turns = turns_of(account, subscription, item)
            start = max(phase.start, turns.containing(since).start)
            for period in turns.between(start, min(phase.end, opening)):
                part = phase.within(period)
                if part is not None and min(period.end, end) <= opening:
                    whole = turns.whole(period)
                    found.append(UsagePart(version, item, item.usage, part, whole, period.start))
    return found


@dataclass(frozen=True, slots=True)
class Gap:
    """Days of a subscription that no close has: they are closed for this invoice."""

    subscription: Subscription
    span: Period

    @property
    def claim(self) -> str:
        """What the close is for: the same again answers the same."""
        return f"bill:{self.subscription.id}:{self.span.start}"


@dataclass(frozen=True, slots=True)
class Asked:
    """A part that this invoice prices. ``charged``: what earlier invoices took for it; None: nothing yet.

    ``standing``: the closes that share days with it; ``gaps`` the days beside them, by their places.
    ``after``: how many other lines stand before its own.
    """

    subscription: Subscription
    of: UsagePart
    bucket: str
    charged: int | None
    standing: tuple[ClosedSpan, ...]
    gaps: tuple[int, ...]
    after: int

    @property
    def order(self) -> tuple[str, str, date]:
        return self.subscription.id, self.of.item.code, self.of.part.start


@dataclass(frozen=True, slots=True)
class Gone:
    """A part that was charged and is owed no longer: its days are of another plan, or not used at all."""

    subscription: Subscription
    version: PlanVersion
    item: Item
    part: Period
    close_id: str
    charged: int
    after: int


@dataclass(slots=True)
class UsagePlan:
    """Everything about usage that an invoice waits for.

    ``turns``: from which day on each bucket is drawn on anew.
    """

    asked: list[Asked] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    gone: list[Gone] = field(default_factory=list)
    turns: dict[str, date] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Metered:
    """A subscription with what planning its usage needs.

    ``changed``: the earliest day that changed since the last invoice. ``after``: lines before its usage.
    """

    subscription: Subscription
    phases: Sequence[Phase]
    rated: Sequence[RatedBefore]
    changed: date | None
    after: int


def plan_usage(
    account: Account,
    metered: Sequence[Metered],
    versions: Mapping[str, PlanVersion],
    view: View,
    settled: date,
) -> UsagePlan:
    """Parts that were never priced, and those that a change makes worth a second look, with their buckets.

    A part that is priced anew is priced with all others that draw on its bucket from the same day on, for
    what it uses is not there for them. ``settled``: usage is in up to the beginning of this local day.
    """
    since = min((one.changed for one in metered if one.changed is not None), default=view.before)
    seen = Period(min(since, view.before), view.opening.start)
    plan = UsagePlan()
    found: list[tuple[Metered, UsagePart, str, dict[Key, int]]] = []
    for one in metered:
        charged = charged_of(one.rated) if one.rated else {}
        for part in parts_to_rate(account, one.subscription, one.phases, versions, seen):
            if part.part.end > settled:
                continue
            bucket = _bucket(account, one.subscription, part.terms, part.item)
            found.append((one, part, bucket, charged))
            if part.key not in charged or _is_changed(one, part):
                _turn(plan, bucket, part.turn)
    for one in metered:
        if one.changed is not None and one.rated:
            _plan_gone(plan, account, one, versions, {part.key for of, part, *_ in found if of is one})
    closes: dict[str, list[ClosedSpan]] = {}
    holes: dict[str, list[tuple[Period, int]]] = {}
    for one, part, bucket, charged in sorted(found, key=_in_time) if len(found) > 1 else found:
        turn = plan.turns.get(bucket)
        if turn is None or part.turn < turn:
            continue
        subscription = one.subscription
        if subscription.id not in closes:
            closes[subscription.id] = closes_of(one.rated) if one.rated else []
        standing = tuple(
            close for close in closes[subscription.id] if close.span.intersect(part.part) is not None
        )
        gaps = _gaps(plan, subscription, part.part, standing, holes.setdefault(subscription.id, []))
        plan.asked.append(Asked(subscription, part, bucket, charged.get(part.key), standing, gaps, one.after))
    return plan


def _is_changed(one: Metered, part: UsagePart) -> bool:
    """Whether a day of the part, as it is or as it was rated, may be other than it was."""
    if one.changed is None:
        return False
    rated_until = (rated[3] for rated in one.rated if rated[:3] == part.key)
    return max(part.part.end, *rated_until) > one.changed


def _in_time(found: tuple[Metered, UsagePart, str, Any]) -> tuple[int, date, date]:
    """Subscription by subscription, and of each the earlier end first: a week is closed before its month."""
    return found[0].after, found[1].part.start, found[1].part.end


def _bucket(account: Account, subscription: Subscription, terms: UsageTerms, item: Item) -> str:
    return bucket_of(terms, subscription.account_id, account.id, subscription.id, item.code)


def _turn(plan: UsagePlan, bucket: str, day: date) -> None:
    standing = plan.turns.get(bucket)
    plan.turns[bucket] = day if standing is None else min(standing, day)


def _plan_gone(
    plan: UsagePlan,
    account: Account,
    one: Metered,
    versions: Mapping[str, PlanVersion],
    owed: set[Key],
) -> None:
    changed = one.changed
    totals = charged_of(one.rated)
    seen: set[Key] = set()
    for version_id, code, start, end, close_id, *_ in one.rated:
        key, version = (version_id, code, start), versions[version_id]
        item = version.item(code)
        if key in seen or key in owed or changed is None or end <= changed:
            continue
        if item is None or item.usage is None:
            continue
        seen.add(key)
        _turn(plan, _bucket(account, one.subscription, item.usage, item), start)
        if totals[key]:
            period = Period(start, end)
            plan.gone.append(Gone(one.subscription, version, item, period, close_id, totals[key], one.after))


def _gaps(
    plan: UsagePlan,
    subscription: Subscription,
    part: Period,
    standing: Sequence[ClosedSpan],
    holes: list[tuple[Period, int]],
) -> tuple[int, ...]:
    """The days of the part that no close has, also none that this invoice asks for already."""
    used = [place for hole, place in holes if hole.intersect(part) is not None]
    covered = sorted(
        (one for one in (*(close.span for close in standing), *(hole for hole, _ in holes))),
        key=lambda one: one.start,
    )
    at = part.start
    for one in (*covered, Period(part.end, part.end)):
        if at < min(one.start, part.end):
            gap = Period(at, min(one.start, part.end))
            holes.append((gap, len(plan.gaps)))
            used.append(len(plan.gaps))
            plan.gaps.append(Gap(subscription, gap))
        at = max(at, one.end)
    return tuple(used)


@dataclass(frozen=True, slots=True)
class MeasuredUsage:
    """Closed usage of a subscription over a part of a period, ready to be priced."""

    part: Period
    cycle: Period
    closes: tuple[ClosedSpan, ...]
    octets_in: int
    octets_out: int
    slices: Sequence[Slice] | None = None

    @property
    def is_one(self) -> bool:
        """Whether it is a single close with just these days."""
        return len(self.closes) == 1 and self.closes[0].span == self.part


def closes_to_cut(
    account: Account, asked: Iterable[Asked], answers: Sequence[ClosedSpan | None]
) -> list[str]:
    """The closes of which must be known when their octets were used: for the terms, or to be divided."""
    wanted: dict[str, None] = {}
    for one in asked:
        part = one.of.part
        timed = one.of.needs_slices(account)
        for close in _closes(one, answers):
            if timed or close.span.start < part.start or close.span.end > part.end:
                wanted[close.close_id] = None
    return list(wanted)


def _closes(one: Asked, answers: Sequence[ClosedSpan | None]) -> list[ClosedSpan]:
    fresh = [answers[place] for place in one.gaps]
    return sorted(
        (close for close in (*one.standing, *fresh) if close is not None), key=lambda close: close.span.start
    )


def measure_part(
    account: Account,
    one: Asked,
    answers: Sequence[ClosedSpan | None],
    slices_of: Callable[[str], Sequence[Slice] | None],
) -> MeasuredUsage | None:
    """The part's usage, put together from its closes; None when one of them has no answer.

    An octet of a record across the part's border is on the side where the record's share by time puts it;
    the sides are the whole.
    """
    if any(answers[place] is None for place in one.gaps):
        return None
    part = one.of.part
    closes = _closes(one, answers)
    timed = one.of.needs_slices(account)
    octets_in = octets_out = 0
    slices: list[Slice] = []
    borders = None
    for close in closes:
        whole = close.span.start >= part.start and close.span.end <= part.end
        if whole:
            octets_in += close.octets_in
            octets_out += close.octets_out
            if not timed:
                continue
        found = slices_of(close.close_id)
        if found is None:
            return None
        if whole:
            slices += found
            continue
        borders = borders or part.instants(account.time_zone)
        cut = cut_slices(found, *borders)
        octets_in += sum(piece[2] for piece in cut)
        octets_out += sum(piece[3] for piece in cut)
        slices += cut
    return MeasuredUsage(part, one.of.period, tuple(closes), octets_in, octets_out, slices if timed else None)
