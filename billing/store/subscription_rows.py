"""Subscriptions: rows to values and back."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import and_, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.catalogue import ServicePlace, Subscription
from billing.domain.phases import Change
from billing.store.tables import (
    account,
    invoice,
    invoice_line,
    plan,
    plan_version,
    subscription,
    subscription_change,
)
from core.store.among import among

_SUBSCRIPTION = [
    subscription.c[name]
    for name in (
        "id", "account_id", "service_id", "plan_version_id", "starts_on", "ends_on", "parent_id", "quantity",
        "paused_on", "contract_until", "recalculate_from", "country", "region", "county", "city",
        "postal_code",
    )
]  # fmt: skip
_CHANGE = [
    subscription_change.c[name]
    for name in (
        "id", "subscription_id", "effective_on", "kind", "plan_version_id", "quantity", "withdraws_id",
        "recorded_at",
    )
]  # fmt: skip


def _value(row: Any) -> Subscription:
    place = tuple(row)[11:16]
    return Subscription(
        row[0], row[1], row[2], row[3], row[4], row[5], row[6], row[7], row[8],
        ServicePlace(*place) if any(place) else None, row[9], row[10],
    )  # fmt: skip


async def insert_subscription(connection: AsyncConnection, values: dict[str, Any]) -> None:
    """A new subscription."""
    await connection.execute(insert(subscription).values(values))


async def find_subscription(connection: AsyncConnection, subscription_id: str) -> Subscription | None:
    """The subscription with that id."""
    query = select(*_SUBSCRIPTION).where(subscription.c.id == subscription_id)
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else _value(row)


async def subscriptions_of(
    connection: AsyncConnection, account_ids: Collection[str]
) -> dict[str, list[Subscription]]:
    """Every subscription of the accounts, past ones too, in the order in which they were made."""
    query = (
        select(*_SUBSCRIPTION)
        .where(among(connection, subscription.c.account_id, account_ids))
        .order_by(subscription.c.starts_on, subscription.c.created_at, subscription.c.id)
    )
    found: dict[str, list[Subscription]] = {account_id: [] for account_id in account_ids}
    for row in await connection.execute(query):
        found[row.account_id].append(_value(row))
    return found


async def overlapping_plan(
    connection: AsyncConnection, service_id: str, starts_on: date
) -> Subscription | None:
    """A subscription of the service to a plan (no add-on) that still runs on or after ``starts_on``."""
    query = (
        select(*_SUBSCRIPTION)
        .join(plan_version, plan_version.c.id == subscription.c.plan_version_id)
        .join(plan, plan.c.id == plan_version.c.plan_id)
        .where(
            subscription.c.service_id == service_id,
            plan.c.kind == "plan",
            or_(subscription.c.ends_on.is_(None), subscription.c.ends_on > starts_on),
        )
    )
    row = (await connection.execute(query.limit(1))).one_or_none()
    return None if row is None else _value(row)


async def plan_within(
    connection: AsyncConnection, service_id: str, from_on: date, until: date | None, *, but: str = ""
) -> Subscription | None:
    """A subscription of the service to a plan that has a day in ``[from_on, until)``, other than ``but``.

    One that ended before it began has no day.
    """
    query = (
        select(*_SUBSCRIPTION)
        .join(plan_version, plan_version.c.id == subscription.c.plan_version_id)
        .join(plan, plan.c.id == plan_version.c.plan_id)
        .where(
            subscription.c.service_id == service_id,
            subscription.c.id != but,
            plan.c.kind == "plan",
            or_(
                subscription.c.ends_on.is_(None),
                and_(subscription.c.ends_on > from_on, subscription.c.ends_on > subscription.c.starts_on),
            ),
        )
    )
    if until is not None:
        query = query.where(subscription.c.starts_on < until)
    row = (await connection.execute(query.limit(1))).one_or_none()
    return None if row is None else _value(row)


async def of_service(connection: AsyncConnection, service_id: str, from_on: date) -> list[Subscription]:
    """What the service has on that day or after it, plans and add-ons."""
    query = select(*_SUBSCRIPTION).where(
        subscription.c.service_id == service_id,
        or_(subscription.c.ends_on.is_(None), subscription.c.ends_on > from_on),
    )
    return [_value(row) for row in await connection.execute(query.order_by(subscription.c.id))]


async def find_many(connection: AsyncConnection, subscription_ids: Collection[str]) -> list[Subscription]:
    """The subscriptions with those ids."""
    query = select(*_SUBSCRIPTION).where(among(connection, subscription.c.id, subscription_ids))
    return [_value(row) for row in await connection.execute(query)]


async def changing_by(connection: AsyncConnection, latest: date) -> list[tuple[str, date, str]]:
    """``(subscription id, day, time zone)`` of those whose next change takes effect by ``latest``."""
    query = (
        select(subscription.c.id, subscription.c.next_change_on, account.c.time_zone)
        .join(account, account.c.id == subscription.c.account_id)
        .where(subscription.c.next_change_on <= latest)
        .order_by(subscription.c.next_change_on, subscription.c.id)
    )
    return [(row[0], row[1], row[2]) for row in await connection.execute(query)]


async def addons_of(connection: AsyncConnection, subscription_id: str) -> list[Subscription]:
    """What goes with the subscription."""
    query = select(*_SUBSCRIPTION).where(subscription.c.parent_id == subscription_id)
    return [_value(row) for row in await connection.execute(query.order_by(subscription.c.id))]


async def update_subscription(
    connection: AsyncConnection, subscription_id: str, values: Mapping[str, Any]
) -> None:
    """What the newest change left: plan version, end, quantity, pause, from when to recalculate."""
    await connection.execute(
        update(subscription).where(subscription.c.id == subscription_id).values(**values)
    )


async def mark_recalculated(connection: AsyncConnection, subscription_ids: Sequence[str]) -> None:
    """Invoices now say what the subscriptions' changes made of the past."""
    if subscription_ids:
        await connection.execute(
            update(subscription)
            .where(among(connection, subscription.c.id, subscription_ids))
            .values(recalculate_from=None)
        )


