"""Rows of NASes, profiles, services, credentials, holds and entitlements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Table, delete, insert, select, union, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.store.tables import (
    credential,
    directory_change,
    entitlement,
    entitlement_change,
    hold,
    nas,
    service,
    service_profile,
    session,
)
from core.database import take_lane

CHUNK = 500
"""Keys in one IN list: SQLite's variable limit is far above, and statements stay cacheable."""


def chunks(keys: Iterable[str]) -> Iterable[list[str]]:
    """``keys`` without repeats, in lists of at most ``CHUNK``."""
    distinct = list(dict.fromkeys(keys))
    for start in range(0, len(distinct), CHUNK):
        yield distinct[start : start + CHUNK]


async def take_directory_lane(connection: AsyncConnection) -> None:
    """Serialise with every other change of the directory until commit."""
    await take_lane(connection, "directory")


async def append_directory_change(
    connection: AsyncConnection, entity: str, entity_id: str, at: datetime
) -> None:
    """Tell every in-memory directory that ``entity`` (nas, service, profile, template) changed."""
    await take_directory_lane(connection)
    await connection.execute(insert(directory_change).values(entity=entity, entity_id=entity_id, at=at))


async def _one(connection: AsyncConnection, table: Table, *where: ColumnElement[bool]) -> Row[Any] | None:
    return (await connection.execute(select(table).where(*where))).one_or_none()


async def insert_nas(connection: AsyncConnection, values: Mapping[str, Any]) -> None:
    """A new NAS row."""
    await connection.execute(insert(nas).values(**values))


async def update_nas(connection: AsyncConnection, nas_id: str, values: Mapping[str, Any]) -> None:
    """Change columns of a NAS."""
    await connection.execute(update(nas).where(nas.c.id == nas_id).values(**values))


async def nas_row(connection: AsyncConnection, nas_id: str) -> Row[Any] | None:
    """The NAS with that id."""
    return await _one(connection, nas, nas.c.id == nas_id)


async def nas_named(connection: AsyncConnection, name: str) -> Row[Any] | None:
    """The NAS with that name."""
    return await _one(connection, nas, nas.c.name == name)


async def nas_at(connection: AsyncConnection, network: str) -> Row[Any] | None:
    """The NAS registered for exactly that network."""
    return await _one(connection, nas, nas.c.network == network)


async def nas_with_radsec_identity(connection: AsyncConnection, identity: str) -> Row[Any] | None:
    """The NAS whose certificate must be for ``identity``."""
    return await _one(connection, nas, nas.c.radsec_identity == identity)


async def insert_profile(connection: AsyncConnection, values: Mapping[str, Any]) -> None:
    """A new service profile row."""
    await connection.execute(insert(service_profile).values(**values))


async def update_profile(connection: AsyncConnection, profile_id: str, values: Mapping[str, Any]) -> None:
    """Change columns of a service profile."""
    await connection.execute(
        update(service_profile).where(service_profile.c.id == profile_id).values(**values)
    )


async def live_services_of_profile(
    connection: AsyncConnection, profile_id: str, after: str, limit: int
) -> list[str]:
    """Ids of living services of the profile with an open session, in order, behind ``after``."""
    statement = (
        select(service.c.id)
        .join(session, session.c.service_id == service.c.id)
        .where(
            service.c.profile_id == profile_id, service.c.id > after, service.c.lifecycle != "ended",
            session.c.stopped_at.is_(None),
        )
        .distinct()
    )  # fmt: skip
    return list((await connection.execute(statement.order_by(service.c.id).limit(limit))).scalars())


async def profile_row(connection: AsyncConnection, profile_id: str) -> Row[Any] | None:
    """The service profile with that id."""
    return await _one(connection, service_profile, service_profile.c.id == profile_id)


async def profile_named(connection: AsyncConnection, name: str) -> Row[Any] | None:
    """The service profile with that name."""
    return await _one(connection, service_profile, service_profile.c.name == name)


async def insert_service(connection: AsyncConnection, values: Mapping[str, Any]) -> None:
    """A new service row."""
    await connection.execute(insert(service).values(**values))


async def update_service(connection: AsyncConnection, service_id: str, values: Mapping[str, Any]) -> None:
    """Change columns of a service."""
    await connection.execute(update(service).where(service.c.id == service_id).values(**values))


async def service_row(connection: AsyncConnection, service_id: str) -> Row[Any] | None:
    """The service with that id."""
    return await _one(connection, service, service.c.id == service_id)


async def service_with_static_ip(connection: AsyncConnection, framed_ip: str) -> Row[Any] | None:
    """The service that the static address is given to."""
    return await _one(connection, service, service.c.framed_ip == framed_ip)


