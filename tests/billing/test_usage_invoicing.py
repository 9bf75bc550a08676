"""Usage as customers are invoiced for it: lots, shared buckets, top-ups, and what is rated again. Dated cases."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from billing_story import DENVER, GB, Town
from sqlalchemy import select

from billing.catalogue.define_plan import define_offer
from billing.domain.catalogue import PlanVersion
from billing.domain.items import parse_items
from billing.invoicing.credit_note import issue_credit_note
from billing.invoicing.explain import explain_line, format_explanation
from billing.invoicing.preview_invoice import preview_invoice
from billing.invoicing.replay import replay_invoices
from billing.rating.buy_top_up import buy_top_up
from billing.rating.what_if import what_if
from billing.store import bucket_rows
from billing.store.tables import bucket_movement
from billing.subscriptions import change_subscription as change
from billing.subscriptions.order_change import Order
from billing.subscriptions.preview_order import preview_order
from core.periods import start_of_day
from core.refusal import granted

PER_GB: dict[str, Any] = {"kind": "per_unit", "minor_per_gb": "10"}
PLAIN: dict[str, Any] = {"metered": "down", "allowance": {"octets": 100 * GB}, "model": PER_GB}
ROLLING: dict[str, Any] = {**PLAIN, "rollover": {"periods": 1, "cap_octets": 50 * GB}}
FAMILY: dict[str, Any] = {**PLAIN, "shared": {"bucket": "family"}}
TOPPED: dict[str, Any] = {
    **PLAIN,
    "top_ups": [
        {"code": "20gb", "name": "20 GB more", "octets": 20 * GB, "price_minor": 150},
        {"code": "long", "name": "30 GB", "octets": 30 * GB, "price_minor": 200, "days": 60},
    ],
}


async def plan(town: Town, *usage: dict[str, Any], price_minor: int = 0) -> str:
    """A plan with these usage items."""
    items: list[dict[str, Any]] = [
        {"code": "recurring", "kind": "recurring", "name": "Line", "price_minor": price_minor}
    ]
    codes = ("usage", "second")
    items += [
        {"code": code, "kind": "usage", "name": "Data", "usage": terms}
        for code, terms in zip(codes, usage, strict=False)
    ]
    async with town.workplace.work("operator:test") as work:
        return granted(
            await define_offer(
                work, code=f"p{len(str(items))}", name="Line", currency="USD", items=items,
                service_profile_id="pro_1",
            )
        )  # fmt: skip


async def sell(town: Town, terms: dict[str, Any], since: str = "2026-03-01") -> tuple[str, str]:
    account = await town.account()
    return account, await town.subscription(account, await plan(town, terms), since)


def use(town: Town, day: str, gb: float, service: str = "svc_1") -> None:
    town.meters.use(service, start_of_day(date.fromisoformat(day), DENVER), 0, int(gb * GB))


async def bill(town: Town, *days: str) -> None:
    for day in days:
        town.travel(day)
        await town.bill()


async def usage_lines(town: Town, number: str) -> list[Any]:
    return [one for one in await town.lines(number) if one.item_code in ("usage", "second")]


async def told(town: Town, *numbers: int) -> list[list[tuple[str, str, int]]]:
    """Kind, first day and amount of the lines of usage of some invoices."""
    return [
        [
            (one.kind, str(one.charged_for), one.quoted_minor)
            for one in await usage_lines(town, f"INV-{number:06}")
        ]
        for number in numbers
    ]


async def lots(town: Town) -> dict[str, int]:
    async with town.workplace.reading() as connection:
        buckets = (await connection.execute(select(bucket_movement.c.bucket).distinct())).scalars().all()
        found = await bucket_rows.lots_of(connection, buckets)
    return {f"{lot.kind} until {lot.closes_on}": lot.amount // GB for some in found.values() for lot in some}


async def assert_replayed(town: Town) -> int:
    async with town.workplace.reading() as connection:
        year = date(2026, 1, 1), date(2027, 12, 31)
        found = [one async for one in replay_invoices(connection, town.meters, *year, town.settings)]
    assert [difference.cause for one in found for difference in one.differences] == []
    return sum(len(one.lines) for one in found)


async def top_up(town: Town, subscription: str, code: str, source: str) -> str:
    async with town.workplace.work("operator:test") as work:
        receipt = await buy_top_up(work, subscription_id=subscription, code=code, source=source)
        return granted(receipt).outcome


async def test_what_one_month_leaves_serves_the_next_and_then_expires(any_town: Town) -> None:
    town = any_town
    _, sub = await sell(town, ROLLING)
    use(town, "2026-03-12", 70)
    use(town, "2026-04-12", 145)
    use(town, "2026-05-12", 40)
    await bill(town, "2026-03-10", "2026-04-01")
    assert await lots(town) == {"rolled until 2026-05-01": 30}
    await bill(town, "2026-05-01", "2026-05-01")  # twice on one day: nothing more
    assert await told(town, 2, 3) == [
        [("usage", "2026-03-01", 0)],
        [("usage", "2026-04-01", 150)],  # 145 less 30 less 100
    ]
    [line] = await usage_lines(town, "INV-000003")
    [window] = line.explanation["windows"]
    assert window["drawn"] == [{"from": f"rolled:{sub}:usage:2026-03-01", "octets": 30 * GB}]
    assert await lots(town) == {}
    await bill(town, "2026-06-01")
    assert await lots(town) == {"rolled until 2026-07-01": 50}  # 60 were left; the cap is 50
    await bill(town, "2026-07-01", "2026-08-01")
    assert await lots(town) == {"rolled until 2026-09-01": 50}
    assert await assert_replayed(town) >= 6
    await town.prove_books()


async def test_months_that_were_missed_are_billed_as_if_each_had_had_its_run(town: Town) -> None:
    await sell(town, ROLLING)
    use(town, "2026-03-12", 70)
    use(town, "2026-04-12", 145)
    await town.bill()
    town.travel("2026-06-01")
    await town.bill()  # three turns in one block
    assert await told(town, 2, 3, 4) == [
        [("usage", "2026-03-01", 0)],
        [("usage", "2026-04-01", 150)],
        [("usage", "2026-05-01", 0)],
    ]
    assert await lots(town) == {"rolled until 2026-07-01": 50}
    await assert_replayed(town)


async def test_lines_that_share_a_bucket_help_each_other(town: Town) -> None:
    account = await town.account()
    version = await plan(town, FAMILY)
    for _ in range(3):
        await town.subscription(account, version, "2026-03-01")
    use(town, "2026-03-12", 250, "svc_1")
    use(town, "2026-03-13", 30, "svc_2")
    use(town, "2026-03-14", 120, "svc_3")
    await bill(town, "2026-03-10", "2026-04-01")
    lines = await usage_lines(town, "INV-000002")
    assert sum(one.quoted_minor for one in lines) == 1000  # 400 used, 300 included
    assert [one.quoted_minor for one in lines] == [625, 75, 300]  # by what each used
    assert {one.explanation["shared"]["items"] for one in lines} == {3}
    await assert_replayed(town)


async def test_a_line_of_the_bucket_that_was_forgotten_is_rated_with_the_others_after_all(town: Town) -> None:
    account = await town.account()
    version = await plan(town, FAMILY)
    await town.subscription(account, version, "2026-03-01")
    use(town, "2026-03-12", 150, "svc_1")
    use(town, "2026-03-12", 10, "svc_2")
    await bill(town, "2026-03-10", "2026-04-01")
    town.travel("2026-04-02")
    await town.subscription(account, version, "2026-03-01")
    await bill(town, "2026-05-01")
    assert await told(town, 2, 3) == [
        [("usage", "2026-03-01", 500)],
        [
            ("adjustment", "2026-03-01", -500),  # its 100 GB were there for the first one's 150 too
            ("usage", "2026-04-01", 0),
            ("usage", "2026-03-01", 0),
            ("usage", "2026-04-01", 0),
        ],
    ]
    await assert_replayed(town)
    await town.prove_books()


async def test_a_top_up_is_charged_once_and_eaten_once(any_town: Town) -> None:
    town = any_town
    _, sub = await sell(town, TOPPED)
    use(town, "2026-03-12", 130)
    use(town, "2026-04-12", 115)
    await town.bill()
    assert [await top_up(town, sub, code, "till:1" + code) for code in ("20gb", "long", "20gb")] == [
        "bought", "bought", "exists",
    ]  # fmt: skip
    async with town.workplace.reading() as connection:
        [account] = {one.account_id for one in await town.invoices()}
        draft = granted(await preview_invoice(connection, town.meters, account, town.clock.now()))
    assert draft is not None
    assert [one.quoted_minor for one in draft.lines if one.kind == "usage"] == [0]
    assert sum(one.quoted_minor for one in draft.lines if one.kind == "charge") == 350
    assert await lots(town) == {"top_up until 2026-04-01": 20, "top_up until 2026-05-09": 30}
    await bill(town, "2026-04-01")
    [line] = await usage_lines(town, "INV-000002")
    assert (line.quoted_minor, line.explanation["overage_octets"]) == (0, 0)
    [window] = line.explanation["windows"]
    assert [one["octets"] for one in window["drawn"]] == [20 * GB, 10 * GB]  # what expires first, first
    assert await lots(town) == {"top_up until 2026-05-09": 20}
    charges = [one for one in await town.lines("INV-000002") if one.kind == "charge"]
    assert sorted(one.quoted_minor for one in charges) == [150, 200]
    async with town.workplace.work("operator:test") as work:
        granted(await issue_credit_note(work, invoice="INV-000002", reason="As agreed", source="note:1"))
    await bill(town, "2026-05-01")
    assert await told(town, 3) == [[("usage", "2026-04-01", 0)]]
    assert await lots(town) == {"top_up until 2026-05-09": 5}
    await assert_replayed(town)


BACK_DATED = [
    # usage of March by day, the plan from which day, lines of usage of the next invoice but April's
    ({"2026-03-12": 150}, "2026-03-01", [("adjustment", "2026-03-01", -500), ("usage", "2026-03-01", 0)]),
    (
        {"2026-03-05": 60, "2026-03-25": 90}, "2026-03-16",
        # half of March on each: 48.39 GB of 100 and 51.61 percent of 200 GB
        [("adjustment", "2026-03-01", -384), ("usage", "2026-03-16", 0)],
    ),
    ({"2026-03-05": 20}, "2026-03-16", [("usage", "2026-03-16", 0)]),
    ({"2026-03-05": 0, "2026-03-25": 190}, "2026-03-16",
     [("adjustment", "2026-03-01", -900), ("usage", "2026-03-16", 434)]),
]  # fmt: skip


@pytest.mark.parametrize(("used", "from_day", "expected"), BACK_DATED)
async def test_a_back_dated_plan_rates_closed_usage_again(
    town: Town, used: dict[str, float], from_day: str, expected: list[tuple[str, str, int]]
) -> None:
    _, sub = await sell(town, PLAIN)
    big = await plan(
        town, {**PLAIN, "allowance": {"octets": 200 * GB}, "model": {"kind": "per_unit", "minor_per_gb": "5"}}
    )
    for day, gb in used.items():
        use(town, day, gb)
    await bill(town, "2026-03-10", "2026-04-01")
    town.travel("2026-04-05")
    order = Order("plan", "on", date.fromisoformat(from_day), plan_version_id=big)
    preview = granted(await preview_order(town.workplace, town.meters, sub, order, town.settings))
    assert preview.with_change is not None
    foreseen = [
        (one.kind, str(one.charged_for), one.quoted_minor)
        for one in preview.with_change.lines
        if one.item_code == "usage" and one.charged_for is not None
    ]
    async with town.workplace.work("operator:test") as work:
        granted(
            await change.change_plan(
                work, subscription_id=sub, plan_version_id=big, effective_on=date.fromisoformat(from_day)
            )
        )
    await bill(town, "2026-05-01", "2026-06-01")
    april = ("usage", "2026-04-01", 0)
    assert foreseen == [*expected, april]
    assert await told(town, 3, 4) == [[*expected, april], [("usage", "2026-05-01", 0)]]
    march = [*(await usage_lines(town, "INV-000002")), *(await usage_lines(town, "INV-000003"))]
    standing = {(one.plan_version_id, str(one.charged_for)): one.explanation for one in march}
    octets = [
        (why.get("owed") or why).get("used_octets", 0)
        for (_, first), why in standing.items()
        if first < "2026-04-01"
    ]
    if len(expected) == 2 and from_day > "2026-03-01":
        assert sum(octets) == sum(used.values()) * GB  # no octet is lost or counted twice
    await assert_replayed(town)
    await town.prove_books()


async def test_what_a_change_gives_back_of_lots_serves_again(town: Town) -> None:
    """Under a bigger plan March ate less of what was bought, and April finds more of it."""
    _, sub = await sell(town, TOPPED)
    big = await plan(town, {**TOPPED, "allowance": {"octets": 120 * GB}})
    use(town, "2026-03-12", 125)
    await town.bill()
    await top_up(town, sub, "long", "till:1")
    await bill(town, "2026-04-01")
    assert await lots(town) == {"top_up until 2026-05-09": 5}
    town.travel("2026-04-05")
    async with town.workplace.work("operator:test") as work:
        granted(
            await change.change_plan(
                work, subscription_id=sub, plan_version_id=big, effective_on=date(2026, 3, 1)
            )
        )
    use(town, "2026-04-12", 144)
    await bill(town, "2026-05-01")
    assert await told(town, 3) == [[("usage", "2026-03-01", 0), ("usage", "2026-04-01", 0)]]
    assert await lots(town) == {"top_up until 2026-05-09": 1}  # 5 in March, 24 in April
    async with town.workplace.reading() as connection:
        rows = (await connection.execute(select(bucket_movement).order_by(bucket_movement.c.seq))).all()
    assert [(one.kind, one.amount // GB) for one in rows] == [
        ("topped_up", 30), ("used", -25), ("used", 20), ("used", -24),
    ]  # fmt: skip
    await assert_replayed(town)


async def test_a_change_withdrawn_brings_everything_back(town: Town) -> None:
    _, sub = await sell(town, PLAIN)
    big = await plan(town, {**PLAIN, "allowance": {"octets": 200 * GB}})
    use(town, "2026-03-05", 130)
    use(town, "2026-03-25", 30)
    await bill(town, "2026-03-10", "2026-04-01")
    town.travel("2026-04-05")
    async with town.workplace.work("operator:test") as work:
        granted(
            await change.change_plan(
                work, subscription_id=sub, plan_version_id=big, effective_on=date(2026, 3, 16)
            )
        )
    await bill(town, "2026-05-01")
    town.travel("2026-05-05")
    async with town.workplace.reading() as connection:
        changes = (await change.subscription_rows.changes_of(connection, [sub]))[sub]
    async with town.workplace.work("operator:test") as work:
        granted(
            await change.withdraw_change(
                work, subscription_id=sub, change_id=changes[-1].id, reason="a mistake"
            )
        )
    await bill(town, "2026-06-01")
    charged = [one for number in (2, 3, 4) for one in await usage_lines(town, f"INV-{number:06}")]
    by_month: dict[str, int] = {}
    for one in charged:
        month = str(one.charged_for)[:7]
        by_month[month] = by_month.get(month, 0) + one.quoted_minor
    assert by_month == {"2026-03": 600, "2026-04": 0, "2026-05": 0}
    await assert_replayed(town)


async def test_two_usage_items_of_a_line_price_the_same_octets_each_in_its_own_way(town: Town) -> None:
    account = await town.account()
    up = {"metered": "up", "model": {"kind": "per_unit", "minor_per_gb": "100"}}
    await town.subscription(account, await plan(town, PLAIN, up), "2026-03-01")
    town.meters.use("svc_1", start_of_day(date(2026, 3, 12), DENVER), 3 * GB, 120 * GB)
    await bill(town, "2026-03-10", "2026-04-01")
    assert await told(town, 2) == [[("usage", "2026-03-01", 200), ("usage", "2026-03-01", 300)]]
    await assert_replayed(town)


async def test_holidays_that_the_terms_name_count_on_invoices(town: Town) -> None:
    free = {
        **PLAIN,
        "allowance": {"octets": 0},
        "classes": [{"name": "feast", "days": [], "holidays": "also", "weight": "0"}],
        "holidays": {"days": ["2026-03-17"]},
    }
    await sell(town, free)
    use(town, "2026-03-17", 50)
    use(town, "2026-03-18", 5)
    await town.bill()
    async with town.workplace.reading() as connection:
        [account] = {one.account_id for one in await town.invoices()}
        draft = granted(await preview_invoice(connection, town.meters, account, town.clock.now()))
    assert draft is not None
    assert [one.quoted_minor for one in draft.lines if one.kind == "usage"] == [50]
    await bill(town, "2026-04-01")
    assert await told(town, 2) == [[("usage", "2026-03-01", 50)]]
    await assert_replayed(town)


async def test_a_line_rated_again_explains_what_it_is_made_of(town: Town) -> None:
    _, sub = await sell(town, PLAIN)
    big = await plan(town, {**PLAIN, "allowance": {"octets": 200 * GB}})
    use(town, "2026-03-12", 150)
    await bill(town, "2026-03-10", "2026-04-01")
    town.travel("2026-04-05")
    async with town.workplace.work("operator:test") as work:
        granted(
            await change.change_plan(
                work, subscription_id=sub, plan_version_id=big, effective_on=date(2026, 3, 11)
            )
        )
    await bill(town, "2026-05-01")
    lines = [one for one in await town.lines("INV-000003") if one.item_code == "usage"]
    async with town.workplace.reading() as connection:
        texts = [
            format_explanation(
                granted(await explain_line(connection, town.meters, "INV-000003", one.position))
            )
            for one in lines
        ]
    assert "invoiced before  5.00 USD" in texts[0]
    assert "Closed usage close_" in texts[0]
    assert "150.00 GB" in texts[1]


async def test_what_if_knows_rollover_top_ups_and_days_that_were_rated_again(town: Town) -> None:
    _, sub = await sell(town, ROLLING)
    big = await plan(town, {**PLAIN, "allowance": {"octets": 200 * GB}})
    use(town, "2026-03-05", 70)
    use(town, "2026-04-12", 145)
    use(town, "2026-05-12", 150)
    await bill(town, "2026-03-10", "2026-04-01", "2026-05-01", "2026-06-01")
    town.travel("2026-06-05")
    async with town.workplace.work("operator:test") as work:
        granted(
            await change.change_plan(
                work, subscription_id=sub, plan_version_id=big, effective_on=date(2026, 5, 20)
            )
        )
    await bill(town, "2026-07-01")
    rolling = PlanVersion("x", "x", "X", 0, "USD", parse_items([
        {"code": "data", "kind": "usage", "name": "X", "usage": {**ROLLING, "allowance": {"octets": 120 * GB}}}
    ]))  # fmt: skip
    async with town.workplace.reading() as connection:
        [one] = await what_if(
            connection, town.meters, rolling, from_on=date(2026, 3, 1), to_on=date(2026, 6, 1)
        )
    may = 150 - 100 * 19 / 31  # used before the change, and what it includes until then
    assert one.before_minor == 150 + round(may * 10)
    assert one.parts == 4
    assert one.octets == 365 * GB
    # March leaves 50 to April, which takes them first; of its own it leaves 25 to May
    assert one.after_minor == round((150 - 25 - 120 * 19 / 31) * 10)
