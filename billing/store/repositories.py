"""Accounts, catalogue, subscriptions and number series: rows to values and back."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date
from typing import Any

from sqlalchemy import bindparam, exists, func, insert, or_, select, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.catalogue import Account, PlanVersion, Subscription, TaxRate
from billing.domain.charge_models import parse_tiers
from billing.store.tables import (
    account,
    dunning_state,
    invoice,
    number_series,
    plan,
    plan_version,
    subscription,
    tax_rate,
)
from core.database import insert_for, take_lane

INVOICE_SERIES = "invoice"
ACCOUNT_SERIES = "account"

_ACCOUNT = [
    account.c[name]
    for name in (
        "id", "number", "name", "email", "phone", "street", "city", "region", "postal_code", "country",
        "currency", "time_zone", "anchor_day", "payment_terms_days", "dunning_policy_id", "next_cycle_on",
        "closed_on",
    )
]  # fmt: skip
_SUBSCRIPTION = [
    subscription.c[name]
    for name in ("id", "account_id", "service_id", "plan_version_id", "starts_on", "ends_on")
]
_RATE = [
    tax_rate.c[name]
    for name in (
        "id", "name", "tax_class", "country", "region", "rate_ppm", "valid_from", "valid_until",
    )
]  # fmt: skip


async def insert_if_absent(connection: AsyncConnection, table: Any, values: dict[str, Any]) -> bool:
    """Insert the row; False when a unique key of it exists (the database decides: two at once are safe)."""
    statement = insert_for(connection, table).values(values).on_conflict_do_nothing()
    return (await connection.execute(statement)).rowcount == 1


# Accounts


async def insert_account(connection: AsyncConnection, values: dict[str, Any]) -> bool:
    """A new account; False when its number is taken."""
    return await insert_if_absent(connection, account, values)


async def find_account(connection: AsyncConnection, id_or_number: str) -> Account | None:
    """The account with that id or number."""
    query = select(*_ACCOUNT).where(or_(account.c.id == id_or_number, account.c.number == id_or_number))
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else Account(*row)


async def lock_account(connection: AsyncConnection, account_id: str) -> Account | None:
    """The account, held against other writers until this transaction ends."""
    query = select(*_ACCOUNT).where(account.c.id == account_id).with_for_update()
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else Account(*row)


async def lock_accounts(connection: AsyncConnection, account_ids: Collection[str]) -> list[Account]:
    """Several accounts, locked in the order of their ids so that no two transactions wait for each other."""
    query = select(*_ACCOUNT).where(account.c.id.in_(account_ids)).order_by(account.c.id).with_for_update()
    return [Account(*row) for row in await connection.execute(query)]


async def accounts_due(connection: AsyncConnection, latest: date) -> list[tuple[str, str, date]]:
    """``(account id, time zone, next cycle)`` of every account with a cycle turning up to ``latest``."""
    query = (
        select(account.c.id, account.c.time_zone, account.c.next_cycle_on)
        .where(account.c.next_cycle_on <= latest)
        .order_by(account.c.id)
    )
    return [(row.id, row.time_zone, row.next_cycle_on) for row in await connection.execute(query)]


async def set_next_cycle(connection: AsyncConnection, account_id: str, day: date | None) -> None:
    """Note which cycle is to be invoiced next."""
    await set_next_cycles(connection, [(account_id, day)])


async def set_next_cycles(connection: AsyncConnection, turns: Sequence[tuple[str, date | None]]) -> None:
    """Note for many accounts which cycle is to be invoiced next."""
    if turns:
        await connection.execute(
            update(account).where(account.c.id == bindparam("b_id")).values(next_cycle_on=bindparam("b_day")),
            [{"b_id": account_id, "b_day": day} for account_id, day in turns],
        )


async def insert_dunning_state(connection: AsyncConnection, values: dict[str, Any]) -> None:
    """The state every account is born with: clear."""
    await connection.execute(insert(dunning_state).values(values))


# Catalogue


async def find_plan(connection: AsyncConnection, code: str) -> Row[Any] | None:
    """The plan row of that code."""
    return (await connection.execute(select(plan).where(plan.c.code == code))).one_or_none()


async def insert_plan(connection: AsyncConnection, values: dict[str, Any]) -> bool:
    """A new plan; False when its code exists."""
    return await insert_if_absent(connection, plan, values)


async def next_version(connection: AsyncConnection, plan_id: str) -> int:
    """The number of the plan's next version; the plan row stays locked until the transaction ends."""
    await connection.execute(select(plan.c.id).where(plan.c.id == plan_id).with_for_update())
    query = select(func.max(plan_version.c.version)).where(plan_version.c.plan_id == plan_id)
    return int((await connection.execute(query)).scalar() or 0) + 1


