"""Dunning policies, their dated versions, and which classes of accounts they are for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import delete, func, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.dunning_policy import Policy
from billing.domain.dunning_terms import terms_from_json
from billing.store.rows import insert_if_absent
from billing.store.tables import (
    account,
    dunning_class_policy,
    dunning_policy,
    dunning_policy_version,
    dunning_state,
)


@dataclass(frozen=True, slots=True)
class PolicyVersion:
    """One version of a policy. The policy's holidays are not resolved here."""

    id: str
    policy_id: str
    version: int
    valid_from: date
    policy: Policy
    created_at: datetime
    created_by: str


async def find_policy(connection: AsyncConnection, id_or_name: str) -> tuple[str, str] | None:
    """Id and name of the policy with that id or name."""
    query = select(dunning_policy.c.id, dunning_policy.c.name).where(
        or_(dunning_policy.c.id == id_or_name, dunning_policy.c.name == id_or_name)
    )
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else (row.id, row.name)


async def names(connection: AsyncConnection) -> dict[str, str]:
    """Every policy's name by id."""
    query = select(dunning_policy.c.id, dunning_policy.c.name).order_by(dunning_policy.c.name)
    return {row.id: row.name for row in await connection.execute(query)}


async def insert_policy(connection: AsyncConnection, policy_id: str, name: str) -> bool:
    """A new policy, which needs a version next; False when the name is taken."""
    return await insert_if_absent(connection, dunning_policy, {"id": policy_id, "name": name})


async def insert_version(connection: AsyncConnection, values: dict[str, Any]) -> None:
    """A new version."""
    await connection.execute(insert(dunning_policy_version).values(values))


async def next_version(connection: AsyncConnection, policy_id: str) -> int:
    """The number that the policy's next version gets."""
    query = select(func.coalesce(func.max(dunning_policy_version.c.version), 0)).where(
        dunning_policy_version.c.policy_id == policy_id
    )
    return int((await connection.execute(query)).scalar_one()) + 1


async def versions(connection: AsyncConnection, policy_id: str | None = None) -> list[PolicyVersion]:
    """Every version of one policy or of all, in the order in which they take effect."""
    table = dunning_policy_version
    query = select(table).order_by(table.c.policy_id, table.c.valid_from, table.c.version)
    if policy_id is not None:
        query = query.where(table.c.policy_id == policy_id)
    return [
        PolicyVersion(
            row.id, row.policy_id, row.version, row.valid_from, terms_from_json(row.terms), row.created_at,
            row.created_by,
        )
        for row in await connection.execute(query)
    ]  # fmt: skip


async def class_policies(connection: AsyncConnection) -> dict[str, str]:
    """Policy ids by account class."""
    table = dunning_class_policy
    return {row.account_class: row.policy_id for row in await connection.execute(select(table))}


async def set_class_policy(connection: AsyncConnection, account_class: str, policy_id: str | None) -> None:
    """The policy of accounts of that class; None: the class has none."""
    table = dunning_class_policy
    await connection.execute(delete(table).where(table.c.account_class == account_class))
    if policy_id is not None:
        await connection.execute(insert(table).values(account_class=account_class, policy_id=policy_id))


async def bases(connection: AsyncConnection) -> dict[str, int]:
    """How many open accounts each policy is for."""
    classes = await class_policies(connection)
    query = (
        select(account.c.account_class, account.c.dunning_policy_id, dunning_state.c.own_policy, func.count())
        .join(dunning_state, dunning_state.c.account_id == account.c.id)
        .where(account.c.closed_on.is_(None))
        .group_by(account.c.account_class, account.c.dunning_policy_id, dunning_state.c.own_policy)
    )
    found: dict[str, int] = {}
    for account_class, policy_id, own, count in await connection.execute(query):
        chosen = effective_policy(classes, account_class, policy_id, own=own)
        found[chosen] = found.get(chosen, 0) + int(count)
    return found


def effective_policy(classes: Mapping[str, str], account_class: str, policy_id: str, *, own: bool) -> str:
    """The account's own policy, else its class's, else the one that it was opened with."""
    return policy_id if own else classes.get(account_class, policy_id)
