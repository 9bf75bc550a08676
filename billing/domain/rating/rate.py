"""Rating: usage terms, closed usage and the calendar to an amount that explains itself. Pure.

One item is rated by ``rate_usage``; items that share a bucket together by ``rate_bucket``. What is carried
from window to window (rolled over, topped up) comes in as lots and goes out as lots with their movements.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal
from typing import Any, Final

from billing.domain.rating.balance import DRAW_RULE, Drawing, Lot, Movement
from billing.domain.rating.calendar import Calendar, Window, portion, windows
from billing.domain.rating.charge_model import Percentile95, Portion, Steps
from billing.domain.rating.slices import Slice, microseconds, rank_samples, sample_borders, spread_slices
from billing.domain.rating.terms import Allowance, UsageTerms
from billing.domain.rating.time_class import STANDARD, Span, TimeClass, spans_of
from billing.domain.rating.unit import MEGABIT_PER_S, ROUNDING, Unit, ratio_text
from core.money import allocate
from core.periods import Period

SHARED_RULE: Final = (
    "the bucket's overage is divided by what each used in the window, largest remainder first"
)
PERCENTILE_RULE: Final = "the highest 5 % of the samples (rounded down) set aside, the highest left is billed"
_EXACT: Final = Context(prec=60)


@dataclass(frozen=True, slots=True)
class Usage:
    """Closed usage of a part: totals from and to the subscriber and, if they are needed, its slices."""

    octets_in: int
    octets_out: int
    slices: Sequence[Slice] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.octets_in < 0 or self.octets_out < 0:
            raise ValueError(f"usage cannot be negative ({self.octets_in} in, {self.octets_out} out)")


@dataclass(frozen=True, slots=True)
class RatedUsage:
    """A price with the way it came about.

    ``scaled / unit.scale`` is the exact amount in minor units, ``amount_minor`` the rounded one. ``lots`` is
    what is left to carry on, ``movements`` how it changed; of a shared bucket ``rate_bucket`` tells both.
    """

    used: int
    allowance: int | None
    overage: int
    scaled: int
    unit: Unit
    amount_minor: int
    explanation: dict[str, Any] = field(repr=False)
    lots: tuple[Lot, ...] = ()
    movements: tuple[Movement, ...] = ()

    @property
    def exact_minor(self) -> Decimal:
        """The amount before rounding, to 60 digits."""
        return _EXACT.divide(Decimal(self.scaled), Decimal(self.unit.scale))


@dataclass(frozen=True, slots=True)
class Member:
    """One item that draws on a bucket: ``key`` names it (subscription, item and part) and sets the order."""

    key: str
    terms: UsageTerms
    part: Period
    usage: Usage


@dataclass(frozen=True, slots=True)
class RatedBucket:
    """Every member's price by its key, and the pool's lots and their movements."""

    rated: dict[str, RatedUsage]
    lots: tuple[Lot, ...]
    movements: tuple[Movement, ...]


def rate_usage(
    terms: UsageTerms, usage: Usage, calendar: Calendar, lots: Sequence[Lot] = (), key: str = "usage"
) -> RatedUsage:
    """Price the usage of ``calendar.part``; ``lots`` are what was carried to its start.

    ``key`` names the rollover that this rating makes: give the subscription's id and item. Raises
    ``ValueError`` when slices are needed and missing, do not add up to the totals, or lie outside.
    """
    if terms.is_plain and not lots:
        return _rate_plain(terms, usage, calendar)
    if isinstance(terms.model, Percentile95):
        return _rate_percentile(terms, terms.model, usage, calendar)
    bucket = _rate_members([Member(key, terms, calendar.part, usage)], calendar, lots, key)
    rated = bucket.rated[key]
    return RatedUsage(
        rated.used, rated.allowance, rated.overage, rated.scaled, rated.unit, rated.amount_minor,
        rated.explanation, bucket.lots, bucket.movements,
    )  # fmt: skip


def rate_bucket(
    members: Iterable[Member], calendar: Calendar, lots: Sequence[Lot] = (), key: str = "bucket"
) -> RatedBucket:
    """Price items that share a bucket: what all include is one pool, and what goes beyond is divided.

    ``calendar.part`` does not matter: each member has its own. All must count the same thing in the same
    window; the pool rolls over by the terms of the first member (by key) that roll over.
    """
    ordered = sorted(members, key=lambda one: one.key)
    for one in ordered:
        if one.terms.per != ordered[0].terms.per or one.terms.unit.of != ordered[0].terms.unit.of:
            raise ValueError(
                f"{one.key} cannot share a bucket with {ordered[0].key}: both must include the same thing "
                "in the same window"
            )
        if isinstance(one.terms.model, Percentile95):
            raise ValueError(f"{one.key} cannot share a bucket: a percentile includes nothing")  # noqa: TRY004
    return _rate_members(ordered, calendar, lots, key)


def _rate_plain(terms: UsageTerms, usage: Usage, calendar: Calendar) -> RatedUsage:
    unit, model, part, cycle = terms.unit, terms.model, calendar.part, calendar.cycle
    of = unit.of
    octets_in, octets_out = usage.octets_in, usage.octets_out
    used = terms.counted(octets_in, octets_out)
    of_part = calendar.portion
    full: int | None = 0 if terms.allowance is None else terms.allowance.amount
    own = full
    if full and not of_part.is_whole and terms.allowance is not None and terms.allowance.prorated:
        own = of_part.of(full)
    overage = 0 if own is None or used <= own else used - own
    scaled, steps = (0, []) if model is None else model.price(overage, unit, of_part)
    amount = (2 * scaled + unit.scale) // (2 * unit.scale)
    explanation = {
        "model": "free" if model is None else model.kind,
        "unit": unit.as_json(),
        "metered": terms.metered,
        "octets_in": octets_in,
        "octets_out": octets_out,
        f"used_{of}": used,
        f"allowance_{of}": own,
        f"overage_{of}": overage,
        "steps": steps,
        "exact_minor": unit.exact_text(scaled),
        "amount_minor": amount,
        "rounding": ROUNDING,
        "period": [part.start.isoformat(), part.end.isoformat()],
        "cycle": [cycle.start.isoformat(), cycle.end.isoformat()],
        f"allowance_of_full_cycle_{of}": full,
    }
    return RatedUsage(used, own, overage, scaled, unit, amount, explanation)


@dataclass(slots=True)
class Counted:
    """What one member used: towards the pool in each of its windows, and by class."""

    member: Member
    turns: list[int]
    counts: list[int]
    own: list[int | None]
    classes: list[dict[str, Any]]
    priced_apart: list[tuple[TimeClass, int]]
    used: int


def pool_windows(members: Sequence[Member], calendar: Calendar) -> tuple[Window, ...]:
    """The windows of the pool, from the first member's start to the last one's end."""
    hull = Period(min(one.part.start for one in members), max(one.part.end for one in members))
    allowance = members[0].terms.allowance
    return windows(members[0].terms.per, calendar, hull, allowance.week_starts if allowance else 0)


def count_member(member: Member, turns: Sequence[Window], calendar: Calendar) -> Counted:
    """Meter one member: by window and time class where its terms or the windows ask for it."""
    mine = [(index, one.part.intersect(member.part)) for index, one in enumerate(turns)]
    parts = [(index, part) for index, part in mine if part is not None]
    own = [_own(member.terms.allowance, turns[index].whole, part) for index, part in parts]
    indexes, terms, usage = [index for index, _ in parts], member.terms, member.usage
    if not terms.classes and len(parts) == 1:
        used = terms.counted(usage.octets_in, usage.octets_out)
        return Counted(member, indexes, [used], own, [], [], used)
    if usage.slices is None:
        raise ValueError(f"{member.key} can only be rated by slices of usage: its terms ask when it was used")
    here = Calendar(calendar.cycle, member.part, calendar.zone, calendar.anchor_day, calendar.holidays)
    spans = spans_of(terms.classes, [Window(turns[index].whole, part) for index, part in parts], here)
    cells = _cells(usage, spans, here)
    direction = terms.direction_of(usage.octets_in, usage.octets_out)
    quantities = [_directed(direction, *cell) for cell in cells]
    counted = Counted(member, indexes, [0] * len(parts), own, [], [], sum(quantities))
    for position, one in enumerate((*terms.classes, None)):
        class_index = position if one is not None else -1
        _count_class(counted, one, class_index, spans, quantities)
    return counted


def _own(allowance: Allowance | None, whole: Period, part: Period) -> int | None:
    if allowance is None:
        return 0
    if allowance.amount is None or not allowance.prorated or part == whole:
        return allowance.amount
    return portion(part, whole).of(allowance.amount)


def _cells(usage: Usage, spans: Sequence[Span], calendar: Calendar) -> list[tuple[int, int]]:
    """Octets in and out of each span; raises ``ValueError`` when the slices are not the whole usage."""
    end = calendar.part.instants(calendar.zone)[1]
    borders = [*(one.start_us for one in spans), microseconds(end)]
    spread = spread_slices(usage.slices or (), borders)
    together = (sum(spread.octets_in), sum(spread.octets_out))
    if together != (usage.octets_in, usage.octets_out):
        raise ValueError(
            f"the slices add up to {together[0]} in and {together[1]} out, the usage to "
            f"{usage.octets_in} and {usage.octets_out}"
        )
    return list(zip(spread.octets_in, spread.octets_out, strict=True))


def _directed(direction: str, octets_in: int, octets_out: int) -> int:
    if direction == "sum":
        return octets_in + octets_out
    return octets_in if direction == "up" else octets_out


def _count_class(
    counted: Counted, one: TimeClass | None, index: int, spans: Sequence[Span], quantities: Sequence[int]
) -> None:
    """Add what was used in one class (None: all other hours) to its windows, or apart from them."""
    by_window = [0] * len(counted.counts)
    for span, quantity in zip(spans, quantities, strict=True):
        if span.time_class == index:
            by_window[span.window] += quantity
    used, of = sum(by_window), counted.member.terms.unit.of
    said: dict[str, Any] = {"class": STANDARD if one is None else one.name, of: used}
    if one is not None and one.model is not None:
        counted.priced_apart.append((one, used))
        counted.classes.append(said | {"priced": one.model.kind})
        return
    weighed = by_window if one is None else [one.weigh(quantity) for quantity in by_window]
    for window, quantity in enumerate(weighed):
        counted.counts[window] += quantity
    if counted.member.terms.classes:
        weight = ratio_text(10**6 if one is None else one.weight_ppm, 10**6)
        counted.classes.append(said | {"weight": weight, f"counted_{of}": sum(weighed)})


def _rate_members(
    members: Sequence[Member], calendar: Calendar, lots: Sequence[Lot], key: str
) -> RatedBucket:
    turns = pool_windows(members, calendar)
    counted = [count_member(one, turns, calendar) for one in members]
    own, used = pool_totals(counted, len(turns))
    rollover = next((one.terms.rollover for one in members if one.terms.rollover is not None), None)
    outcome = Drawing(members[0].terms.per, rollover, calendar, key).draw(turns, own, used, lots)
    shares = _divide(counted, [one.overage for one in outcome.drawn])
    pool = [one.as_data(members[0].terms.unit.of) for one in outcome.drawn]
    rated = {}
    for one, overage in zip(counted, shares, strict=True):
        rated[one.member.key] = _price_member(one, overage, calendar, pool, len(members))
    return RatedBucket(rated, outcome.lots, outcome.movements)


def pool_totals(counted: Sequence[Counted], count: int) -> tuple[list[int | None], list[int]]:
    """What the pool includes (None: unlimited) and what all used, window by window."""
    own: list[int | None] = [0] * count
    used = [0] * count
    for one in counted:
        for index, quantity, included in zip(one.turns, one.counts, one.own, strict=True):
            so_far = own[index]
            own[index] = None if so_far is None or included is None else so_far + included
            used[index] += quantity
    return own, used


def _divide(counted: Sequence[Counted], overages: Sequence[int]) -> list[int]:
    """Each member's share of the overage, window by window."""
    if len(counted) == 1:
        return [sum(overages)]
    shares = [0] * len(counted)
    for index, overage in enumerate(overages):
        if not overage:
            continue
        weights = [one.counts[one.turns.index(index)] if index in one.turns else 0 for one in counted]
        for position, part in enumerate(allocate(overage, weights)):
            shares[position] += part
    return shares


