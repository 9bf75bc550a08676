"""Several workers over one database, on SQLite and PostgreSQL: every task once, every device one session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from provisioning_world import World
from scripted_tower import ScriptedConsole, ScriptedTower

from core.clock import FakeClock
from core.secrets import Sealer
from core.work import Workplace
from provisioning.config import ProvisioningSettings
from provisioning.enforce import Enforcer
from provisioning.ports import Driver, NoLiveSessions, Target


class Fleet:
    """A scripted tower for each device."""

    def __init__(self) -> None:
        self.towers: dict[str, ScriptedTower] = {}

    def close(self) -> None:
        return None

    @asynccontextmanager
    async def open(self, target: Target, driver: Driver) -> AsyncIterator[ScriptedConsole]:
        tower = self.towers.setdefault(target.device_id, ScriptedTower())
        async with tower.open(target, driver) as console:
            await asyncio.sleep(0)  # let the other workers in
            yield console


async def test_workers_share_the_work_without_treading_on_each_other(
    any_workplace: Workplace, sealer: Sealer, clock: FakeClock
) -> None:
    world = await World.build(any_workplace, sealer, clock)
    devices = [await world.add_device(f"rb-{n}") for n in range(3)]
    services = [await world.enforced_service(f"s{n}", f"100.64.5.{n}", devices[n % 3]) for n in range(12)]
    for service_id in services:
        await world.suspend(service_id)
    fleet = Fleet()
    workers = [
        Enforcer(any_workplace, sealer, NoLiveSessions(), ProvisioningSettings(), f"w{n}", transport=fleet)
        for n in range(3)
    ]

    async def work_off(enforcer: Enforcer) -> int:
        done = 0
        while claimed := await enforcer.run_due(limit=4):
            done += claimed
        return done

    done = sum(await asyncio.gather(*(work_off(enforcer) for enforcer in workers)))
    while more := await workers[0].run_due():
        done += more
    assert done == 24  # device and live session of each, none twice
    assert {tower.most_open for tower in fleet.towers.values()} == {1}
    for number, service_id in enumerate(services):
        task = (await world.tasks(service_id))[0]
        assert (task.status, task.attempts) == ("verified", 1)
        assert (service_id, f"100.64.5.{number}") in fleet.towers[devices[number % 3]].marked()


async def test_a_faulty_device_and_drift_on_each_database(
    any_workplace: Workplace, sealer: Sealer, clock: FakeClock
) -> None:
    """The whole path once on each database: failure, issue, breaker, recovery, drift, restoration."""
    world = await World.build(any_workplace, sealer, clock)
    service_id = await world.enforced_service("ann", "100.64.5.1")
    tower = ScriptedTower(faults=["unreachable", "lie"])
    enforcer = Enforcer(
        any_workplace,
        sealer,
        NoLiveSessions(),
        ProvisioningSettings(breaker_failures=2),
        "w",
        transport=tower,
    )
    await world.suspend(service_id)
    for _ in range(3):
        await enforcer.run_due()
        clock.advance(timedelta(seconds=301))
    assert tower.marked() == {(service_id, "100.64.5.1")}
    tower.entries.clear()
    assert await enforcer.check_drift() == 1
    await world.restore(service_id)
    await enforcer.run_due()
    assert tower.marked() == set()
    assert await world.open_issues() == {}


async def test_a_run_that_is_cancelled_gives_its_tasks_back(world: World) -> None:
    service_id = await world.enforced_service("ann", "100.64.5.1")
    await world.suspend(service_id)
    tower = ScriptedTower()
    reached = asyncio.Event()

    async def stall() -> None:
        reached.set()
        await asyncio.Event().wait()

    tower.at_first_look = stall
    enforcer = Enforcer(
        world.workplace, world.sealer, NoLiveSessions(), ProvisioningSettings(), "w", transport=tower
    )
    run = asyncio.create_task(enforcer.run_due())
    await reached.wait()
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    task = (await world.tasks(service_id))[0]
    assert (task.status, task.attempts) == ("waiting", 0)
    assert (await world.device()).leased_by is None
    await enforcer.run_due()
    assert (await world.tasks(service_id))[0].status == "verified"
