"""The date scenarios of a subscriber's life, across all rooms: money, holds, towers, sessions, meters."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hillside import GB, Hillside
from sqlalchemy import func, select

from aaa.domain.effect import Effect
from appliance.reactions import REACTIONS, follow_dunning
from billing.invoicing.bill_run import bill_run
from billing.set_up import end_subscription, subscribe
from billing.store.tables import invoice
from core.outbox import dispatch_due
from core.refusal import Refusal, granted
from provisioning.set_up import approve_parked
from provisioning.store.tables import site

IP = "100.64.1.7"


class PulledPlug(BaseException):
    """Nothing catches it, as nothing catches a power cut."""


async def test_a_month_on_time(any_hillside: Hillside) -> None:
    world = any_hillside
    ann = await world.customer("ann", await world.tower("Red"))
    line = await world.dial(ann, IP)
    await world.round()
    await world.pay_all(ann)
    await world.live_until("2026-04-02", octets_out=5 * GB)
    await world.pay_all(ann)
    await world.live_until("2026-05-02")
    opening, april, may = await world.town.invoices(ann.account_id)
    assert [one.cycle_start for one in (opening, april, may)] == [
        date(2026, 3, 1), date(2026, 4, 1), date(2026, 5, 1)
    ]  # fmt: skip
    usage = [one for one in await world.town.lines(april.number) if one.kind == "usage"]
    # 10 March noon to 1 April: 21 whole days of 5.1 GB and the share of the last one before midnight
    assert len(usage) == 1
    assert usage[0].amount_minor > 0
    assert await world.town.stage(ann.account_id) == "clear"
    assert world.reaches_internet(ann.service_id)
    assert line is not None
    assert await world.used(ann.service_id) == (line.octets_in, line.octets_out)
    assert await world.open_tasks() == []
    tower = next(iter(world.towers.by_device.values()))
    assert tower.sessions == 0  # nobody who pays costs the tower a login
    assert await world.issues() == {}


async def test_late_suspended_paid_restored(any_hillside: Hillside) -> None:
    world = any_hillside
    device = await world.tower("Red")
    ann, bob = await world.customer("ann", device), await world.customer("bob", device)
    await world.dial(ann, IP)
    await world.dial(bob, "100.64.1.8")
    await world.round()
    await world.pay_all(bob)
    await world.live_until("2026-04-07")
    await world.pay_all(bob)
    assert await world.effect(ann.service_id) == "throttle"
    assert world.reaches_internet(ann.service_id)
    await world.live_until("2026-04-09")  # due on 24 March, suspended after 15 days
    assert await world.effect(ann.service_id) == "walled_garden"
    assert world.towers.by_device[device].marked() == {(ann.service_id, IP)}
    assert not world.reaches_internet(ann.service_id)
    assert world.line_of(ann.service_id) is not None  # he is in the garden, and can reach the portal
    assert world.reaches_internet(bob.service_id)
    used = await world.used(ann.service_id)
    await world.live_until("2026-04-12")
    assert await world.used(ann.service_id) == used
    await world.pay_all(ann)
    await world.settle()
    assert await world.effect(ann.service_id) == "none"
    assert world.towers.by_device[device].marked() == set()
    assert world.reaches_internet(ann.service_id)
    assert await world.open_tasks() == []
    assert await world.waiting_facts() == []


async def test_an_operators_hold_that_outlives_payment(hillside: Hillside) -> None:
    world = hillside
    device = await world.tower("Red")
    ann = await world.customer("ann", device)
    await world.dial(ann, IP)
    await world.live_until("2026-04-09")
    await world.hold(ann.service_id)
    await world.settle()
    assert await world.holders(ann.service_id) == ["dunning", "operator"]
    assert world.line_of(ann.service_id) is None  # a block hangs up
    await world.pay_all(ann)
    await world.settle()
    assert await world.holders(ann.service_id) == ["operator"]
    assert await world.effect(ann.service_id) == "block"
    assert await world.dial(ann, IP) is None
    await world.lift(ann.service_id)
    await world.settle()
    await world.dial(ann, IP)
    await world.round()
    assert world.reaches_internet(ann.service_id)
    assert world.towers.by_device[device].marked() == set()


@pytest.mark.parametrize("fault", ["unreachable", "hang", "login", "lie", "refuse"])
async def test_a_tower_in_trouble_for_a_week(hillside: Hillside, fault: str) -> None:
    """One health issue, no flood of logins; when it is well again the newest state is made true by itself."""
    world = hillside
    device = await world.tower("Red")
    ann, bob = await world.customer("ann", device), await world.customer("bob", device)
    await world.dial(ann, IP)
    await world.dial(bob, "100.64.1.8")
    await world.live_until("2026-04-09")
    tower = world.towers.by_device[device]
    assert tower.marked() == {(ann.service_id, IP), (bob.service_id, "100.64.1.8")}
    tower.faults = [fault] * 10_000
    seen = tower.sessions
    await world.pay_all(ann)
    for day in range(10, 17):
        await world.live_until(f"2026-04-{day:02}")
        assert [key for key in await world.issues() if key.startswith("provisioning.device")] == [
            next(key for key in await world.issues() if device in key)
        ]
    assert tower.sessions - seen < 200
    assert not world.reaches_internet(ann.service_id)
    [waiting] = await world.open_tasks()
    assert (waiting.service_id, waiting.effect) == (ann.service_id, "none")
    tower.faults = []
    for _ in range(3):
        world.pass_time(minutes=20)
        await world.settle()
    assert tower.marked() == {(bob.service_id, "100.64.1.8")}
    assert world.reaches_internet(ann.service_id)
    assert await world.issues() == {}


async def test_what_changed_while_a_tower_was_away_is_not_replayed(hillside: Hillside) -> None:
    """Suspended, paid, suspended by the operator: only the last of it reaches the tower."""
    world = hillside
    device = await world.tower("Red")
    ann = await world.customer("ann", device)
    await world.dial(ann, IP)
    await world.live_until("2026-04-07")
    tower = world.towers.by_device[device]
    tower.faults = ["unreachable"] * 10_000
    await world.live_until("2026-04-09")
    await world.pay_all(ann)
    await world.settle()
    await world.hold(ann.service_id, effect=Effect.WALLED_GARDEN)
    await world.settle()
    assert len(await world.open_tasks()) == 1
    tower.faults = []
    world.pass_time(minutes=20)
    await world.settle()
    adds = [line for line in tower.sent if "address-list add" in line or "address-list/add" in line]
    assert len(adds) == 1
    assert tower.marked() == {(ann.service_id, IP)}


async def test_a_nas_reboot_with_no_stop(any_hillside: Hillside) -> None:
    """Sessions are closed at their last counters; the next dial begins at zero and nothing is counted twice."""
    world = any_hillside
    device = await world.tower("Red")
    ann = await world.customer("ann", device)
    first = await world.dial(ann, IP)
    await world.live_until("2026-03-15", octets_out=2 * GB)
    assert first is not None
    reported = (first.octets_in, first.octets_out)
    first.carry(5, GB)  # carried after the last report: nobody will ever know
    world.nases["nas_1"].reboot()
    world.pass_time(minutes=2)
    second = await world.dial(ann, "100.64.1.9")
    await world.live_until("2026-03-18", octets_out=2 * GB)
    assert second is not None
    assert await world.used(ann.service_id) == (
        reported[0] + second.octets_in, reported[1] + second.octets_out
    )  # fmt: skip
    old, new = await world.sessions_on_record(ann.service_id)
    assert (old.close_cause, old.close_inferred, new.stopped_at) == ("nas_reboot", True, None)


async def test_a_nas_that_reboots_while_a_subscriber_is_suspended(hillside: Hillside) -> None:
    """He comes back with another address: the wall follows him, his old address is free for the next one."""
    world = hillside
    device = await world.tower("Red")
    ann, bob = await world.customer("ann", device), await world.customer("bob", device)
    await world.dial(ann, IP)
    await world.round()
    await world.pay_all(bob)
    await world.live_until("2026-04-09")
    await world.pay_all(bob)
    world.nases["nas_1"].reboot()
    world.pass_time(minutes=1)
    await world.dial(bob, IP)
    await world.dial(ann, "100.64.1.9")
    await world.round()
    assert world.towers.by_device[device].marked() == {(ann.service_id, "100.64.1.9")}
    assert world.reaches_internet(bob.service_id)
    assert not world.reaches_internet(ann.service_id)


async def test_a_counter_wrap_from_meter_to_invoice(any_hillside: Hillside) -> None:
    """A NAS without Gigawords wraps every day; the invoice holds every octet, and its line explains the wraps."""
    world = any_hillside
    await world.nas("nas_old", gigawords=False)
    ann = await world.customer("ann", await world.tower("Red"))
    line = await world.dial(ann, IP, nas_id="nas_old")
    await world.round()
    await world.live_until("2026-04-02", octets_in=GB, octets_out=4 * GB)
    assert line is not None
    assert line.octets_out > 20 * (1 << 32)
    assert await world.used(ann.service_id) == (line.octets_in, line.octets_out)
    april = (await world.town.invoices(ann.account_id))[1]
    [usage] = [one for one in await world.town.lines(april.number) if one.kind == "usage"]
    before_midnight = 5 * (22 - 0.25)  # 5 GB a day from 11 March to 1 April; the last day ends at midnight
    included = 100 * 22 / 31
    assert abs(usage.amount_minor - (before_midnight - included) * 50) <= 1


async def test_a_plan_change_mid_cycle(any_hillside: Hillside) -> None:
    """On 15 April from 30.00 to 60.00: half a month comes back, half a month of the new one, usage at the border."""
    world = any_hillside
    ann = await world.customer("ann", await world.tower("Red"))
    line = await world.dial(ann, IP)
    await world.round()
    await world.pay_all(ann)
    await world.live_until("2026-04-02")
    await world.pay_all(ann)
    await world.live_until("2026-04-15")
    big = await world.town.plan(
        code="big", name="Big", price_minor=6000, allowance_octets=None, service_profile_id=world.profile_id,
        overage_tiers=[],
    )  # fmt: skip
    async with world.workplace.work("operator:ann") as work:
        granted(await end_subscription(work, subscription_id=ann.subscriptions[0], reason="upgrade"))
        granted(
            await subscribe(
                work, account_id=ann.account_id, service_id=ann.service_id, plan_version_id=big
            )
        )  # fmt: skip
    await world.live_until("2026-05-02")
    may = (await world.town.invoices(ann.account_id))[-1]
    lines = [
        (one.kind, str(one.period_start), str(one.period_end), one.amount_minor)
        for one in await world.town.lines(may.number)
    ]
    assert ("adjustment", "2026-04-15", "2026-05-01", -1600) in lines or (
        "recurring", "2026-04-15", "2026-05-01", -1600
    ) in lines, lines  # fmt: skip
    assert any(one[1:] == ("2026-04-15", "2026-05-01", 3200) for one in lines), lines
    assert any(one[1:] == ("2026-05-01", "2026-06-01", 6000) for one in lines), lines
    assert line is not None
    assert await world.used(ann.service_id) == (line.octets_in, line.octets_out)
    assert world.reaches_internet(ann.service_id)


async def test_a_run_that_crashed_half_way(hillside: Hillside) -> None:
    """The plug is pulled between two blocks: the next run bills the others, nobody twice, numbers gapless."""
    world = hillside
    device = await world.tower("Red")
    everybody = [await world.customer(f"c{n}", device) for n in range(5)]
    for n, one in enumerate(everybody):
        await world.dial(one, f"100.64.2.{n}")
    await world.ingest()
    settings = world.town.settings.model_copy(update={"block_size": 2})
    usage = world.town.meters
    closes = 0

    class Unplugged:
        """Meters that lose their power during the second block's closes."""

        async def close_many(self, *arguments: object) -> object:
            nonlocal closes
            closes += 1
            if closes > 1:
                raise PulledPlug
            return await usage.close_many(*arguments)  # type: ignore[arg-type]

        async def evidence(self, *arguments: object) -> object:
            return await usage.evidence(*arguments)  # type: ignore[arg-type]

    await world.town.bill()
    world.town.travel("2026-04-01")
    for nas in world.nases.values():
        for line in nas.live:
            line.carry(GB, 150 * GB)
        nas.interims()
    await world.ingest()
    with pytest.raises(PulledPlug):
        await bill_run(world.workplace, Unplugged(), settings=settings)  # type: ignore[arg-type]
    [(half,)] = await world.rows(select(func.count()).select_from(invoice))
    assert half == 7  # five openings, one block of two
    outcome = granted(await bill_run(world.workplace, usage, settings=settings))
    assert (outcome.resumed, outcome.invoices) == (True, 3)
    numbers = [one.number for one in await world.town.invoices()]
    assert numbers == [f"INV-{n:06}" for n in range(1, 11)]
    for one in everybody:
        assert len(await world.town.invoices(one.account_id)) == 2
        [usage_line] = [
            row
            for row in await world.town.lines((await world.town.invoices(one.account_id))[1].number)
            if row.kind == "usage"
        ]
        assert usage_line.amount_minor > 0


