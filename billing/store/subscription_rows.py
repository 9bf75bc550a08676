"""Subscriptions: rows to values and back."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date
from typing import Any

from sqlalchemy import func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.catalogue import Subscription
from billing.store.tables import (
    invoice,
    subscription,
)

_SUBSCRIPTION = [
    subscription.c[name]
    for name in ("id", "account_id", "service_id", "plan_version_id", "starts_on", "ends_on")
]


async def insert_subscription(connection: AsyncConnection, values: dict[str, Any]) -> None:
    """A new subscription."""
    await connection.execute(insert(subscription).values(values))


async def find_subscription(connection: AsyncConnection, subscription_id: str) -> Subscription | None:
    """The subscription with that id."""
    query = select(*_SUBSCRIPTION).where(subscription.c.id == subscription_id)
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else Subscription(*row)


async def subscriptions_of(
    connection: AsyncConnection, account_ids: Collection[str]
) -> dict[str, list[Subscription]]:
    """Every subscription of the accounts, past ones too, in the order in which they were made."""
    query = (
        select(*_SUBSCRIPTION)
        .where(subscription.c.account_id.in_(account_ids))
        .order_by(subscription.c.starts_on, subscription.c.created_at, subscription.c.id)
    )
    found: dict[str, list[Subscription]] = {account_id: [] for account_id in account_ids}
    for row in await connection.execute(query):
        found[row.account_id].append(Subscription(*row))
    return found


async def overlapping_subscription(
    connection: AsyncConnection, service_id: str, starts_on: date
) -> Subscription | None:
    """A subscription of the service that still runs on or after ``starts_on``."""
    query = select(*_SUBSCRIPTION).where(
        subscription.c.service_id == service_id,
        or_(subscription.c.ends_on.is_(None), subscription.c.ends_on > starts_on),
    )
    row = (await connection.execute(query.limit(1))).one_or_none()
    return None if row is None else Subscription(*row)


async def set_subscription_end(connection: AsyncConnection, subscription_id: str, ends_on: date) -> None:
    """The first local day on which the subscription no longer runs."""
    await connection.execute(
        update(subscription).where(subscription.c.id == subscription_id).values(ends_on=ends_on)
    )


async def last_cycle_start(connection: AsyncConnection, account_id: str) -> date | None:
    """The first day of the newest cycle that has an invoice."""
    query = select(func.max(invoice.c.cycle_start)).where(invoice.c.account_id == account_id)
    found: date | None = (await connection.execute(query)).scalar()
    return found
