"""Laws: what must hold for any input."""

from __future__ import annotations

import random
import tempfile
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from billing_story import GB, Town, new_database
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from billing.domain.allocation import Credit, OpenInvoice, allocate_oldest_first
from billing.domain.dunning import (
    Debtor,
    UnpaidInvoice,
    days_that_matter,
    decide_relief,
    decide_stage,
    replay_days,
)
from billing.domain.dunning_policy import Policy, Rung, Stage
from billing.domain.ledger import Entry, Posting
from billing.domain.phases import Change, Phase, fold_phases
from billing.domain.proration import prorate
from billing.invoicing.credit_note import issue_credit_note
from billing.ledger.verify import account_balance
from billing.payments.reverse_payment import reverse_payment
from billing.store.tables import payment
from billing.subscriptions.change_subscription import change_plan
from core.clock import FakeClock
from core.ids import SeededIds
from core.periods import Period, cycle_containing
from core.refusal import Refusal, granted
from core.work import Workplace

DAYS = st.dates(date(2026, 1, 1), date(2029, 12, 31))
AMOUNTS = st.integers(-(10**9), 10**9)


@given(DAYS, st.integers(1, 31), AMOUNTS, st.lists(st.integers(0, 31), max_size=6))
def test_prorated_parts_sum_to_the_whole(
    day: date, anchor_day: int, price_minor: int, cuts: list[int]
) -> None:
    cycle = cycle_containing(day, anchor_day)
    inner = sorted({cycle.start + timedelta(days=cut) for cut in cuts if cut <= cycle.days})
    borders = [cycle.start, *inner, cycle.end]
    parts = [Period(start, end) for start, end in pairwise(borders)]
    assert sum(prorate(price_minor, part, cycle) for part in parts) == price_minor


@given(DAYS, st.integers(1, 31), AMOUNTS)
def test_a_prorated_credit_mirrors_its_charge(day: date, anchor_day: int, price_minor: int) -> None:
    cycle = cycle_containing(day, anchor_day)
    part = Period(day, cycle.end)
    assert prorate(-price_minor, part, cycle) == -prorate(price_minor, part, cycle)


@given(
    st.lists(st.integers(1, 10**6), max_size=5),
    st.lists(st.tuples(st.integers(1, 10**6), DAYS), max_size=5),
)
def test_allocation_conserves(paid_in: list[int], invoices: list[tuple[int, date]]) -> None:
    money = [Credit(f"p{n}", amount) for n, amount in enumerate(paid_in)]
    claims = [OpenInvoice(f"i{n}", f"{n:04d}", due, amount) for n, (amount, due) in enumerate(invoices)]
    allocated = allocate_oldest_first(money, claims)
    assert sum(one.amount_minor for one in allocated) == min(sum(paid_in), sum(one[0] for one in invoices))
    assert all(one.amount_minor > 0 for one in allocated)
    for credit in money:
        assert (
            sum(a.amount_minor for a in allocated if a.payment_id == credit.payment_id)
            <= credit.unallocated_minor
        )
    paid = {c.id: sum(a.amount_minor for a in allocated if a.invoice_id == c.id) for c in claims}
    assert all(paid[claim.id] <= claim.open_minor for claim in claims)
    in_order = sorted(claims, key=lambda claim: (claim.due_on, claim.number))
    full = [paid[claim.id] == claim.open_minor for claim in in_order]
    touched = [paid[claim.id] > 0 for claim in in_order]
    assert all(full[n] or not any(touched[n + 1 :]) for n in range(len(full))), "a younger one was paid first"


def test_an_entry_out_of_balance_cannot_exist() -> None:
    with pytest.raises(ValueError, match="out of balance by 1"):
        Entry("invoice", "i", date(2026, 1, 1), "", "USD", (Posting("receivable", "a", 1),))


@st.composite
def debtors(draw: st.DrawFn) -> Debtor:
    unpaid = draw(st.lists(st.tuples(st.integers(1, 20_000), st.integers(0, 60)), max_size=4))
    today = date(2026, 6, 15)
    return Debtor(
        stage=draw(st.sampled_from(list(Stage))),
        evaluated_on=today - timedelta(days=draw(st.integers(0, 40))),
        unpaid=tuple(
            UnpaidInvoice(f"{n}", today - timedelta(days=days), amount)
            for n, (amount, days) in enumerate(unpaid)
        ),
        currency="USD",
        promise_until=draw(st.none() | st.dates(date(2026, 6, 1), date(2026, 6, 30))),
        immune=draw(st.booleans()),
    )


POLICIES = st.builds(
    Policy,
    ladder=st.just(
        (
            Rung(Stage.REMINDED, 3),
            Rung(Stage.RESTRICTED, 10),
            Rung(Stage.SUSPENDED, 15),
            Rung(Stage.ENDED, 45),
        )
    ),
    minimum_balance_minor=st.integers(0, 10_000),
    skip_weekends=st.booleans(),
)


