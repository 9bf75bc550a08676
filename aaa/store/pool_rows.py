"""Rows of Hilltop's own pools: what they hand out, to whom, and which process may do it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, case, delete, func, insert, or_, select, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.store.repositories import chunks
from aaa.store.tables import (
    ip_lease,
    ip_lease_history,
    ip_pool,
    ip_worker,
    journal_cursor,
    nas,
    service,
    service_prefix,
    session,
)
from core.clock import EPOCH
from core.database import insert_for, take_lane

Rows = Sequence[Row[Any]]
HISTORY_KEPT = 200
"""Lines that a page of history has."""
_SESSION_COLUMNS = {
    "ipv4": session.c.framed_ip, "ipv6_prefix": session.c.framed_ipv6_prefix,
    "delegated_prefix": session.c.delegated_ipv6_prefix,
}  # fmt: skip


async def take_pool_lane(connection: AsyncConnection) -> None:
    """Serialise with every other change of leases until commit."""
    await take_lane(connection, "ip_pool")


async def pools(connection: AsyncConnection) -> Rows:
    """Every pool, by name."""
    return (await connection.execute(select(ip_pool).order_by(ip_pool.c.name))).all()


async def has_pools(connection: AsyncConnection) -> bool:
    """Whether there is any pool."""
    return (await connection.execute(select(ip_pool.c.id).limit(1))).first() is not None


async def pool(connection: AsyncConnection, pool_id: str) -> Row[Any] | None:
    """The pool with that id."""
    return (await connection.execute(select(ip_pool).where(ip_pool.c.id == pool_id))).one_or_none()


async def insert_pool(connection: AsyncConnection, values: Mapping[str, Any]) -> None:
    """A new pool."""
    await connection.execute(insert(ip_pool).values(**values))


async def update_pool(connection: AsyncConnection, pool_id: str, values: Mapping[str, Any]) -> None:
    """Change columns of a pool."""
    await connection.execute(update(ip_pool).where(ip_pool.c.id == pool_id).values(**values))


async def delete_pool(connection: AsyncConnection, pool_id: str) -> None:
    """Delete a pool and all its leases; the history stays."""
    await connection.execute(delete(ip_lease).where(ip_lease.c.pool_id == pool_id))
    await connection.execute(delete(ip_pool).where(ip_pool.c.id == pool_id))


async def next_version(connection: AsyncConnection) -> int:
    """The number of the next change of leases; the lane is taken."""
    return await newest_version(connection) + 1


async def newest_version(connection: AsyncConnection) -> int:
    """The number of the last change of leases."""
    return (await connection.execute(select(func.max(ip_lease.c.version)))).scalar_one() or 0


async def leases(connection: AsyncConnection, networks: Iterable[str]) -> dict[str, Row[Any]]:
    """The rows of these networks, by network."""
    found: dict[str, Row[Any]] = {}
    for some in chunks(networks):
        rows = await connection.execute(select(ip_lease).where(ip_lease.c.network.in_(some)))
        found |= {row.network: row for row in rows}
    return found


def values_of(row: Row[Any]) -> dict[str, Any]:
    """The columns of a lease's row."""
    return {column.name: getattr(row, column.name) for column in ip_lease.columns}


async def leases_after(connection: AsyncConnection, version: int, limit: int) -> Rows:
    """The leases changed since ``version``, in the order of their changes; at least one change whole."""
    statement = select(ip_lease).where(ip_lease.c.version > version).order_by(ip_lease.c.version)
    rows = (await connection.execute(statement.limit(limit))).all()
    if len(rows) < limit:
        return rows
    last = rows[-1].version  # the others of the same change must not be passed by
    whole = select(ip_lease).where(ip_lease.c.version > version, ip_lease.c.version <= last)
    return (await connection.execute(whole.order_by(ip_lease.c.version))).all()


async def held_leases(connection: AsyncConnection, after: str, limit: int) -> Rows:
    """The next leases that are some service's, in the order of their networks."""
    statement = select(ip_lease).where(ip_lease.c.network > after, ip_lease.c.service_id.is_not(None))
    return (await connection.execute(statement.order_by(ip_lease.c.network).limit(limit))).all()