async def test_a_crash_between_the_fact_and_its_reaction(hillside: Hillside) -> None:
    """The plug is pulled inside a reaction: neither the hold nor the mark remain, and the next turn does both."""
    world = hillside
    device = await world.tower("Red")
    ann = await world.customer("ann", device)
    await world.dial(ann, IP)
    await world.round()
    world.town.travel("2026-04-09")
    await world.town.dun()

    async def unplugged(work: object, fact: object) -> None:
        await follow_dunning(work, fact)  # type: ignore[arg-type]
        raise PulledPlug

    table = {**REACTIONS, "billing.dunning_stage_changed": unplugged}
    with pytest.raises(PulledPlug):
        await dispatch_due(world.workplace, table)
    assert await world.holders(ann.service_id) == []
    await world.settle()
    assert await world.holders(ann.service_id) == ["dunning"]
    assert (await world.entitlement(ann.service_id)).generation == 2


async def test_the_clock_stepping_back(hillside: Hillside) -> None:
    """A box that wakes up three weeks ago bills nobody, suspends and restores nobody, and goes on later."""
    world = hillside
    device = await world.tower("Red")
    ann = await world.customer("ann", device)
    await world.dial(ann, IP)
    await world.live_until("2026-04-09")
    known = world.clock.now()
    invoices = len(await world.town.invoices())
    world.clock.step_to(known - timedelta(weeks=3))
    refusal = await bill_run(world.workplace, world.town.meters, settings=world.town.settings)
    assert isinstance(refusal, Refusal)
    assert refusal.code == "clock_untrusted"
    assert "billing.clock_untrusted" in await world.issues()
    await world.pay_all(ann)  # money is taken whatever the clock says
    world.pass_time(minutes=1)
    await world.settle()
    assert world.reaches_internet(ann.service_id)
    assert world.towers.by_device[device].marked() == set()
    world.clock.step_to(known + timedelta(minutes=10))
    await world.live_until("2026-05-02")
    assert len(await world.town.invoices()) == invoices + 1
    assert "billing.clock_untrusted" not in await world.issues()


