"""Orders to NASes about live sessions, and the clients that may ask us for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.store.tables import dynauth_client, dynauth_exchange

Rows = Sequence[Row[Any]]
KEPT_EXCHANGES = 20
"""Of each session: a NAS that refuses is asked again and again."""


async def keep_exchange(connection: AsyncConnection, values: Mapping[str, Any]) -> None:
    """Write an order and its answer down; the oldest beyond ``KEPT_EXCHANGES`` of the session go."""
    await connection.execute(insert(dynauth_exchange).values(**values))
    mine = dynauth_exchange.c.session_id == values["session_id"]
    newest = select(dynauth_exchange.c.id).where(mine)
    newest = newest.order_by(dynauth_exchange.c.at.desc(), dynauth_exchange.c.id.desc())
    older = newest.offset(KEPT_EXCHANGES).limit(KEPT_EXCHANGES)
    gone = list((await connection.execute(older)).scalars())
    if gone:
        await connection.execute(delete(dynauth_exchange).where(dynauth_exchange.c.id.in_(gone)))


async def clients(connection: AsyncConnection) -> Rows:
    """Every client, by name."""
    return (await connection.execute(select(dynauth_client).order_by(dynauth_client.c.name))).all()


async def client(connection: AsyncConnection, client_id: str) -> Row[Any] | None:
    """The client with that id."""
    statement = select(dynauth_client).where(dynauth_client.c.id == client_id)
    return (await connection.execute(statement)).one_or_none()


async def client_with(
    connection: AsyncConnection, *, name: str = "", network: str = "", but: str = ""
) -> Row[Any] | None:
    """Another client than ``but`` that has the name or the network."""
    same = (dynauth_client.c.name == name) | (dynauth_client.c.network == network)
    statement = select(dynauth_client).where(same, dynauth_client.c.id != but).limit(1)
    return (await connection.execute(statement)).first()


async def insert_client(connection: AsyncConnection, values: Mapping[str, Any]) -> None:
    """A new client."""
    await connection.execute(insert(dynauth_client).values(**values))


async def update_client(connection: AsyncConnection, client_id: str, values: Mapping[str, Any]) -> None:
    """Change columns of a client."""
    await connection.execute(update(dynauth_client).where(dynauth_client.c.id == client_id).values(**values))


async def delete_client(connection: AsyncConnection, client_id: str) -> None:
    """Forget a client."""
    await connection.execute(delete(dynauth_client).where(dynauth_client.c.id == client_id))