@given(debtors(), POLICIES, st.integers(0, 60_000), st.integers(0, 20))
def test_paying_never_worsens_dunning(debtor: Debtor, policy: Policy, paid: int, later: int) -> None:
    claims = [OpenInvoice(one.number, one.number, one.due_on, one.open_minor) for one in debtor.unpaid]
    allocated = {a.invoice_id: a.amount_minor for a in allocate_oldest_first([Credit("p", paid)], claims)}
    after = replace(
        debtor,
        unpaid=tuple(
            replace(one, open_minor=one.open_minor - allocated.get(one.number, 0)) for one in debtor.unpaid
        ),
    )
    today = date(2026, 6, 15)
    relief = decide_relief(after, policy, today)
    stage_after = debtor.stage if relief is None else relief.stage
    assert stage_after.rank <= debtor.stage.rank
    day = today + timedelta(days=later)
    paid_course = decide_stage(replace(after, stage=stage_after), policy, day).stage
    unpaid_course = decide_stage(debtor, policy, day).stage
    assert paid_course.rank <= unpaid_course.rank


@given(debtors(), POLICIES)
def test_evaluating_twice_changes_nothing_more(debtor: Debtor, policy: Policy) -> None:
    today = date(2026, 6, 15)
    steps = list(replay_days(debtor, policy, today))
    settled = replace(debtor, stage=steps[-1].stage if steps else debtor.stage, evaluated_on=today)
    assert list(replay_days(settled, policy, today)) == []


_FIRST_LOOKED_AT_ON_A_SUNDAY = Debtor(
    stage=Stage.CLEAR,
    evaluated_on=date(2026, 5, 16),
    unpaid=(UnpaidInvoice("0", date(2026, 5, 5), 1, ()),),
    currency="USD",
)


@given(debtors(), POLICIES)
@example(
    _FIRST_LOOKED_AT_ON_A_SUNDAY,
    Policy((Rung(Stage.REMINDED, 3), Rung(Stage.RESTRICTED, 10), Rung(Stage.SUSPENDED, 15)), 0, True),
)
def test_looking_only_at_the_days_that_matter_misses_nothing(debtor: Debtor, policy: Policy) -> None:
    today = date(2026, 6, 15)
    matter = set(days_that_matter(debtor, policy, today))
    stage = debtor.stage
    day = debtor.evaluated_on
    while day < today:
        day += timedelta(days=1)
        decided = decide_stage(replace(debtor, stage=stage), policy, day).stage
        assert decided is stage or day in matter
        stage = decided
    steps = list(replay_days(debtor, policy, today))
    assert (steps[-1].stage if steps else debtor.stage) is stage or today == debtor.evaluated_on