async def insert_plan_version(connection: AsyncConnection, values: dict[str, Any]) -> None:
    """A new version of a plan."""
    await connection.execute(insert(plan_version).values(values))


async def plan_versions(
    connection: AsyncConnection, ids: Collection[str] | None = None
) -> dict[str, PlanVersion]:
    """Plan versions by id: those asked for, or the whole catalogue."""
    query = (
        select(
            plan_version.c.id, plan.c.code, plan.c.name, plan_version.c.version, plan_version.c.currency,
            plan_version.c.price_minor, plan_version.c.allowance_octets, plan_version.c.overage_tiers,
            plan_version.c.metered, plan_version.c.tax_class, plan_version.c.service_profile_id,
        )
        .join(plan, plan.c.id == plan_version.c.plan_id)
        .order_by(plan.c.code, plan_version.c.version)
    )  # fmt: skip
    if ids is not None:
        query = query.where(plan_version.c.id.in_(ids))
    return {row.id: _plan_version(row) for row in await connection.execute(query)}


def _plan_version(row: Any) -> PlanVersion:
    return PlanVersion(
        row.id, row.code, row.name, row.version, row.currency, row.price_minor, row.allowance_octets,
        parse_tiers(row.overage_tiers), row.metered, row.tax_class, row.service_profile_id,
    )  # fmt: skip


async def tax_rates(connection: AsyncConnection) -> list[TaxRate]:
    """Every tax rate ever set."""
    query = select(*_RATE).order_by(tax_rate.c.country, tax_rate.c.name, tax_rate.c.valid_from)
    return [TaxRate(*row) for row in await connection.execute(query)]


async def insert_tax_rate(connection: AsyncConnection, values: dict[str, Any]) -> None:
    """A new dated rate."""
    await connection.execute(insert(tax_rate).values(values))


async def end_tax_rate(connection: AsyncConnection, rate_id: str, valid_until: date) -> None:
    """The day on which the rate no longer holds."""
    await connection.execute(update(tax_rate).where(tax_rate.c.id == rate_id).values(valid_until=valid_until))


# Subscriptions


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


# Number series


async def take_numbers(connection: AsyncConnection, series: str, prefix: str, count: int) -> list[str]:
    """The next ``count`` numbers of a series, without a gap: they are given back if the transaction fails."""
    if count == 0:
        return []
    await take_lane(connection, "number_series")
    await insert_if_absent(connection, number_series, {"name": series, "prefix": prefix, "next_number": 1})
    row = (
        await connection.execute(
            select(number_series).where(number_series.c.name == series).with_for_update()
        )
    ).one()
    await connection.execute(
        update(number_series)
        .where(number_series.c.name == series)
        .values(next_number=row.next_number + count)
    )
    return [_numbered(row.prefix, row.next_number + step) for step in range(count)]


async def numbers_given(connection: AsyncConnection, series: str) -> list[str]:
    """Every number that the series has given so far."""
    query = select(number_series).where(number_series.c.name == series)
    row = (await connection.execute(query)).one_or_none()
    return [] if row is None else [_numbered(row.prefix, one) for one in range(1, row.next_number)]


def _numbered(prefix: str, number: int) -> str:
    return f"{prefix}{number:06d}"


async def account_number_taken(connection: AsyncConnection, number: str) -> bool:
    """Whether an account carries the number."""
    return bool((await connection.execute(select(exists().where(account.c.number == number)))).scalar())
