"""An account and its service in one transaction: what the CLI, the panel and the CSV import all do."""

from __future__ import annotations

from aaa.set_up import create_service
from appliance.lookup import newest_plan_version, profile_of_plan_version
from billing.set_up import subscribe
from core.refusal import Refusal, granted
from core.secrets import Sealer
from core.work import Work
from provisioning.set_up import add_enforcement_point
from ui.ports import NewService

__all__ = ["NewService", "add_service"]


async def add_service(work: Work, sealer: Sealer, account_id: str, new: NewService) -> str | Refusal:
    """Create the service, subscribe the account to the plan, place the enforcement points.

    Returns the service id. The caller's transaction holds all of it or none.
    """
    version_id = await newest_plan_version(work.connection, new.plan)
    service_id = await create_service(
        work,
        sealer,
        account_id=account_id,
        label=new.label,
        profile_id=await profile_of_plan_version(work.connection, version_id),
        credentials=new.credentials,
        framed_ip=new.framed_ip,
    )
    if isinstance(service_id, Refusal):
        return service_id
    subscribed = await subscribe(
        work,
        account_id=account_id,
        service_id=service_id,
        plan_version_id=version_id,
        starts_on=new.starts_on,
    )
    if isinstance(subscribed, Refusal):
        return subscribed
    for device_id in new.device_ids:
        granted(await add_enforcement_point(work, service_id=service_id, device_id=device_id))
    return service_id
