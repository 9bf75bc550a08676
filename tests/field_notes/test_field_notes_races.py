"""What crosses on its way: a sign-in and a payment, a fact and the end of a line, a stuck fact and all others."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hillside import Hillside
from sqlalchemy import insert, select

from aaa.domain.effect import Effect
from appliance.change_service import end_line
from appliance.reactions import REACTIONS
from core.facts import RecordedFact
from core.outbox import dispatch_due
from core.store.tables import fact
from core.work import Work

IP = "100.64.1.7"


async def test_paid_between_the_sign_in_and_its_start(any_hillside: Hillside) -> None:
    """He signed in to the walled garden, and paid before we knew of the session: it is let out once it is known."""
    world = any_hillside
    ann = await world.customer("ann", await world.tower("Red"))
    await world.live_until("2026-04-09")
    assert await world.effect(ann.service_id) == "walled_garden"
    line = await world.dial(ann, IP)  # the Start is still on its way
    assert line is not None
    await world.pay_all(ann)
    await dispatch_due(world.workplace, REACTIONS)
    await dispatch_due(world.workplace, REACTIONS)
    await world.enforcer.run_due()
    assert await world.open_tasks() == []  # nothing was live, as far as anybody knew
    assert line.effect == "walled_garden"
    await world.round()
    assert line.effect == "none"
    assert world.reaches_internet(ann.service_id)
    assert await world.open_tasks() == []


async def test_suspended_between_the_sign_in_and_its_start(any_hillside: Hillside) -> None:
    """The other way round: a session signed in before the suspension and known only after it is walled then."""
    world = any_hillside
    device = await world.tower("Red")
    ann = await world.customer("ann", device)
    line = await world.dial(ann, IP)
    assert line is not None
    await world.hold(ann.service_id, effect=Effect.WALLED_GARDEN)
    await dispatch_due(world.workplace, REACTIONS)
    await world.enforcer.run_due()
    assert world.reaches_internet(ann.service_id)
    await world.round()
    assert line.effect == "walled_garden"
    assert world.towers.by_device[device].marked() == {(ann.service_id, IP)}


async def test_an_offline_subscriber_is_walled_when_he_comes(hillside: Hillside) -> None:
    world = hillside
    device = await world.tower("Red")
    ann = await world.customer("ann", device)
    await world.live_until("2026-04-09")
    assert await world.open_tasks() == []
    assert world.towers.by_device[device].marked() == set()
    await world.dial(ann, IP)
    await world.round()
    assert world.towers.by_device[device].marked() == {(ann.service_id, IP)}
    assert not world.reaches_internet(ann.service_id)


async def test_a_late_start_of_a_session_that_is_over_moves_nobody(hillside: Hillside) -> None:
    world = hillside
    ann = await world.customer("ann", await world.tower("Red"))
    nas = world.nases["nas_1"]
    line = await world.dial(ann, IP)
    assert line is not None
    nas.hang_up(line)
    start, stop = nas.take_reports()
    await world.record([stop.event])
    await world.hold(ann.service_id, effect=Effect.WALLED_GARDEN)
    await world.lift(ann.service_id)
    await world.settle()
    await world.record([start.event])
    await world.settle()
    assert await world.open_tasks() == []
    assert [row.stopped_at is None for row in await world.sessions_on_record(ann.service_id)] == [False]


async def test_a_line_that_ended_while_the_suspension_was_on_its_way(any_hillside: Hillside) -> None:
    """One of two lines ends between the decision and its delivery: the other is suspended, and restored by money."""
    world = any_hillside
    device = await world.tower("Red")
    ann = await world.customer("ann", device)
    barn = await world.sell(ann, device, "barn")
    await world.dial(ann, IP)
    await world.live_until("2026-04-08")
    world.town.travel("2026-04-09")
    [change] = await world.town.dun()
    assert set(change.service_ids) == {ann.service_id, barn}
    async with world.workplace.work("operator:ann") as work:
        await end_line(work, barn, "moved away")
    await world.settle()
    assert await world.waiting_facts() == []
    assert await world.effect(ann.service_id) == "walled_garden"
    assert await world.effect(barn) == "ended"
    await world.pay_all(ann)
    await world.settle()
    assert await world.effect(ann.service_id) == "none"
    assert await world.issues() == {}


async def _fails(work: Work, recorded: RecordedFact) -> None:
    raise RuntimeError("this one never works")


async def test_hundreds_of_stuck_facts_hold_up_nobody_else(hillside: Hillside) -> None:
    """A reaction that fails for one kind of fact fills the front of the queue; the others still pass."""
    world = hillside
    async with world.workplace.work("system:test") as work:
        stuck = [
            {"kind": "test.stuck", "subject": f"s{n}", "payload": {}, "occurred_at": work.now, "attempts": 0}
            for n in range(450)
        ]
        await work.connection.execute(insert(fact), stuck)
    ann = await world.customer("ann", await world.tower("Red"))
    await world.hold(ann.service_id)
    table = {**REACTIONS, "test.stuck": _fails}
    for _ in range(4):
        await dispatch_due(world.workplace, table)
    waiting = {row.kind for row in await world.waiting_facts()}
    assert waiting == {"test.stuck"}


async def test_a_clock_that_steps_back_does_not_strand_a_fact(hillside: Hillside) -> None:
    """A fact failed while the clock stood a year ahead; put right, the clock does not make it wait that year."""
    world = hillside
    ann = await world.customer("ann", await world.tower("Red"))
    right = world.clock.now()
    world.clock.step_to(right + timedelta(days=365))
    await world.hold(ann.service_id)
    await dispatch_due(world.workplace, dict.fromkeys(REACTIONS, _fails))
    [waiting] = await world.rows(select(fact).where(fact.c.attempts > 0))
    assert waiting.next_attempt_at > right + timedelta(days=364)
    world.clock.step_to(right)
    world.pass_time(minutes=6)
    await dispatch_due(world.workplace, REACTIONS)
    assert await world.waiting_facts() == []


@pytest.mark.parametrize("effect", [Effect.WALLED_GARDEN, Effect.THROTTLE])
async def test_a_hold_and_its_lifting_before_anybody_acted_leave_no_trace(
    hillside: Hillside, effect: Effect
) -> None:
    world = hillside
    device = await world.tower("Red")
    ann = await world.customer("ann", device)
    line = await world.dial(ann, IP)
    await world.ingest()
    await world.hold(ann.service_id, effect=effect)
    await world.lift(ann.service_id)
    await world.settle()
    assert line is not None
    assert line.effect == "none"
    assert "address-list/add" not in " ".join(world.towers.by_device[device].sent)
    assert await world.open_tasks() == []