async def insert_change(connection: AsyncConnection, values: Mapping[str, Any]) -> None:
    """A dated change."""
    await connection.execute(insert(subscription_change).values(**values))


async def changes_of(
    connection: AsyncConnection, subscription_ids: Collection[str], as_of: datetime | None = None
) -> dict[str, list[Change]]:
    """The changes by subscription; with ``as_of`` only those written by then."""
    query = select(*_CHANGE).where(among(connection, subscription_change.c.subscription_id, subscription_ids))
    if as_of is not None:
        query = query.where(subscription_change.c.recorded_at <= as_of)
    found: dict[str, list[Change]] = {}
    for row in await connection.execute(query):
        found.setdefault(row[1], []).append(Change(*row))
    return found


async def last_cycle_start(connection: AsyncConnection, account_id: str) -> date | None:
    """The first day of the newest cycle that has an invoice."""
    query = select(func.max(invoice.c.cycle_start)).where(
        invoice.c.account_id == account_id, invoice.c.kind == "invoice"
    )
    found: date | None = (await connection.execute(query)).scalar()
    return found


async def was_invoiced(connection: AsyncConnection, account_id: str) -> bool:
    """Whether any invoice, whoever paid it, has a line of the account's subscriptions."""
    query = (
        select(invoice_line.c.id)
        .join(subscription, subscription.c.id == invoice_line.c.subscription_id)
        .where(subscription.c.account_id == account_id)
        .limit(1)
    )
    return (await connection.execute(query)).first() is not None


async def first_day_of(connection: AsyncConnection, account_id: str) -> date | None:
    """The first day of any subscription that the account pays for."""
    query = (
        select(func.min(subscription.c.starts_on))
        .join(account, account.c.id == subscription.c.account_id)
        .where(or_(account.c.id == account_id, account.c.payer_account_id == account_id))
    )
    found: date | None = (await connection.execute(query)).scalar()
    return found
