"""Contracts of subscriptions in the database: when to look, and what became of them."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date
from typing import Any

from sqlalchemy import select
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.store.rows import insert_if_absent
from billing.store.tables import account, contract_event, subscription
from core.store.among import among


async def turning_by(connection: AsyncConnection, latest: date, limit: int) -> list[tuple[str, date, str]]:
    """``(subscription id, day, time zone)`` of those whose contract is to be looked at by ``latest``."""
    query = (
        select(subscription.c.id, subscription.c.contract_turn_on, account.c.time_zone)
        .join(account, account.c.id == subscription.c.account_id)
        .where(subscription.c.contract_turn_on <= latest)
        .order_by(subscription.c.contract_turn_on, subscription.c.id)
        .limit(limit)
    )
    return [(row[0], row[1], row[2]) for row in await connection.execute(query)]


async def insert_event(connection: AsyncConnection, values: dict[str, Any]) -> bool:
    """What became of a term; False when it is on record."""
    return await insert_if_absent(connection, contract_event, values)


async def events_of(connection: AsyncConnection, subscription_ids: Collection[str]) -> list[Row[Any]]:
    """What became of the contracts, in order."""
    query = (
        select(contract_event)
        .where(among(connection, contract_event.c.subscription_id, subscription_ids))
        .order_by(contract_event.c.term_end, contract_event.c.recorded_at, contract_event.c.kind)
    )
    return list(await connection.execute(query))
