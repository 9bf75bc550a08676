"""What touches a service in two rooms at once: another plan, and the end. One transaction each."""

from __future__ import annotations

from datetime import date
from typing import Any

from sqlalchemy import Row, select

from aaa.set_up import change_profile, end_service
from appliance.lookup import newest_plan_version, profile_of_plan_version
from billing.set_up import end_subscription
from billing.store import tables as billing
from billing.subscriptions.change_subscription import change_plan as change_plan_of
from core.periods import local_date
from core.refusal import Refusal, granted
from core.work import Work


async def change_plan(work: Work, service_id: str, plan: str) -> date | Refusal:
    """Another plan from the account's today on; returns that day. Raises ``Refused`` past the first step."""
    running = await _running_subscription(work, service_id)
    if running is None:
        return Refusal("not_subscribed", "the service has no subscription; sell it anew", "service")
    version_id = await newest_plan_version(work.connection, plan)
    if version_id == running.plan_version_id:
        return Refusal("same_plan", f"the service is on the newest version of {plan} already", "plan")
    today: date = granted(
        await change_plan_of(
            work, subscription_id=running.id, plan_version_id=version_id, reason=f"changed to plan {plan}"
        )
    )
    if today <= local_date(work.now, running.time_zone):
        granted(
            await change_profile(work, service_id, await profile_of_plan_version(work.connection, version_id))
        )
    return today


async def end_line(work: Work, service_id: str, reason: str) -> date | Refusal | None:
    """End the service and its subscription; returns the day up to which it is billed, None if it was not."""
    running = await _running_subscription(work, service_id)
    ended = await end_service(work, service_id, reason)
    if isinstance(ended, Refusal) or running is None:
        return ended if isinstance(ended, Refusal) else None
    return granted(await end_subscription(work, subscription_id=running.id, reason=reason))


async def _running_subscription(work: Work, service_id: str) -> Row[Any] | None:
    subscription, account = billing.subscription, billing.account
    rows = await work.connection.execute(
        select(subscription, account.c.time_zone)
        .join(account, account.c.id == subscription.c.account_id)
        .where(subscription.c.service_id == service_id)
        .order_by(subscription.c.starts_on.desc(), subscription.c.created_at.desc())
    )
    for row in rows:
        if row.ends_on is None or row.ends_on > local_date(work.now, row.time_zone):
            return row
    return None
