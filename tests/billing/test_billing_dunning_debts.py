"""Debts given up and paid after all, fees of the ladder, an operator's word on suspensions."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from billing_story import Town
from sqlalchemy import select

from billing.dunning.approvals import decide_approval
from billing.dunning.define_policy import change_dunning_policy, define_dunning_policy
from billing.dunning.write_off import write_off_invoice
from billing.store.charge_rows import waiting_charges
from billing.store.tables import charge, dunning_approval, invoice
from core.refusal import Refusal, granted

LADDER = [{"stage": "reminded", "days_overdue": 3}, {"stage": "suspended", "days_overdue": 15}]


async def _late(town: Town, **terms: Any) -> str:
    """Ann owes 21.29, due on Tuesday 24 March; ``terms`` are her policy's."""
    ann = await town.customer("Ann", "2026-03-10")
    async with town.workplace.work("operator:test") as work:
        granted(await define_dunning_policy(work, name="hers", **{"ladder": LADDER, **terms}))
        granted(await change_dunning_policy(work, account_id=ann, dunning_policy="hers"))
    await town.bill()
    return ann


async def _days(town: Town, first: str, last: str) -> None:
    day = date.fromisoformat(first)
    while day <= date.fromisoformat(last):
        town.travel(day)
        await town.dun()
        day += timedelta(days=1)


async def _rows(town: Town, table: Any) -> list[Any]:
    async with town.workplace.reading() as connection:
        return list(await connection.execute(select(table).order_by(table.c.id)))


async def _give_up(town: Town, number: str = "INV-000001", **terms: Any) -> int | Refusal:
    async with town.workplace.work("operator:test") as work:
        return await write_off_invoice(work, invoice=number, reason="moved away", **terms)


async def _word(town: Town, *, approve: bool) -> Any:
    [waiting] = [one for one in await _rows(town, dunning_approval) if one.state == "waiting"]
    async with town.workplace.work("operator:test") as work:
        return granted(await decide_approval(work, approval_id=waiting.id, approve=approve))


async def test_a_debt_given_up_restores_nobody_and_is_recovered_when_it_is_paid(any_town: Town) -> None:
    town = any_town
    ann = await _late(town)
    await _days(town, "2026-04-08", "2026-04-08")
    assert await _give_up(town) == 2129
    assert isinstance(await _give_up(town), Refusal)
    assert (await town.invoices(ann))[0].status == "written_off"
    await town.prove_books()
    town.travel("2026-04-09")
    await town.dun()
    assert await town.stage(ann) == "suspended"
    await town.pay(ann, 1000)
    first = (await town.invoices(ann))[0]
    assert (first.status, first.open_minor) == ("written_off", 0)
    assert await town.stage(ann) == "suspended"
    receipt = await town.pay(ann, 1129)
    assert receipt.stage_change is not None
    assert receipt.stage_change.to_stage == "clear"
    assert (await town.invoices(ann))[0].status == "paid"
    told = [one["amount_minor"] for one in await town.facts("billing.invoice_written_off")]
    assert told == [2129, -1000, -1129]
    await town.prove_books()


async def test_a_forgiven_debt_lets_go(town: Town) -> None:
    ann = await _late(town)
    await _days(town, "2026-04-08", "2026-04-08")
    granted(await _give_up(town, forgive=True))
    assert await town.stage(ann) == "clear"
    receipt = await town.pay(ann, 500)
    assert receipt.unallocated_minor == 500
    await town.prove_books()


async def test_the_ladder_asks_for_a_write_off_and_an_operator_grants_it(town: Town) -> None:
    ann = await _late(town, write_off_days=30)
    await _days(town, "2026-04-22", "2026-04-24")
    [asked] = await _rows(town, dunning_approval)
    assert (asked.kind, asked.asked_on, asked.overdue_minor) == ("write_off", date(2026, 4, 23), 2129)
    await _word(town, approve=True)
    assert (await town.invoices(ann))[0].status == "written_off"
    [asked] = await _rows(town, dunning_approval)
    assert asked.state == "done"


async def test_a_suspension_waits_for_the_operators_word(any_town: Town) -> None:
    town = any_town
    ann = await _late(town, approving={"stages": ["suspended"], "days": 5})
    await _days(town, "2026-04-07", "2026-04-09")
    assert await town.stage(ann) == "reminded"
    change = await _word(town, approve=True)
    assert change.to_stage == "suspended"
    assert await town.events(ann) == [("2026-03-27", "reminded"), ("2026-04-09", "suspended")]
    [asked] = await _rows(town, dunning_approval)
    assert asked.state == "done"


async def test_what_was_declined_is_asked_anew_when_its_days_are_over(town: Town) -> None:
    ann = await _late(town, approving={"stages": ["suspended"], "days": 5})
    await _days(town, "2026-04-08", "2026-04-08")
    await _word(town, approve=False)
    await _days(town, "2026-04-09", "2026-04-13")
    assert [one.state for one in await _rows(town, dunning_approval)] == ["declined"]
    await _days(town, "2026-04-14", "2026-04-15")
    assert [one.state for one in await _rows(town, dunning_approval)] == ["expired", "waiting"]
    await town.pay(ann, 2129)
    assert [one.state for one in await _rows(town, dunning_approval)] == ["expired", "withdrawn"]


async def test_late_fees_come_with_the_next_invoice_once_each_month(town: Town) -> None:
    ann = await _late(
        town,
        late_fee={
            "flat_minor": 100, "percent_ppm": 50_000, "minimum_minor": 300, "maximum_minor": 400,
            "grace_days": 5, "monthly": True, "most_times": 2,
        },
    )  # fmt: skip
    await _days(town, "2026-03-29", "2026-03-31")
    town.travel("2026-06-10")  # and ten weeks later
    await town.dun()
    fees = await _rows(town, charge)
    assert [(str(one.happened_on), one.quoted_minor, one.source[-2:]) for one in fees] == [
        ("2026-03-30", 300, ":1"),
        ("2026-04-30", 300, ":2"),
    ]
    async with town.workplace.reading() as connection:
        waiting = await waiting_charges(connection, [ann], date(2026, 6, 10))
    assert [(one.revenue, one.explanation["days_overdue"]) for one in waiting[ann]] == [
        ("fees", 6),
        ("fees", 37),
    ]


async def test_a_reconnection_costs_its_fee_when_a_payment_brings_it_and_once(town: Town) -> None:
    ann = await _late(town, reconnect_fee_minor=2500)
    await _days(town, "2026-04-08", "2026-04-08")
    await town.pay(ann, 2000)
    assert await _rows(town, charge) == []
    await town.pay(ann, 129)
    [fee] = await _rows(town, charge)
    assert (fee.kind, fee.quoted_minor, fee.revenue) == ("reconnect_fee", 2500, "fees")
    assert fee.explanation["policy_version"].startswith("dpv")
    async with town.workplace.reading() as connection:
        assert (await connection.execute(select(invoice.c.status))).scalars().all() == ["paid"]