async def leases_touching(connection: AsyncConnection, first: str, last: str, limit: int) -> list[Row[Any]]:
    """Leases that begin between ``first`` and ``last``, and the one next below, with services' names."""
    columns = select(ip_lease, service.c.label).outerjoin(service, service.c.id == ip_lease.c.service_id)
    inside = columns.where(ip_lease.c.first >= first, ip_lease.c.first <= last).order_by(ip_lease.c.first)
    below = columns.where(ip_lease.c.first < first).order_by(ip_lease.c.first.desc()).limit(1)
    found = [*(await connection.execute(inside.limit(limit))).all()]
    return [*found, *(await connection.execute(below)).all()]


async def put_leases(connection: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert leases, or replace what stands at their networks; every row names the same columns."""
    if not rows:
        return
    statement = insert_for(connection, ip_lease)
    names = [name for name in rows[0] if name != "network"]
    changes = {name: statement.excluded[name] for name in names}
    put = statement.on_conflict_do_update(index_elements=["network"], set_=changes)
    await connection.execute(put, [dict(row) for row in rows])


async def give_back(connection: AsyncConnection, owner: str, networks: Iterable[str]) -> None:
    """Addresses that were set aside for ``owner`` and never given away are free at once."""
    for some in chunks(networks):
        mine = (ip_lease.c.network.in_(some), ip_lease.c.owner == owner, ip_lease.c.service_id.is_(None))
        await connection.execute(update(ip_lease).where(*mine).values(owner=None, released_at=EPOCH))


def _is_free() -> ColumnElement[bool]:
    return and_(ip_lease.c.service_id.is_(None), ip_lease.c.owner.is_(None))


async def rested(
    connection: AsyncConnection, pool_id: str, *, released_by: datetime, known: int, limit: int
) -> Rows:
    """Free addresses of a pool that were in use once, the one that rests longest first.

    ``known``: the change that every process has heard of.
    """
    rested_enough = or_(
        ip_lease.c.released_at == EPOCH,
        and_(ip_lease.c.released_at <= released_by, ip_lease.c.version <= known),
    )
    statement = select(ip_lease).where(ip_lease.c.pool_id == pool_id, _is_free(), rested_enough)
    return (await connection.execute(statement.order_by(ip_lease.c.released_at).limit(limit))).all()


async def set_aside(connection: AsyncConnection, networks: Iterable[str], owner: str) -> None:
    """Let ``owner`` alone give these free addresses away."""
    for some in chunks(networks):
        statement = update(ip_lease).where(ip_lease.c.network.in_(some), _is_free())
        await connection.execute(statement.values(owner=owner))


async def idle_leases(
    connection: AsyncConnection,
    pool_id: str,
    *,
    idle_by: datetime,
    unused_by: datetime,
    limit: int,
) -> Rows:
    """Leases nobody uses, least recently used first: since ``idle_by``, or given by ``unused_by`` in vain."""
    idle = or_(
        and_(ip_lease.c.started, ip_lease.c.idle_since <= idle_by),
        and_(ip_lease.c.started.is_(False), ip_lease.c.idle_since <= unused_by),
    )
    statement = select(ip_lease).where(
        ip_lease.c.pool_id == pool_id, ip_lease.c.service_id.is_not(None), idle
    )
    return (await connection.execute(statement.order_by(ip_lease.c.idle_since).limit(limit))).all()


async def leases_of_pool(
    connection: AsyncConnection, pool_id: str, *, after: str = "", limit: int = 500, live: bool = False
) -> Rows:
    """Leases of a pool that are some service's, in order, with the service's name."""
    statement = (
        select(ip_lease, service.c.label, service.c.account_id, nas.c.name.label("nas_name"))
        .outerjoin(service, service.c.id == ip_lease.c.service_id)
        .outerjoin(nas, nas.c.id == ip_lease.c.nas_id)
        .where(ip_lease.c.pool_id == pool_id, ip_lease.c.service_id.is_not(None), ip_lease.c.first > after)
        .order_by(ip_lease.c.first)
    )
    if live:
        statement = statement.where(ip_lease.c.idle_since.is_(None))
    return (await connection.execute(statement.limit(limit))).all()


async def leases_of_service(connection: AsyncConnection, service_id: str) -> Rows:
    """The leases of a service, with their pools' names."""
    statement = (
        select(ip_lease, ip_pool.c.name.label("pool_name"), ip_pool.c.kind)
        .join(ip_pool, ip_pool.c.id == ip_lease.c.pool_id)
        .where(ip_lease.c.service_id == service_id)
        .order_by(ip_pool.c.kind, ip_lease.c.first)
    )
    return (await connection.execute(statement)).all()


async def rows_of_pool(connection: AsyncConnection, pool_id: str) -> Rows:
    """(network, service_id, owner, idle_since, version) of everything of a pool that was ever set aside."""
    columns = (
        ip_lease.c.network, ip_lease.c.service_id, ip_lease.c.owner, ip_lease.c.idle_since, ip_lease.c.version
    )  # fmt: skip
    rows: Sequence[Any] = (
        await connection.execute(select(*columns).where(ip_lease.c.pool_id == pool_id))
    ).all()
    return rows


async def forget_leases(connection: AsyncConnection, networks: Iterable[str]) -> None:
    """Delete rows of addresses that are no pool's any more."""
    for some in chunks(networks):
        await connection.execute(delete(ip_lease).where(ip_lease.c.network.in_(some)))


async def counts(connection: AsyncConnection) -> Rows:
    """For each pool with leases: (pool_id, online, kept, set_aside, resting, rows)."""
    held = ip_lease.c.service_id.is_not(None)
    live = and_(held, ip_lease.c.idle_since.is_(None))
    owned = and_(ip_lease.c.service_id.is_(None), ip_lease.c.owner.is_not(None))

    def sum_of(what: ColumnElement[bool]) -> ColumnElement[int]:
        return func.coalesce(func.sum(case((what, 1), else_=0)), 0)

    statement = select(
        ip_lease.c.pool_id,
        sum_of(live).label("online"),
        sum_of(and_(held, ip_lease.c.idle_since.is_not(None))).label("kept"),
        sum_of(owned).label("set_aside"),
        sum_of(and_(_is_free(), ip_lease.c.released_at != EPOCH)).label("resting"),
        func.count().label("rows"),
    ).group_by(ip_lease.c.pool_id)
    return (await connection.execute(statement)).all()


async def static_addresses(connection: AsyncConnection, addresses: Iterable[str]) -> set[str]:
    """Which of these IPv4 addresses are some living service's for good."""
    found: set[str] = set()
    for some in chunks(addresses):
        statement = select(service.c.framed_ip).where(
            service.c.framed_ip.in_(some), service.c.lifecycle != "ended"
        )
        found |= {str(one) for one in (await connection.execute(statement)).scalars()}
    return found


async def static_spans(connection: AsyncConnection, first: str, last: str) -> Rows:
    """(first, last) of living services' own prefixes and routes that touch what lies between."""
    statement = (
        select(service_prefix.c.first, service_prefix.c.last)
        .join(service, service.c.id == service_prefix.c.service_id)
        .where(service_prefix.c.first <= last, service_prefix.c.last >= first, service.c.lifecycle != "ended")
    )
    rows: Sequence[Any] = (await connection.execute(statement)).all()
    return rows


async def open_sessions_with(
    connection: AsyncConnection, kind: str, networks: Iterable[str]
) -> list[Row[Any]]:
    """(network, service_id, nas_id, calling_station, started_at) of open sessions at these."""
    column = _SESSION_COLUMNS[kind]
    found: list[Row[Any]] = []
    for some in chunks(networks):
        statement = select(
            column.label("network"), session.c.service_id, session.c.nas_id, session.c.calling_station,
            session.c.started_at,
        ).where(column.in_(some), session.c.stopped_at.is_(None))  # fmt: skip
        rows: Sequence[Any] = (await connection.execute(statement.order_by(session.c.started_at))).all()
        found += rows
    return found


async def open_history(connection: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> None:
    """From now on these networks are these services'."""
    if rows:
        await connection.execute(insert(ip_lease_history), [dict(row) for row in rows])


async def close_history(
    connection: AsyncConnection, networks: Iterable[str], at: datetime, because: str
) -> None:
    """These networks are nobody's any more."""
    for some in chunks(networks):
        standing = (ip_lease_history.c.network.in_(some), ip_lease_history.c.until_at.is_(None))
        statement = update(ip_lease_history).where(*standing)
        await connection.execute(statement.values(until_at=at, because=because))


async def history(
    connection: AsyncConnection, *, network: str = "", service_id: str = "", pool_id: str = ""
) -> Rows:
    """Who had what, newest first."""
    statement = (
        select(ip_lease_history, service.c.label, ip_pool.c.name.label("pool_name"))
        .outerjoin(service, service.c.id == ip_lease_history.c.service_id)
        .outerjoin(ip_pool, ip_pool.c.id == ip_lease_history.c.pool_id)
        .order_by(ip_lease_history.c.from_at.desc(), ip_lease_history.c.id.desc())
    )
    for column, wanted in (
        (ip_lease_history.c.network, network), (ip_lease_history.c.service_id, service_id),
        (ip_lease_history.c.pool_id, pool_id),
    ):  # fmt: skip
        if wanted:
            statement = statement.where(column == wanted)
    return (await connection.execute(statement.limit(HISTORY_KEPT))).all()


async def holders_at(connection: AsyncConnection, networks: Collection[str], at: datetime) -> Rows:
    """The history of these networks that covers ``at``, newest first."""
    statement = (
        select(ip_lease_history, service.c.label, service.c.account_id)
        .outerjoin(service, service.c.id == ip_lease_history.c.service_id)
        .where(
            ip_lease_history.c.network.in_(list(networks)), ip_lease_history.c.from_at <= at,
            or_(ip_lease_history.c.until_at.is_(None), ip_lease_history.c.until_at > at),
        )
        .order_by(ip_lease_history.c.from_at.desc())
    )  # fmt: skip
    return (await connection.execute(statement)).all()


async def workers(connection: AsyncConnection) -> Rows:
    """The processes that may give addresses away, or might still."""
    return (await connection.execute(select(ip_worker))).all()


async def put_worker(connection: AsyncConnection, values: Mapping[str, Any]) -> None:
    """Note what a process knows and how long it may give addresses away."""
    statement = insert_for(connection, ip_worker).values(**values)
    changes = {name: statement.excluded[name] for name in values if name != "owner"}
    await connection.execute(statement.on_conflict_do_update(index_elements=["owner"], set_=changes))


async def is_worker(connection: AsyncConnection, owner: str) -> bool:
    """Whether the process is on record."""
    statement = select(ip_worker.c.owner).where(ip_worker.c.owner == owner)
    return (await connection.execute(statement)).first() is not None


async def dismiss_worker(connection: AsyncConnection, owner: str, released_at: datetime, version: int) -> int:
    """Forget a process that is gone; what was set aside for it is free from ``released_at`` on."""
    mine = (ip_lease.c.owner == owner, ip_lease.c.service_id.is_(None))
    values = {"owner": None, "released_at": released_at, "version": version}
    freed = await connection.execute(update(ip_lease).where(*mine).values(**values))
    await connection.execute(delete(ip_worker).where(ip_worker.c.owner == owner))
    return freed.rowcount


async def journal_position_of(connection: AsyncConnection, journal_id: str) -> int:
    """How far that journal has come into the database."""
    statement = select(journal_cursor.c.seq).where(journal_cursor.c.journal_id == journal_id)
    return (await connection.execute(statement)).scalar_one_or_none() or 0