async def test_two_services_of_one_account_on_two_towers(hillside: Hillside) -> None:
    """One debt holds both services; one tower away does not keep the other from being restored."""
    world = hillside
    red, blue = await world.tower("Red"), await world.tower("Blue")
    ann = await world.customer("ann", red)
    barn = await world.sell(ann, blue, "barn")
    await world.dial(ann, IP)
    await world.dial(ann, "100.64.9.9", service_id=barn)
    await world.live_until("2026-04-09")
    assert world.towers.by_device[red].marked() == {(ann.service_id, IP)}
    assert world.towers.by_device[blue].marked() == {(barn, "100.64.9.9")}
    world.towers.by_device[blue].faults = ["unreachable"] * 1000
    await world.pay_all(ann)
    await world.settle()
    assert world.reaches_internet(ann.service_id)
    assert not world.reaches_internet(barn)
    world.towers.by_device[blue].faults = []
    world.pass_time(minutes=20)
    await world.settle()
    assert world.reaches_internet(barn)
    assert await world.open_tasks() == []


async def test_the_address_reused_by_the_next_customer_while_suspended(any_hillside: Hillside) -> None:
    """The Stop came: the stale block is gone before the next customer needs the address."""
    world = any_hillside
    device = await world.tower("Red")
    ann, bob = await world.customer("ann", device), await world.customer("bob", device)
    line = await world.dial(ann, IP)
    await world.round()
    await world.pay_all(bob)
    await world.live_until("2026-04-09")
    await world.pay_all(bob)
    assert world.towers.by_device[device].marked() == {(ann.service_id, IP)}
    assert line is not None
    world.nases["nas_1"].hang_up(line)
    await world.round()
    await world.dial(bob, IP)
    await world.round()
    assert world.towers.by_device[device].marked() == set()
    assert world.reaches_internet(bob.service_id)


