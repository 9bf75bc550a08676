"""Claiming due tasks: crash-safe leases on tasks and devices, and a first look whether they still hold."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from aaa.entitlements import entitlement_of
from core.work import Work
from provisioning.config import ProvisioningSettings
from provisioning.request_enforcement import request_enforcement
from provisioning.store import repositories


@dataclass(frozen=True, slots=True)
class ClaimedTask:
    """A task in this worker's hands. ``attempts`` counts this one."""

    id: str
    point_id: str
    service_id: str
    generation: int
    effect: str
    suspends: bool
    attempts: int
    device_id: str | None
    leaving: bool = False  # the device no longer enforces the service: take our entries away


def leases(settings: ProvisioningSettings) -> tuple[timedelta, timedelta]:
    """(lease of a claim, longest wait that is ever given): what lies later, only a stepped clock explains."""
    waits = (
        settings.backoff_longest_s,
        settings.breaker_open_s,
        settings.outage_recheck_s,
        settings.settle_s,
    )
    return timedelta(seconds=settings.claim_lease_s), timedelta(seconds=max(waits))


async def claim_tasks(
    work: Work, worker: str, settings: ProvisioningSettings, limit: int
) -> list[ClaimedTask]:
    """Due tasks, restorations first, whose generation is still the service's present one.

    A task behind the present entitlement is replaced at once by one for the present generation.
    """
    lease, longest_wait = leases(settings)
    rows = await repositories.claim_due_tasks(
        work.connection, worker=worker, now=work.now, lease=lease, longest_wait=longest_wait, limit=limit
    )
    claimed = [
        ClaimedTask(
            row.id, row.point_id, row.service_id, row.generation, row.effect, row.suspends, row.attempts + 1,
            row.device_id, row.mechanism == "leaving",
        )
        for row in rows
    ]  # fmt: skip
    held = [task for task in claimed if not await replace_if_behind(work, task)]
    for device_id in {t.device_id for t in claimed if t.device_id} - {t.device_id for t in held}:
        await repositories.release_device(work.connection, device_id, worker)
    return held


async def replace_if_behind(work: Work, task: ClaimedTask) -> bool:
    """Replace a task that the service's entitlement has overtaken; True if it was.

    What leaves a device leaves it whatever the entitlement is.
    """
    if task.leaving:
        return False
    entitlement = await entitlement_of(work.connection, task.service_id)
    if entitlement is None or entitlement.generation <= task.generation:
        return False
    await request_enforcement(
        work, service_id=task.service_id, generation=entitlement.generation, effect=str(entitlement.effect),
        cause="the entitlement changed before this could be carried out",
    )  # fmt: skip
    return True
