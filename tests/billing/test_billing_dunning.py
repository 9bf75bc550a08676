"""FIELD-NOTES, "Dunning and enforcement", the billing half: who is late, since when, and what defers it."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise
from typing import Any

import pytest
from billing_story import Town, utc
from hypothesis import given
from hypothesis import strategies as st

from billing.domain.dunning import Debtor, UnpaidInvoice, decide_stage, held_periods
from billing.domain.dunning_policy import STANDARD_LADDER, Policy, Stage
from billing.dunning.define_policy import change_dunning_policy, define_dunning_policy
from billing.dunning.evaluate import evaluate_dunning
from billing.dunning.exceptions import record_promise, set_immunity
from billing.dunning.preview import preview_dunning
from billing.set_up import end_subscription, subscribe
from core.periods import Period
from core.refusal import Refusal, granted

DUE = date(2026, 3, 24)  # a Tuesday; Ann's invoice of 10 March with 14 days to pay


async def _late(town: Town, **terms: Any) -> str:
    ann = await town.customer("Ann", "2026-03-10", **terms)
    await town.bill()
    return ann


async def _policy(town: Town, account_id: str, **terms: Any) -> None:
    ladder = [{"stage": "reminded", "days_overdue": 3}, {"stage": "suspended", "days_overdue": 15}]
    async with town.workplace.work("operator:test") as work:
        granted(await define_dunning_policy(work, name="other", **{"ladder": ladder, **terms}))
        granted(await change_dunning_policy(work, account_id=account_id, dunning_policy="other"))


async def _days(town: Town, first: date, last: date) -> None:
    for offset in range((last - first).days + 1):
        town.travel(first + timedelta(days=offset))
        await town.dun()


@pytest.mark.parametrize(
    ("days", "stage"),
    [
        (0, "clear"),
        (2, "clear"),
        (3, "reminded"),
        (9, "reminded"),
        (10, "restricted"),
        (14, "restricted"),
        (15, "suspended"),
    ],
)
def test_the_ladder_by_days_overdue(days: int, stage: str) -> None:
    debtor = Debtor(Stage.CLEAR, DUE, (UnpaidInvoice("I", DUE, 100),), "USD")
    policy = Policy(STANDARD_LADDER, skip_weekends=False)
    assert decide_stage(debtor, policy, DUE + timedelta(days=days)).stage == stage


async def test_the_day_is_the_accounts_local_day(town: Town) -> None:
    ann = await _late(town)
    town.clock.advance(utc("2026-03-28T05:59") - town.clock.now())  # still the 27th in Denver
    [change] = await town.dun()
    assert (change.account_id, change.to_stage) == (ann, "reminded")
    assert await town.events(ann) == [("2026-03-27", "reminded")]


async def test_nobody_is_cut_on_a_weekend_and_monday_makes_up_for_it(town: Town) -> None:
    ann = await _late(town, payment_terms_days=17)  # due on Friday 27 March: day 15 is Saturday 11 April
    await _days(town, date(2026, 3, 27), date(2026, 4, 12))
    assert await town.stage(ann) == "restricted"
    await _days(town, date(2026, 4, 13), date(2026, 4, 13))
    assert await town.events(ann) == [
        ("2026-03-30", "reminded"),
        ("2026-04-06", "restricted"),
        ("2026-04-13", "suspended"),
    ]


async def test_a_box_that_slept_over_friday_does_not_cut_on_saturday(town: Town) -> None:
    ann = await _late(town)  # day 10 is Friday 3 April
    town.travel("2026-04-04")
    await town.dun()
    assert await town.stage(ann) == "reminded"
    town.travel("2026-04-06")
    await town.dun()
    assert await town.stage(ann) == "restricted"


async def test_a_policy_may_cut_on_weekends(town: Town) -> None:
    ann = await _late(town, payment_terms_days=17)
    await _policy(town, ann, skip_weekends=False)
    await _days(town, date(2026, 4, 10), date(2026, 4, 11))
    assert await town.stage(ann) == "suspended"


async def test_missed_days_are_caught_up_in_order_and_told_once(any_town: Town) -> None:
    town = any_town
    ann = await _late(town)
    town.travel("2026-04-15")
    [change] = await town.dun()
    assert (change.from_stage, change.to_stage) == ("clear", "suspended")
    assert await town.events(ann) == [
        ("2026-03-27", "reminded"),
        ("2026-04-03", "restricted"),
        ("2026-04-08", "suspended"),
    ]
    assert len(await town.facts("billing.dunning_stage_changed")) == 1
    assert await town.dun() == []


async def test_a_minimum_balance_is_let_be(town: Town) -> None:
    ann = await _late(town)
    await _policy(town, ann, minimum_balance_minor=500)
    await town.pay(ann, 2129 - 499)
    town.travel("2026-04-20")
    assert await town.dun() == []
    assert await town.stage(ann) == "clear"


async def test_a_promise_to_pay_defers_worsening_to_the_day_after(town: Town) -> None:
    ann = await _late(town)
    await _days(town, date(2026, 3, 27), date(2026, 3, 30))
    async with town.workplace.work("operator:test") as work:
        assert await record_promise(work, account_id=ann, until=date(2026, 4, 9)) is None
    await _days(town, date(2026, 3, 31), date(2026, 4, 9))
    assert await town.stage(ann) == "reminded"
    await _days(town, date(2026, 4, 10), date(2026, 4, 10))
    assert await town.stage(ann) == "suspended"
    async with town.workplace.work("operator:test") as work:
        refused = await record_promise(work, account_id=ann, until=date(2026, 4, 1))
    assert isinstance(refused, Refusal)


async def test_an_immune_account_is_left_alone_and_restored_at_once(town: Town) -> None:
    ann = await _late(town)
    town.travel("2026-04-15")
    await town.dun()
    async with town.workplace.work("operator:test") as work:
        change = granted(await set_immunity(work, account_id=ann, immune=True))
    assert change is not None
    assert change.to_stage == "clear"
    await _days(town, date(2026, 4, 16), date(2026, 4, 20))
    assert await town.stage(ann) == "clear"
    async with town.workplace.work("operator:test") as work:
        await set_immunity(work, account_id=ann, immune=False)
    assert await town.stage(ann) == "suspended"


async def test_a_payment_between_decision_and_push_is_told_after_it(town: Town) -> None:
    ann = await _late(town)
    town.travel("2026-04-15")
    await town.dun()
    await town.pay(ann, 2129)
    told = await town.facts("billing.dunning_stage_changed")
    assert [(one["from_stage"], one["to_stage"]) for one in told] == [
        ("clear", "suspended"),
        ("suspended", "clear"),
    ]


async def test_a_payment_on_the_very_day_does_not_worsen_what_no_tick_has_seen_yet(town: Town) -> None:
    ann = await _late(town)
    town.travel("2026-04-15")  # suspended by the calendar, but not evaluated yet
    receipt = await town.pay(ann, 1)
    assert receipt.stage_change is None
    assert await town.stage(ann) == "clear"


async def test_a_part_payment_moves_the_account_down_to_what_is_left(town: Town) -> None:
    ann = await town.customer("Ann", "2026-03-10", payment_terms_days=0)
    await town.bill()
    town.travel("2026-04-01")
    await town.bill()
    town.travel("2026-04-06")
    await town.dun()
    assert await town.stage(ann) == "suspended"
    receipt = await town.pay(ann, 2129)  # March is paid; April is five days late
    assert receipt.stage_change is not None
    assert receipt.stage_change.to_stage == "reminded"
    assert "INV-000002" in receipt.stage_change.because


async def test_one_overdue_invoice_concerns_every_service_the_account_still_holds(town: Town) -> None:
    ann = await _late(town)
    plan = await town.plan(code="more")
    second = await town.subscription(ann, plan, service="svc_barn")
    await town.subscription(ann, plan, service="svc_shop")
    town.travel("2026-03-20")
    async with town.workplace.work("operator:test") as work:
        granted(await end_subscription(work, subscription_id=second))
    town.travel("2026-04-15")
    [change] = await town.dun()
    assert change.service_ids == ("svc_1", "svc_shop")


async def test_a_service_left_behind_is_restored_with_the_others_unless_somebody_took_it_over(
    town: Town,
) -> None:
    ann = await town.account()
    bob = await town.account("Bob")
    plan = await town.plan()
    first = await town.subscription(ann, plan, "2026-03-10", "svc_house")
    second = await town.subscription(ann, plan, "2026-03-10", "svc_barn")
    await town.bill()
    town.travel("2026-04-15")
    await town.dun()
    async with town.workplace.work("operator:test") as work:
        granted(await end_subscription(work, subscription_id=first))
        granted(await end_subscription(work, subscription_id=second))
    await town.subscription(bob, plan, service="svc_house")
    told = (await town.facts("billing.dunning_stage_changed"))[-1]
    assert (told["account_id"], told["service_ids"], told["to_stage"]) == (bob, ["svc_house"], "clear")
    receipt = await town.pay(ann, 20_000)
    assert receipt.stage_change is not None
    assert receipt.stage_change.service_ids == ("svc_barn",)


async def test_an_account_in_dunning_is_sold_nothing_more(town: Town) -> None:
    ann = await _late(town)
    plan = await town.plan(code="more")
    town.travel("2026-04-15")
    await town.dun()
    async with town.workplace.work("operator:test") as work:
        refused = await subscribe(work, account_id=ann, service_id="svc_9", plan_version_id=plan)
    assert isinstance(refused, Refusal)
    assert refused.code == "account_in_dunning"


# The clock stepping back or leaping.


async def test_the_clock_stepping_back_a_day_suspends_nobody_twice(any_town: Town) -> None:
    town = any_town
    ann = await _late(town)
    await _days(town, date(2026, 4, 6), date(2026, 4, 8))
    assert await town.stage(ann) == "suspended"
    town.clock.step_to(town.clock.now() - timedelta(days=1))
    assert isinstance(await evaluate_dunning(town.workplace), Refusal)
    assert await town.dun(trust_clock=True) == []  # even if somebody vouches for it
    town.travel("2026-04-09")
    assert await town.dun() == []
    told = await town.facts("billing.dunning_stage_changed")
    assert [one["to_stage"] for one in told].count("suspended") == 1


async def test_after_a_leap_of_a_day_and_back_the_ladder_goes_on_where_it_was(town: Town) -> None:
    ann = await _late(town)
    await _days(town, date(2026, 3, 27), date(2026, 4, 2))
    town.travel("2026-04-03")  # one day too early: restricted
    await town.dun()
    town.clock.step_to(utc("2026-04-02T18:00"))
    await town.dun(trust_clock=True)
    town.travel("2026-04-03")
    await town.dun()
    assert [stage for _, stage in await town.events(ann)] == ["reminded", "restricted"]


# The dry run.


async def test_the_preview_names_services_and_reason_and_changes_nothing(any_town: Town) -> None:
    town = any_town
    ann = await _late(town)
    async with town.workplace.reading() as connection:
        assert await preview_dunning(connection, town.clock.now()) == []
        [would] = await preview_dunning(connection, utc("2026-04-09T12:00"))
    assert (would.account_id, would.from_stage, would.to_stage) == (ann, "clear", "suspended")
    assert would.service_ids == ("svc_1",)
    assert (
        "21.29 USD overdue; invoice INV-000001, due on 2026-03-24, 15 days late on 2026-04-08"
        in would.because
    )
    assert await town.stage(ann) == "clear"
    town.travel("2026-04-09")
    [change] = await town.dun()
    assert (change.to_stage, change.because) == (would.to_stage, would.because)


# Ladders as data.


@pytest.mark.parametrize(
    ("ladder", "words"),
    [
        ([{"stage": "angry", "days_overdue": 3}], "rung 1: 'angry'"),
        ([{"stage": "clear", "days_overdue": 3}], "rung 1: 'clear'"),
        ([{"stage": "reminded", "days_overdue": 0}], "rung 1: days_overdue"),
        ([{"stage": "reminded"}], "rung 1 needs"),
        ([{"stage": "suspended", "days_overdue": 3}, {"stage": "reminded", "days_overdue": 9}], "must rise"),
        ([{"stage": "reminded", "days_overdue": 9}, {"stage": "suspended", "days_overdue": 9}], "must rise"),
    ],
)
async def test_ladders_with_faults_are_refused(town: Town, ladder: list[dict[str, Any]], words: str) -> None:
    async with town.workplace.work("operator:test") as work:
        refused = await define_dunning_policy(work, name="x", ladder=ladder)
    assert isinstance(refused, Refusal)
    assert words in refused.message


async def test_a_ladder_may_go_on_to_the_end(town: Town) -> None:
    ann = await _late(town)
    await _policy(
        town, ann, ladder=[{"stage": "reminded", "days_overdue": 1}, {"stage": "ended", "days_overdue": 8}]
    )
    await _days(town, date(2026, 3, 25), date(2026, 4, 1))
    assert await town.events(ann) == [("2026-03-25", "reminded"), ("2026-04-01", "ended")]


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(-3000, 3000)), max_size=6))
def test_held_days_lie_between_payment_and_reversal(history: list[tuple[int, int]]) -> None:
    days = [(DUE + timedelta(days=offset), amount) for offset, amount in sorted(history)]
    periods = held_periods(3000, days)
    assert all(first.end <= second.start for first, second in pairwise(periods))
    late = UnpaidInvoice("I", DUE, 3000, periods)
    assert 0 <= late.days_overdue(DUE + timedelta(days=60)) <= 60


def test_held_days_of_a_bounced_payment() -> None:
    paid, bounced = DUE + timedelta(days=2), DUE + timedelta(days=20)
    assert held_periods(3000, [(paid, 3000), (bounced, -3000)]) == (Period(paid, bounced),)
    assert held_periods(3000, [(paid, 2999), (bounced, -2999)]) == ()
