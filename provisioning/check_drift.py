"""Drift: on a timetable every device is read and compared with what is wanted; what differs is repaired.

The repair runs the same session as enforcement does. Only what was proven before is put back: a service whose
newest generation is not yet proven on the device has a task, and a service that should have one gets it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.entitlements import entitlement_of
from core.health import close_issue, open_issue
from core.work import Work, Workplace
from provisioning.claim import leases
from provisioning.config import ProvisioningSettings
from provisioning.desired import Desired, read_desired
from provisioning.device_session import DeviceSessions
from provisioning.domain.plan import Change, Observation, plan
from provisioning.issues import disabled_issue, disabled_key
from provisioning.ports import NO_SESSION, Target
from provisioning.reconcile import SessionReport, kind_of_complaint
from provisioning.record_session import Recorder, keep_transcript
from provisioning.request_enforcement import request_enforcement
from provisioning.store import repositories


async def devices_due(workplace: Workplace, settings: ProvisioningSettings) -> list[str]:
    """Ids of the devices whose timetable asks for a check now."""
    longest = timedelta(seconds=max(settings.drift_interval_s, settings.breaker_open_s))
    async with workplace.reading() as connection:
        rows = await repositories.devices_due_for_check(connection, workplace.clock.now(), longest)
    return [row.id for row in rows]


async def tell_of_disabled_devices(work: Work) -> None:
    """One issue a disabled device while changes wait for it, closed when none does or it is enabled again."""
    waiting = await repositories.tasks_waiting_for_disabled(work.connection)
    for row in waiting:
        await open_issue(work, disabled_issue(row.id, row.name, row.tasks))
    keys = {disabled_key(row.id) for row in waiting}
    for key in await repositories.open_issue_keys(work.connection, disabled_key("")):
        if key not in keys:
            await close_issue(work, key)


async def check_device(
    workplace: Workplace, sessions: DeviceSessions, recorder: Recorder, device_id: str, actor: str
) -> int:
    """Check one device and repair it; returns how many entries differed. 0 when another worker has it."""
    async with workplace.work(actor) as work:
        row = await _take(work, recorder, device_id)
    if row is None:
        return 0

    async def decide(observed: Observation) -> Desired:
        async with workplace.reading() as connection:
            return await _proven_state(connection, device_id, observed)

    target, report = await sessions.talk(row, decide)

    async def write_down(work: Work) -> int:
        await _ask_for_missing_tasks(work, device_id)
        return await _record(work, recorder, target, report)

    return await workplace.carry_out(actor, write_down)


async def _take(work: Work, recorder: Recorder, device_id: str) -> Any:
    """The device's row, leased and with its next check set; None when it is in other hands."""
    lease, _longest = leases(recorder.settings)
    if not await repositories.lease_device(work.connection, device_id, recorder.worker, work.now, lease):
        return None
    next_check_at = work.now + timedelta(seconds=recorder.settings.drift_interval_s)
    await repositories.update_device(work.connection, device_id, next_check_at=next_check_at)
    return await repositories.device_row(work.connection, device_id)


async def _proven_state(connection: AsyncConnection, device_id: str, observed: Observation) -> Desired:
    """What is wanted for services without an open task here, and for owners of entries without a point."""
    here = await repositories.services_on_device(connection, device_id)
    leaving = await repositories.services_leaving(connection, device_id)
    newest = await repositories.newest_tasks_on(connection, here, device_id)
    scope = {entry.service_id for entry in observed.owned} - set(here)
    for service_id in sorted(set(here) - leaving):  # those have a task, and it takes away
        task = newest.get(service_id)
        entitlement = await entitlement_of(connection, service_id)
        cut_off = entitlement is not None and entitlement.effect.cuts_off
        behind = entitlement is not None and task is not None and entitlement.generation > task.generation
        proven = task is not None and task.status == "verified" and not behind
        if proven or (task is None and not cut_off):
            scope.add(service_id)
    return await read_desired(connection, scope, observed, leaving)


async def _ask_for_missing_tasks(work: Work, device_id: str) -> None:
    """A service whose present entitlement nobody asked to enforce here (a lost fact) gets its task."""
    here = await repositories.services_on_device(work.connection, device_id)
    leaving = await repositories.services_leaving(work.connection, device_id)
    newest = await repositories.newest_tasks_on(work.connection, here, device_id)
    for service_id in sorted(set(here) - leaving):
        entitlement = await entitlement_of(work.connection, service_id)
        if entitlement is None:
            continue
        task = newest.get(service_id)
        lost = entitlement.effect.cuts_off if task is None else entitlement.generation > task.generation
        if lost:
            await request_enforcement(
                work, service_id=service_id, generation=entitlement.generation,
                effect=str(entitlement.effect), cause="the drift check found it not asked for",
            )  # fmt: skip


async def _record(work: Work, recorder: Recorder, target: Target, report: SessionReport) -> int:
    drift: Sequence[Change] = report.changes
    failures = _failures(report)
    await recorder.record_device(work, target, report, failures, any_success=False)
    if report.before is not None:
        await recorder.record_observation(work, target, report, drift)
    if drift or failures:
        await keep_transcript(
            work, recorder.settings, device_id=target.device_id, task_id=None, service_id=None,
            purpose="drift_check", outcome=_outcome(report, failures), report=report,
            exchanges=report.exchanges,
        )  # fmt: skip
    return len(drift)


def _failures(report: SessionReport) -> list[tuple[str, str]]:
    if report.trouble_kind is not None:
        return [(report.trouble_kind, report.trouble)]
    if report.desired is None or report.after is None or not plan(report.desired.wanted, report.after):
        return []
    for service_id in sorted(report.desired.wanted.scope):
        complaint = report.complaints.get(service_id)
        if complaint:
            return [(kind_of_complaint(complaint), f"the device refused: {complaint}")]
    return [("lied", "a repair was accepted, but the device does not show it")]


def _outcome(report: SessionReport, failures: list[tuple[str, str]]) -> str:
    if not failures:
        return "drift"
    if failures[0][0] == "lied":
        return "lied"
    return "unreachable" if failures[0][0] in NO_SESSION else "failed"
