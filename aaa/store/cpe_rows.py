"""Rows of the devices that logins are bound to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.store.repositories import chunks
from aaa.store.tables import cpe, credential, directory_change


async def _bound(connection: AsyncConnection, *where: ColumnElement[bool]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    statement = select(cpe.c.username, cpe.c.mac).where(cpe.c.retired_at.is_(None), *where)
    for username, mac in await connection.execute(statement.order_by(cpe.c.since, cpe.c.id)):
        found[username] = (*found.get(username, ()), mac)
    return found


async def bound_between(connection: AsyncConnection, after: str, last: str) -> dict[str, tuple[str, ...]]:
    """By user name, the MACs bound to the logins of the services with ``after`` < id <= ``last``."""
    return await _bound(connection, cpe.c.service_id > after, cpe.c.service_id <= last)


async def bound_to_services(
    connection: AsyncConnection, service_ids: Sequence[str]
) -> Mapping[str, tuple[str, ...]]:
    """By user name, the MACs bound to the logins of these services."""
    found: dict[str, tuple[str, ...]] = {}
    for some in chunks(service_ids):
        found |= await _bound(connection, cpe.c.service_id.in_(some))
    return found


async def bound_to(connection: AsyncConnection, usernames: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The MACs bound to these logins, by user name, the longest bound first."""
    found: dict[str, tuple[str, ...]] = {}
    for some in chunks(usernames):
        found |= await _bound(connection, cpe.c.username.in_(some))
    return found


async def services_of(connection: AsyncConnection, usernames: Sequence[str]) -> dict[str, str]:
    """The service that each of these logins signs in to now."""
    found: dict[str, str] = {}
    for some in chunks(usernames):
        statement = select(credential.c.username, credential.c.service_id)
        rows = await connection.execute(statement.where(credential.c.username.in_(some)))
        found |= {row.username: row.service_id for row in rows}
    return found


async def services_changed(connection: AsyncConnection, service_ids: Sequence[str], at: datetime) -> None:
    """Tell every in-memory directory that these services changed; the caller has the directory's lane."""
    if service_ids:
        rows = [{"entity": "service", "entity_id": one, "at": at} for one in service_ids]
        await connection.execute(insert(directory_change), rows)


async def cpes_of_service(connection: AsyncConnection, service_id: str, limit: int) -> Sequence[Any]:
    """Every device a service's logins are or were bound to, those bound first, then the latest."""
    statement = select(cpe).where(cpe.c.service_id == service_id)
    order = (cpe.c.retired_at.is_not(None), cpe.c.since.desc(), cpe.c.id.desc())
    return (await connection.execute(statement.order_by(*order).limit(limit))).all()


async def insert_cpes(connection: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> None:
    """More devices that logins are bound to."""
    if rows:
        await connection.execute(insert(cpe), [dict(row) for row in rows])


async def retire_cpes(
    connection: AsyncConnection, username: str, macs: Sequence[str], at: datetime, because: str
) -> None:
    """These devices are bound no longer; the rows stay for the history."""
    await connection.execute(
        update(cpe)
        .where(cpe.c.username == username, cpe.c.mac.in_(list(macs)), cpe.c.retired_at.is_(None))
        .values(retired_at=at, retired_because=because)
    )


async def retire_all(connection: AsyncConnection, username: str, at: datetime, because: str) -> None:
    """No device is bound to the login any more."""
    await connection.execute(
        update(cpe)
        .where(cpe.c.username == username, cpe.c.retired_at.is_(None))
        .values(retired_at=at, retired_because=because)
    )
