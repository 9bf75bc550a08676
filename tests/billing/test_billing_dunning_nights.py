"""Dunning over the records: caps, cut-off hours, what defers it from elsewhere, words that are due, whose rules."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import permutations
from typing import Any

import pytest
from billing_story import Town, utc
from sqlalchemy import insert, select, update

from billing.dunning.define_policy import (
    assign_class,
    change_dunning_policy,
    change_policy_terms,
    define_dunning_policy,
)
from billing.dunning.evaluate import CAP_ISSUE
from billing.dunning.exceptions import (
    lift_deferral,
    open_dispute,
    place_deferral,
    record_promise,
    set_immunity,
    settle_dispute,
)
from billing.dunning.preview import preview_night
from billing.store.tables import account, dunning_event, gateway_charge, promise, subscription
from core.refusal import Refusal, granted
from core.store.tables import health_issue

LADDER: list[dict[str, Any]] = [
    {"stage": "reminded", "days_overdue": 3, "notices": [{"channel": "email", "template": "reminder_1"}]},
    {"stage": "reminded", "days_overdue": 7, "notices": [{"channel": "letter", "template": "reminder_2"}]},
    {"stage": "suspended", "days_overdue": 15, "notices": [{"channel": "sms", "template": "suspension_notice"}]},
]  # fmt: skip


async def _policy(town: Town, **terms: Any) -> str:
    async with town.workplace.work("operator:test") as work:
        return granted(await define_dunning_policy(work, name="ours", **{"ladder": LADDER, **terms}))


async def _late(town: Town, name: str = "Ann", **terms: Any) -> str:
    """Due on Tuesday 24 March: the second reminder on the 31st, suspended on Wednesday 8 April."""
    ann = await town.customer(name, "2026-03-10", dunning_policy="ours", **terms)
    await town.bill()
    return ann


async def _days(town: Town, first: str, last: str) -> None:
    on = date.fromisoformat(first)
    while on <= date.fromisoformat(last):
        town.travel(on)
        await town.dun()
        on += timedelta(days=1)


async def _act(town: Town, action: Any, **terms: Any) -> Any:
    async with town.workplace.work("operator:test") as work:
        return granted(await action(work, **terms))


# Caps.


@pytest.mark.parametrize("cap", [{"accounts": 2}, {"percent": 30}])
async def test_a_capped_night_cuts_the_worst_and_loses_nobody(any_town: Town, cap: dict[str, int]) -> None:
    """Seven accounts, two a night (30 % of 7): four nights, the oldest debts first."""
    town = any_town
    await _policy(town, cap=cap, skip_weekends=False)
    names = ["Gus", "Fay", "Eve", "Dan", "Cid", "Bob", "Ann"]
    people = [
        await town.customer(name, "2026-03-10", dunning_policy="ours", payment_terms_days=14 - place)
        for place, name in enumerate(names)
    ]
    await town.bill()
    order = list(reversed(people))  # Ann's invoice is the oldest
    cut: list[str] = []
    for night in range(4):
        town.travel(date(2026, 4, 8) + timedelta(days=night))
        async with town.workplace.reading() as connection:
            foreseen = await preview_night(connection, town.clock.now())
        moved = [one.account_id for one in await town.dun() if one.to_stage == "suspended"]
        assert moved == [one.account_id for one in foreseen.changes if one.to_stage == "suspended"]
        assert [one.code for one in foreseen.deferred] == ["cap"] * (5 - 2 * night if night < 3 else 0)
        assert await town.dun() == [], "the same night has had its cuts"
        cut += moved
        assert cut == order[: 2 * night + 2]
        async with town.workplace.reading() as connection:
            query = select(health_issue).where(health_issue.c.key.startswith(CAP_ISSUE))
            issues = (await connection.execute(query)).all()
        assert [one.closed_at is None for one in issues] == [night < 3]
    assert sorted(cut) == sorted(people)


# Hours.


async def test_a_cut_waits_for_its_hour_and_comes_with_the_tick_after_it(town: Town) -> None:
    await _policy(town, hours={"not_before": "09:00", "not_after": "15:00"})
    ann = await _late(town)
    town.travel("2026-04-08", hour=1)
    await town.dun()
    assert await town.stage(ann) == "reminded"
    town.travel("2026-04-08", hour=8)
    assert await town.dun() == []
    town.travel("2026-04-08", hour=9)
    assert [one.to_stage for one in await town.dun()] == ["suspended"]


async def test_a_box_that_slept_past_the_hours_cuts_the_next_day(town: Town) -> None:
    await _policy(town, hours={"not_before": "09:00", "not_after": "15:00"})
    ann = await _late(town)
    town.travel("2026-04-08", hour=16)
    await town.dun()
    town.travel("2026-04-09", hour=0)
    await town.dun()
    assert await town.stage(ann) == "reminded"
    town.travel("2026-04-09", hour=10)
    await town.dun()
    assert await town.stage(ann) == "suspended"


# What defers it from elsewhere.


async def test_a_payment_on_its_way_defers_and_its_failure_does_not(town: Town) -> None:
    await _policy(town)
    ann = await _late(town)
    async with town.workplace.work("system:test") as work:
        await work.connection.execute(
            insert(gateway_charge).values(
                id="gch_1", key="k", account_id=ann, gateway="sandbox", cause="autopay", amount_minor=2129,
                currency="USD", begun_at=work.now, begun_by="test", state="in_flight", state_at=work.now, looks=0,
            )
        )  # fmt: skip
    town.travel("2026-04-08")
    async with town.workplace.reading() as connection:
        [waits] = (await preview_night(connection, town.clock.now())).deferred
    assert (waits.code, waits.wanted) == ("in_flight", "suspended")
    assert await town.dun() == []
    async with town.workplace.work("system:test") as work:
        await work.connection.execute(update(gateway_charge).values(state="failed"))
    town.travel("2026-04-09")
    [change] = await town.dun()
    assert change.to_stage == "suspended"


async def test_a_paused_service_is_not_chased(town: Town) -> None:
    await _policy(town)
    ann = await _late(town)
    async with town.workplace.work("system:test") as work:
        await work.connection.execute(update(subscription).values(paused_on=date(2026, 4, 1)))
    await _days(town, "2026-04-08", "2026-04-08")
    assert await town.stage(ann) == "clear"
    plan = await town.plan(code="barn")
    await town.subscription(ann, plan, service="svc_barn")  # one that runs
    await _days(town, "2026-04-09", "2026-04-09")
    assert await town.stage(ann) == "suspended"


async def test_an_outage_defers_who_pays_for_its_services_until_it_is_lifted(any_town: Town) -> None:
    town = any_town
    await _policy(town)
    ann = await _late(town)
    outage: dict[str, Any] = {"source": "outage:site_1", "reason": "the tower is down"}
    await _days(town, "2026-03-27", "2026-03-27")
    assert await _act(town, place_deferral, **outage, service_ids=["svc_1", "svc_of_nobody"]) == 1
    assert await _act(town, place_deferral, **outage, account_ids=[ann]) == 0, "it stands"
    await _days(town, "2026-04-08", "2026-04-09")
    assert await town.stage(ann) == "reminded"
    assert await _act(town, lift_deferral, source="outage:site_1") == 1
    assert await town.stage(ann) == "suspended"
    assert await _act(town, lift_deferral, source="outage:site_1") == 0
    assert await _act(town, place_deferral, **outage, account_ids=[ann]) == 1, "it is down again"


async def test_a_child_is_cut_for_its_payer(town: Town) -> None:
    await _policy(town)
    mother = await _late(town)
    child = await town.customer("Child", "2026-03-10", dunning_policy="ours")
    async with town.workplace.work("operator:test") as work:
        await work.connection.execute(
            update(account).where(account.c.id == child).values(payer_account_id=mother)
        )
    town.travel("2026-04-08")
    changes = {one.account_id: one.service_ids for one in await town.dun()}
    assert changes[mother] == ("svc_1", "svc_2")
    receipt = await town.pay(mother, 2129)
    assert receipt.stage_change is not None
    assert receipt.stage_change.service_ids == ("svc_1", "svc_2")
    assert await _act(town, place_deferral, source="t", reason="r", service_ids=["svc_2"]) == 2


# Words that are due.


async def test_each_rung_says_its_words_once(any_town: Town) -> None:
    town = any_town
    await _policy(town, on_restored=[{"channel": "email", "template": "service_restored"}])
    ann = await _late(town)
    await _days(town, "2026-03-24", "2026-04-10")
    await _days(town, "2026-04-10", "2026-04-10")
    await town.pay(ann, 2129)
    told = await town.facts("billing.notice_due")
    assert [(one["channel"], one["template"]) for one in told] == [
        ("email", "reminder_1"),
        ("letter", "reminder_2"),
        ("sms", "suspension_notice"),
        ("email", "service_restored"),
    ]
    first = told[0]["context"]
    assert (first["invoice"], first["due_on"], first["overdue_minor"]) == ("INV-000001", "2026-03-24", 2129)
    assert (first["next_stage"], first["next_on"]) == ("suspended", "2026-04-08")
    assert len({one["source"] for one in told}) == 4
    assert [stage for _, stage in await town.events(ann)] == ["reminded", "reminded", "suspended", "clear"]


async def test_after_ten_days_off_nobody_gets_three_letters_in_a_day(town: Town) -> None:
    await _policy(town)
    ann = await _late(town)
    await _days(town, "2026-04-09", "2026-04-09")
    assert [one["template"] for one in await town.facts("billing.notice_due")] == ["suspension_notice"]
    async with town.workplace.reading() as connection:
        rows = (
            await connection.execute(select(dunning_event).where(dunning_event.c.account_id == ann))
        ).all()
    assert [sorted(set(row.because) & {"notices", "notices_overtaken"}) for row in rows] == [
        ["notices_overtaken"], ["notices_overtaken"], ["notices"],
    ]  # fmt: skip


# Promises and disputes on record.


async def test_promises_are_kept_broken_and_counted(any_town: Town) -> None:
    town = any_town
    broken_words = [{"channel": "sms", "template": "promise_broken"}]
    await _policy(town, broken_promises=2, longest_promise_days=10, on_promise_broken=broken_words)
    ann = await _late(town)
    await _days(town, "2026-03-27", "2026-03-27")
    await _act(town, record_promise, account_id=ann, until=date(2026, 3, 30), amount_minor=1000)
    await town.pay(ann, 1000)
    assert await town.stage(ann) == "reminded"
    for until in ("2026-04-01", "2026-04-03"):
        await _act(town, record_promise, account_id=ann, until=date.fromisoformat(until))
        await _days(town, until, (date.fromisoformat(until) + timedelta(days=1)).isoformat())
    async with town.workplace.reading() as connection:
        rows = (await connection.execute(select(promise).order_by(promise.c.until))).all()
    assert [(str(one.until), one.promised_minor, one.state) for one in rows] == [
        ("2026-03-30", 1000, "kept"), ("2026-04-01", 1129, "broken"), ("2026-04-03", 1129, "broken"),
    ]  # fmt: skip
    told = [one["template"] for one in await town.facts("billing.notice_due")]
    assert told.count("promise_broken") == 2
    async with town.workplace.work("operator:test") as work:
        third = await record_promise(work, account_id=ann, until=date(2026, 4, 6))
        far = await record_promise(work, account_id=ann, until=date(2026, 5, 6))
    assert isinstance(third, Refusal)
    assert third.code == "promises_broken"
    assert isinstance(far, Refusal)
    assert far.code == "promise_too_long"


async def test_a_dispute_restores_and_its_days_do_not_count(any_town: Town) -> None:
    town = any_town
    await _policy(town)
    ann = await _late(town)
    await _days(town, "2026-04-08", "2026-04-08")
    dispute = await _act(
        town,
        open_dispute,
        account_id=ann,
        reason="never had it",
        invoice="INV-000001",
        until=date(2026, 5, 1),
    )
    assert await town.stage(ann) == "clear"
    await _days(town, "2026-04-09", "2026-04-10")
    change = await _act(town, settle_dispute, dispute_id=dispute, outcome="rejected", note="it was delivered")
    assert change.to_stage == "suspended"  # 15 days were behind it when it began
    async with town.workplace.work("operator:test") as work:
        again = await settle_dispute(work, dispute_id=dispute, outcome="upheld")
    assert isinstance(again, Refusal)


async def test_immunity_ends_by_itself(town: Town) -> None:
    await _policy(town)
    ann = await _late(town)
    await _act(town, set_immunity, account_id=ann, immune=True, until=date(2026, 4, 8), reason="flood")
    await _days(town, "2026-04-08", "2026-04-08")
    assert await town.stage(ann) == "clear"
    await _days(town, "2026-04-09", "2026-04-09")
    assert await town.stage(ann) == "suspended"


# Whose rules.


async def test_a_class_has_its_policy_and_an_account_may_have_its_own(town: Town) -> None:
    await _policy(town, ladder=[{"stage": "suspended", "days_overdue": 1}])
    ann, bob = await town.customer("Ann", "2026-03-10"), await town.account("Bob")
    await town.subscription(bob, await town.plan(code="b"), "2026-03-10")
    await town.bill()
    await _act(town, change_dunning_policy, account_id=bob, dunning_policy="standard")
    await _act(town, assign_class, account_class="standard", dunning_policy="ours")
    await _days(town, "2026-03-25", "2026-03-25")
    assert [await town.stage(one) for one in (ann, bob)] == ["suspended", "clear"]
    await _act(town, assign_class, account_class="standard", dunning_policy=None)
    await town.dun()
    assert await town.stage(ann) == "clear", "looked at again the same day"


async def test_changed_terms_take_effect_from_their_day_and_never_before(any_town: Town) -> None:
    town = any_town
    await _policy(town)
    ann = await _late(town)
    await _days(town, "2026-03-27", "2026-03-27")
    strict = {"ladder": [{"stage": "suspended", "days_overdue": 2}]}
    await _act(town, change_policy_terms, policy="ours", terms=strict, valid_from=date(2026, 3, 31))
    await _days(town, "2026-03-28", "2026-03-30")
    assert await town.stage(ann) == "reminded"
    await _days(town, "2026-03-31", "2026-03-31")
    assert await town.stage(ann) == "suspended"
    async with town.workplace.reading() as connection:
        rows = (await connection.execute(select(dunning_event.c.policy_version_id))).scalars().all()
    assert len(set(rows)) == 2, "each decision names its version"
    async with town.workplace.work("operator:test") as work:
        late = await change_policy_terms(work, policy="ours", terms=strict, valid_from=date(2026, 3, 1))
    assert isinstance(late, Refusal)
    assert late.code == "valid_in_the_past"


# The order in which facts arrive.


@pytest.mark.parametrize("order", list(permutations(range(3))))
async def test_the_order_of_facts_does_not_matter(town: Town, order: tuple[int, ...]) -> None:
    """A part payment, a dispute of a part and a promise on one day, and the tick: all orders end alike.

    Until the promise is over they need not: it defers what has not happened, and restores nobody.
    """
    await _policy(town, minimum_balance_minor=300)
    ann = await _late(town)
    town.travel("2026-04-08")
    facts = [
        lambda: town.pay(ann, 1200),
        lambda: _act(
            town, open_dispute, account_id=ann, reason="r", invoice="INV-000001", amount_minor=500,
            until=date(2026, 4, 20),
        ),
        lambda: _act(town, record_promise, account_id=ann, until=date(2026, 4, 14)),
    ]  # fmt: skip
    for which in order:
        await facts[which]()
    await town.dun()
    await _days(town, "2026-04-09", "2026-04-15")
    assert await town.stage(ann) == "suspended"
    await town.pay(ann, 200)  # 229 are left beside what is disputed
    assert await town.stage(ann) == "clear"


async def test_a_look_from_the_past_changes_nothing(town: Town) -> None:
    """The evaluation of a night, again after the clock was set back and forth, moves nobody twice."""
    await _policy(town)
    ann = await _late(town)
    await _days(town, "2026-04-08", "2026-04-08")
    before = await town.events(ann)
    town.clock.step_to(utc("2026-04-07T12:00"))
    await town.dun(trust_clock=True)
    await _days(town, "2026-04-08", "2026-04-09")
    assert await town.events(ann) == before
