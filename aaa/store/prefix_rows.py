"""Rows of the prefixes and routes that are services' own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import delete, insert, select
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.domain.addressing import MOST_PREFIXES, Addressing, Route
from aaa.store.repositories import chunks
from aaa.store.tables import service, service_prefix


async def insert_prefixes(connection: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> None:
    """New prefixes of a service."""
    if rows:
        await connection.execute(insert(service_prefix), [dict(row) for row in rows])


async def delete_prefixes(connection: AsyncConnection, service_id: str) -> None:
    """Take all prefixes of a service away."""
    await connection.execute(delete(service_prefix).where(service_prefix.c.service_id == service_id))


async def nearest_below(
    connection: AsyncConnection, service_id: str, last: str, limit: int
) -> Sequence[Row[Any]]:
    """The prefixes of other services that begin at or before ``last``, nearest first.

    As no two services overlap, whatever overlaps a span is among as many of them as one service may have.
    """
    statement = (
        select(service_prefix, service.c.label, service.c.lifecycle)
        .join(service, service.c.id == service_prefix.c.service_id)
        .where(service_prefix.c.first <= last, service_prefix.c.service_id != service_id)
        .order_by(service_prefix.c.first.desc())
    )
    return (await connection.execute(statement.limit(limit))).all()


async def prefix_around(connection: AsyncConnection, number: str) -> Row[Any] | None:
    """The prefix or route of a service, living or ended, that the address is in; ``number`` as ``first`` is.

    No two services overlap and one service's own may: of those that begin at or before the address the
    nearest that reaches it counts.
    """
    statement = (
        select(service_prefix, service.c.label, service.c.account_id, service.c.ended_at)
        .join(service, service.c.id == service_prefix.c.service_id)
        .where(service_prefix.c.first <= number)
        .order_by(service_prefix.c.first.desc())
        .limit(MOST_PREFIXES)
    )
    rows = (await connection.execute(statement)).all()
    return next((row for row in rows if row.last >= number), None)


async def prefixes_between(connection: AsyncConnection, after: str, last: str) -> Sequence[Row[Any]]:
    """The prefixes of the services with ``after`` < id <= ``last``, in the order they were given."""
    mine = (service_prefix.c.service_id > after) & (service_prefix.c.service_id <= last)
    statement = select(service_prefix).where(mine)
    return (await connection.execute(statement.order_by(service_prefix.c.position))).all()


async def prefixes_of(connection: AsyncConnection, service_ids: Iterable[str]) -> list[Row[Any]]:
    """The prefixes of these services, in the order they were given."""
    found: list[Row[Any]] = []
    for some in chunks(service_ids):
        statement = select(service_prefix).where(service_prefix.c.service_id.in_(some))
        found += (await connection.execute(statement.order_by(service_prefix.c.position))).all()
    return found


async def addressing_of(connection: AsyncConnection, services: Sequence[Any]) -> dict[str, Addressing]:
    """The addressing of each of these services (rows with ``id`` and ``netmask_bits``)."""
    rows = await prefixes_of(connection, (row.id for row in services))
    return as_addressing({row.id: row.netmask_bits for row in services}, rows)


def as_addressing(netmasks: Mapping[str, int | None], rows: Iterable[Any]) -> dict[str, Addressing]:
    """Addressing by service from its rows; every service of ``netmasks`` has one."""
    single: dict[str, dict[str, str]] = {}
    routes: dict[str, list[Route]] = {}
    for row in rows:
        if row.kind == "route":
            routes.setdefault(row.service_id, []).append(Route(row.prefix, row.gateway, row.metric))
        else:
            single.setdefault(row.service_id, {})[row.kind] = row.prefix
    return {
        service_id: Addressing(bits, routes=tuple(routes.get(service_id, ())), **single.get(service_id, {}))
        for service_id, bits in netmasks.items()
    }