# Whole lives: bill, pay, reverse, let time pass, in any order; the books always prove themselves.

ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("pay"), st.integers(0, 1), st.integers(1, 9_000)),
        st.tuples(st.just("reverse"), st.integers(0, 5), st.just(0)),
        st.tuples(st.just("wait"), st.integers(1, 25), st.just(0)),
        st.tuples(st.just("use"), st.integers(0, 1), st.integers(0, 200)),
    ),
    max_size=9,
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(ACTS)
async def test_the_ledger_sums_to_zero_whatever_happens(acts: list[tuple[str, int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        clock = FakeClock(datetime(2026, 3, 10, 12, tzinfo=UTC))
        database = await new_database(Path(folder) / "x.sqlite")
        town = Town(Workplace(database, clock, SeededIds()), clock)
        try:
            await _live(town, acts)
        finally:
            await database.close()


async def _live(town: Town, acts: list[tuple[str, int, int]]) -> None:
    await town.tax()
    people = [await town.customer("Ann"), await town.customer("Bob", anchor_day=31)]
    await town.bill()
    for verb, which, amount in acts:
        match verb:
            case "pay":
                await town.pay(people[which], amount)
            case "reverse":
                await _reverse_one(town, which)
            case "use":
                town.meters.use(f"svc_{which + 1}", town.clock.now(), amount * GB, 0)
            case _:
                town.clock.advance(timedelta(days=which))
                await town.bill()
                await town.dun()
        await town.prove_books()
    again = await town.bill()
    assert again.numbers == ()


async def _reverse_one(town: Town, which: int) -> None:
    async with town.workplace.reading() as connection:
        ids: list[Any] = list(
            (await connection.execute(select(payment.c.id).order_by(payment.c.id))).scalars()
        )
    if which < len(ids):
        async with town.workplace.work("operator:test") as work:
            outcome = await reverse_payment(work, payment_id=ids[which], reason="bounced")
        assert not isinstance(outcome, Refusal) or outcome.code in {"already_reversed", "not_money"}


# The order in which news arrive does not matter.

_KINDS = st.sampled_from(("plan", "quantity", "pause", "resume"))


@given(
    st.lists(
        st.tuples(st.integers(1, 60), _KINDS, st.integers(1, 3)), max_size=8, unique_by=lambda one: one[0]
    ),
    st.none() | st.integers(61, 90),
    st.randoms(use_true_random=False),
)
def test_changes_written_in_any_order_make_the_same_phases(
    told: list[tuple[int, str, int]], ends: int | None, dice: random.Random
) -> None:
    first = date(2028, 2, 1)
    wanted = [(0, "start", 1), *told, *([(ends, "end", 1)] if ends is not None else [])]

    def folded(order: list[tuple[int, str, int]]) -> tuple[Phase, ...]:
        written = datetime(2028, 3, 1, tzinfo=UTC)
        return fold_phases(
            Change(
                f"sch_{n}", "sub", first + timedelta(days=days), kind,
                f"version {number}" if kind in {"start", "plan"} else None,
                number if kind in {"start", "quantity"} else None, None, written + timedelta(seconds=n),
            )
            for n, (days, kind, number) in enumerate(order)
        )  # fmt: skip

    shuffled = list(wanted)
    dice.shuffle(shuffled)
    phases = folded(wanted)
    assert folded(shuffled) == phases
    assert phases[0].start == first
    assert all(one.end == other.start for one, other in pairwise(phases)), "no day is missing or twice"


NEWS = st.lists(
    st.one_of(
        st.tuples(st.just("pay"), st.integers(1, 5_000)),
        st.tuples(st.just("use"), st.integers(1, 150)),
        st.tuples(st.just("plan"), st.integers(1, 28)),
        st.tuples(st.just("credit"), st.integers(1, 900)),
    ),
    min_size=2,
    max_size=5,
    unique_by=lambda one: one[0] if one[0] in {"plan", "credit"} else one,
)


@settings(max_examples=8, suppress_health_check=[HealthCheck.too_slow])
@given(NEWS, st.randoms(use_true_random=False))
async def test_a_months_news_in_any_order_and_twice_come_to_the_same(
    news: list[tuple[str, int]], dice: random.Random
) -> None:
    """Payments, readings, a back-dated change and a credit: the next invoice and what is owed are the same."""
    shuffled = news + dice.sample(news, len(news) // 2)
    dice.shuffle(shuffled)
    assert await _month(shuffled) == await _month(news)


async def _month(news: list[tuple[str, int]]) -> list[Any]:
    with tempfile.TemporaryDirectory() as folder:
        clock = FakeClock(datetime(2026, 4, 1, 18, tzinfo=UTC))
        database = await new_database(Path(folder) / "x.sqlite")
        town = Town(Workplace(database, clock, SeededIds()), clock)
        try:
            await town.tax()
            ann = await town.account()
            sub = await town.subscription(ann, await town.plan(), "2026-04-01")
            big = await town.plan(code="big", price_minor=6200)
            await town.bill()
            town.travel("2026-04-29")
            used: set[int] = set()
            for verb, number in news:
                await _hear(town, verb, number, ann=ann, sub=sub, big=big, used=used)
                clock.advance(timedelta(minutes=1))
            town.travel("2026-05-01")
            await town.bill()
            await town.prove_books()
            async with town.workplace.reading() as connection:
                owed = await account_balance(connection, ann)
            invoices = sorted(
                (one.kind, str(one.cycle_start), one.net_minor, one.tax_minor, one.open_minor)
                for one in await town.invoices(ann)
            )
            return [owed, invoices]
        finally:
            await database.close()


async def _hear(town: Town, verb: str, number: int, *, ann: str, sub: str, big: str, used: set[int]) -> None:
    """What comes twice has the same key, or is refused the second time."""
    if verb == "pay":
        await town.pay(ann, number, idempotency_key=f"pay {number}")
        return
    if verb == "use":
        if number not in used:  # meters tell it once: that is their room's law
            town.meters.use("svc_1", datetime(2026, 4, 20, tzinfo=UTC), number * GB, 0)
            used.add(number)
        return
    async with town.workplace.work("operator:test") as work:
        if verb == "plan":
            day = date(2026, 4, number)
            again = await change_plan(work, subscription_id=sub, plan_version_id=big, effective_on=day)
            assert not isinstance(again, Refusal) or again.code == "same_plan"
        else:
            amounts = {1: number}
            granted(
                await issue_credit_note(
                    work, invoice="INV-000001", reason="no service", source="ticket", amounts_minor=amounts,
                    settings=town.settings,
                )
            )  # fmt: skip