async def test_the_address_reused_by_the_next_customer_though_the_stop_was_lost(
    any_hillside: Hillside,
) -> None:
    """The NAS gives the address to another: the session that had it is over, and its block goes at once."""
    world = any_hillside
    device = await world.tower("Red")
    ann, bob = await world.customer("ann", device), await world.customer("bob", device)
    line = await world.dial(ann, IP)
    await world.round()
    await world.pay_all(bob)
    await world.live_until("2026-04-09")
    await world.pay_all(bob)
    assert line is not None
    world.nases["nas_1"].hang_up(line, tell=False)
    world.pass_time(minutes=3)
    await world.dial(bob, IP)
    await world.round()
    assert world.towers.by_device[device].marked() == set()
    assert world.reaches_internet(bob.service_id)
    [gone] = await world.sessions_on_record(ann.service_id)
    assert (gone.close_cause, gone.close_inferred) == ("superseded", True)
    assert await world.effect(ann.service_id) == "walled_garden"  # she still is, wherever she dials in next


async def test_payment_between_decision_and_push(hillside: Hillside) -> None:
    """Decided at six, paid a moment later, before any worker came to it: the tower is never touched."""
    world = hillside
    device = await world.tower("Red")
    ann = await world.customer("ann", device)
    await world.dial(ann, IP)
    await world.live_until("2026-04-08")
    world.town.travel("2026-04-09")
    world.nases["nas_1"].interims()
    await world.ingest()
    [change] = await world.town.dun()
    assert change.to_stage == "suspended"
    await world.pay_all(ann)
    await world.settle()
    assert await world.effect(ann.service_id) == "none"
    assert "address-list/add" not in " ".join(world.towers.by_device[device].sent)
    assert world.reaches_internet(ann.service_id)
    assert await world.open_tasks() == []