async def insert_credentials(connection: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> None:
    """New credential rows."""
    if rows:
        await connection.execute(insert(credential), [dict(row) for row in rows])


async def credential_row(connection: AsyncConnection, username: str) -> Row[Any] | None:
    """The credential with that username, with its service's lifecycle and label."""
    statement = (
        select(credential, service.c.lifecycle, service.c.label)
        .join(service, service.c.id == credential.c.service_id)
        .where(credential.c.username == username)
    )
    return (await connection.execute(statement)).one_or_none()


async def usernames_with_passwords(connection: AsyncConnection) -> list[str]:
    """The PPPoE users whose passwords are kept so that they can be read, by name."""
    kept = (credential.c.kind == "pppoe", credential.c.password_sealed.is_not(None))
    query = select(credential.c.username).where(*kept).order_by(credential.c.username)
    return list((await connection.execute(query)).scalars())


async def update_credential(connection: AsyncConnection, username: str, values: Mapping[str, Any]) -> None:
    """Change columns of a credential."""
    await connection.execute(update(credential).where(credential.c.username == username).values(**values))


async def delete_credential(connection: AsyncConnection, username: str) -> None:
    """Take a credential away."""
    await connection.execute(delete(credential).where(credential.c.username == username))


async def standing_hold_rows(connection: AsyncConnection, service_id: str) -> Sequence[Row[Any]]:
    """The holds on a service that are not lifted, by holder."""
    statement = select(hold).where(hold.c.service_id == service_id, hold.c.lifted_at.is_(None))
    return (await connection.execute(statement.order_by(hold.c.holder))).all()


async def insert_hold(connection: AsyncConnection, values: Mapping[str, Any]) -> None:
    """A new standing hold."""
    await connection.execute(insert(hold).values(**values))


async def lift_hold_row(connection: AsyncConnection, hold_id: str, at: datetime, by: str) -> None:
    """Mark a hold as lifted; the row stays for the history."""
    await connection.execute(update(hold).where(hold.c.id == hold_id).values(lifted_at=at, lifted_by=by))


async def entitlement_row(connection: AsyncConnection, service_id: str) -> Row[Any] | None:
    """The present entitlement of a service."""
    return await _one(connection, entitlement, entitlement.c.service_id == service_id)


async def insert_entitlement(connection: AsyncConnection, values: Mapping[str, Any]) -> None:
    """The first entitlement of a service."""
    await connection.execute(insert(entitlement).values(**values))


async def update_entitlement(connection: AsyncConnection, service_id: str, values: Mapping[str, Any]) -> None:
    """Change the present entitlement of a service."""
    await connection.execute(
        update(entitlement).where(entitlement.c.service_id == service_id).values(**values)
    )


async def insert_entitlement_change(connection: AsyncConnection, values: Mapping[str, Any]) -> None:
    """One generation in the history of a service."""
    await connection.execute(insert(entitlement_change).values(**values))


async def entitlement_rows(connection: AsyncConnection, service_ids: Iterable[str]) -> dict[str, Row[Any]]:
    """The present entitlements of many services, by service."""
    found: dict[str, Row[Any]] = {}
    for some in chunks(service_ids):
        statement = select(entitlement).where(entitlement.c.service_id.in_(some))
        found |= {row.service_id: row for row in await connection.execute(statement)}
    return found


async def addresses_by_service(
    connection: AsyncConnection, service_ids: Iterable[str]
) -> dict[str, frozenset[str]]:
    """The present addresses of each service: static ones and those of open sessions."""
    wanted = list(service_ids)
    found: dict[str, set[str]] = {service_id: set() for service_id in wanted}
    for some in chunks(wanted):
        static = select(service.c.id, service.c.framed_ip).where(
            service.c.id.in_(some), service.c.framed_ip.is_not(None)
        )
        live = select(session.c.service_id, session.c.framed_ip).where(
            session.c.service_id.in_(some), session.c.stopped_at.is_(None), session.c.framed_ip.is_not(None)
        )
        for service_id, address in await connection.execute(union(static, live)):
            found[service_id].add(address)
    return {service_id: frozenset(addresses) for service_id, addresses in found.items()}


async def services_at(connection: AsyncConnection, address: str) -> list[str]:
    """The services whose static address or open session has ``address``, sorted."""
    static = select(service.c.id).where(service.c.framed_ip == address)
    live = select(session.c.service_id).where(
        session.c.framed_ip == address, session.c.stopped_at.is_(None), session.c.service_id.is_not(None)
    )
    return sorted((await connection.execute(union(static, live))).scalars())


async def open_session_rows(connection: AsyncConnection, service_id: str) -> Sequence[Row[Any]]:
    """The sessions of a service without a Stop, oldest first."""
    statement = select(session).where(session.c.service_id == service_id, session.c.stopped_at.is_(None))
    return (await connection.execute(statement.order_by(session.c.started_at, session.c.id))).all()
