"""Money and access meet in one table: from the ladder to the hold, to the tasks, and back."""

from __future__ import annotations

import subprocess
import sys
from datetime import date, timedelta

import pytest
from appliance_valley import SUSPENDED_ON, Valley
from sqlalchemy import func, select

from aaa.domain.effect import Effect
from aaa.place_hold import lift_hold, place_hold
from aaa.set_up import end_service
from aaa.store.tables import hold
from appliance.change_service import change_plan, end_line
from billing.set_up import define_dunning_policy, define_plan_version, end_subscription, subscribe
from billing.store.tables import plan_version, subscription
from core.clock import FakeClock
from core.refusal import Refusal, granted
from core.secrets import Sealer
from core.store.tables import fact
from core.work import Workplace
from provisioning.store.tables import task


@pytest.fixture
async def valley(any_workplace: Workplace, sealer: Sealer, clock: FakeClock) -> Valley:
    return await Valley.build(any_workplace, sealer, clock)


async def test_a_suspension_reaches_every_point_and_live_sessions_even_without_a_device(
    valley: Valley,
) -> None:
    ann = await valley.account()
    house, barn = await valley.service(ann, "house"), await valley.service(ann, "barn", device=False)
    await valley.fall_late()
    assert await valley.effect(house) is Effect.NONE  # nothing moves before the fact is delivered
    await valley.deliver()
    walled = Effect.WALLED_GARDEN
    assert (await valley.effect(house), await valley.effect(barn)) == (walled, walled)
    assert await valley.tasks(house) == [
        ("device", "walled_garden", "waiting"), ("live_session", "walled_garden", "waiting"),
    ]  # fmt: skip
    assert await valley.tasks(barn) == [("live_session", "walled_garden", "waiting")]


async def test_paying_lifts_the_hold_of_dunning_and_no_other(valley: Valley) -> None:
    ann = await valley.account()
    house = await valley.service(ann, "house")
    async with valley.workplace.work("operator:bob") as work:
        granted(
            await place_hold(
                work, service_id=house, holder="operator", effect=Effect.BLOCK, reason="abuse desk"
            )
        )
    await valley.fall_late()
    await valley.deliver()
    assert await valley.holds(house) == [("dunning", "walled_garden"), ("operator", "block")]
    assert await valley.effect(house) is Effect.BLOCK
    await valley.pay_all(ann)
    await valley.deliver()
    assert await valley.stage(ann) == "clear"
    assert await valley.holds(house) == [("operator", "block")]
    assert await valley.effect(house) is Effect.BLOCK
    async with valley.workplace.work("operator:bob") as work:
        granted(await lift_hold(work, service_id=house, holder="operator"))
    await valley.deliver()
    assert await valley.effect(house) is Effect.NONE
    assert {effect for _, effect, _ in await valley.tasks(house)} == {"none"}


@pytest.mark.parametrize("delivered", [False, True])
async def test_a_payment_between_decision_and_push_leaves_nothing_to_push(
    valley: Valley, delivered: bool
) -> None:
    ann = await valley.account()
    house = await valley.service(ann, "house")
    await valley.fall_late()
    if delivered:
        await valley.deliver()
    await valley.pay_all(ann)
    await valley.deliver()
    assert await valley.effect(house) is Effect.NONE
    assert await valley.holds(house) == []
    assert {(effect, status) for _, effect, status in await valley.tasks(house)} <= {("none", "waiting")}


async def test_a_service_ended_before_the_fact_came_does_not_keep_its_neighbours_online(
    valley: Valley,
) -> None:
    ann = await valley.account()
    house, barn = await valley.service(ann, "house"), await valley.service(ann, "barn")
    await valley.fall_late()
    async with valley.workplace.work("operator:bob") as work:
        granted(await end_service(work, barn, "moved away"))
    await valley.deliver()
    assert await valley.effect(house) is Effect.WALLED_GARDEN
    assert await valley.holds(barn) == []
    assert await valley.rows(select(fact.c.seq).where(fact.c.dispatched_at.is_(None))) == []


async def test_a_service_sold_on_to_another_account_starts_clear(valley: Valley) -> None:
    ann, ben = await valley.account(), await valley.account("Ben")
    house = await valley.service(ann, "house")
    await valley.fall_late()
    await valley.deliver()
    [running] = await valley.rows(select(subscription.c.id, subscription.c.plan_version_id))
    async with valley.workplace.work("operator:bob") as work:
        granted(await end_subscription(work, subscription_id=running.id))
        granted(
            await subscribe(work, account_id=ben, service_id=house, plan_version_id=running.plan_version_id)
        )
    await valley.deliver()
    assert await valley.effect(house) is Effect.NONE
    valley.travel(SUSPENDED_ON + timedelta(days=1))
    await valley.dun()
    await valley.deliver()
    assert await valley.stage(ann) == "suspended"
    assert await valley.effect(house) is Effect.NONE  # what Ann owes is no longer the house's matter


