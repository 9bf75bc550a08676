"""Stories by chance: coupons, routers, contracts, changes and bill runs in any order still replay to the octet."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from datetime import date, timedelta
from typing import Any

import pytest
from billing_story import Town
from sqlalchemy import select
from test_promotions import promote
from test_replay import replayed
from test_subscription_changes import act, amounts

from billing.catalogue.define_plan import define_offer
from billing.config import BillingSettings
from billing.store.tables import invoice_line
from billing.subscriptions import change_subscription as change
from billing.subscriptions.lend_equipment import lend_equipment, return_equipment
from billing.subscriptions.redeem_promotion import end_promotion, redeem_promotion
from billing.subscriptions.settle_ends import settle_ends
from billing.subscriptions.turn_contracts import turn_contracts
from core.refusal import Refusal, granted

FIRST = date(2026, 3, 1)
WEEK = {"unit": "week"}


def _items(dice: random.Random, price: int) -> list[dict[str, Any]]:
    return [
        {
            "code": "recurring", "kind": "recurring", "name": "Home", "price_minor": price,
            "advance": dice.random() < 0.7,
            "proration": dice.choice(["actual_days", "thirty_days", "round_up", "none"]),
        },
        {
            "code": "router", "kind": "rental", "name": "Router", "price_minor": 310,
            "tax_class": dice.choice(["gear", "internet"]), **dice.choice([{}, {"period": WEEK}]),
        },
        {"code": "setup", "kind": "one_time", "name": "Setup", "price_minor": 900},
        {"code": "off", "kind": "discount", "name": "Off", "discount": {"percent_ppm": 200_000, "periods": 3}},
    ]  # fmt: skip


class _Story:
    """Ann's summer, by dice."""

    def __init__(self, town: Town, seed: int) -> None:
        self.town, self.dice = town, random.Random(seed)
        self.uses: list[str] = []
        self.loans: list[str] = []
        self.plans: list[str] = []
        self.ann = self.sub = ""

    async def begin(self) -> None:
        town, dice = self.town, self.dice
        await town.tax(76_250)
        self.ann = await town.account(anchor_day=dice.choice([1, 15, 31]))
        for number, price in enumerate((3000, 6200, 1000)):
            term = {"term_months": dice.choice([1, 2, 3]), "fee": "flat", "fee_minor": 500}
            then = dice.choice([{}, {"renews_months": 1}, {"ends": True}])
            offered = await act(
                town, define_offer, code=f"p{number}", name=f"p{number}", currency="USD",
                items=_items(dice, price), service_profile_id="pro_1",
                contract=dice.choice([None, {**term, **then}]),
            )  # fmt: skip
            self.plans.append(granted(offered))
        self.sub = await town.subscription(self.ann, self.plans[0], FIRST)
        for code in ("A1", "B2", "C3"):
            amount = {"percent_ppm": None, "amount_minor": dice.choice([100, 2000, 9000]), "currency": "USD"}
            gift = dice.choice([{"percent_ppm": dice.choice([100_000, 500_000, 1_000_000])}, amount])
            lasts = dice.choice([{"periods": 2}, {"months": 1}, {}])
            kinds = dice.choice([["recurring", "rental"], ["recurring"], ["one_time", "rental"]])
            await promote(town, code=code, item_kinds=kinds, **gift, **lasts)

    async def day(self, today: date) -> None:
        back = max(today - timedelta(days=self.dice.randint(0, 40)), FIRST)
        acts: list[Callable[[date, date], Awaitable[Any]]] = [
            self._redeem, self._end_use, self._plan, self._lend, self._give_back, self._pause, self._quantity,
        ]  # fmt: skip
        await self.dice.choice(acts)(today, back)
        granted(await turn_contracts(self.town.workplace, settings=self.town.settings))
        await settle_ends(self.town.workplace, self.town.settings)
        if self.dice.random() < 0.8:
            await self.town.bill()

    async def _redeem(self, today: date, back: date) -> None:
        code, from_on = self.dice.choice(["A1", "B2", "C3"]), self.dice.choice([None, back])
        done = await act(self.town, redeem_promotion, code=code, account_id=self.ann, from_on=from_on)
        self.uses += [] if isinstance(done, Refusal) else [done.use_id]

    async def _end_use(self, today: date, back: date) -> None:
        for use in self.dice.sample(self.uses, min(1, len(self.uses))):
            ends_on = self.dice.choice([None, back])
            await act(self.town, end_promotion, use_id=use, reason="by dice", ends_on=ends_on)

    async def _plan(self, today: date, back: date) -> None:
        version = self.dice.choice(self.plans)
        await act(
            self.town, change.change_plan, subscription_id=self.sub, plan_version_id=version,
            effective_on=max(back, FIRST + timedelta(days=1)),
        )  # fmt: skip

    async def _lend(self, today: date, back: date) -> None:
        serial, lent_on = self.dice.choice("12"), self.dice.choice([None, back])
        done = await act(
            self.town, lend_equipment, subscription_id=self.sub, name="Router", serial=serial,
            value_minor=700, lent_on=lent_on,
        )  # fmt: skip
        self.loans += [] if isinstance(done, Refusal) else [done.loan_id]

    async def _give_back(self, today: date, back: date) -> None:
        for loan in self.dice.sample(self.loans, min(1, len(self.loans))):
            await act(self.town, return_equipment, loan_id=loan, returned_on=self.dice.choice([None, back]))

    async def _pause(self, today: date, back: date) -> None:
        resume_on = today + timedelta(days=self.dice.randint(2, 20))
        await act(
            self.town, change.pause_subscription, subscription_id=self.sub, from_on=today,
            resume_on=resume_on,
        )  # fmt: skip

    async def _quantity(self, today: date, back: date) -> None:
        many = self.dice.randint(1, 3)
        await act(
            self.town, change.change_quantity, subscription_id=self.sub, quantity=many, effective_on=today
        )


