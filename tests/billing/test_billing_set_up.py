"""Setting up: what is refused is refused by field, and nothing half-made stays."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from billing_story import GB, Town
from sqlalchemy import func, select

from billing.set_up import define_plan_version, end_subscription, open_account, subscribe
from billing.store import account_rows, plan_rows
from billing.store.tables import account, subscription
from core.refusal import Refusal


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ({"name": "  "}, "name"),
        ({"name": "x" * 161}, "name"),
        ({"street": "line\nbreak"}, "street"),
        ({"email": "nobody"}, "email"),
        ({"country": "usa"}, "country"),
        ({"currency": "usd"}, "currency"),
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"anchor_day": 0}, "anchor_day"),
        ({"anchor_day": 32}, "anchor_day"),
        ({"payment_terms_days": -1}, "payment_terms_days"),
        ({"dunning_policy": "cruel"}, "dunning_policy"),
    ],
)
async def test_an_account_with_a_fault_is_refused_by_field(
    town: Town, terms: dict[str, Any], field: str
) -> None:
    async with town.workplace.work("operator:test") as work:
        refused = await open_account(work, **{"name": "Ann", **terms})
        count = (await work.connection.execute(select(func.count()).select_from(account))).scalar_one()
    assert isinstance(refused, Refusal)
    assert (refused.field, count) == (field, 0)


async def test_account_numbers_follow_each_other_and_pass_over_given_ones(any_town: Town) -> None:
    town = any_town
    await town.account("Given", number="A-000002")
    made = [await town.account(f"Person {n}") for n in range(3)]
    async with town.workplace.reading() as connection:
        found = [await account_rows.find_account(connection, one) for one in made]
    assert [one.number for one in found if one] == ["A-000001", "A-000003", "A-000004"]
    async with town.workplace.work("operator:test") as work:
        refused = await open_account(work, name="Twin", number="A-000002")
    assert isinstance(refused, Refusal)
    assert refused.field == "number"


async def test_a_new_price_is_a_new_version_and_the_old_one_stays(any_town: Town) -> None:
    town = any_town
    first = await town.plan()
    second = await town.plan(price_minor=3500, allowance_octets=None)
    async with town.workplace.reading() as connection:
        catalogue = await plan_rows.plan_versions(connection)
    assert [(catalogue[one].version, catalogue[one].price_minor) for one in (first, second)] == [
        (1, 3000),
        (2, 3500),
    ]


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ({"code": ""}, "code"),
        ({"name": " "}, "name"),
        ({"price_minor": -1}, "price_minor"),
        ({"currency": "dollar"}, "currency"),
        ({"allowance_octets": -1}, "allowance_octets"),
        ({"metered": "both"}, "metered"),
        ({"tax_class": ""}, "tax_class"),
        ({"overage_tiers": [{"up_to_octets": 1, "minor_per_gb": "1"}]}, "overage_tiers"),
    ],
)
async def test_a_plan_with_a_fault_is_refused_by_field(town: Town, terms: dict[str, Any], field: str) -> None:
    offer: dict[str, Any] = {
        "code": "home", "name": "Home", "price_minor": 1, "currency": "USD", "allowance_octets": GB,
        "overage_tiers": [], "service_profile_id": "p",
    }  # fmt: skip
    async with town.workplace.work("operator:test") as work:
        refused = await define_plan_version(work, **{**offer, **terms})
    assert isinstance(refused, Refusal)
    assert refused.field == field


@pytest.mark.parametrize(
    ("terms", "code"),
    [
        ({"account_id": "acc_nobody"}, "unknown_account"),
        ({"plan_version_id": "pv_none"}, "unknown_plan_version"),
        ({"service_id": "svc_taken"}, "service_subscribed"),
        ({"starts_on": date(2025, 12, 7)}, "too_far_back"),
    ],
)
async def test_a_subscription_with_a_fault_is_refused(town: Town, terms: dict[str, Any], code: str) -> None:
    ann, plan = await town.account(), await town.plan()
    await town.subscription(ann, plan, service="svc_taken")
    form = {"account_id": ann, "service_id": "svc_new", "plan_version_id": plan, **terms}
    async with town.workplace.work("operator:test") as work:
        refused = await subscribe(work, **form)
        count = (await work.connection.execute(select(func.count()).select_from(subscription))).scalar_one()
    assert isinstance(refused, Refusal)
    assert (refused.code, count) == (code, 1)


async def test_a_plan_in_another_currency_is_refused(town: Town) -> None:
    ann, plan = await town.account(currency="EUR"), await town.plan()
    async with town.workplace.work("operator:test") as work:
        refused = await subscribe(work, account_id=ann, service_id="s", plan_version_id=plan)
    assert isinstance(refused, Refusal)
    assert "USD" in refused.message
    assert "EUR" in refused.message


async def test_a_subscription_may_start_in_the_future_and_is_billed_then(town: Town) -> None:
    ann = await town.customer("Ann", "2026-05-15")
    assert (await town.bill()).run_id is None
    town.travel("2026-05-01")
    assert (await town.bill()).invoices == 1  # May turned on the 1st: its part from the 15th on, in advance
    [line] = await town.lines("INV-000001")
    assert (str(line.period_start), line.amount_minor) == ("2026-05-15", 1645)
    assert (await town.invoices(ann))[0].net_minor == 1645


async def test_a_subscription_that_never_ran_costs_nothing(town: Town) -> None:
    ann = await town.account()
    subscription_id = await town.subscription(ann, await town.plan(), "2026-05-15")
    async with town.workplace.work("operator:test") as work:
        assert await end_subscription(work, subscription_id=subscription_id) == date(2026, 5, 15)
        again = await end_subscription(work, subscription_id=subscription_id)
        unknown = await end_subscription(work, subscription_id="sub_none")
    assert isinstance(again, Refusal)
    assert isinstance(unknown, Refusal)
    town.travel("2026-06-01")
    assert (await town.bill()).invoices == 0


async def test_a_service_that_came_back_after_a_pause_is_billed_for_its_days(town: Town) -> None:
    ann, plan = await town.account(), await town.plan()
    first = await town.subscription(ann, plan, "2026-03-01", "svc_1")
    await town.bill()
    async with town.workplace.work("operator:test") as work:
        await end_subscription(work, subscription_id=first, ends_on=date(2026, 3, 11))
    town.travel("2026-05-03")
    await town.bill()
    await town.subscription(ann, plan, None, "svc_1")
    await town.bill()
    invoices = await town.invoices(ann)
    assert [(str(one.cycle_start), one.net_minor) for one in invoices] == [
        ("2026-03-01", 3000),
        ("2026-04-01", -2032),
        ("2026-05-01", 2806),
    ]
    await town.prove_books()
