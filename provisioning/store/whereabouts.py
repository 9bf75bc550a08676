"""Who is where, for many at once: a crowded list must not take a question for each of its entries.

Reads of the aaa room, which answers the same one by one in ``aaa.entitlements``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

from sqlalchemy import select, union
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.domain.effect import Effect
from aaa.entitlements import Entitlement
from aaa.store.repositories import addresses_by_service, chunks, entitlement_rows
from aaa.store.tables import service, session


async def entitlements_of(
    connection: AsyncConnection, service_ids: Collection[str]
) -> dict[str, Entitlement | None]:
    """The entitlement of each of the services; None for an unknown one."""
    rows = await entitlement_rows(connection, sorted(service_ids))
    return {
        one: Entitlement(one, row.generation, Effect(row.effect), row.because, row.changed_at)
        if (row := rows.get(one)) is not None
        else None
        for one in service_ids
    }


async def addresses_of_each(
    connection: AsyncConnection, service_ids: Collection[str]
) -> Mapping[str, frozenset[str]]:
    """Every address that each of the services has now."""
    return await addresses_by_service(connection, sorted(service_ids))


async def users_of_each(connection: AsyncConnection, addresses: Collection[str]) -> dict[str, set[str]]:
    """The services that have each of the addresses now; addresses nobody has are absent."""
    users: dict[str, set[str]] = defaultdict(set)
    for some in chunks(sorted(addresses)):
        static = select(service.c.framed_ip.label("address"), service.c.id.label("service_id")).where(
            service.c.framed_ip.in_(some)
        )
        live = select(session.c.framed_ip, session.c.service_id).where(
            session.c.framed_ip.in_(some), session.c.stopped_at.is_(None), session.c.service_id.is_not(None)
        )
        for address, service_id in await connection.execute(union(static, live)):
            users[address].add(service_id)
    return users
