"""Plans and their versions: rows to values and back."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.catalogue import PlanVersion
from billing.domain.items import parse_items
from billing.store.rows import insert_if_absent
from billing.store.tables import (
    plan,
    plan_version,
)


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
            plan_version.c["items"], plan_version.c.service_profile_id, plan.c.kind, plan_version.c.contract,
            plan_version.c.offered_from, plan_version.c.offered_until,
        )
        .join(plan, plan.c.id == plan_version.c.plan_id)
        .order_by(plan.c.code, plan_version.c.version)
    )  # fmt: skip
    if ids is not None:
        query = query.where(plan_version.c.id.in_(ids))
    return {row.id: _plan_version(row) for row in await connection.execute(query)}


def _plan_version(row: Any) -> PlanVersion:
    return PlanVersion(
        row.id, row.code, row.name, row.version, row.currency, parse_items(row.items), row.service_profile_id,
        row.kind, row.contract, row.offered_from, row.offered_until,
    )  # fmt: skip