async def test_the_last_stage_blocks_and_money_still_brings_it_back(valley: Valley) -> None:
    async with valley.workplace.work("operator:bob") as work:
        ladder = [{"stage": "restricted", "days_overdue": 1}, {"stage": "ended", "days_overdue": 5}]
        granted(await define_dunning_policy(work, name="strict", ladder=ladder))
    ann = await valley.account(dunning_policy="strict")
    house = await valley.service(ann, "house")
    await valley.bill()
    seen = []
    for day in (date(2026, 3, 24), date(2026, 3, 26), date(2026, 4, 1)):
        valley.travel(day)
        await valley.dun()
        await valley.deliver()
        seen.append((await valley.stage(ann), await valley.effect(house)))
    assert seen == [("clear", Effect.NONE), ("restricted", Effect.THROTTLE), ("ended", Effect.BLOCK)]
    await valley.pay_all(ann)
    await valley.deliver()
    assert await valley.effect(house) is Effect.NONE


_DIES = """
import asyncio, os, sys
from datetime import datetime
from appliance import reactions
from core.clock import FakeClock
from core.database import Database
from core.ids import SeededIds
from core.outbox import dispatch_due
from core.work import Workplace

when, table = sys.argv[3], dict(reactions.REACTIONS)

async def die(work, fact, kind):
    await reactions.REACTIONS[kind](work, fact)
    os._exit(9)  # the power goes: all of it is written, nothing is committed

table[when] = lambda work, fact: die(work, fact, when)
clock = FakeClock(datetime.fromisoformat(sys.argv[2]))
asyncio.run(dispatch_due(Workplace(Database(sys.argv[1]), clock, SeededIds(99)), table))
"""


@pytest.mark.parametrize("kind", ["billing.dunning_stage_changed", "aaa.entitlement_changed"])
async def test_a_worker_killed_in_a_reaction_repeats_it_once_and_loses_nothing(
    valley: Valley, kind: str
) -> None:
    ann = await valley.account()
    house = await valley.service(ann, "house")
    await valley.fall_late()
    codes = []
    for _ in range(2):
        killed = subprocess.run(
            [sys.executable, "-c", _DIES, valley.workplace.database.url.replace("+aiosqlite", "").replace("+asyncpg", ""),
             valley.clock.now().isoformat(), kind], capture_output=True, text=True,
        )  # fmt: skip
        codes.append(killed.returncode)
    # the entitlement's fact is published by the first run, and only then there to die of
    assert codes == ([9, 9] if kind.startswith("billing") else [0, 9])
    await valley.deliver()
    assert await valley.effect(house) is Effect.WALLED_GARDEN
    for table, where in ((hold, hold.c.service_id == house), (task, task.c.service_id == house)):
        count = (await valley.rows(select(func.count()).select_from(table).where(where)))[0][0]
        assert count == {hold.name: 1, task.name: 2}[table.name]
    assert await valley.rows(select(fact.c.seq).where(fact.c.dispatched_at.is_(None))) == []


async def test_another_plan_is_another_bill_and_another_rate_from_the_same_day(valley: Valley) -> None:
    ann = await valley.account()
    house = await valley.service(ann, "house")
    async with valley.workplace.work("operator:bob") as work:
        profile = (await work.connection.execute(select(plan_version.c.service_profile_id))).scalar_one()
        granted(
            await define_plan_version(
                work, code="gold", name="Gold", price_minor=6000, currency="USD", allowance_octets=None,
                overage_tiers=[], service_profile_id=profile,
            )
        )  # fmt: skip
    async with valley.workplace.work("operator:bob") as work:
        assert granted(await change_plan(work, house, "gold")) == date(2026, 3, 10)
    async with valley.workplace.work("operator:bob") as work:
        again = await change_plan(work, house, "gold")
    assert isinstance(again, Refusal)
    assert again.code == "same_plan"
    assert await valley.bill() == 1


async def test_the_end_of_a_service_ends_its_bill_and_its_sign_ins_together(valley: Valley) -> None:
    ann = await valley.account()
    house = await valley.service(ann, "house")
    valley.travel(date(2026, 3, 20))
    async with valley.workplace.work("operator:bob") as work:
        assert granted(await end_line(work, house, "moved")) == date(2026, 3, 20)
    async with valley.workplace.work("operator:bob") as work:
        assert granted(await end_line(work, house, "moved")) is None  # twice changes nothing
    await valley.deliver()
    assert await valley.effect(house) is Effect.ENDED
    assert {effect for _, effect, _ in await valley.tasks(house)} == {"ended"}