async def test_payment_while_the_router_is_being_talked_to(hillside: Hillside) -> None:
    """The payment comes between our look at the router and our command: nothing is pushed."""
    world = hillside
    device = await world.tower("Red")
    ann = await world.customer("ann", device)
    await world.dial(ann, IP)
    await world.live_until("2026-04-07")
    tower = world.towers.by_device[device]

    async def pay() -> None:
        await world.pay_all(ann)
        while await dispatch_due(world.workplace, REACTIONS):
            pass

    tower.at_first_look = pay
    await world.live_until("2026-04-09")
    assert {one.status for one in (await world.town.invoices(ann.account_id))} == {"paid"}
    assert tower.marked() == set()
    assert world.reaches_internet(ann.service_id)
    assert await world.open_tasks() == []


async def test_a_chargeback_weeks_later(any_hillside: Hillside) -> None:
    """The money is taken back: the debt is there again, and only days nobody held the money count as late."""
    world = any_hillside
    device = await world.tower("Red")
    ann = await world.customer("ann", device)
    await world.dial(ann, IP)
    await world.round()
    await world.live_until("2026-03-20")
    payment_id = await world.pay_all(ann)
    await world.live_until("2026-04-02")
    await world.pay_all(ann)
    await world.live_until("2026-04-27")  # a Monday, 38 days after the first payment
    assert await world.town.stage(ann.account_id) == "clear"
    reversal = await world.charge_back(payment_id)
    assert len(reversal.reopened) == 1
    await world.settle()
    assert await world.town.stage(ann.account_id) == "clear"  # not a day late yet: the money was held
    assert world.reaches_internet(ann.service_id)
    await world.live_until("2026-05-11")  # 14 days without the money
    assert await world.town.stage(ann.account_id) == "restricted"
    await world.live_until("2026-05-13")
    assert await world.effect(ann.service_id) == "walled_garden"
    assert not world.reaches_internet(ann.service_id)
    await world.pay_all(ann)
    await world.settle()
    assert world.reaches_internet(ann.service_id)


async def test_a_blast_that_was_parked_is_let_go_or_paid_off(hillside: Hillside) -> None:
    """More suspensions than a tower may get: the rest waits for a person; who pays meanwhile is never cut."""
    world = hillside
    world.new_worker(new_suspensions_per_site_per_hour=1)
    device = await world.tower("Red")
    people = [await world.customer(f"c{n}", device) for n in range(3)]
    for n, one in enumerate(people):
        await world.dial(one, f"100.64.2.{n}")
    await world.live_until("2026-04-09")
    assert len(world.towers.by_device[device].marked()) == 1
    waiting = {row.service_id for row in await world.open_tasks()}
    assert len(waiting) == 2
    payer = next(one for one in people if one.service_id in waiting)
    await world.pay_all(payer)
    await world.settle()
    [red] = await world.rows(select(site))
    async with world.workplace.work("operator:ann") as work:
        assert await approve_parked(work, red.id) == 2  # the device and the session of the third
    await world.settle()
    assert world.reaches_internet(payer.service_id)
    assert len(world.towers.by_device[device].marked()) == 2


def test_the_dates_here_are_what_they_say() -> None:
    """The weekends that the ladder skips lie elsewhere."""
    assert datetime(2026, 4, 8, tzinfo=UTC).weekday() == 2
    assert datetime(2026, 4, 27, tzinfo=UTC).weekday() == 0
