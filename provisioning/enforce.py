"""The enforcer: brings devices and live sessions to the present entitlement, proven by reading back."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from core.secrets import Sealer
from core.work import Work, Workplace
from provisioning.check_drift import check_device, devices_due, tell_of_disabled_devices
from provisioning.claim import ClaimedTask, claim_tasks, leases, replace_if_behind
from provisioning.config import ProvisioningSettings
from provisioning.desired import Desired, read_desired
from provisioning.device_session import DeviceSessions
from provisioning.domain.plan import Observation
from provisioning.first_contact import FirstContact
from provisioning.guard import guard_blast_radius
from provisioning.move_session import move_session
from provisioning.ports import LiveSessionMover, Target, Transport
from provisioning.reconcile import SessionReport
from provisioning.record_session import Recorder
from provisioning.store import repositories

_ACTOR = "system:enforcer"
_T = TypeVar("_T")


class Enforcer:
    """One worker. Several, in several processes, share the work through leases in the database."""

    def __init__(
        self,
        workplace: Workplace,
        sealer: Sealer,
        live_sessions: LiveSessionMover,
        settings: ProvisioningSettings,
        worker: str,
        *,
        transport: Transport | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._workplace = workplace
        self._live_sessions = live_sessions
        self._settings = settings
        self._worker = f"{worker}:{secrets.token_hex(4)}"  # a second process of that name is another worker
        self._transport = transport or FirstContact(settings)
        self._sessions = DeviceSessions(self._transport, workplace.clock, sealer)
        self._chance = chance
        self._slots = asyncio.Semaphore(settings.device_sessions)

    def close(self) -> None:
        """Give back the transport's threads; the enforcer is not used afterwards."""
        self._transport.close()

    async def run_due(self, limit: int = 20) -> int:
        """One run: claim up to ``limit`` due tasks and carry them out; returns how many were claimed."""
        if not await self._anything_due():
            return 0
        async with self._workplace.work(_ACTOR) as work:
            await guard_blast_radius(work, self._settings)
            claimed = await claim_tasks(work, self._worker, self._settings, limit)
        by_device: dict[str, list[ClaimedTask]] = defaultdict(list)
        for task in claimed:
            if task.device_id is not None:
                by_device[task.device_id].append(task)
        jobs = [
            self._holding(tasks, self._on_device(device_id, tasks)) for device_id, tasks in by_device.items()
        ]
        jobs += [self._holding([task], self._on_session(task)) for task in claimed if task.device_id is None]
        await _all_done(jobs)
        return len(claimed)

    async def check_drift(self) -> int:
        """Look at each enabled device when its timetable says so; returns how many entries differed."""
        async with self._workplace.work(_ACTOR) as work:
            await tell_of_disabled_devices(work)
        device_ids = await devices_due(self._workplace, self._settings)
        return sum(await _all_done([self._check(device_id) for device_id in device_ids]))

    async def _anything_due(self) -> bool:
        lease, longest_wait = leases(self._settings)
        now = self._workplace.clock.now()
        async with self._workplace.reading() as connection:
            return await repositories.anything_due(connection, now, lease, longest_wait)

    def _recorder(self) -> Recorder:
        return Recorder(self._settings, self._worker, self._chance())

    async def _holding(self, tasks: Sequence[ClaimedTask], job: Coroutine[Any, Any, None]) -> None:
        """Do the job in a free slot; cancelled, its tasks are given back; crashed, the leases run out."""
        try:
            async with self._slots:
                await job
        except asyncio.CancelledError:
            job.close()
            await asyncio.shield(self._let_go(tasks))
            raise

    async def _still_holds(self, device_id: str, tasks: Sequence[ClaimedTask]) -> bool:
        """Prolong the claims now that the turn has come; waiting for a free slot may have used them up."""
        lease, _longest = leases(self._settings)
        ids = [task.id for task in tasks]
        async with self._workplace.work(_ACTOR) as work:
            held = await repositories.renew_claims(
                work.connection, ids, device_id, self._worker, work.now + lease
            )
            if not held:
                await repositories.unclaim_tasks(work.connection, ids, self._worker)
        return held

    async def _let_go(self, tasks: Sequence[ClaimedTask]) -> None:
        async with self._workplace.work(_ACTOR) as work:
            await repositories.unclaim_tasks(work.connection, [task.id for task in tasks], self._worker)
            for device_id in {task.device_id for task in tasks if task.device_id is not None}:
                await repositories.release_device(work.connection, device_id, self._worker)

    async def _on_device(self, device_id: str, tasks: Sequence[ClaimedTask]) -> None:
        """One session for all tasks of the device.

        Only the conversation can be interrupted: a transaction cut in the middle may keep its lock.
        """
        if not await asyncio.shield(self._still_holds(device_id, tasks)):
            return

        async def decide(observed: Observation) -> Desired:
            return await self._wanted_now(device_id, tasks, observed)

        async with self._workplace.reading() as connection:
            row = await repositories.device_row(connection, device_id)
        target, report = await self._sessions.talk(row, decide)
        await asyncio.shield(self._record(target, tasks, report))

    async def _record(self, target: Target, tasks: Sequence[ClaimedTask], report: SessionReport) -> None:
        async def write_down(work: Work) -> None:
            await self._recorder().record_tasks(work, target, tasks, report)
            for task in tasks:
                await replace_if_behind(work, task)

        await self._workplace.carry_out(_ACTOR, write_down)

    async def _wanted_now(
        self, device_id: str, tasks: Sequence[ClaimedTask], observed: Observation
    ) -> Desired:
        """What is wanted at this moment, for those tasks that still apply at this moment."""
        async with self._workplace.reading() as connection:
            ids = [task.id for task in tasks]
            ours = await repositories.tasks_still_claimed(connection, ids, self._worker)
            down = await repositories.device_in_outage(connection, device_id)
            leaving = await repositories.services_leaving(connection, device_id)
            generations = {
                task.service_id: task.generation
                for task in tasks
                if task.id in ours and not (down and task.suspends)
            }
            desired = await read_desired(connection, generations, observed, leaving)
            overtaken = {
                service_id
                for service_id, generation in generations.items()
                if (now := desired.entitlements[service_id]) is not None
                and now.generation > generation
                and service_id not in leaving
            }
            return (
                await read_desired(connection, generations.keys() - overtaken, observed, leaving)
                if overtaken
                else desired
            )

    async def _on_session(self, task: ClaimedTask) -> None:
        await asyncio.shield(
            move_session(self._workplace, self._live_sessions, self._recorder(), task, _ACTOR)
        )

    async def _check(self, device_id: str) -> int:
        async with self._slots:
            return await check_device(
                self._workplace, self._sessions, self._recorder(), device_id, _ACTOR
            )  # fmt: skip


async def _all_done(jobs: Sequence[Coroutine[Any, Any, _T]]) -> list[_T]:
    """The results, once every job has ended: the failure of one leaves no other running unwatched."""
    results = await asyncio.gather(*jobs, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]
