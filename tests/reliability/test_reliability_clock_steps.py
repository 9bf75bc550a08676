"""The clock steps while everything runs: by a day, to 1970, far ahead. Nobody is cut off or billed twice for it."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
from reliability_box import Nursery, open_box, until
from reliability_valley import FIRST_DAY, ZONE, Valley, open_valley
from sqlalchemy import select

from aaa.store.tables import entitlement
from billing.clock_doubt import ISSUE_KEY
from billing.store.tables import account, dunning_event, dunning_state, invoice
from core.clock import LabClock

NOW = datetime(2026, 3, 20, 12, 0, tzinfo=ZONE)  # a Friday; March is due since the 15th: reminded on the 18th
STEPS = {
    "a day back": (NOW - timedelta(days=1), True),
    "a day ahead": (NOW + timedelta(days=1), False),  # nothing tells it from a day that passed
    "1970": (datetime(1970, 1, 1, 0, 0, 30, tzinfo=ZONE), True),
    "ten years ahead": (NOW + timedelta(days=3652), True),
}


async def _what_was_done(valley: Valley) -> list[object]:
    """Everything a customer would feel."""
    rows = valley.box.rows
    return [
        Counter((row.account_id, row.cycle_start, row.total_minor) for row in await rows(select(invoice))),
        {row.service_id: (row.effect, row.generation) for row in await rows(select(entitlement))},
        {row.account_id: row.stage for row in await rows(select(dunning_state))},
        len(await rows(select(dunning_event))),
        {row.id: row.next_cycle_on for row in await rows(select(account))},
        [one.values["address"] for one in valley.console.firewall_address_list],
    ]


async def _doubt_is(valley: Valley, doubted: bool) -> bool:
    return (ISSUE_KEY in await valley.box.open_issues()) is doubted


async def _some_turns(valley: Valley) -> None:
    """Time for each job of the worker to look at the clock more than once."""
    await asyncio.sleep(1.5)
    await valley.report_all()


@pytest.mark.parametrize("step", STEPS)
async def test_a_step_of_the_clock_alone_cuts_nobody_off_and_bills_nobody_twice(
    tmp_path: Path, nursery: Nursery, step: str
) -> None:
    """The towers' clocks do not step: they are the witness that octets counted meanwhile are not lost."""
    product = LabClock.create(tmp_path / "clock", FIRST_DAY)
    towers = LabClock.create(tmp_path / "towers", FIRST_DAY)
    async with (
        open_box(tmp_path, nursery, clock=f"lab:{tmp_path / 'clock'}") as box,
        open_valley(box, towers, people=6, seed=7) as valley,
    ):
        for role in ("radius", "collector", "worker"):
            await box.start(role)
        await valley.dial_all()
        await valley.report_all()
        await valley.settled()
        for instant in (NOW - timedelta(days=8), NOW):
            product.move_to(instant)
            towers.move_to(instant)
            await valley.report_all()
            await valley.settled()
            await valley.pay_what_is_due()
        before = await _what_was_done(valley)
        assert Counter(before[2].values()) == {"clear": 2, "reminded": 4}  # type: ignore[attr-defined]

        instant, doubted = STEPS[step]
        product.move_to(instant)
        if doubted:
            await until("a health issue about the clock", lambda: _doubt_is(valley, True), 20)
        await _some_turns(valley)
        assert await _what_was_done(valley) == before
        product.move_to(NOW + timedelta(minutes=10))
        towers.move_to(NOW + timedelta(minutes=10))
        await until("the clock trusted again", lambda: _doubt_is(valley, False), 20)
        await _some_turns(valley)
        assert await _what_was_done(valley) == before
        await valley.check_usage()
        reminded = valley.of("never")[0]
        owed = await box.rows(select(invoice.c.open_minor).where(invoice.c.account_id == reminded.account_id))
        await valley.pay(reminded, sum(row.open_minor for row in owed))
        await _everything_goes_on(valley, product, towers)


async def _everything_goes_on(valley: Valley, product: LabClock, towers: LabClock) -> None:
    """The days after are as if nothing had been: the next stage, the next invoice, each once."""
    for day in (25, 31, 33):
        product.move_to(FIRST_DAY + timedelta(days=day))
        towers.move_to(FIRST_DAY + timedelta(days=day))
        await valley.report_all()
        await valley.settled()
    await valley.check_books([date(2026, 3, 1), date(2026, 4, 1)])
    cut_off = {one.address for one in valley.households if one.habit != "prompt" and not one.paid_minor}
    assert {one.values["address"] for one in valley.console.firewall_address_list} == cut_off
    await valley.check_who_paid_was_left_alone()
    await valley.check_usage()
