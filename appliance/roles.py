"""The roles of one code base, each a process: radius, collector, worker, web."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from appliance.readiness import notify, watchdog_period_s
from appliance.settings import Settings
from appliance.wiring import House, open_house
from core.log import configure_logging, logger

if TYPE_CHECKING:
    from provisioning.enforce import Enforcer

_log = logger("appliance")


async def _radius(house: House, stop: asyncio.Event, ready: asyncio.Event) -> None:
    from radius.role import run_radius

    await run_radius(
        house.settings.radius,
        house.workplace,
        house.sealer,
        house.settings.journal_directory / "radius.sqlite",
        stop,
        ready,
    )


async def _collector(house: House, stop: asyncio.Event, ready: asyncio.Event) -> None:
    from radius.ingest import run_ingest
    from snmp.role import run_collector

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(
            run_ingest(
                house.settings.journal_directory, house.workplace, house.sealer, stop, house.settings.aaa
            )
        )
        tasks.create_task(run_collector(house.settings.snmp, house.workplace, house.sealer, stop, ready))


async def _worker(house: House, stop: asyncio.Event, ready: asyncio.Event) -> None:
    from aaa.cross_check import check_directions, cross_check
    from aaa.reap_sessions import reap_sessions
    from appliance.reactions import REACTIONS
    from appliance.schedule import Job, Timetable
    from billing.bill_run import bill_run
    from billing.check_ledger import check_ledger
    from billing.dunning import evaluate_dunning
    from core.outbox import dispatch_due

    async def reap() -> None:
        async with house.workplace.work("system:reaping") as work:
            await reap_sessions(work, house.settings.aaa)

    async def check_usage() -> None:
        async with house.workplace.work("system:usage") as work:
            await cross_check(work)
            await check_directions(work)

    pace, invoicing = house.settings.worker, house.settings.billing
    enforcer = make_enforcer(house, "worker")
    timetable = Timetable(
        [
            Job(
                "bill_run", pace.billing_s, lambda: bill_run(house.workplace, house.usage, settings=invoicing)
            ),
            Job("dunning", pace.dunning_s, lambda: evaluate_dunning(house.workplace, settings=invoicing)),
            Job("reaping", pace.reaping_s, reap),
            Job("drift", pace.drift_s, enforcer.check_drift),
            Job("usage_check", pace.usage_check_s, check_usage),
            Job("ledger_check", pace.ledger_check_s, lambda: check_ledger(house.workplace)),
        ]
    )
    timetable.start()
    ready.set()
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(
                _keep("outbox", pace.outbox_s, lambda: dispatch_due(house.workplace, REACTIONS), stop)
            )
            tasks.create_task(_keep("enforcement", pace.enforcement_s, enforcer.run_due, stop))
    finally:
        timetable.stop()


async def _web(house: House, stop: asyncio.Event, ready: asyncio.Event) -> None:
    from appliance.import_subscribers import import_subscribers
    from appliance.reactions import EFFECT_OF_STAGE
    from ui.role import run_web

    await run_web(
        house.settings.ui,
        house.workplace,
        house.sealer,
        house.usage,
        stop,
        ready,
        import_subscribers=lambda work, text: import_subscribers(work, house.sealer, text),
        billing=house.settings.billing,
        effect_of_stage=EFFECT_OF_STAGE,
    )


async def _keep(name: str, pause_s: float, turn: Callable[[], Awaitable[int]], stop: asyncio.Event) -> None:
    """Turn after turn; pause only when there was nothing to do or the turn failed."""
    while not stop.is_set():
        try:
            busy = await turn()
        except Exception as trouble:  # noqa: BLE001 - the boundary of one turn
            _log.error("turn_failed", loop=name, error=f"{type(trouble).__name__}: {trouble}")
            busy = 0
        if not busy:
            try:
                await asyncio.wait_for(stop.wait(), pause_s)
            except TimeoutError:
                continue


def make_enforcer(house: House, worker: str) -> Enforcer:
    """The enforcer over this house's devices and live sessions."""
    from provisioning.enforce import Enforcer
    from radius.live_session import LiveSessions

    return Enforcer(
        house.workplace,
        house.sealer,
        LiveSessions(house.workplace, house.sealer, house.settings.radius),
        house.settings.provisioning,
        worker,
    )


_Role = Callable[[House, asyncio.Event, asyncio.Event], Awaitable[None]]
ROLES: dict[str, _Role] = {"radius": _radius, "collector": _collector, "worker": _worker, "web": _web}


async def run_role(name: str, settings: Settings) -> None:
    """Run one role until SIGTERM or SIGINT; tells readiness and feeds the watchdog of the service manager."""
    configure_logging(name, settings.log.level)
    stop, ready = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with open_house(settings) as house:
        beside = [asyncio.create_task(_announce(ready)), asyncio.create_task(_follow_supervisor(stop))]
        try:
            await ROLES[name](house, stop, ready)
        finally:
            for task in beside:
                task.cancel()
            notify("STOPPING=1")


async def _announce(ready: asyncio.Event) -> None:
    await ready.wait()
    notify("READY=1")
    period = watchdog_period_s()
    while period is not None:
        notify("WATCHDOG=1")
        await asyncio.sleep(period)


async def _follow_supervisor(stop: asyncio.Event) -> None:
    """A role started by ``hilltop run`` ends with it, even when the supervisor was killed outright."""
    supervisor = int(os.environ.get("HILLTOP_SUPERVISOR", "0"))
    while supervisor:
        if os.getppid() != supervisor:
            stop.set()
            return
        await asyncio.sleep(1)
