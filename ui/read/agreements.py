"""What an account subscribes to, for choosing among it."""

from __future__ import annotations

from datetime import date

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.store import plan_rows, subscription_rows


async def running_subscriptions(
    connection: AsyncConnection, account_id: str, today: date
) -> list[tuple[str, str]]:
    """``(id, name)`` of what runs, the plans with a rental first."""
    own = (await subscription_rows.subscriptions_of(connection, [account_id]))[account_id]
    running = [one for one in own if one.ends_on is None or one.ends_on > today]
    offers = await plan_rows.plan_versions(connection, {one.plan_version_id for one in running})
    named = []
    for one in running:
        offer = offers[one.plan_version_id]
        rents = any(item.kind == "rental" for item in offer.items)
        named.append((not rents, one.starts_on, one.id, f"{offer.name}, since {one.starts_on}"))
    return [(each[2], each[3]) for each in sorted(named)]
