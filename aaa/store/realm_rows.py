"""Rows of realms, home servers and reports on their way to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Table, delete, func, insert, or_, select, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.store.tables import home_server, proxied_report, realm, realm_server

Rows = Sequence[Any]


async def put(connection: AsyncConnection, table: Table, values: Mapping[str, Any]) -> None:
    """A new realm or home server."""
    await connection.execute(insert(table).values(**values))


async def change(connection: AsyncConnection, table: Table, row_id: str, values: Mapping[str, Any]) -> None:
    """Change columns of a realm or home server."""
    await connection.execute(update(table).where(table.c.id == row_id).values(**values))


async def find(connection: AsyncConnection, table: Table, id_or_name: str) -> Row[Any] | None:
    """The realm or home server with this id or name."""
    wanted = or_(table.c.id == id_or_name, table.c.name == id_or_name)
    return (await connection.execute(select(table).where(wanted))).one_or_none()


async def all_of(connection: AsyncConnection, table: Table) -> Rows:
    """Every realm or home server, by name."""
    return (await connection.execute(select(table).order_by(table.c.name))).all()


async def set_servers(connection: AsyncConnection, realm_id: str, server_ids: Sequence[str]) -> None:
    """The home servers of a realm, in the order in which they are asked."""
    await connection.execute(delete(realm_server).where(realm_server.c.realm_id == realm_id))
    rows = [
        {"realm_id": realm_id, "position": position, "server_id": server_id}
        for position, server_id in enumerate(server_ids)
    ]
    if rows:
        await connection.execute(insert(realm_server), rows)


async def order_of_servers(connection: AsyncConnection) -> Rows:
    """``(realm_id, server_id)`` in order of realm and position."""
    wanted = select(realm_server.c.realm_id, realm_server.c.server_id)
    return (await connection.execute(wanted.order_by(realm_server.c.realm_id, realm_server.c.position))).all()


async def realms_of_server(connection: AsyncConnection, server_id: str) -> list[str]:
    """Names of the realms that ask this server."""
    wanted = (
        select(realm.c.name)
        .join(realm_server, realm_server.c.realm_id == realm.c.id)
        .where(realm_server.c.server_id == server_id)
    )
    return list((await connection.execute(wanted.order_by(realm.c.name))).scalars())


async def remove_realm(connection: AsyncConnection, realm_id: str) -> None:
    """Delete a realm, its order of servers and what waits for them."""
    await connection.execute(delete(proxied_report).where(proxied_report.c.realm_id == realm_id))
    await connection.execute(delete(realm_server).where(realm_server.c.realm_id == realm_id))
    await connection.execute(delete(realm).where(realm.c.id == realm_id))


async def remove_server(connection: AsyncConnection, server_id: str) -> None:
    """Delete a home server."""
    await connection.execute(delete(home_server).where(home_server.c.id == server_id))


async def realms_with_reports(connection: AsyncConnection) -> dict[str, str]:
    """Ids of the realms whose reports are forwarded, by name."""
    asked = select(realm_server.c.realm_id).distinct()
    wanted = select(realm.c.name, realm.c.id).where(
        realm.c.enabled, realm.c.accounting, realm.c.id.in_(asked)
    )
    return {row.name: row.id for row in await connection.execute(wanted)}


async def realms_in_use(connection: AsyncConnection) -> tuple[set[str], set[str]]:
    """Names of the enabled realms: our own, which have no home server, and those of others."""
    asked = select(realm_server.c.realm_id).distinct()
    wanted = select(realm.c.name, realm.c.id.in_(asked).label("foreign")).where(realm.c.enabled)
    own: set[str] = set()
    foreign: set[str] = set()
    for row in await connection.execute(wanted):
        (foreign if row.foreign else own).add(row.name)
    return own, foreign


async def queue_reports(connection: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Put reports on their way."""
    if rows:
        await connection.execute(insert(proxied_report), [dict(row) for row in rows])


async def due_reports(connection: AsyncConnection, realm_id: str, now: datetime, limit: int) -> Rows:
    """The oldest reports of a realm that may be sent now; none of a session whose earlier one still waits."""
    blocked = select(proxied_report.c.lane).where(
        proxied_report.c.realm_id == realm_id, proxied_report.c.due_at > now
    )
    wanted = select(proxied_report).where(
        proxied_report.c.realm_id == realm_id, proxied_report.c.due_at <= now,
        proxied_report.c.lane.not_in(blocked),
    )  # fmt: skip
    return (await connection.execute(wanted.order_by(proxied_report.c.seq).limit(limit))).all()


async def forget_reports(connection: AsyncConnection, seqs: Sequence[int]) -> None:
    """They have arrived, or nobody will ever take them."""
    await connection.execute(delete(proxied_report).where(proxied_report.c.seq.in_(list(seqs))))


async def put_off_reports(connection: AsyncConnection, seqs: Sequence[int], due_at: datetime) -> None:
    """Nobody took them: they are tried again at ``due_at``."""
    await connection.execute(
        update(proxied_report)
        .where(proxied_report.c.seq.in_(list(seqs)))
        .values(due_at=due_at, tries=proxied_report.c.tries + 1)
    )


async def drop_reports_before(connection: AsyncConnection, before: datetime) -> int:
    """Delete reports that were received before then; returns how many."""
    gone = await connection.execute(delete(proxied_report).where(proxied_report.c.received_at < before))
    return int(gone.rowcount)


async def waiting_reports(connection: AsyncConnection) -> dict[str, tuple[int, datetime]]:
    """How many reports of each realm wait, and since when the oldest does."""
    since = func.min(proxied_report.c.received_at).label("at")
    wanted = select(proxied_report.c.realm_id, func.count().label("number"), since)
    wanted = wanted.group_by(proxied_report.c.realm_id)
    return {row.realm_id: (row.number, row.at) for row in await connection.execute(wanted)}