@pytest.mark.parametrize("seed", [6, 32])
async def test_whatever_happens_replays_and_nothing_is_reduced_below_nothing(town: Town, seed: int) -> None:
    town.settings = BillingSettings(clock_leap_days=3000)
    story = _Story(town, seed)
    await story.begin()
    today = date(2026, 3, 12)
    while today < date(2026, 8, 1):
        town.travel(today)
        await story.day(today)
        today += timedelta(days=story.dice.randint(3, 14))
    town.travel("2026-09-01")
    await town.bill()
    assert [one for each in await replayed(town) for one in each.differences] == []
    await town.prove_books()
    line = invoice_line.c
    charged: dict[tuple[str, date], int] = {}
    async with town.workplace.reading() as connection:
        query = select(line.plan_version_id, line.charged_for, line.quoted_minor)
        for version, day, minor in await connection.execute(query.where(line.charged_for.is_not(None))):
            charged[version, day] = charged.get((version, day), 0) + minor
    assert {key: minor for key, minor in charged.items() if minor < 0} == {}


async def test_a_week_that_straddles_the_cycle_is_cut_by_an_end_known_before(town: Town) -> None:
    ann = await town.account()
    async with town.workplace.work("operator:test") as work:
        home = granted(
            await define_offer(
                work, code="weekly", name="Weekly", currency="USD", service_profile_id="pro_1",
                items=[
                    {"code": "week", "kind": "recurring", "name": "Week", "price_minor": 700, "period": WEEK}
                ],
            )
        )  # fmt: skip
    sub = await town.subscription(ann, home, "2026-03-01")
    await town.bill()
    town.travel("2026-03-20")
    granted(await act(town, change.end_subscription, subscription_id=sub, ends_on=date(2026, 4, 2)))
    town.travel("2026-04-01")
    await town.bill()
    assert amounts(await town.lines("INV-000002")) == [("adjustment", "week", -300)]  # of March 29 to April 4
    assert [one.differences for one in await replayed(town)] == [(), ()]


async def test_a_discount_on_unlike_rhythms_is_a_line_for_each(town: Town) -> None:
    ann = await town.account()
    items = [
        {"code": "recurring", "kind": "recurring", "name": "Home", "price_minor": 3000, "advance": False},
        {"code": "router", "kind": "rental", "name": "Router", "price_minor": 300},
        {"code": "off", "kind": "discount", "name": "Off", "discount": {"percent_ppm": 100_000}},
    ]
    async with town.workplace.work("operator:test") as work:
        home = granted(
            await define_offer(
                work, code="mixed", name="Mixed", currency="USD", items=items, service_profile_id="pro_1"
            )
        )
    await town.subscription(ann, home, "2026-03-01")
    await town.bill()
    assert amounts(await town.lines("INV-000001")) == [("rental", "router", 300), ("discount", "off/1", -30)]
    town.travel("2026-04-01")
    await town.bill()
    assert amounts(await town.lines("INV-000002")) == [
        ("recurring", "recurring", 3000), ("rental", "router", 300), ("discount", "off", -300),
        ("discount", "off/1", -30),
    ]  # fmt: skip
    assert [one.differences for one in await replayed(town)] == [(), ()]
