"""FIELD-NOTES, "Billing time": one test for each thing that has bitten a real product."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from billing_story import GB, PowerCut, Town, new_database, utc
from sqlalchemy import select, update

from billing.config import BillingSettings
from billing.dunning.evaluate import evaluate_dunning
from billing.invoicing.bill_run import bill_run
from billing.set_up import end_subscription
from billing.store.tables import bill_run as bill_run_table
from billing.store.tables import invoice_line, posting
from core.clock import FakeClock
from core.database import Database
from core.ids import SeededIds
from core.periods import start_of_day
from core.refusal import Refusal, granted
from core.store.tables import health_issue
from core.work import Work, Workplace


async def _end(town: Town, subscription_id: str, day: str | None = None) -> date | Refusal:
    async with town.workplace.work("operator:test") as work:
        return await end_subscription(
            work, subscription_id=subscription_id, ends_on=None if day is None else date.fromisoformat(day)
        )


# Store period boundaries as local dates and a zone; compute instants late. Days have 23 or 25 hours.


@pytest.mark.parametrize(
    ("zone_name", "first", "turn", "hours"),
    [
        ("America/Denver", "2027-03-01", "2027-04-01", 31 * 24 - 1),
        ("America/Denver", "2027-11-01", "2027-12-01", 30 * 24 + 1),
        ("America/Phoenix", "2027-03-01", "2027-04-01", 31 * 24),
        ("Europe/Berlin", "2027-10-01", "2027-11-01", 31 * 24 + 1),
        ("Australia/Lord_Howe", "2027-04-01", "2027-05-01", 30 * 24 + 0.5),
        ("America/Santiago", "2027-09-01", "2027-10-01", 30 * 24 - 1),  # midnight itself does not exist
        ("Asia/Kathmandu", "2027-04-01", "2027-05-01", 30 * 24),
    ],
)
async def test_a_cycle_is_local_days_and_may_be_an_hour_shorter_or_longer(
    town: Town, zone_name: str, first: str, turn: str, hours: float
) -> None:
    town.travel(first, time_zone=zone_name)
    account_id = await town.account("Ann", time_zone=zone_name)
    await town.subscription(account_id, await town.plan())
    await town.bill()
    last_moment = start_of_day(date.fromisoformat(turn), zone_name) - timedelta(microseconds=1)
    town.meters.use("svc_1", last_moment, 7 * GB, 0)
    town.meters.use("svc_1", last_moment + timedelta(microseconds=1), 9 * GB, 0)
    town.travel(turn, time_zone=zone_name)
    await town.bill()
    [[(from_at, until_at)]] = town.meters.spans.values()
    assert (until_at - from_at) == timedelta(hours=hours)
    [usage] = [line for line in await town.lines("INV-000002") if line.kind == "usage"]
    assert usage.explanation["octets_in"] == 7 * GB


async def test_each_account_turns_at_its_own_midnight(town: Town) -> None:
    east = await town.account("East", time_zone="Pacific/Kiritimati")  # UTC+14
    west = await town.account("West", time_zone="Pacific/Pago_Pago")  # UTC-11
    plan = await town.plan()
    for account_id in (east, west):
        await town.subscription(account_id, plan, "2026-03-05")
    await town.bill()
    town.clock.advance(utc("2026-03-31T10:30") - town.clock.now())
    assert len((await town.bill()).numbers) == 1  # 1 April has begun in the east only
    assert [one.cycle_start for one in await town.invoices(east)] == [date(2026, 3, 1), date(2026, 4, 1)]
    town.clock.advance(timedelta(hours=25))
    assert len((await town.bill()).numbers) == 1
    assert len(await town.invoices(west)) == 2


async def test_the_last_readings_of_a_cycle_have_time_to_come_in(town: Town) -> None:
    await town.customer("Ann")
    await town.bill()
    midnight = start_of_day(date(2026, 4, 1), "America/Denver")
    town.clock.advance(midnight + timedelta(minutes=14) - town.clock.now())
    assert (await town.bill()).run_id is None
    town.clock.advance(timedelta(minutes=1))
    assert (await town.bill()).invoices == 1


# Keep the anchor 29, 30, 31 and clamp per month (31 Jan → 28 Feb → 31 Mar).


@pytest.mark.parametrize(
    ("anchor_day", "turns"),
    [
        (31, ["2026-10-31", "2026-11-30", "2026-12-31", "2027-01-31", "2027-02-28", "2027-03-31"]),
        (30, ["2026-10-30", "2026-11-30", "2026-12-30", "2027-01-30", "2027-02-28", "2027-03-30"]),
        (29, ["2026-10-29", "2026-11-29", "2026-12-29", "2027-01-29", "2027-02-28", "2027-03-29"]),
        (1, ["2026-10-01", "2026-11-01", "2026-12-01", "2027-01-01", "2027-02-01", "2027-03-01"]),
    ],
)
async def test_the_anchor_is_kept_and_clamped_month_by_month(
    town: Town, anchor_day: int, turns: list[str]
) -> None:
    town.settings = BillingSettings(clock_leap_days=400)
    town.travel(turns[0])
    ann = await town.customer("Ann", anchor_day=anchor_day)
    await town.bill()
    for turn in turns[1:]:
        town.travel(turn)
        await town.bill()
    invoices = await town.invoices(ann)
    assert [str(one.cycle_start) for one in invoices] == turns
    assert [one.cycle_end for one in invoices[:-1]] == [one.cycle_start for one in invoices[1:]]
    assert {one.net_minor for one in invoices} == {3000}


async def test_the_29th_of_a_leap_february_is_a_billing_day(town: Town) -> None:
    town.settings = BillingSettings(clock_leap_days=1000)
    town.travel("2028-01-31")
    ann = await town.customer("Ann", anchor_day=31)
    await town.bill()
    town.travel("2028-03-01")
    await town.bill()
    assert [str(one.cycle_start) for one in await town.invoices(ann)] == ["2028-01-31", "2028-02-29"]


# Proration by actual days, the end exclusive.


@pytest.mark.parametrize(
    ("starts_on", "net_minor"),
    [("2026-03-01", 3000), ("2026-03-02", 2903), ("2026-03-16", 1548), ("2026-03-31", 97)],
)
async def test_the_first_part_month_is_prorated_by_actual_days(
    town: Town, starts_on: str, net_minor: int
) -> None:
    town.travel("2026-03-31")
    ann = await town.customer("Ann", starts_on)
    await town.bill()
    [invoice] = await town.invoices(ann)
    assert invoice.net_minor == net_minor
    [line] = await town.lines("INV-000001")
    assert line.explanation["rule"].startswith("actual days, end exclusive")
    assert line.explanation["days"] == 32 - int(starts_on[-2:])


async def test_two_plan_changes_on_one_day_charge_that_day_once(town: Town) -> None:
    ann = await town.account()
    small, big = await town.plan(), await town.plan(code="big", price_minor=6000)
    first = await town.subscription(ann, small, "2026-03-10", "svc_1")
    await town.bill()
    town.travel("2026-03-20")
    await _end(town, first)
    second = await town.subscription(ann, big, None, "svc_1")
    await _end(town, second, "2026-03-20")  # changed their mind at once
    await town.subscription(ann, small, None, "svc_1")
    town.travel("2026-04-01")
    await town.bill()
    _, invoice = await town.invoices(ann)
    assert invoice.net_minor == 3000  # the old days come back and the same days are charged again
    await town.prove_books()


async def test_upgrade_then_downgrade_within_a_cycle(town: Town) -> None:
    ann = await town.account()
    small, big = await town.plan(), await town.plan(code="big", price_minor=6000, allowance_octets=None)
    first = await town.subscription(ann, small, "2026-04-01", "svc_1")
    town.travel("2026-04-01")
    await town.bill()
    town.travel("2026-04-11")
    await _end(town, first)
    second = await town.subscription(ann, big, None, "svc_1")
    town.travel("2026-04-21")
    await _end(town, second)
    await town.subscription(ann, small, None, "svc_1")
    town.travel("2026-05-01")
    await town.bill()
    april, may = await town.invoices(ann)
    assert april.net_minor == 3000
    assert may.net_minor - 3000 == -2000 + 2000 + 1000  # back 20 small days; 10 big days; 10 small days
    spans = sorted((f.astimezone(UTC).day, u.astimezone(UTC).day) for f, u in town.meters.spans["svc_1"])
    assert spans == [(1, 11), (11, 21), (21, 1)]  # the usage of each plan's days is rated apart


async def test_cancel_now_gives_unused_days_back_with_their_tax(any_town: Town) -> None:
    town = any_town
    await town.tax()
    ann = await town.account()
    subscription_id = await town.subscription(ann, await town.plan(), "2026-03-01")
    await town.bill()
    town.travel("2026-03-17")
    assert await _end(town, subscription_id) == date(2026, 3, 17)
    town.travel("2026-04-01")
    await town.bill()
    _, closing = await town.invoices(ann)
    assert (closing.net_minor, closing.tax_minor) == (-1452, -111)  # 15 of 31 days of 30.00
    assert (closing.status, closing.open_minor) == ("credited", 0)
    receipt = await town.pay(ann, 3229 - 1563)
    assert receipt.unallocated_minor == 0  # the credit paid the rest of the first invoice
    assert [one.open_minor for one in await town.invoices(ann)] == [0, 0]
    town.travel("2026-05-02")
    assert (await town.bill()).run_id is None  # nothing is left to bill
    await town.prove_books()


async def test_cancel_at_period_end_gives_nothing_back(town: Town) -> None:
    ann = await town.account()
    subscription_id = await town.subscription(ann, await town.plan(), "2026-03-01")
    await town.bill()
    await _end(town, subscription_id, "2026-04-01")
    town.travel("2026-04-01")
    await town.bill()
    assert [one.net_minor for one in await town.invoices(ann)] == [3000, 0]
    assert [line.kind for line in await town.lines("INV-000002")] == ["usage"]


def _as_issued(invoice: Any) -> dict[str, Any]:
    """The invoice without what payments change."""
    return {key: value for key, value in invoice._mapping.items() if key not in {"open_minor", "status"}}


async def test_a_back_dated_end_is_an_adjustment_and_never_edits_an_issued_invoice(town: Town) -> None:
    await town.tax(50_000)
    await town.tax(100_000, valid_from=date(2026, 5, 1))
    ann = await town.account()
    subscription_id = await town.subscription(ann, await town.plan(), "2026-03-01")
    await town.bill()
    for turn in ("2026-04-01", "2026-05-01"):
        town.travel(turn)
        await town.bill()
    issued = [_as_issued(one) for one in await town.invoices(ann)]
    town.travel("2026-05-20")
    await _end(town, subscription_id, "2026-04-16")
    town.travel("2026-06-01")
    await town.bill()
    invoices = await town.invoices(ann)
    assert [_as_issued(one) for one in invoices][:3] == issued
    assert [one.status for one in invoices] == ["paid", "finalised", "finalised", "credited"]
    lines = [
        (line.kind, str(line.period_start), line.amount_minor) for line in await town.lines("INV-000004")
    ]
    assert lines == [
        ("adjustment", "2026-04-16", -1500),
        ("adjustment", "2026-05-01", -3000),
        ("tax", "2026-06-01", -75),  # each month's tax comes back at the rate it was charged with
        ("tax", "2026-06-01", -300),
    ]
    assert (await town.bill()).run_id is None
    await town.prove_books()


async def test_a_back_dated_start_is_charged_on_the_next_invoice(town: Town) -> None:
    ann = await town.customer("Ann", "2026-03-01")
    await town.bill()
    town.travel("2026-03-25")
    await town.subscription(ann, await town.plan(code="second"), "2026-03-22")
    assert (await town.bill()).run_id is None
    town.travel("2026-04-01")
    await town.bill()
    second = [line for line in await town.lines("INV-000002") if line.explanation["plan"] == "second"]
    assert [(line.kind, str(line.period_start), line.amount_minor) for line in second] == [
        ("recurring", "2026-03-22", 968),
        ("recurring", "2026-04-01", 3000),
        ("usage", "2026-03-22", 0),
    ]


# A run is idempotent, resumable, catches up missed days in order, and is unique per subscription and period.


async def test_a_run_again_changes_nothing(any_town: Town) -> None:
    town = any_town
    await town.customer("Ann")
    assert (await town.bill()).invoices == 1
    before = await _everything(town)
    for _ in range(3):
        assert (await town.bill()).run_id is None
    assert await _everything(town) == before


async def test_missed_cycles_are_caught_up_in_order(town: Town) -> None:
    ann = await town.customer("Ann", "2026-03-01")
    for month, gigabytes in ((3, 150), (4, 120), (5, 10)):
        town.meters.use("svc_1", datetime(2026, month, 15, tzinfo=UTC), gigabytes * GB, 0)
    town.travel("2026-06-02")
    assert (await town.bill()).numbers == ("INV-000001", "INV-000002", "INV-000003", "INV-000004")
    invoices = await town.invoices(ann)
    assert [str(one.cycle_start) for one in invoices] == [
        "2026-03-01",
        "2026-04-01",
        "2026-05-01",
        "2026-06-01",
    ]
    assert [one.net_minor for one in invoices] == [3000, 5500, 4000, 3000]
    assert {str(one.due_on) for one in invoices} == {"2026-06-16"}  # nobody is late for our being late
    await town.prove_books()


async def test_through_holds_a_run_back_and_never_reaches_ahead(town: Town) -> None:
    await town.customer("Ann", "2026-03-01")
    town.travel("2026-05-10")
    assert (await town.bill(through=date(2026, 4, 1))).invoices == 2
    assert (await town.bill(through=date(2027, 1, 1))).invoices == 1


async def test_one_bad_account_is_parked_with_its_reason_and_never_stops_the_run(any_town: Town) -> None:
    town = any_town
    town.settings = BillingSettings(block_size=3)
    people = [await town.customer(f"Person {n}", "2026-03-05") for n in range(7)]
    await town.bill()
    town.travel("2026-04-01")
    town.meters.broken = {"svc_4"}
    outcome = await town.bill()
    assert outcome.invoices == 6
    [parked] = outcome.parked
    assert parked.account_id == people[3]
    assert "meter of svc_4 is on fire" in parked.reason
    async with town.workplace.reading() as connection:
        runs = list(await connection.execute(select(bill_run_table).order_by(bill_run_table.c.started_at)))
        assert [issue.closed_at for issue in await connection.execute(select(health_issue))] == [None]
    assert runs[-1].parked == [{"account_id": people[3], "reason": parked.reason}]
    town.meters.broken.clear()
    assert (await town.bill()).numbers == ("INV-000014",)  # the next run tries again; no number was lost
    await town.prove_books()


class FailingWorkplace(Workplace):
    """Pulls the plug just before the n-th commit."""

    def __init__(self, like: Workplace, commits: int) -> None:
        super().__init__(like.database, like.clock, like.ids)
        self._left = commits

    @asynccontextmanager
    async def work(self, actor: str) -> AsyncIterator[Work]:
        async with super().work(actor) as work:
            yield work
            self._left -= 1
            if self._left < 0:
                raise PowerCut


async def _everything(town: Town) -> list[Any]:
    """The outcome of billing without ids and instants: invoices, lines and the postings behind them."""
    async with town.workplace.reading() as connection:
        lines = await connection.execute(
            select(
                invoice_line.c.kind, invoice_line.c.amount_minor, invoice_line.c.description,
                invoice_line.c.period_start,
            ).order_by(*invoice_line.c[("description", "period_start", "amount_minor", "kind")])
        )  # fmt: skip
        postings = await connection.execute(
            select(posting.c.ledger_account, posting.c.account_id, posting.c.amount_minor).order_by(
                posting.c.ledger_account, posting.c.account_id, posting.c.amount_minor
            )
        )
        found = [tuple(row) for row in lines] + [tuple(row) for row in postings]
    invoices = [
        (one.number, one.account_id, str(one.cycle_start), one.total_minor, one.open_minor)
        for one in await town.invoices()
    ]
    return [*invoices, *found]


async def _crowd(folder: Any, name: str) -> tuple[Town, Database]:
    """Nine accounts with usage, credit and two cycles due; the same each time it is built."""
    database = await new_database(folder / f"{name}.sqlite")
    clock = FakeClock(datetime(2026, 3, 10, 12, tzinfo=UTC))
    town = Town(Workplace(database, clock, SeededIds()), clock, settings=BillingSettings(block_size=2))
    await town.tax()
    for n in range(9):
        person = await town.customer(f"Person {n}", f"2026-03-{n + 1:02d}")
        town.meters.use(f"svc_{n + 1}", utc("2026-03-15T12:00"), n * 30 * GB, GB)
        if n % 3 == 0:
            await town.pay(person, 1500 * n + 700)
    town.travel("2026-04-02")
    return town, database


@pytest.mark.parametrize("moment", [*range(7), *(f"close {n}" for n in (0, 1, 4, 8))])
async def test_a_run_that_crashed_half_way_ends_like_an_undisturbed_one(tmp_path: Any, moment: Any) -> None:
    calm, calm_database = await _crowd(tmp_path, "calm")
    hit, hit_database = await _crowd(tmp_path, "hit")
    try:
        await calm.bill()
        workplace = FailingWorkplace(hit.workplace, moment) if isinstance(moment, int) else hit.workplace
        if isinstance(moment, str):
            hit.meters.crash_after = int(moment.split()[1])
        with pytest.raises(PowerCut):
            await bill_run(workplace, hit.meters, settings=hit.settings)
        hit.meters.crash_after = None
        await hit.prove_books()  # even before the next run
        outcome = await hit.bill()
        assert outcome.resumed is (
            moment not in (0, 1)
        )  # killed before the run was noted, there is none to resume
        assert await _everything(hit) == await _everything(calm)
        await hit.prove_books()
        assert (await hit.bill()).run_id is None
    finally:
        await calm_database.close()
        await hit_database.close()


async def test_a_run_that_lacks_only_its_end_is_ended_by_the_next_look(town: Town) -> None:
    await town.customer("Ann", "2026-03-01")
    failing = FailingWorkplace(town.workplace, 3)  # clock check, run begun, the block, then its end
    with pytest.raises(PowerCut):
        await bill_run(failing, town.meters, settings=town.settings)
    outcome = await town.bill()
    assert (outcome.resumed, outcome.numbers) == (True, ())
    async with town.workplace.reading() as connection:
        [run] = await connection.execute(select(bill_run_table))
    assert (run.id, run.invoices, run.finished_at) == (outcome.run_id, 1, town.clock.now())
    assert (await town.bill()).run_id is None


# Invoice numbers are gapless per series, given when finalised.


async def test_numbers_are_gapless_and_given_back_by_a_failed_block(town: Town) -> None:
    for n in range(5):
        await town.customer(f"Person {n}")
    failing = FailingWorkplace(town.workplace, 2)  # clock check and run begun, then the block's own commit
    with pytest.raises(PowerCut):
        await bill_run(failing, town.meters, settings=town.settings)
    assert await town.invoices() == []
    assert (await town.bill()).numbers == tuple(f"INV-{n:06d}" for n in range(1, 6))
    await town.prove_books()


# Do not bill until the clock is known to be good: small boxes have no battery clock.


async def test_a_clock_before_the_software_existed_is_refused(town: Town) -> None:
    await town.customer("Ann")
    town.clock.step_to(datetime(1970, 1, 1, 0, 5, tzinfo=UTC))
    for refused in (await bill_run(town.workplace, town.meters), await evaluate_dunning(town.workplace)):
        assert isinstance(refused, Refusal)
        assert refused.code == "clock_untrusted"
    assert await town.invoices() == []


async def test_a_clock_that_stepped_back_behind_what_is_recorded_is_refused_until_it_is_right(
    any_town: Town,
) -> None:
    town = any_town
    ann = await town.customer("Ann")
    await town.bill()
    town.travel("2026-04-02")
    await town.pay(ann, 100)
    town.clock.step_to(utc("2026-04-01T12:00"))
    refused = await bill_run(town.workplace, town.meters)
    assert isinstance(refused, Refusal)
    assert "2026-04-02" in refused.message
    async with town.workplace.reading() as connection:
        [issue] = list(await connection.execute(select(health_issue)))
    assert (issue.key, issue.closed_at) == ("billing.clock_untrusted", None)
    town.clock.step_to(utc("2026-04-02T12:01"))
    assert (await town.bill()).invoices == 1
    async with town.workplace.reading() as connection:
        [issue] = list(await connection.execute(select(health_issue)))
    assert issue.closed_at is not None


async def test_a_clock_that_leapt_a_year_is_refused_unless_somebody_vouches_for_it(town: Town) -> None:
    await town.customer("Ann")
    await town.bill()
    town.clock.step_to(utc("2027-04-02T12:00"))
    assert isinstance(await bill_run(town.workplace, town.meters), Refusal)
    assert (await town.bill(trust_clock=True)).invoices == 13


async def test_a_step_back_of_seconds_is_what_every_time_server_does(town: Town) -> None:
    await town.customer("Ann")
    town.clock.step_to(town.clock.now() - timedelta(seconds=30))
    assert (await town.bill()).invoices == 1


async def test_an_issued_period_cannot_be_billed_twice_even_if_the_note_of_it_is_lost(town: Town) -> None:
    from billing.store.tables import account

    ann = await town.customer("Ann")
    await town.bill()
    async with town.workplace.work("operator:test") as work:
        await work.connection.execute(update(account).values(next_cycle_on=date(2026, 3, 1)))
    outcome = await town.bill()
    assert (outcome.numbers, outcome.parked) == ((), ())  # nothing is owed that was not invoiced
    assert len(await town.invoices(ann)) == 1
    await town.prove_books()


# Two runs at once.


async def test_two_runs_at_once_bill_everybody_once(any_town: Town) -> None:
    import asyncio

    town = any_town
    town.settings = BillingSettings(block_size=3)
    for n in range(20):
        await town.customer(f"Person {n}", "2026-03-02")
    town.travel("2026-04-02")
    outcomes = await asyncio.gather(
        *(bill_run(town.workplace, town.meters, settings=town.settings) for _ in range(3))
    )
    assert sum(granted(one).invoices for one in outcomes) == 40
    assert not any(granted(one).parked for one in outcomes)
    assert len({(one.account_id, one.cycle_start) for one in await town.invoices()}) == 40
    await town.prove_books()


async def test_payments_during_a_run_are_neither_lost_nor_used_twice(any_town: Town) -> None:
    import asyncio

    town = any_town
    town.settings = BillingSettings(block_size=2)
    people = [await town.customer(f"Person {n}") for n in range(10)]
    await asyncio.gather(town.bill(), *(town.pay(one, 1000) for one in people))
    assert sum(one.total_minor - one.open_minor for one in await town.invoices()) == 10_000
    await town.prove_books()
