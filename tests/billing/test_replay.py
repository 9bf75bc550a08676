"""An issued period drafted again comes out octet for octet, whatever was written since."""

from __future__ import annotations

from datetime import date
from typing import Any

from billing_story import GB, Town
from sqlalchemy import update
from test_subscription_changes import act, offer, sold

from billing.domain.catalogue import PlanVersion
from billing.domain.items import parse_items
from billing.invoicing.add_charge import add_charge
from billing.invoicing.replay import ReplayedInvoice, replay_invoices
from billing.rating.what_if import what_if
from billing.store.tables import invoice_line, rated_charge
from billing.subscriptions import change_subscription as change
from billing.subscriptions.subscribe import subscribe
from core.periods import start_of_day
from core.refusal import granted


async def replayed(town: Town) -> list[ReplayedInvoice]:
    async with town.workplace.reading() as connection:
        spring = date(2026, 1, 1), date(2026, 12, 31)
        return [one async for one in replay_invoices(connection, town.meters, *spring, town.settings)]


async def a_busy_spring(town: Town) -> tuple[str, str]:
    """Plans change, pause and end; charges, taxes and promotions come and go."""
    await town.tax(50_000)
    ann, sub = await sold(town)
    town.meters.use("svc_1", start_of_day(date(2026, 3, 15), "America/Denver"), 20 * GB, 130 * GB)
    await town.bill()
    big = await town.plan(code="big", price_minor=6200)
    town.travel("2026-03-11")
    granted(await act(town, change.change_plan, subscription_id=sub, plan_version_id=big))
    extra = await offer(town, {"price_minor": 310, "period": {"unit": "week"}})
    granted(await act(town, subscribe, account_id=ann, service_id=None, plan_version_id=extra))
    granted(
        await act(
            town, add_charge, account_id=ann, kind="visit", description="Visit", amount_minor=5000,
            tax_class="internet", revenue="fees", source="visit:1",
        )
    )  # fmt: skip
    town.travel("2026-04-01")
    await town.bill()
    town.travel("2026-04-02")
    granted(
        await act(
            town, change.pause_subscription, subscription_id=sub, from_on=date(2026, 4, 10),
            resume_on=date(2026, 4, 20),
        )
    )  # fmt: skip
    town.travel("2026-05-01")
    await town.bill()
    town.travel("2026-05-02")
    granted(await act(town, change.end_subscription, subscription_id=sub, ends_on=date(2026, 4, 25)))
    town.travel("2026-06-01")
    await town.bill()
    return ann, sub


async def test_every_line_comes_out_the_same_whatever_was_written_since(town: Town) -> None:
    await a_busy_spring(town)
    town.travel("2026-06-02")
    await town.tax(90_000, valid_from=date(2026, 6, 1))
    every = await replayed(town)
    assert len(every) == 4
    assert sum(len(one.lines) for one in every) >= 20
    assert [difference.cause for one in every for difference in one.differences] == []


async def test_a_line_that_was_tampered_with_is_named_with_both_values(town: Town) -> None:
    await a_busy_spring(town)
    async with town.workplace.work("operator:test") as work:
        await work.connection.execute(
            update(invoice_line).where(invoice_line.c.kind == "recurring").values(quoted_minor=1)
        )
    found = [one for invoice in await replayed(town) for one in invoice.differences]
    assert found
    assert "quoted_minor: 1 became 3000" in found[0].cause


async def test_usage_that_is_not_what_it_was_is_the_cause(town: Town) -> None:
    await a_busy_spring(town)
    town.meters.closed.clear()
    found = [one for invoice in await replayed(town) for one in invoice.differences]
    assert any("usage records behind" in one.cause for one in found)


async def test_what_if_names_who_pays_more(town: Town) -> None:
    ann, bob = await town.customer("Ann", "2026-03-01"), await town.customer("Bob", "2026-03-01")
    town.meters.use("svc_1", start_of_day(date(2026, 3, 15), "America/Denver"), 0, 150 * GB)
    town.meters.use("svc_2", start_of_day(date(2026, 3, 15), "America/Denver"), 0, 10 * GB)
    await town.bill()
    town.travel("2026-04-01")
    await town.bill()
    usage: dict[str, Any] = {
        "metered": "sum", "allowance": {"octets": 20 * GB},
        "model": {"kind": "graduated", "tiers": [{"up_to_octets": None, "minor_per_gb": "20"}]},
    }  # fmt: skip
    proposed = PlanVersion("x", "lean", "Lean", 0, "USD", parse_items([
        {"code": "recurring", "kind": "recurring", "name": "Lean", "price_minor": 2000},
        {"code": "usage", "kind": "usage", "name": "Lean", "usage": usage},
    ]))  # fmt: skip
    async with town.workplace.reading() as connection:
        compared = await what_if(
            connection, town.meters, proposed, from_on=date(2026, 3, 1), to_on=date(2026, 4, 1)
        )
        by_charge = (await connection.execute(rated_charge.select())).all()
    assert len(by_charge) == 2
    found = {one.account_id: (one.before_minor, one.after_minor) for one in compared}
    assert found == {ann: (3000 + 2500, 2000 + 2600), bob: (3000, 2000)}
    assert [one.account_id for one in compared] == [ann, bob]