def _price_member(
    counted: Counted, overage: int, calendar: Calendar, pool: list[dict[str, Any]], sharing: int
) -> RatedUsage:
    member, terms = counted.member, counted.member.terms
    unit, of = terms.unit, terms.unit.of
    of_part = portion(member.part, calendar.cycle)
    scaled, steps = (0, []) if terms.model is None else terms.model.price(overage, unit, of_part)
    scaled += _price_apart(counted, steps, of_part)
    amount = (2 * scaled + unit.scale) // (2 * unit.scale)
    own = None if None in counted.own else sum(one or 0 for one in counted.own)
    explanation: dict[str, Any] = {
        "model": "free" if terms.model is None else terms.model.kind,
        "unit": unit.as_json(),
        "metered": terms.metered,
        "octets_in": member.usage.octets_in,
        "octets_out": member.usage.octets_out,
        f"used_{of}": counted.used,
        f"allowance_{of}": own,
        f"overage_{of}": overage,
        "steps": steps,
        "exact_minor": unit.exact_text(scaled),
        "amount_minor": amount,
        "rounding": ROUNDING,
        "period": [member.part.start.isoformat(), member.part.end.isoformat()],
        "cycle": [calendar.cycle.start.isoformat(), calendar.cycle.end.isoformat()],
        "zone": calendar.zone,
        f"counted_{of}": sum(counted.counts),
        "per": terms.per,
        "windows": pool,
        "rule": DRAW_RULE,
    }
    if counted.classes:
        explanation["classes"] = counted.classes
        explanation["holidays"] = [day.isoformat() for day in sorted(calendar.holidays) if day in member.part]
    if terms.shared is not None:
        explanation["shared"] = {"bucket": terms.shared.bucket, "items": sharing, "rule": SHARED_RULE}
    return RatedUsage(counted.used, own, overage, scaled, unit, amount, explanation)


