"""Months in the life of accounts, by date."""

from __future__ import annotations

from datetime import date

from billing_story import GB, Town, utc


async def test_a_month_on_time(any_town: Town) -> None:
    town = any_town
    await town.tax()
    ann = await town.customer("Ann", "2026-03-10")
    first = await town.bill()
    assert first.numbers == ("INV-000001",)
    [opening] = await town.invoices(ann)
    # 22 of March's 31 days of 30.00, and 7.625 % on it
    assert (opening.net_minor, opening.tax_minor, opening.total_minor) == (2129, 162, 2291)
    assert (opening.cycle_start, opening.due_on) == (date(2026, 3, 1), date(2026, 3, 24))
    town.meters.use("svc_1", utc("2026-03-20T12:00"), 5 * GB, 75 * GB)
    await town.pay(ann, 2291)
    town.travel("2026-04-01")
    assert (await town.bill()).numbers == ("INV-000002",)
    lines = await town.lines("INV-000002")
    assert [(line.kind, line.amount_minor) for line in lines] == [
        ("recurring", 3000),
        ("usage", 452),  # 80 GB less 100 GB * 22/31 included: 9.032… GB at 0.50
        ("tax", 263),
    ]
    await town.pay(ann, 3715)
    town.travel("2026-04-20")
    assert await town.dun() == []
    assert await town.stage(ann) == "clear"
    assert [one.status for one in await town.invoices(ann)] == ["paid", "paid"]
    await town.prove_books()


async def test_late_reminded_restricted_suspended_paid_and_clear_again(any_town: Town) -> None:
    town = any_town
    ann = await town.customer("Ann", "2026-03-10")
    await town.bill()  # due on 24 March
    for day in range(25, 32):
        town.travel(date(2026, 3, day))
        await town.dun()
    assert await town.stage(ann) == "reminded"
    town.travel("2026-04-08")
    [change] = await town.dun()
    assert (change.from_stage, change.to_stage, change.service_ids) == ("reminded", "suspended", ("svc_1",))
    assert await town.events(ann) == [
        ("2026-03-27", "reminded"),
        ("2026-04-03", "restricted"),
        ("2026-04-08", "suspended"),
    ]
    receipt = await town.pay(ann, 2129)
    assert receipt.stage_change is not None
    assert receipt.stage_change.to_stage == "clear"
    told = await town.facts("billing.dunning_stage_changed")
    assert [one["to_stage"] for one in told] == ["reminded", "suspended", "clear"]
    assert told[-1]["service_ids"] == ["svc_1"]
    await town.prove_books()
