"""Subscriptions that change: each case is dated, and the lines are what a person would work out by hand."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from billing_story import Town
from sqlalchemy import select

from billing.catalogue.define_plan import define_offer
from billing.invoicing.add_charge import add_charge
from billing.store import subscription_rows
from billing.store.tables import charge
from billing.subscriptions import change_subscription as change
from billing.subscriptions.order_change import Order, carry_out
from billing.subscriptions.preview_order import preview_order
from billing.subscriptions.subscribe import subscribe
from billing.subscriptions.turn_subscriptions import turn_subscriptions
from core.refusal import Refusal, granted


def amounts(lines: list[Any]) -> list[tuple[str, str, int]]:
    return [(one.kind, one.item_code, one.quoted_minor) for one in lines if one.kind not in ("usage", "tax")]


async def act(town: Town, what: Callable[..., Any], **asked: Any) -> Any:
    async with town.workplace.work("operator:test") as work:
        return await what(work, **asked)


async def sold(town: Town, starts_on: str = "2026-03-01", **account: Any) -> tuple[str, str]:
    ann = await town.account(**account)
    return ann, await town.subscription(ann, await town.plan(), starts_on)


async def bound_for_a_year(town: Town) -> str:
    """A plan whose contract asks for half of the months left."""
    async with town.workplace.work("operator:test") as work:
        return granted(
            await define_offer(
                work, code="bound", name="Bound", currency="USD", service_profile_id="pro_1",
                items=[{"code": "recurring", "kind": "recurring", "name": "Bound", "price_minor": 3100}],
                contract={"term_months": 12, "fee": "remaining", "share_ppm": 500_000},
            )
        )  # fmt: skip


async def offer(town: Town, *items: dict[str, Any], code: str = "extra", kind: str = "addon") -> str:
    described = [{"code": "recurring", "kind": "recurring", "name": "Extra", **one} for one in items]
    async with town.workplace.work("operator:test") as work:
        return granted(
            await define_offer(
                work, code=code, name="Extra", currency="USD", items=described, kind=kind,
                service_profile_id="pro_1" if kind == "plan" else None,
            )
        )  # fmt: skip


async def test_the_usage_of_a_line_is_one_subscription_s_to_price(town: Town) -> None:
    ann, sub = await sold(town)
    metered = {"code": "usage", "kind": "usage", "name": "Nights", "usage": {"metered": "sum"}}
    nights = await offer(town, {"price_minor": 500}, metered, code="nights")
    plain = await offer(town, {"price_minor": 500}, code="static-ip")
    async with town.workplace.reading() as connection:
        [one] = await subscription_rows.find_many(connection, [sub])
    asked = {"account_id": ann, "service_id": one.service_id, "parent_id": sub}
    refused = await act(town, subscribe, plan_version_id=nights, **asked)
    assert isinstance(refused, Refusal)
    assert (refused.code, refused.field) == ("metered_twice", "plan_version_id")
    addon = granted(await act(town, subscribe, plan_version_id=plain, **asked))
    later = await act(town, change.change_plan, subscription_id=addon, plan_version_id=nights)
    assert isinstance(later, Refusal)
    assert later.code == "metered_twice"


async def test_an_upgrade_in_the_middle_takes_the_old_days_back_and_charges_the_new(town: Town) -> None:
    _, sub = await sold(town)
    await town.bill()
    big = await town.plan(code="big", price_minor=6200)
    town.travel("2026-03-11")
    granted(await act(town, change.change_plan, subscription_id=sub, plan_version_id=big))
    town.travel("2026-04-01")
    await town.bill()
    assert amounts(await town.lines("INV-000002")) == [
        ("adjustment", "recurring", -2032),  # 21 of 31 days of 30.00
        ("recurring", "recurring", 4200),  # 21 of 31 days of 62.00
        ("recurring", "recurring", 6200),
    ]
    usage = [line for line in await town.lines("INV-000002") if line.kind == "usage"]
    assert [(str(one.period_start), str(one.period_end)) for one in usage] == [
        ("2026-03-01", "2026-03-11"), ("2026-03-11", "2026-04-01"),
    ]  # fmt: skip
    await town.prove_books()


async def test_two_changes_on_one_day_count_as_the_last_one(town: Town) -> None:
    _, sub = await sold(town)
    await town.bill()
    big = await town.plan(code="big", price_minor=6200)
    town.travel("2026-03-11")
    granted(await act(town, change.change_plan, subscription_id=sub, plan_version_id=big))
    small = (await town.lines("INV-000001"))[0].plan_version_id
    granted(await act(town, change.change_plan, subscription_id=sub, plan_version_id=small))
    town.travel("2026-04-01")
    await town.bill()
    assert amounts(await town.lines("INV-000002")) == [("recurring", "recurring", 3000)]


async def test_a_pause_gives_back_its_days_and_ends_by_itself(town: Town) -> None:
    _, sub = await sold(town)
    await town.bill()
    paused = {"subscription_id": sub, "from_on": date(2026, 3, 12), "resume_on": date(2026, 4, 15)}
    granted(await act(town, change.pause_subscription, **paused))
    assert granted(await turn_subscriptions(town.workplace, settings=town.settings)) == 0
    town.travel("2026-03-12")
    assert granted(await turn_subscriptions(town.workplace, settings=town.settings)) == 1
    assert [one["paused"] for one in await town.facts("billing.subscription_turned")] == [True]
    town.travel("2026-04-01")
    await town.bill()
    assert amounts(await town.lines("INV-000002")) == [
        ("adjustment", "recurring", -1935),  # 20 of 31 days
        ("recurring", "recurring", 1600),  # 16 of 30 days: resumed on the 15th
    ]
    town.travel("2026-04-15")
    await turn_subscriptions(town.workplace, settings=town.settings)
    assert [one["paused"] for one in await town.facts("billing.subscription_turned")] == [True, False]
    town.travel("2026-05-01")
    await town.bill()
    assert amounts(await town.lines("INV-000003")) == [("recurring", "recurring", 3000)]


async def test_a_line_whose_subscription_ended_is_sold_to_nobody_until_it_is_sold_again(town: Town) -> None:
    ann, sub = await sold(town)
    granted(await act(town, change.end_subscription, subscription_id=sub, ends_on=date(2026, 3, 20)))
    assert await town.facts("billing.subscription_turned") == []
    town.travel("2026-03-20")
    await turn_subscriptions(town.workplace, settings=town.settings)
    assert [one["ended"] for one in await town.facts("billing.subscription_turned")] == [True]
    [line] = [one["service_id"] for one in await town.facts("billing.subscription_turned")]
    version = (await town.facts("billing.subscription_turned"))[0]["plan_version_id"]
    sold_again = {"account_id": ann, "service_id": line, "plan_version_id": version}
    granted(await act(town, subscribe, **sold_again))
    assert [one["ended"] for one in await town.facts("billing.subscription_turned")] == [True, False]


async def test_an_addon_that_ends_or_rests_leaves_its_line_alone(town: Town) -> None:
    ann, plan_sub = await sold(town)
    async with town.workplace.reading() as connection:
        found = await subscription_rows.find_subscription(connection, plan_sub)
    assert found is not None
    extra = await offer(town, {"price_minor": 310})
    addon = granted(
        await act(
            town, subscribe, account_id=ann, service_id=found.service_id, plan_version_id=extra,
            parent_id=plan_sub, starts_on=date(2026, 3, 1),
        )
    )  # fmt: skip
    granted(await act(town, change.pause_subscription, subscription_id=addon))
    granted(await act(town, change.end_subscription, subscription_id=addon))
    assert await town.facts("billing.subscription_turned") == []


async def test_more_of_it_from_a_day_on_and_fewer_later(town: Town) -> None:
    ann, plan_sub = await sold(town)
    extra = await offer(town, {"price_minor": 310})
    phone = granted(
        await act(
            town, subscribe, account_id=ann, service_id=None, plan_version_id=extra, parent_id=plan_sub,
            starts_on=date(2026, 3, 1), quantity=2,
        )
    )  # fmt: skip
    await town.bill()
    assert ("recurring", "recurring", 620) in amounts(await town.lines("INV-000001"))
    town.travel("2026-03-11")
    granted(await act(town, change.change_quantity, subscription_id=phone, quantity=5))
    town.travel("2026-04-01")
    await town.bill()
    assert amounts(await town.lines("INV-000002")) == [
        ("recurring", "recurring", 3000),
        ("adjustment", "recurring", 630),  # three more for 21 of 31 days
        ("recurring", "recurring", 1550),
    ]


async def test_a_back_dated_end_comes_back_as_credit_and_withdrawing_it_charges_again(town: Town) -> None:
    _, sub = await sold(town)
    await town.bill()
    town.travel("2026-04-01")
    await town.bill()
    town.travel("2026-04-05")
    granted(await act(town, change.end_subscription, subscription_id=sub, ends_on=date(2026, 3, 11)))
    town.travel("2026-05-01")
    await town.bill()
    assert sorted(amounts(await town.lines("INV-000003"))) == [
        ("adjustment", "recurring", -3000), ("adjustment", "recurring", -2032),
    ]  # fmt: skip
    await town.prove_books()


async def test_a_change_that_was_a_mistake_leaves_no_trace_in_money(town: Town) -> None:
    _, sub = await sold(town)
    await town.bill()
    big = await town.plan(code="big", price_minor=6200)
    town.travel("2026-03-11")
    granted(await act(town, change.change_plan, subscription_id=sub, plan_version_id=big))
    found = granted(await act(town, change.find_standing, subscription_id=sub))
    wrong = next(one for one in found.changes if one.kind == "plan")
    granted(
        await act(
            town, change.withdraw_change, subscription_id=sub, change_id=wrong.id, reason="wrong customer"
        )
    )
    town.travel("2026-04-01")
    await town.bill()
    assert amounts(await town.lines("INV-000002")) == [("recurring", "recurring", 3000)]


async def test_a_pause_that_is_withdrawn_takes_its_resume_along(town: Town) -> None:
    _, sub = await sold(town)
    await town.bill()
    town.travel("2026-03-11")
    ordered = {"subscription_id": sub, "from_on": date(2026, 3, 12)}
    granted(await act(town, change.pause_subscription, **ordered, resume_on=date(2026, 3, 20)))
    found = granted(await act(town, change.find_standing, subscription_id=sub))
    pause = next(one for one in found.changes if one.kind == "pause")
    town.travel("2026-03-12")
    granted(
        await act(town, change.withdraw_change, subscription_id=sub, change_id=pause.id, reason="not yet")
    )
    granted(await act(town, change.pause_subscription, subscription_id=sub, from_on=date(2026, 3, 15)))
    town.travel("2026-04-01")
    await town.bill()
    assert amounts(await town.lines("INV-000002")) == [("adjustment", "recurring", -1645)]  # to the end


@pytest.mark.parametrize(
    ("period", "advance", "invoices"),
    [
        ({"unit": "week"}, True, [[310] * 5, [310] * 4, [310] * 5]),  # begun in March, in April, in May
        ({"unit": "quarter"}, True, [[310], [], []]),
        ({"unit": "year"}, True, [[310], [], []]),
        ({"unit": "month"}, False, [[], [310], [310]]),
        ({"unit": "quarter"}, False, [[], [], []]),
        ({"unit": "day", "count": 10}, False, [[], [310, 310, 310], [310, 310, 310]]),
    ],
)
async def test_any_period_in_advance_or_arrears(
    town: Town, period: dict[str, Any], advance: bool, invoices: list[list[int]]
) -> None:
    ann = await town.account()
    extra = await offer(town, {"price_minor": 310, "period": period, "advance": advance})
    granted(
        await act(
            town, subscribe, account_id=ann, service_id=None, plan_version_id=extra,
            starts_on=date(2026, 3, 1),
        )
    )  # fmt: skip
    found = []
    for month in ("03", "04", "05"):
        town.travel(f"2026-{month}-01")
        outcome = await town.bill()
        found.append([line[2] for number in outcome.numbers for line in amounts(await town.lines(number))])
    assert found == invoices


async def test_once_deposit_discount_and_included_tax(town: Town) -> None:
    await town.tax(100_000)
    ann = await town.account()
    extra = await offer(
        town,
        {"price_minor": 1100, "tax_included": True},
        {"code": "setup", "kind": "one_time", "name": "Installation", "price_minor": 5000},
        {"code": "deposit", "kind": "deposit", "name": "Deposit", "price_minor": 2000},
        {
            "code": "welcome", "kind": "discount", "name": "First two months", "tax_included": True,
            "discount": {"percent_ppm": 500_000, "periods": 2},
        },
    )  # fmt: skip
    granted(
        await act(
            town, subscribe, account_id=ann, service_id=None, plan_version_id=extra,
            starts_on=date(2026, 3, 1),
        )
    )  # fmt: skip
    await town.bill()
    lines = await town.lines("INV-000001")
    assert amounts(lines) == [
        ("recurring", "recurring", 1100), ("one_time", "setup", 5000), ("deposit", "deposit", 2000),
        ("discount", "welcome", -550),
    ]  # fmt: skip
    assert [one.amount_minor for one in lines] == [1000, 5000, 2000, -500, 550]  # tax on 5500 net, no deposit
    for month, expected in (("04", -550), ("05", None)):
        town.travel(f"2026-{month}-01")
        [number] = (await town.bill()).numbers
        gifts = [line[2] for line in amounts(await town.lines(number)) if line[0] == "discount"]
        assert gifts == ([] if expected is None else [expected])
    await town.prove_books()


async def test_a_contract_that_is_left_early_costs_its_fee_once(town: Town) -> None:
    ann = await town.account()
    sub = await town.subscription(ann, await bound_for_a_year(town), "2026-03-01")
    await town.bill()
    town.travel("2026-03-20")
    granted(await act(town, change.end_subscription, subscription_id=sub, ends_on=date(2026, 4, 1)))
    town.travel("2026-04-01")
    await town.bill()
    assert amounts(await town.lines("INV-000002")) == [("charge", "early_end", 17050)]  # half of 11 × 31.00


async def test_a_charge_alone_makes_an_invoice_and_the_same_event_charges_once(town: Town) -> None:
    ann = await town.account()
    fee = {
        "account_id": ann, "kind": "visit", "description": "Technician's visit", "amount_minor": 7500,
        "tax_class": "service", "revenue": "fees", "source": "visit:1",
    }  # fmt: skip
    first = granted(await act(town, add_charge, **fee))
    assert granted(await act(town, add_charge, **fee)) == first
    other = await act(town, add_charge, **{**fee, "amount_minor": 1})
    assert isinstance(other, Refusal)
    assert other.code == "differs"
    town.travel("2026-04-01")
    await town.bill()
    town.travel("2026-05-01")
    await town.bill()
    assert [amounts(await town.lines(one.number)) for one in await town.invoices()] == [
        [("charge", "visit", 7500)]
    ]


async def test_what_a_parent_pays_is_on_its_invoice(town: Town) -> None:
    from sqlalchemy import update

    from billing.store.tables import account

    parent, child = await town.account("Parent"), await town.account("Child")
    async with town.workplace.work("operator:test") as work:
        await work.connection.execute(
            update(account).where(account.c.id == child).values(payer_account_id=parent)
        )
    await town.subscription(child, await town.plan(), "2026-03-01")
    await town.bill()
    [invoice] = await town.invoices()
    assert (invoice.account_id, invoice.net_minor) == (parent, 3000)
    await town.prove_books()


async def test_a_preview_tells_what_the_change_will_cost_and_writes_nothing(town: Town) -> None:
    _, sub = await sold(town)
    await town.bill()
    big = await town.plan(code="big", price_minor=6200)
    town.travel("2026-03-20")
    order = Order("plan", "on", date(2026, 3, 11), plan_version_id=big)
    told = granted(await preview_order(town.workplace, town.meters, sub, order, town.settings))
    assert told.difference_minor == 4200 - 2032 + 6200 - 3000
    resumed = await preview_order(town.workplace, town.meters, sub, Order("resume"), town.settings)
    assert isinstance(resumed, Refusal)
    async with town.workplace.reading() as connection:
        assert len((await subscription_rows.changes_of(connection, [sub]))[sub]) == 1  # nothing was kept
    assert granted(await act(town, carry_out, subscription_id=sub, order=order)) == date(2026, 3, 11)
    town.travel("2026-04-01")
    await town.bill()
    assert (await town.invoices())[1].total_minor == 3000 + told.difference_minor


async def end_of(town: Town, subscription_id: str, on: date) -> str:
    """The id of the end that was written for that day."""
    async with town.workplace.reading() as connection:
        every = (await subscription_rows.changes_of(connection, [subscription_id]))[subscription_id]
    return next(one.id for one in every if one.kind == "end" and one.effective_on == on)


async def ends_of(town: Town, account_id: str) -> list[date | None]:
    async with town.workplace.reading() as connection:
        every = (await subscription_rows.subscriptions_of(connection, [account_id]))[account_id]
    return [one.ends_on for one in every]


async def test_withdrawing_an_end_brings_back_the_addons_that_ended_with_it(town: Town) -> None:
    ann, sub = await sold(town)
    extra = await offer(town, {"price_minor": 310})
    form = {"account_id": ann, "service_id": "svc_1", "plan_version_id": extra, "parent_id": sub}
    gone = granted(await act(town, subscribe, **form, starts_on=date(2026, 3, 1)))
    granted(await act(town, subscribe, **form, starts_on=date(2026, 3, 1), quantity=2))
    await town.bill()
    town.travel("2026-03-11")
    granted(await act(town, change.end_subscription, subscription_id=gone, ends_on=date(2026, 3, 15)))
    town.travel("2026-03-12")
    granted(await act(town, change.end_subscription, subscription_id=sub, ends_on=date(2026, 3, 20)))
    assert sorted(map(str, await ends_of(town, ann))) == ["2026-03-15", "2026-03-20", "2026-03-20"]
    town.travel("2026-03-13")
    change_id = await end_of(town, sub, date(2026, 3, 20))
    granted(await act(town, change.withdraw_change, subscription_id=sub, change_id=change_id, reason="stays"))
    assert sorted(map(str, await ends_of(town, ann))) == ["2026-03-15", "None", "None"]
    town.travel("2026-04-01")
    await town.bill()
    assert sorted(amounts(await town.lines("INV-000002"))) == [
        ("adjustment", "recurring", -170), ("recurring", "recurring", 620), ("recurring", "recurring", 3000),
    ]  # fmt: skip
    await town.prove_books()


async def test_an_end_is_not_withdrawn_once_the_line_is_sold_to_another(town: Town) -> None:
    _, sub = await sold(town)
    granted(await act(town, change.end_subscription, subscription_id=sub, ends_on=date(2026, 3, 20)))
    bob = await town.account("Bob")
    plan = await town.plan(code="other")
    his = await town.subscription(bob, plan, "2026-04-01", "svc_1")
    order = {
        "subscription_id": sub, "change_id": await end_of(town, sub, date(2026, 3, 20)), "reason": "stays",
    }  # fmt: skip
    refused = await act(town, change.withdraw_change, **order)
    assert isinstance(refused, Refusal)
    assert refused.code == "service_subscribed"
    granted(await act(town, change.end_subscription, subscription_id=his, ends_on=date(2026, 4, 1)))
    granted(await act(town, change.withdraw_change, **order))  # his never ran


async def test_a_line_is_free_for_whoever_comes_before_a_subscription_that_never_ran(town: Town) -> None:
    _, sub = await sold(town, "2026-04-01")
    granted(await act(town, change.end_subscription, subscription_id=sub, ends_on=date(2026, 4, 1)))
    bob = await town.account("Bob")
    await town.subscription(bob, await town.plan(code="other"), "2026-03-20", "svc_1")


async def test_the_fee_of_a_contract_follows_the_end_that_stands(town: Town) -> None:
    ann = await town.account()
    sub = await town.subscription(ann, await bound_for_a_year(town), "2026-03-01")
    granted(await act(town, change.end_subscription, subscription_id=sub, ends_on=date(2026, 5, 1)))
    town.travel("2026-03-11")
    granted(await act(town, change.end_subscription, subscription_id=sub, ends_on=date(2026, 4, 1)))
    assert await waiting(town, ann) == [17050]  # half of 11 × 31.00, and nothing for 10 months besides
    earlier = await end_of(town, sub, date(2026, 4, 1))
    granted(await act(town, change.withdraw_change, subscription_id=sub, change_id=earlier, reason="later"))
    assert await waiting(town, ann) == [15500]  # the end on May 1 stands again
    later = await end_of(town, sub, date(2026, 5, 1))
    granted(await act(town, change.withdraw_change, subscription_id=sub, change_id=later, reason="stays"))
    assert await waiting(town, ann) == []


async def waiting(town: Town, account_id: str) -> list[int]:
    """What one-off charges wait for an invoice."""
    query = select(charge.c.quoted_minor).where(
        charge.c.account_id == account_id, charge.c.withdrawn_at.is_(None)
    )
    async with town.workplace.reading() as connection:
        return list((await connection.execute(query)).scalars())
