"""Accounts that a bill run set aside, until one succeeds with them."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.store.tables import account, parked
from core.database import insert_for
from core.store.among import among


async def park(connection: AsyncConnection, account_id: str, run_id: str, reason: str, at: datetime) -> None:
    """The account could not be billed; ``since`` stays with the first time."""
    statement = insert_for(connection, parked).values(
        account_id=account_id, run_id=run_id, reason=reason, since=at, tried_at=at, tries=1
    )
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=[parked.c.account_id],
            set_={"run_id": run_id, "reason": reason, "tried_at": at, "tries": parked.c.tries + 1},
        )
    )


async def release(connection: AsyncConnection, account_ids: Collection[str]) -> None:
    """The accounts were billed, drafted, or have nothing to bill."""
    if account_ids:
        await connection.execute(delete(parked).where(among(connection, parked.c.account_id, account_ids)))


async def release_untried(connection: AsyncConnection, run_id: str) -> None:
    """A whole run met the others no more: nothing of theirs is due."""
    await connection.execute(delete(parked).where(parked.c.run_id != run_id))


async def parked_accounts(connection: AsyncConnection) -> list[str]:
    """Who is parked, by id."""
    query = select(parked.c.account_id).order_by(parked.c.account_id)
    return list((await connection.execute(query)).scalars())


async def count_parked(connection: AsyncConnection) -> int:
    """How many accounts are parked."""
    return int((await connection.execute(select(func.count()).select_from(parked))).scalar_one())


async def list_parked(connection: AsyncConnection, limit: int = 50_000) -> list[Row[Any]]:
    """Parked accounts with number and name, the longest parked first."""
    query = (
        select(parked, account.c.number, account.c.name)
        .join(account, account.c.id == parked.c.account_id)
        .order_by(parked.c.since, account.c.number)
        .limit(limit)
    )
    return list(await connection.execute(query))
