"""A subscriber moves to another tower: our entries leave the old device first, then the point goes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from provisioning_world import World
from scripted_tower import LIST, Entry, ScriptedTower

from core.clock import FakeClock
from core.refusal import Refusal
from core.secrets import Sealer
from core.work import Workplace
from provisioning.config import ProvisioningSettings
from provisioning.enforce import Enforcer
from provisioning.ports import NoLiveSessions
from provisioning.preview import preview_enforcement
from provisioning.set_up import add_enforcement_point, change_device, remove_enforcement_point

ADDRESS = "100.64.1.7"


@pytest.fixture
def tower() -> ScriptedTower:
    return ScriptedTower()


@pytest.fixture
def enforcer(world: World, tower: ScriptedTower) -> Enforcer:
    return enforcer_of(world, tower)


def enforcer_of(world: World, tower: ScriptedTower) -> Enforcer:
    return Enforcer(
        world.workplace, world.sealer, NoLiveSessions(), ProvisioningSettings(), "w", transport=tower,
        chance=lambda: 0.0,
    )  # fmt: skip


async def remove(world: World, service_id: str, **fields: Any) -> str | Refusal | None:
    async with world.workplace.work("operator:ann") as work:
        return await remove_enforcement_point(
            work, service_id=service_id, device_id=world.device_id, **fields
        )  # fmt: skip


async def add(world: World, service_id: str) -> str | Refusal:
    async with world.workplace.work("operator:ann") as work:
        return await add_enforcement_point(work, service_id=service_id, device_id=world.device_id)


async def mechanisms(world: World, service_id: str) -> list[str]:
    return [point.mechanism for point in await world.points(service_id)]


async def test_entries_go_first_then_the_point(
    any_workplace: Workplace, sealer: Sealer, clock: FakeClock
) -> None:
    """Though the service stays suspended: it is cut off elsewhere now. Neighbours and others are untouched."""
    world = await World.build(any_workplace, sealer, clock)
    tower = ScriptedTower(entries=[Entry(LIST, "192.0.2.50", "by hand")])
    enforcer = enforcer_of(world, tower)
    ann, bob = await world.enforced_service("ann", ADDRESS), await world.enforced_service("bob", "100.64.1.8")
    for service_id in (ann, bob):
        await world.suspend(service_id)
    await enforcer.run_due()
    task_id = await remove(world, ann)
    assert isinstance(task_id, str)
    assert await remove(world, ann) == task_id  # asked again: the same
    assert await mechanisms(world, ann) == ["leaving", "live_session"]
    await enforcer.run_due()
    assert tower.marked() == {(bob, "100.64.1.8")}
    assert tower.foreign() == [("192.0.2.50", "by hand")]
    assert await mechanisms(world, ann) == ["former", "live_session"]
    assert (await world.tasks(ann))[-1].status == "verified"
    facts = await world.facts("provisioning.enforcement_verified")
    assert task_id not in {fact.payload["task_id"] for fact in facts}  # nothing was enforced by it
    assert isinstance(await remove(world, ann), Refusal)


async def test_nothing_is_enforced_there_any_more(
    world: World, tower: ScriptedTower, enforcer: Enforcer
) -> None:
    service_id = await world.enforced_service("ann", ADDRESS)
    await world.suspend(service_id)
    await enforcer.run_due()
    await remove(world, service_id)
    await enforcer.run_due()
    await world.restore(service_id)
    await world.suspend(service_id)
    async with world.workplace.reading() as connection:
        assert await preview_enforcement(connection, [service_id], "block") == []
    await enforcer.run_due()
    world.clock.advance(timedelta(hours=2))
    await enforcer.check_drift()
    await enforcer.run_due()
    assert tower.marked() == set()


async def test_what_was_never_tried_goes_at_once(world: World, tower: ScriptedTower) -> None:
    service_id = await world.enforced_service("ann", ADDRESS)
    await world.suspend(service_id)
    assert await remove(world, service_id) is None
    assert await mechanisms(world, service_id) == ["former", "live_session"]
    assert [task.status for task in await world.tasks(service_id)] == ["superseded"]
    assert tower.sessions == 0


async def test_a_payment_while_it_leaves_does_not_hold_it_up(
    world: World, tower: ScriptedTower, enforcer: Enforcer
) -> None:
    """The entitlement overtakes every other task; what leaves, leaves whatever the entitlement is."""
    service_id = await world.enforced_service("ann", ADDRESS)
    await world.suspend(service_id)
    await enforcer.run_due()
    tower.faults = ["unreachable"]
    await remove(world, service_id)
    await enforcer.run_due()
    assert tower.marked() == {(service_id, ADDRESS)}
    await world.restore(service_id)
    await world.suspend(service_id)
    world.clock.advance(timedelta(seconds=5))
    await enforcer.run_due()
    assert tower.marked() == set()
    assert await mechanisms(world, service_id) == ["former", "live_session"]
    assert await world.open_issues() == {}


async def test_a_lying_device_keeps_the_point_leaving(
    world: World, tower: ScriptedTower, enforcer: Enforcer
) -> None:
    service_id = await world.enforced_service("ann", ADDRESS)
    await world.suspend(service_id)
    await enforcer.run_due()
    tower.faults = ["lie"]
    await remove(world, service_id)
    await enforcer.run_due()
    assert await mechanisms(world, service_id) == ["leaving", "live_session"]
    assert "our entry is still there" in next(iter((await world.open_issues()).values())).title
    await enforcer.check_drift()  # has its task: drift leaves it alone
    assert await mechanisms(world, service_id) == ["leaving", "live_session"]


@pytest.mark.parametrize("wait_for_it", [True, False])
async def test_back_again(world: World, tower: ScriptedTower, enforcer: Enforcer, wait_for_it: bool) -> None:
    """He stays after all: the same point enforces again, whether it was leaving or had left."""
    service_id = await world.enforced_service("ann", ADDRESS)
    await world.suspend(service_id)
    await enforcer.run_due()
    before = {point.id for point in await world.points(service_id)}
    await remove(world, service_id)
    if wait_for_it:
        await enforcer.run_due()
        assert tower.marked() == set()
    assert isinstance(await add(world, service_id), str)
    await enforcer.run_due()
    assert tower.marked() == {(service_id, ADDRESS)}
    assert await mechanisms(world, service_id) == ["device", "live_session"]
    assert {point.id for point in await world.points(service_id)} == before
    await world.restore(service_id)
    await enforcer.run_due()
    assert tower.marked() == set()


async def test_a_device_that_is_disabled_or_gone(
    world: World, tower: ScriptedTower, enforcer: Enforcer
) -> None:
    service_id = await world.enforced_service("ann", ADDRESS)
    await world.suspend(service_id)
    await enforcer.run_due()
    async with world.workplace.work("operator:ann") as work:
        assert await change_device(work, world.sealer, world.device_id, enabled=False) is None
    told = await remove(world, service_id)
    assert isinstance(told, Refusal)
    assert told.code == "device_disabled"
    assert await mechanisms(world, service_id) == ["device", "live_session"]
    assert await remove(world, service_id, device_is_gone=True) is None
    assert await mechanisms(world, service_id) == ["former", "live_session"]
    assert tower.sessions == 1


async def test_two_behind_one_address(world: World, tower: ScriptedTower, enforcer: Enforcer) -> None:
    """The one who leaves takes his own mark away; the other is cut off there by an entry of his own."""
    ann, bob = await world.enforced_service("ann"), await world.enforced_service("bob")
    for service_id in (ann, bob):
        await world.online(service_id, ADDRESS)
        await world.suspend(service_id)
    await enforcer.run_due()
    ((first, _address),) = tower.marked()
    other = ({ann, bob} - {first}).pop()
    await remove(world, first)
    await enforcer.run_due()
    assert await mechanisms(world, first) == ["former", "live_session"]
    await enforcer.check_drift()
    assert tower.marked() == {(other, ADDRESS)}


async def test_what_is_not_there_cannot_leave(world: World) -> None:
    told = await remove(world, await world.service("ann"))
    assert isinstance(told, Refusal)
    assert told.field == "device_id"
