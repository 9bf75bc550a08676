"""Laws of usage rating: nothing is lost or made, more never costs less, order and cuts do not matter."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, localcontext
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from billing.domain.proration import prorate
from billing.domain.rating.balance import Drawing, Lot, Rollover
from billing.domain.rating.calendar import Calendar, windows
from billing.domain.rating.charge_model import (
    CommitBurst,
    Flat,
    Graduated,
    Package,
    PerUnit,
    Step,
    Stepped,
    Tier,
)
from billing.domain.rating.quota import measure_standing
from billing.domain.rating.rate import Member, Usage, rate_bucket, rate_usage
from billing.domain.rating.slices import Slice, microseconds, spread_slices
from billing.domain.rating.terms import Allowance, UsageTerms, parse_usage_terms, plain_terms
from billing.domain.rating.unit import GIGABYTE
from core.money import round_half_up
from core.periods import Period

ZONES = st.sampled_from(["America/Denver", "Europe/Berlin", "Australia/Lord_Howe", "UTC"])
octets = st.integers(0, 2**40)
nanos = st.integers(0, 10**13)
quick = settings(max_examples=60, deadline=None)


@st.composite
def graduated(draw: st.DrawFn) -> Graduated:
    borders = sorted(draw(st.sets(st.integers(1, 2**40), max_size=4)))
    prices = draw(st.lists(nanos, min_size=len(borders) + 1, max_size=len(borders) + 1))
    return Graduated(tuple(map(Tier, [*borders, None], prices)))


@st.composite
def parts(draw: st.DrawFn) -> Calendar:
    """A month with a part of it, in a zone with clock changes."""
    start = date(draw(st.integers(2024, 2028)), draw(st.integers(1, 12)), 1)
    end = date(start.year + start.month // 12, start.month % 12 + 1, 1)
    first = draw(st.integers(0, (end - start).days - 1))
    last = draw(st.integers(first + 1, (end - start).days))
    part = Period(start + timedelta(days=first), start + timedelta(days=last))
    return Calendar(Period(start, end), part, draw(ZONES))


@st.composite
def slices_in(draw: st.DrawFn, calendar: Calendar) -> list[Slice]:
    begin, end = calendar.part.instants(calendar.zone)
    seconds = int((end - begin).total_seconds())
    found = []
    for _ in range(draw(st.integers(0, 8))):
        first = draw(st.integers(0, seconds - 1))
        last = draw(st.integers(first, seconds))
        found.append(
            (begin + timedelta(seconds=first), begin + timedelta(seconds=last), draw(octets), draw(octets))
        )
    return found


def _usage(slices: list[Slice]) -> Usage:
    return Usage(sum(one[2] for one in slices), sum(one[3] for one in slices), slices)


CLASSES: list[dict[str, Any]] = [
    {"name": "night", "from": "22:00", "until": "06:00", "weight": "0.5"},
    {"name": "odd", "days": ["sun"], "from": "01:30", "until": "02:30",
     "model": {"kind": "per_unit", "minor_per_gb": "3"}},
    {"name": "weekend", "days": ["sat", "sun"], "weight": "0"},
]  # fmt: skip


@quick
@given(st.data())
def test_no_octet_is_lost_between_days_and_classes(data: st.DataObject) -> None:
    calendar = data.draw(parts())
    usage = _usage(data.draw(slices_in(calendar)))
    terms = parse_usage_terms({"allowance": {"octets": 10**9, "per": "day"}, "classes": CLASSES})
    rated = rate_usage(terms, usage, calendar)
    classes = rated.explanation["classes"]
    assert sum(one["octets"] for one in classes) == usage.octets_in + usage.octets_out == rated.used
    windows_used = sum(one["used_octets"] for one in rated.explanation["windows"])
    assert windows_used == sum(one.get("counted_octets", 0) for one in classes)
    assert len(rated.explanation["windows"]) == calendar.part.days


@quick
@given(st.data(), st.integers(0, 2**32))
def test_order_and_cuts_of_slices_do_not_matter(data: st.DataObject, seed: int) -> None:
    calendar = data.draw(parts())
    slices = data.draw(slices_in(calendar))
    terms = parse_usage_terms(
        {"allowance": {"octets": 10**9, "per": "week"}, "classes": CLASSES, "metered": "max",
         "model": {"kind": "per_unit", "minor_per_gb": "7"}}
    )  # fmt: skip
    whole = rate_usage(terms, _usage(slices), calendar)
    random = Random(seed)
    cut: list[Slice] = []
    for start, end, octets_in, octets_out in slices:
        length = int((end - start).total_seconds())
        # Cut where both counts divide exactly, into any number of pieces.
        pieces = [
            n for n in (2, 3, 4, 5, 7, 60) if length % n == octets_in % n == octets_out % n == 0 and length
        ]
        count = random.choice(pieces) if pieces else 1
        step = timedelta(seconds=length // count)
        cut += [
            (
                start + step * index,
                start + step * (index + 1) if length else end,
                octets_in // count,
                octets_out // count,
            )
            for index in range(count)
        ]
    random.shuffle(cut)
    assert rate_usage(terms, _usage(cut), calendar).explanation == whole.explanation


@quick
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6), octets, octets), max_size=8),
       st.sets(st.integers(0, 10**6), min_size=0, max_size=6))  # fmt: skip
def test_spreading_gives_each_span_its_share_to_the_octet(
    raw: list[tuple[int, int, int, int]], inner: set[int]
) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    slices = [
        (
            at + timedelta(microseconds=min(a, b)),
            at + timedelta(microseconds=max(a, b)),
            octets_in,
            octets_out,
        )
        for a, b, octets_in, octets_out in raw
    ]
    borders = [microseconds(at) + one for one in sorted(inner | {0, 10**6 + 1})]
    spread = spread_slices(slices, borders)
    assert sum(spread.octets_in) == sum(one[2] for one in slices)
    assert sum(spread.octets_out) == sum(one[3] for one in slices)
    for index in range(len(borders) - 1):
        share = Decimal(0)
        for start, end, octets_in, _ in slices:
            first, last = microseconds(start), microseconds(end)
            if first == last:
                share += octets_in if borders[index] <= first < borders[index + 1] else 0
            else:
                time = min(last, borders[index + 1]) - max(first, borders[index])
                share += Decimal(octets_in) * max(0, time) / (last - first)
        assert abs(spread.octets_in[index] - share) < Decimal("1.001")


@quick
@given(graduated(), octets, octets)
def test_graduated_parts_add_up_and_more_never_costs_less(model: Graduated, first: int, more: int) -> None:
    whole, steps = model.price(first + more, GIGABYTE)
    assert sum(step["octets"] for step in steps) == first + more
    before, _ = model.price(first, GIGABYTE)
    rest = Graduated(
        tuple(
            Tier(None if one.up_to is None else one.up_to - first, one.nano)
            for one in model.tiers
            if one.up_to is None or one.up_to > first
        )
    )
    assert before + rest.price(more, GIGABYTE)[0] == whole >= before


@quick
@given(st.sampled_from([Flat(5), PerUnit(7), Package(10**9, 3), CommitBurst(10**10, 10**12, 9),
                        Stepped((Step(10**9, 1), Step(10**10, 5), Step(None, 9)))]), octets, octets)  # fmt: skip
def test_more_usage_never_costs_less(model: Any, first: int, more: int) -> None:
    assert model.price(first, GIGABYTE)[0] <= model.price(first + more, GIGABYTE)[0]


@quick
@given(parts(), st.integers(0, 2**40), st.one_of(st.none(), st.integers(0, 2**40)), graduated())
def test_it_charges_what_decimals_by_hand_charge(
    calendar: Calendar, used: int, allowance: int | None, model: Graduated
) -> None:
    """Against another reckoning: prorated by ``billing.domain.proration``, priced octet by tier in decimals."""
    included = None if allowance is None else prorate(allowance, calendar.part, calendar.cycle)
    beyond = 0 if included is None else max(0, used - included)
    exact, floor = Decimal(0), 0
    with localcontext(prec=60):
        for tier in model.tiers:
            ceiling = beyond if tier.up_to is None else min(beyond, tier.up_to)
            exact += Decimal(max(0, ceiling - floor)) * Decimal(tier.nano).scaleb(-9) / 10**9
            floor = max(floor, ceiling)
    terms = UsageTerms("sum", model, Allowance(allowance))
    rated = rate_usage(terms, Usage(used // 3, used - used // 3), calendar)
    assert (rated.allowance, rated.overage, rated.exact_minor) == (included, beyond, exact)
    assert rated.amount_minor == round_half_up(exact)


@quick
@given(parts(), octets, octets)
def test_the_short_way_and_the_long_way_agree(calendar: Calendar, octets_in: int, octets_out: int) -> None:
    terms = plain_terms("max", 2**39, [{"up_to_octets": None, "minor_per_gb": "12.5"}])
    short = rate_usage(terms, Usage(octets_in, octets_out), calendar)
    long = rate_bucket([Member("a", terms, calendar.part, Usage(octets_in, octets_out))], calendar).rated["a"]
    assert (short.used, short.allowance, short.overage, short.amount_minor, short.explanation["steps"]) == (
        long.used, long.allowance, long.overage, long.amount_minor, long.explanation["steps"],
    )  # fmt: skip


@quick
@given(st.data())
def test_a_bucket_divides_all_of_its_overage_and_nothing_more(data: st.DataObject) -> None:
    calendar = data.draw(parts())
    members = []
    for number in range(data.draw(st.integers(1, 5))):
        terms = parse_usage_terms(
            {"allowance": {"octets": data.draw(octets), "per": "cycle"}, "shared": {"bucket": "b"},
             "model": {"kind": "per_unit", "minor_per_gb": str(number)}}
        )  # fmt: skip
        members.append(
            Member(f"sub_{number}", terms, calendar.part, Usage(data.draw(octets), data.draw(octets)))
        )
    bucket = rate_bucket(members, calendar)
    rated = bucket.rated.values()
    used, included = sum(one.used for one in rated), sum(one.allowance or 0 for one in rated)
    assert sum(one.overage for one in rated) == max(0, used - included)
    assert all(one.overage <= one.used for one in rated)
    again = rate_bucket(reversed(members), calendar)
    assert again == bucket


@st.composite
def lots(draw: st.DrawFn, around: date) -> list[Lot]:
    found = []
    for number in range(draw(st.integers(0, 4))):
        opens = around + timedelta(days=draw(st.integers(-60, 40)))
        closes = opens + timedelta(days=draw(st.integers(1, 60)))
        kind = draw(st.sampled_from(["rolled", "top_up"]))
        found.append(Lot(f"{kind}:{number}", kind, draw(st.integers(1, 10**6)), opens, closes))
    return found


@quick
@given(st.data())
def test_what_is_carried_is_conserved_capped_and_expires(data: st.DataObject) -> None:
    calendar = data.draw(parts())
    per = data.draw(st.sampled_from(["cycle", "week", "day"]))
    cap = data.draw(st.one_of(st.none(), st.integers(1, 10**6)))
    rollover = data.draw(st.one_of(st.none(), st.builds(Rollover, st.integers(1, 4), st.just(cap))))
    before = data.draw(lots(calendar.part.start))
    turns = windows(per, calendar, calendar.part)
    amounts = st.lists(st.integers(0, 10**6), min_size=len(turns), max_size=len(turns))
    own, used = data.draw(amounts), data.draw(amounts)
    outcome = Drawing(per, rollover, calendar, "sub").draw(turns, own, used, before)
    held = {lot.source: lot.amount for lot in before}
    for one in outcome.movements:
        held[one.lot.source] = held.get(one.lot.source, 0) + one.amount
        assert held[one.lot.source] >= 0
        assert (one.amount > 0) == (one.kind == "rolled_over")
    assert {source: amount for source, amount in held.items() if amount} == {
        lot.source: lot.amount for lot in outcome.lots
    }
    for one in outcome.drawn:
        assert one.own_used + sum(amount for _, amount in one.lots) + one.overage == one.used
    assert all(lot.closes_on > calendar.part.end for lot in outcome.lots)
    if rollover is not None and rollover.cap is not None:
        assert sum(lot.amount for lot in outcome.lots if lot.kind == "rolled") <= rollover.cap
    if rollover is None:
        assert all(lot in before or lot.source in held for lot in outcome.lots)


@quick
@given(st.data())
def test_the_watch_sees_the_overage_that_rating_will_charge(data: st.DataObject) -> None:
    """With everything included at 100 %, the cap is reached exactly when something lies beyond, or at it."""
    calendar = data.draw(parts())
    before = [lot for lot in data.draw(lots(calendar.part.start)) if lot.opens_on <= calendar.part.start]
    before = [lot for lot in before if lot.closes_on >= calendar.part.end]
    terms = parse_usage_terms(
        {
            "allowance": {"octets": data.draw(st.integers(0, 10**6))},
            "cap": {"at_percent": 100, "effect": "throttle"},
        }
    )
    member = Member("a", terms, calendar.part, Usage(data.draw(st.integers(0, 10**6)), 0))
    today = calendar.part.end - timedelta(days=1)
    standing = measure_standing([member], calendar, before, today)
    rated = rate_usage(terms, member.usage, calendar, before)
    assert rated.overage == max(0, standing.used - (standing.included or 0))
    assert standing.is_capped(terms) == (standing.used >= (standing.included or 0))
