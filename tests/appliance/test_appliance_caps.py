"""From the meters to the hold and back: a cap of the plan, watched over real accounting."""

from __future__ import annotations

from datetime import timedelta

import pytest
from appliance_valley import DENVER, Valley
from sqlalchemy import select

from aaa.apply_rules import RuleKeeper
from aaa.domain.accounting import AccountingEvent, AccountingKind
from aaa.domain.effect import Effect
from aaa.record_accounting import record_accounting
from aaa.set_up import end_service
from appliance.wiring import MeteredUsage
from billing.catalogue.define_plan import define_offer
from billing.rating.buy_top_up import buy_top_up
from billing.rating.watch_quota import QuotaWatch
from billing.store.tables import plan_version, subscription
from core.clock import FakeClock
from core.quantities import GB
from core.refusal import granted
from core.secrets import Sealer
from core.work import Workplace

TERMS = {
    "metered": "down",
    "allowance": {"octets": 10 * GB},
    "cap": {"at_percent": 100, "effect": "walled_garden"},
    "top_ups": [{"code": "5gb", "name": "5 GB", "octets": 5 * GB, "price_minor": 200}],
}


@pytest.fixture
async def valley(any_workplace: Workplace, sealer: Sealer, clock: FakeClock) -> Valley:
    valley = await Valley.build(any_workplace, sealer, clock)
    [version] = await valley.rows(select(plan_version.c.service_profile_id))
    async with any_workplace.work("operator:ann") as work:
        item = {"code": "usage", "kind": "usage", "name": "Data", "usage": TERMS}
        granted(
            await define_offer(
                work, code="home", name="Home", currency="USD", items=[item],
                service_profile_id=version.service_profile_id,
            )
        )  # fmt: skip
    return valley


async def _download(valley: Valley, username: str, gigabytes: int) -> None:
    """Three hours later, as fast as the line lets it, the session has got so much in all."""
    start = valley.clock.now()
    valley.clock.advance(timedelta(hours=3))
    events = [
        AccountingEvent("nas_1", AccountingKind.START, f"8{username}", username, b"", start, start),
        AccountingEvent(
            "nas_1", AccountingKind.INTERIM, f"8{username}", username, b"", valley.clock.now(),
            valley.clock.now(), octets_in=0, octets_out=gigabytes * GB, gigawords_present=True,
            session_time_s=10800,
        ),
    ]  # fmt: skip
    async with valley.workplace.work("system:ingest") as work:
        await record_accounting(work, events, b"k" * 32)


async def test_a_cap_walls_the_service_and_a_top_up_lets_it_out(valley: Valley) -> None:
    ann = await valley.account()
    house = await valley.service(ann, "house")
    watch = QuotaWatch(valley.workplace, MeteredUsage())
    granted(await watch.turn())
    await _download(valley, "house", 12)
    granted(await watch.turn())
    await valley.deliver()
    assert await valley.holds(house) == [("cap", "walled_garden")]
    assert await valley.effect(house) is Effect.WALLED_GARDEN
    assert {effect for _, effect, _ in await valley.tasks(house)} == {"walled_garden"}
    # The keeper of the profile's rules lifts what it did not place in no case.
    await RuleKeeper(valley.workplace, DENVER).turn()
    assert await valley.holds(house) == [("cap", "walled_garden")]
    [sub] = await valley.rows(select(subscription.c.id))
    async with valley.workplace.work("operator:ann") as work:
        granted(await buy_top_up(work, subscription_id=sub.id, code="5gb", source="till:1"))
    granted(await watch.turn())
    await valley.deliver()
    assert await valley.holds(house) == []
    assert await valley.effect(house) is Effect.NONE


async def test_a_service_ended_before_the_fact_came_keeps_nobody_waiting(valley: Valley) -> None:
    house = await valley.service(await valley.account(), "house")
    watch = QuotaWatch(valley.workplace, MeteredUsage())
    await _download(valley, "house", 12)
    granted(await watch.turn())
    async with valley.workplace.work("operator:ann") as work:
        granted(await end_service(work, house, "moved away"))
    await valley.deliver()
    assert await valley.holds(house) == []
