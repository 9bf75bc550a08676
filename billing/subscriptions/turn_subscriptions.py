"""Bring subscriptions whose next change has come to their account's today."""

from __future__ import annotations

from datetime import UTC, timedelta

from billing.clock_doubt import check_clock, find_clock_doubt
from billing.config import BillingSettings
from billing.store import subscription_rows
from billing.subscriptions.change_subscription import find_standing, turn_subscription
from core.periods import local_date
from core.refusal import Refusal, granted
from core.work import Workplace


async def turn_subscriptions(
    workplace: Workplace, *, actor: str = "system:billing", settings: BillingSettings | None = None
) -> int | Refusal:
    """Carry out what was planned for a day that has come: plan, quantity, pause, resume, end.

    Returns how many turned. What it costs needs no turning, invoices follow the dates: this is for the line,
    its profile, and whether it is paused. Refused on a doubtful clock.
    """
    settings = settings or BillingSettings()
    doubt = await check_clock(workplace, settings, actor)
    if doubt is not None:
        return doubt
    async with workplace.reading() as connection:
        now = workplace.clock.now()
        furthest = now.astimezone(UTC).date() + timedelta(days=1)  # somewhere it has begun
        waiting = await subscription_rows.changing_by(connection, furthest)
    turned = 0
    for subscription_id, day, zone_name in waiting:
        if day > local_date(now, zone_name):
            continue
        async with workplace.work(actor) as work:
            doubt = await find_clock_doubt(work.connection, work.now, settings)
            if doubt is not None:  # it stepped since
                return doubt
            found = granted(await find_standing(work, subscription_id))
            await turn_subscription(work, found, found.subscription.recalculate_from, due=True)
            turned += 1
    return turned