def _price_apart(counted: Counted, steps: Steps, of_part: Portion) -> int:
    """The classes with a model of their own; their steps name them."""
    total = 0
    for one, quantity in counted.priced_apart:
        if one.model is None:
            continue
        scaled, own_steps = one.model.price(quantity, counted.member.terms.unit, of_part)
        steps += [{"class": one.name, **step} for step in own_steps]
        total += scaled
    return total


def _rate_percentile(terms: UsageTerms, model: Percentile95, usage: Usage, calendar: Calendar) -> RatedUsage:
    if usage.slices is None:
        raise ValueError("a percentile can only be rated by slices of usage")
    from_at, until_at = calendar.part.instants(calendar.zone)
    borders = sample_borders(from_at, until_at, model.sample_s)
    spread = spread_slices(usage.slices, borders)
    samples = (borders[-1] - borders[0]) // (model.sample_s * 10**6)
    ranked = rank_samples(spread, model, samples, terms.metered)
    billed = max(ranked, key=lambda one: one.bps)
    scaled, steps = model.price(billed.bps, MEGABIT_PER_S, calendar.portion)
    amount = (2 * scaled + MEGABIT_PER_S.scale) // (2 * MEGABIT_PER_S.scale)
    explanation: dict[str, Any] = {
        "model": model.kind,
        "unit": MEGABIT_PER_S.as_json(),
        "metered": terms.metered,
        "octets_in": usage.octets_in,
        "octets_out": usage.octets_out,
        "used_bps": billed.bps,
        "allowance_bps": 0,
        "overage_bps": billed.bps,
        "steps": steps,
        "exact_minor": MEGABIT_PER_S.exact_text(scaled),
        "amount_minor": amount,
        "rounding": ROUNDING,
        "period": [calendar.part.start.isoformat(), calendar.part.end.isoformat()],
        "cycle": [calendar.cycle.start.isoformat(), calendar.cycle.end.isoformat()],
        "zone": calendar.zone,
        "days": calendar.part.days,
        "of_days": calendar.cycle.days,
        "sample_seconds": model.sample_s,
        "missing": model.missing,
        "directions": [
            {
                "direction": one.direction, "bps": one.bps, "samples": one.samples,
                "without_record": one.missing, "set_aside": one.set_aside, "rank": one.rank,
                "highest_bps": one.highest_bps,
            }
            for one in ranked
        ],
        "rule": PERCENTILE_RULE,
    }  # fmt: skip
    return RatedUsage(billed.bps, 0, billed.bps, scaled, MEGABIT_PER_S, amount, explanation)
