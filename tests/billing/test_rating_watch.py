"""Alerts, caps, top-ups and rollover on record: told once, cleared in time, whatever was missed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from billing_story import GB, TestMeters, Town
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.catalogue.define_plan import define_offer
from billing.domain.rating.balance import Lot, Movement
from billing.domain.rating.parts import Balance, Moved
from billing.rating.buy_top_up import MOST_BY_PORTAL, TopUpReceipt, buy_top_up
from billing.rating.record_moved import record_moved
from billing.rating.watch_quota import QuotaTurn, QuotaWatch
from billing.set_up import end_subscription
from billing.store import bucket_rows
from billing.store.tables import charge, quota_event, quota_state
from core.refusal import Refusal, granted

CAPPED: dict[str, Any] = {
    "metered": "down",
    "allowance": {"octets": 100 * GB},
    "cap": {"at_percent": 100, "effect": "throttle"},
    "alerts": [50, 80],
    "top_ups": [
        {"code": "20gb", "name": "20 GB more", "octets": 20 * GB, "price_minor": 500, "portal": True},
        {"code": "week", "name": "A week", "octets": 5 * GB, "price_minor": 0, "days": 7},
    ],
}
REACHED, CLEARED, ALERT = "billing.quota_reached", "billing.quota_cleared", "billing.quota_alert"


@dataclass(slots=True)
class WatchedMeters(TestMeters):
    """The meters of the story, as the watch asks them."""

    __test__ = False
    asked_for: list[int] = field(default_factory=list)

    async def between_many(
        self, connection: AsyncConnection, spans: Sequence[tuple[str, datetime, datetime]]
    ) -> list[tuple[int, int]]:
        self.asked_for.append(len(spans))
        return [await self.between(connection, *one) for one in spans]

    async def fastest_rates(
        self, connection: AsyncConnection, service_ids: Sequence[str]
    ) -> Mapping[str, tuple[int, int]]:
        return dict.fromkeys(service_ids, (100_000_000, 20_000_000))


@dataclass(slots=True)
class Street:
    """A town with a watch over its meters."""

    town: Town
    meters: WatchedMeters
    watch: QuotaWatch

    async def sell(
        self, terms: dict[str, Any], name: str = "Ann", since: str = "2026-06-01", account: str | None = None
    ) -> tuple[str, str, str]:
        """Account, subscription and service with these usage terms."""
        async with self.town.workplace.work("operator:test") as work:
            version = granted(
                await define_offer(
                    work, code=f"p{len(str(terms))}", name="Capped", currency="USD",
                    items=[{"code": "usage", "kind": "usage", "name": "Data", "usage": terms}],
                    service_profile_id="pro_1",
                )
            )  # fmt: skip
        account = account or await self.town.account(name)
        service = f"svc_{name}"
        return account, await self.town.subscription(account, version, since, service=service), service

    def use(self, service: str, gigabytes: float) -> None:
        """Download so much now."""
        self.meters.use(service, self.town.clock.now() - timedelta(seconds=1), 0, round(gigabytes * GB))

    async def turn(self) -> QuotaTurn:
        return granted(await self.watch.turn())

    async def later(self, gigabytes: float = 0, service: str = "svc_Ann", hours: float = 7) -> QuotaTurn:
        """Some hours later, with so much more used."""
        self.town.clock.advance(timedelta(hours=hours))
        if gigabytes:
            self.use(service, gigabytes)
        return await self.turn()

    async def buy(self, subscription: str, code: str = "20gb", **terms: Any) -> TopUpReceipt | Refusal:
        async with self.town.workplace.work("operator:test") as work:
            return await buy_top_up(
                work, subscription_id=subscription, code=code, **{"source": "k1", **terms}
            )

    async def told(self, kind: str) -> list[Any]:
        return await self.town.facts(kind)

    async def rows(self, table: Any) -> list[Any]:
        async with self.town.workplace.reading() as connection:
            return list(await connection.execute(select(table)))


def _street(town: Town) -> Street:
    meters = WatchedMeters()
    town.meters = meters
    town.travel("2026-06-10")
    return Street(town, meters, QuotaWatch(town.workplace, meters, town.settings))


@pytest.fixture
def street(town: Town) -> Street:
    return _street(town)


@pytest.fixture
def any_street(any_town: Town) -> Street:
    return _street(any_town)


async def test_alerts_and_the_cap_are_told_once_and_end_with_the_cycle(any_street: Street) -> None:
    street = any_street
    account, _, service = await street.sell(CAPPED)
    assert (await street.turn()).alerts == 0
    await street.later(55)
    await street.later(30)
    assert [one["percent"] for one in await street.told(ALERT)] == [50, 80]
    await street.later(20)
    [reached] = await street.told(REACHED)
    assert (reached["account_id"], reached["service_ids"], reached["effect"]) == (
        account,
        [service],
        "throttle",
    )
    assert reached["because"] == "100.00 GB are used up; until 2026-07-01, or a top-up"
    for _ in range(3):
        await street.later(1)
    assert (len(await street.told(REACHED)), len(await street.told(ALERT))) == (1, 2)
    street.town.travel("2026-07-01")
    await street.turn()
    assert [one["service_ids"] for one in await street.told(CLEARED)] == [[service]]
    await street.later(60)
    assert [one["window_start"] for one in await street.told(ALERT)] == ["2026-06-01"] * 2 + ["2026-07-01"]
    assert [one.kind for one in await street.rows(quota_event)] == [
        "alert",
        "alert",
        "reached",
        "cleared",
        "alert",
    ]


async def test_what_was_missed_is_made_up_for_at_once(street: Street) -> None:
    await street.sell(CAPPED)
    await street.turn()
    turn = await street.later(140, hours=24 * 9)
    assert turn == QuotaTurn(looked_at=1, alerts=2, held=1)
    # Another process begins: it knows what was told.
    fresh = QuotaWatch(street.town.workplace, street.meters, street.town.settings)
    assert granted(await fresh.turn()) in (QuotaTurn(), QuotaTurn(looked_at=1))
    assert len(await street.told(REACHED)) == 1


async def test_a_bucket_is_looked_at_again_when_it_could_be_used_up(street: Street) -> None:
    await street.sell(CAPPED)
    assert (await street.turn()).looked_at == 1
    # 50 GB to the first alert at 100 Mbit/s are 4000 s: nothing before.
    assert (await street.later(hours=1)).looked_at == 0
    assert (await street.later(hours=0.2)).looked_at == 1


async def test_a_top_up_clears_the_cap_and_is_charged_once(street: Street) -> None:
    account, subscription, service = await street.sell(CAPPED)
    await street.later(105)
    receipt = await street.buy(subscription)
    assert receipt == TopUpReceipt(receipt.id, "bought", "20 GB more", 20 * GB, 500, "USD", date(2026, 7, 1))
    again = await street.buy(subscription)
    assert (again.id, again.outcome) == (receipt.id, "exists")
    differs = await street.buy(subscription, "week")
    assert isinstance(differs, Refusal)
    assert differs.code == "differs"
    assert (await street.later(hours=0)).freed == 1
    [charged] = await street.rows(charge)
    assert (charged.account_id, charged.quoted_minor, charged.kind) == (account, 500, "top_up")
    assert charged.description == "20 GB more (20.00 GB), until 2026-07-01"
    await street.later(16)
    held = await street.told(REACHED)
    assert [one["because"].split(" are")[0] for one in held] == ["100.00 GB", "120.00 GB"]
    assert [one["service_ids"] for one in await street.told(CLEARED)] == [[service]]
    assert len(await street.told("billing.topped_up")) == 1


async def test_a_free_top_up_of_a_week_ends_after_a_week(street: Street) -> None:
    _, subscription, _ = await street.sell(CAPPED)
    await street.later(103)
    granted(await street.buy(subscription, "week"))
    assert (await street.later(hours=0)).freed == 1
    assert await street.rows(charge) == []
    assert (await street.later(hours=24 * 6)).held == 0
    assert (await street.later(hours=24)).held == 1


@pytest.mark.parametrize(
    ("terms", "code"),
    [({"code": "none"}, "unknown_top_up"), ({"source": " "}, "bad_source"), ({"how": "magic"}, "bad_way"),
     ({"code": "week", "how": "portal"}, "not_on_portal")],
)  # fmt: skip
async def test_what_cannot_be_bought_is_refused_by_name(
    street: Street, terms: dict[str, str], code: str
) -> None:
    _, subscription, _ = await street.sell(CAPPED)
    refusal = await street.buy(subscription, **terms)
    assert isinstance(refusal, Refusal)
    assert refusal.code == code
    assert await street.rows(charge) == []


async def test_nothing_is_sold_for_a_line_that_has_ended_nor_too_often_on_the_portal(street: Street) -> None:
    _, subscription, _ = await street.sell(CAPPED)
    for number in range(MOST_BY_PORTAL):
        granted(await street.buy(subscription, how="portal", source=f"portal:{number}"))
    enough = await street.buy(subscription, how="portal", source="portal:more")
    assert isinstance(enough, Refusal)
    assert enough.code == "enough"
    async with street.town.workplace.work("operator:test") as work:
        granted(await end_subscription(work, subscription_id=subscription, ends_on=date(2026, 6, 10)))
    ended = await street.buy(subscription, source="late")
    assert isinstance(ended, Refusal)
    assert ended.code == "not_running"


async def test_automatic_top_ups_are_bought_so_often_and_then_the_cap_holds(any_street: Street) -> None:
    street = any_street
    offer = {"code": "auto", "name": "10 GB", "octets": 10 * GB, "price_minor": 300, "automatic": 2}
    await street.sell({**CAPPED, "top_ups": [offer]})
    assert (await street.later(101)).topped_up == 1
    assert await street.told(REACHED) == []
    turn = await street.later(40)
    assert (turn.topped_up, turn.held) == (1, 1)
    assert [one.quoted_minor for one in await street.rows(charge)] == [300, 300]
    street.town.travel("2026-07-01")
    assert (await street.turn()).freed == 1
    assert (await street.later(101)).topped_up == 1


async def test_a_family_is_held_and_freed_together(street: Street) -> None:
    shared = {**CAPPED, "shared": {"bucket": "family"}}
    account, first, ann = await street.sell(shared)
    _, _, ben = await street.sell(shared, "Ben", account=account)
    await street.turn()
    await street.later(190, ann)
    assert await street.told(REACHED) == []
    assert (await street.later(10, ben)).held == 2
    assert sorted(one["service_ids"] for one in await street.told(REACHED)) == [[ann], [ben]]
    granted(await street.buy(first))
    assert (await street.later(hours=0)).freed == 2


async def test_a_line_that_ends_is_no_longer_held(street: Street) -> None:
    _, subscription, service = await street.sell(CAPPED)
    await street.later(120)
    async with street.town.workplace.work("operator:test") as work:
        granted(await end_subscription(work, subscription_id=subscription, ends_on=date(2026, 6, 10)))
    assert (await street.later()).freed == 1
    assert [one["service_ids"] for one in await street.told(CLEARED)] == [[service]]
    assert await street.rows(quota_state) == []


async def test_a_daily_cap_ends_at_local_midnight(street: Street) -> None:
    daily = {
        "allowance": {"octets": 2 * GB, "per": "day"},
        "cap": {"at_percent": 100, "effect": "walled_garden"},
    }
    await street.sell(daily)
    assert (await street.later(3)).held == 1
    street.town.travel("2026-06-11", hour=0)
    street.town.clock.advance(timedelta(minutes=-2))
    assert (await street.turn()).freed == 0
    assert (await street.later(hours=0.1)).freed == 1


async def test_a_prepaid_line_is_walled_when_its_money_is_used_up(street: Street) -> None:
    offer = {
        "code": "10gb", "name": "10 GB", "octets": 10 * GB, "price_minor": 300, "automatic": 9,
        "prepaid": True,
    }  # fmt: skip
    cap = {"at_percent": 100, "effect": "walled_garden"}
    account, subscription, service = await street.sell({
        "metered": "down", "allowance": {"octets": 1 * GB}, "cap": cap, "top_ups": [offer],
    })  # fmt: skip
    await street.town.pay(account, 700)
    assert (await street.later(5)).topped_up == 1
    turn = await street.later(8)  # the second 3.00 of 7.00
    assert (turn.topped_up, turn.held) == (1, 0)
    turn = await street.later(9)  # 1.00 is left, which buys nothing
    assert (turn.topped_up, turn.held) == (0, 1)
    assert [one["service_ids"] for one in await street.told(REACHED)] == [[service]]
    refused = await street.buy(subscription, "10gb", source="till:1")
    assert isinstance(refused, Refusal)
    assert refused.code == "not_paid"
    await street.town.pay(account, 200)
    turn = await street.turn()  # the payment had the capped line looked at again
    assert (turn.topped_up, turn.freed) == (1, 1)
    assert len(await street.rows(charge)) == 3


async def test_what_was_rolled_over_raises_the_cap(street: Street) -> None:
    _, subscription, _ = await street.sell({**CAPPED, "rollover": {"periods": 1}})
    await street.later(110)
    bucket = f"{subscription}:usage"
    lot = Lot(f"rolled:{bucket}:2026-05-01", "rolled", 30 * GB, date(2026, 6, 1), date(2026, 7, 1))
    moved = Moved(bucket, date(2026, 5, 1), (Movement("rolled_over", lot, 30 * GB, date(2026, 6, 1)),))
    steps = Balance(bucket).difference(date(2026, 5, 1), [moved])
    async with street.town.workplace.work("system:billing") as work:
        await record_moved(work, [(date(2026, 6, 1), steps)])
    assert (await street.later(hours=0)).freed == 1
    async with street.town.workplace.reading() as connection:
        assert await bucket_rows.lots_of(connection, [bucket]) == {bucket: [lot]}
        [row] = await bucket_rows.movements_of(connection, [bucket], 10)
        then = row.recorded_at
        before = await bucket_rows.balances(connection, [bucket], date.min, (then, date(2026, 6, 1)))
        after = await bucket_rows.balances(connection, [bucket], date.min, (then, date(2026, 7, 1)))
    assert before == {}
    assert after == {bucket: Balance(bucket, steps)}
    assert after[bucket].difference(date(2026, 5, 1), [moved]) == {}


async def test_a_doubted_clock_caps_nobody(street: Street) -> None:
    await street.town.customer("Witness", "2026-06-01")
    await street.sell(CAPPED)
    await street.later(120)
    await street.town.bill()
    street.town.clock.advance(timedelta(days=-40))
    refusal = await street.watch.turn()
    assert isinstance(refusal, Refusal)
    assert refusal.code == "clock_untrusted"


async def test_two_watches_at_once_tell_once(any_street: Street) -> None:
    street = any_street
    await street.sell(CAPPED)
    street.use("svc_Ann", 120)
    other = QuotaWatch(street.town.workplace, street.meters, street.town.settings)
    await asyncio.gather(street.watch.turn(), other.turn())
    assert (len(await street.told(REACHED)), len(await street.told(ALERT))) == (1, 2)
