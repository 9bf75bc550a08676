"""Which accounts have usage items of some plan versions."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime

from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.store.tables import account, subscription, subscription_change


async def accounts_on_versions(
    connection: AsyncConnection, version_ids: Collection[str], since: date, written: datetime | None
) -> list[str]:
    """Accounts whose subscriptions were ever on one of the versions and still ran on ``since``.

    ``written``: only those of which something was written at that instant or later.
    """
    change = subscription_change.c
    query = (
        select(subscription.c.account_id)
        .join(subscription_change, change.subscription_id == subscription.c.id)
        .where(
            change.plan_version_id.in_(version_ids),
            subscription.c.service_id.is_not(None),
            or_(subscription.c.ends_on.is_(None), subscription.c.ends_on > since),
        )
        .distinct()
    )
    if written is not None:
        touched = select(change.subscription_id).where(change.recorded_at >= written)
        query = query.where(subscription.c.id.in_(touched))
    return list((await connection.execute(query.order_by(subscription.c.account_id))).scalars())


async def families_of(connection: AsyncConnection, account_ids: Collection[str]) -> dict[str, list[str]]:
    """Each account's payer, itself if nobody else pays, with all that it pays for: by payer."""
    row = account.c
    payer = func.coalesce(row.payer_account_id, row.id)
    payers = list((await connection.execute(select(payer).where(row.id.in_(account_ids)))).scalars())
    query = select(payer, row.id).where(payer.in_(payers)).order_by(payer, row.id)
    found: dict[str, list[str]] = {}
    for payer_id, account_id in await connection.execute(query):
        found.setdefault(payer_id, []).append(account_id)
    return found


async def accounts_of_service(connection: AsyncConnection, service_id: str) -> list[str]:
    """Every account that ever subscribed for the service."""
    query = select(subscription.c.account_id).where(subscription.c.service_id == service_id).distinct()
    return list((await connection.execute(query.order_by(subscription.c.account_id))).scalars())
