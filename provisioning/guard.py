"""Before tasks are claimed: park what exceeds the caps; at towers known to be down suspensions wait."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

from core.health import close_issue, open_issue
from core.work import Work
from provisioning.config import ProvisioningSettings
from provisioning.domain.blast_radius import Caps, hold_back
from provisioning.issues import blast_radius_issue, blast_radius_key
from provisioning.store import repositories

_HOUR = timedelta(hours=1)
_OUTAGE = "a known outage of the tower: the suspension waits"


async def guard_blast_radius(work: Work, settings: ProvisioningSettings) -> None:
    """Apply the caps and known outages to new suspensions. Restorations are not looked at."""
    pending = await repositories.suspensions_pending(work.connection)
    parked_before = await repositories.parked_tasks(work.connection)
    services = {row.service_id for row in [*pending, *parked_before]}
    recent = await repositories.services_suspended_since(work.connection, work.now - _HOUR)
    sites = await repositories.sites_of_services(work.connection, services | recent)
    down = await repositories.sites_in_outage(work.connection)
    delayed = [
        row.id
        for row in pending
        if row.status == "waiting" and (row.site_id or sites.get(row.service_id)) in down
    ]
    until = work.now + timedelta(seconds=settings.outage_recheck_s)
    await repositories.defer_tasks(work.connection, delayed, until, _OUTAGE)
    fresh = [
        row for row in pending if row.attempts == 0 and row.approved_by is None and row.id not in set(delayed)
    ]
    tried = {row.service_id for row in pending if row.attempts > 0 and row.created_at > work.now - _HOUR}
    caps = Caps(settings.new_suspensions_per_run, settings.new_suspensions_per_site_per_hour)
    excess = hold_back([row.service_id for row in fresh], sites, frozenset(recent | tried), caps)
    for row in fresh:
        if row.service_id in excess:
            await repositories.park_task(work.connection, row.id, excess[row.service_id])
    await _tell(work, excess, sites)


async def _tell(work: Work, excess: dict[str, str], sites: dict[str, str]) -> None:
    """One issue a tower while suspensions are parked there, closed when none is."""
    still = await repositories.parked_tasks(work.connection)
    services = {row.service_id for row in still}
    count = Counter(sites.get(service_id) for service_id in services)
    reasons = {sites.get(service_id): reason for service_id, reason in excess.items()}
    for site_id, reason in reasons.items():
        row = await repositories.site_row(work.connection, site_id) if site_id else None
        name = row.name if row is not None else "services without a device"
        await open_issue(work, blast_radius_issue(site_id, name, count[site_id], reason))
    keys = {blast_radius_key(site_id) for site_id in count}
    for key in await repositories.open_issue_keys(work.connection, "provisioning.blast_radius:"):
        if key not in keys:
            await close_issue(work, key)
