"""Laws of usage on invoices: cuts add up, gaps are closed once, and rated again is as if rated once."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

from billing_story import DENVER
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.domain.catalogue import Account, PlanVersion, Subscription
from billing.domain.items import parse_items
from billing.domain.owed import View
from billing.domain.phases import FOREVER, Phase
from billing.domain.rating.balance import Lot
from billing.domain.rating.calendar import Calendar
from billing.domain.rating.parts import Balance, PartToRate, Step, rate_parts
from billing.domain.rating.rate import Usage
from billing.domain.rating.slices import Slice, cut_slices
from billing.domain.rating.terms import parse_usage_terms
from billing.domain.usage_parts import ClosedSpan, Metered, measure_part, plan_usage
from core.periods import Period

quick = settings(max_examples=60, deadline=None)
octets = st.integers(0, 2**40)
MARCH = Period(date(2026, 3, 1), date(2026, 4, 1))
MONTHS = [Period(date(2026, month, 1), date(2026, month + 1, 1)) for month in range(3, 8)]
USAGE: dict[str, Any] = {
    "metered": "sum", "allowance": {"octets": 100}, "model": {"kind": "per_unit", "minor_per_gb": "1"}
}  # fmt: skip
ACCOUNT = Account(
    "acc_1", "A-1", "Ann", None, None, None, None, None, None, "US", "USD", DENVER, 1, 14, "dpo_1",
    MARCH.end, None,
)  # fmt: skip
LINE = Subscription("sub_1", "acc_1", "svc_1", "pv_0", MARCH.start, None)


def version(number: int) -> PlanVersion:
    items = parse_items([{"code": "usage", "kind": "usage", "name": "Data", "usage": USAGE}])
    return PlanVersion(f"pv_{number}", "p", "P", number, "USD", items)


VERSIONS = {f"pv_{number}": version(number) for number in range(3)}


@st.composite
def slices_of_march(draw: st.DrawFn) -> list[Slice]:
    begin, end = MARCH.instants(DENVER)
    seconds = int((end - begin).total_seconds())
    found = []
    for _ in range(draw(st.integers(0, 6))):
        first = draw(st.integers(0, seconds - 1))
        last = draw(st.integers(first, seconds))
        found.append(
            (begin + timedelta(seconds=first), begin + timedelta(seconds=last), draw(octets), draw(octets))
        )
    return found


@quick
@given(slices_of_march(), st.sets(st.integers(1, 2_600_000), max_size=5))
def test_cuts_at_any_borders_are_the_whole(slices: list[Slice], inner: set[int]) -> None:
    begin, end = MARCH.instants(DENVER)
    borders = [begin, *(begin + timedelta(seconds=one) for one in sorted(inner)), end]
    pieces = [piece for first, last in pairwise(borders) for piece in cut_slices(slices, first, last)]
    for place in (2, 3):
        assert sum(one[place] for one in pieces) == sum(one[place] for one in slices)
    assert all(one[2] >= 0 and one[3] >= 0 and begin <= one[0] <= one[1] <= end for one in pieces)


@st.composite
def phases(draw: st.DrawFn) -> list[Phase]:
    """Plans of the line over March, one after the other, each from some day on."""
    days = sorted(draw(st.sets(st.integers(1, 30), max_size=3)))
    starts = [MARCH.start, *(MARCH.start + timedelta(days=day) for day in days)]
    ends = [*starts[1:], FOREVER]
    plans = [f"pv_{index % 3}" for index in range(len(starts))]
    return [Phase(start, end, plan, 1, False) for start, end, plan in zip(starts, ends, plans, strict=True)]


@quick
@given(slices_of_march(), phases(), st.integers(0, 31))
def test_what_was_closed_is_divided_and_only_the_rest_is_closed_anew(
    slices: list[Slice], planned: list[Phase], closed_days: int
) -> None:
    """Of March some days were closed and charged; then its plans are changed, and all of it is rated."""
    border = MARCH.start + timedelta(days=closed_days)
    begin, middle = Period(MARCH.start, border).instants(DENVER)
    until = MARCH.instants(DENVER)[1]
    halves = {"old": cut_slices(slices, begin, middle), "new": cut_slices(slices, middle, until)}
    totals = {name: (sum(s[2] for s in some), sum(s[3] for s in some)) for name, some in halves.items()}
    rated = [("pv_0", "usage", MARCH.start, border, "old", None, *totals["old"], 7)] if closed_days else []
    metered = Metered(LINE, planned, rated, MARCH.start, 0)
    view = View(Period(MARCH.end, date(2026, 5, 1)), MARCH.start, None)
    plan = plan_usage(ACCOUNT, [metered], VERSIONS, view, MARCH.end)
    assert sum(gap.span.days for gap in plan.gaps) == (MARCH.end - border).days
    assert all(gap.span.start >= border for gap in plan.gaps)
    answers = []
    cuts: dict[str, list[Slice]] = dict(halves)
    for number, gap in enumerate(plan.gaps):
        cuts[f"gap{number}"] = cut_slices(slices, *gap.span.instants(DENVER))
        sums = (sum(s[place] for s in cuts[f"gap{number}"]) for place in (2, 3))
        answers.append(ClosedSpan(f"gap{number}", gap.span, *sums, 1, "d"))
    measured = [measure_part(ACCOUNT, one, answers, cuts.__getitem__) for one in plan.asked]
    for place, name in ((2, "octets_in"), (3, "octets_out")):
        assert sum(getattr(one, name) for one in measured) == sum(one[place] for one in slices)
    assert sum(one.part.days for one in measured if one is not None) == MARCH.days


def rate_months(used: list[int], balance: Balance, since: int, terms: dict[str, Any]) -> dict[Step, int]:
    """What rating the months from one on changes in the bucket."""
    parts = [
        PartToRate(
            "acc_1", "acc_1", "sub_1", "usage", parse_usage_terms(terms), Calendar(month, month, DENVER, 1),
            Usage(0, quantity),
        )
        for month, quantity in list(zip(MONTHS, used, strict=True))[since:]
    ]  # fmt: skip
    day = MONTHS[since].start
    result = rate_parts(parts, {balance.bucket: balance.lots_before(day)})
    return balance.difference(day, result.moved)


def fresh(bought: list[tuple[int, int, int]]) -> Balance:
    """A bucket with some top-ups: amount, days after March 1 it opens, and how long it serves."""
    balance = Balance("sub_1:usage")
    for number, (amount, after, days) in enumerate(bought):
        opens = MARCH.start + timedelta(days=after)
        name, closes = f"top_up:{number}", opens + timedelta(days=days)
        step = Step(balance.bucket, None, "topped_up", name, "top_up", opens, closes, opens)
        balance.add({step: amount})
    return balance


@quick
@given(
    st.lists(st.lists(st.integers(0, 300), min_size=5, max_size=5), min_size=1, max_size=4),
    st.lists(st.integers(0, 4), min_size=4, max_size=4),
    st.lists(st.tuples(st.integers(1, 80), st.integers(0, 140), st.integers(1, 60)), max_size=4),
    st.integers(1, 3),
    st.one_of(st.none(), st.integers(1, 150)),
)
def test_rated_again_leaves_what_rating_once_would_have_left(
    versions: list[list[int]],
    since: list[int],
    bought: list[tuple[int, int, int]],
    periods: int,
    cap: int | None,
) -> None:
    """Usage of months is corrected again and again, each time from some month on: nothing is eaten twice."""
    terms = {**USAGE, "rollover": {"periods": periods, "cap_octets": cap}}
    balance = fresh(bought)
    standing = list(versions[0])
    balance.add(rate_months(standing, balance, 0, terms))
    for corrected, first in zip(versions[1:], since, strict=False):
        standing[first:] = corrected[first:]
        balance.add(rate_months(standing, balance, first, terms))
        assert rate_months(standing, balance, first, terms) == {}  # on record, it changes nothing again
    once = fresh(bought)
    once.add(rate_months(standing, once, 0, terms))

    def left(one: Balance) -> list[Lot]:
        return sorted(one.lots_before(date.max), key=lambda lot: lot.source)

    assert left(balance) == left(once)
    assert {step: amount for step, amount in balance.steps.items() if amount} == {
        step: amount for step, amount in once.steps.items() if amount
    }
    assert all(lot.amount > 0 for lot in left(balance))


def test_an_instant_at_a_border_is_on_one_side() -> None:
    at = datetime(2026, 3, 10, tzinfo=UTC)
    slices = [(at, at, 5, 7)]
    hour = timedelta(hours=1)
    assert cut_slices(slices, at - hour, at) == []
    assert cut_slices(slices, at, at + hour) == slices
