"""Rows of authorities and certificates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, func, insert, or_, select, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.store.repositories import CHUNK, chunks
from aaa.store.tables import authority, certificate, credential, nas, service

Rows = Sequence[Any]


async def insert_authority(connection: AsyncConnection, values: Mapping[str, Any]) -> None:
    """A new authority."""
    await connection.execute(insert(authority).values(**values))


async def update_authority(connection: AsyncConnection, authority_id: str, values: Mapping[str, Any]) -> None:
    """Change columns of an authority."""
    await connection.execute(update(authority).where(authority.c.id == authority_id).values(**values))


async def issue_no_more(connection: AsyncConnection) -> None:
    """Whatever authority signed what is new does so no longer."""
    await connection.execute(update(authority).where(authority.c.issues).values(issues=False))


async def authorities(connection: AsyncConnection) -> Rows:
    """Every authority, the newest first."""
    return (
        await connection.execute(select(authority).order_by(authority.c.created_at.desc(), authority.c.id))
    ).all()


async def authority_row(connection: AsyncConnection, id_or_name: str) -> Row[Any] | None:
    """The authority with this id or name."""
    wanted = or_(authority.c.id == id_or_name, authority.c.name == id_or_name)
    return (await connection.execute(select(authority).where(wanted))).one_or_none()


async def issuing_authority(connection: AsyncConnection) -> Row[Any] | None:
    """The authority that signs what is new."""
    wanted = and_(authority.c.issues, authority.c.retired_at.is_(None))
    return (await connection.execute(select(authority).where(wanted))).one_or_none()


async def insert_certificate(connection: AsyncConnection, values: Mapping[str, Any]) -> None:
    """A new certificate."""
    await connection.execute(insert(certificate).values(**values))


async def update_certificate(
    connection: AsyncConnection, certificate_id: str, values: Mapping[str, Any]
) -> None:
    """Change columns of a certificate."""
    await connection.execute(update(certificate).where(certificate.c.id == certificate_id).values(**values))


async def certificate_row(connection: AsyncConnection, id_or_serial: str) -> Row[Any] | None:
    """The certificate with this id or serial number (hexadecimal, colons as you like)."""
    serial = id_or_serial.replace(":", "").lower().lstrip("0")
    wanted = or_(certificate.c.id == id_or_serial, certificate.c.serial == serial)
    return (await connection.execute(select(certificate).where(wanted))).one_or_none()


async def revoked_by(connection: AsyncConnection, authority_id: str, now: datetime) -> Rows:
    """``(serial, revoked_at, reason)`` of an authority's revoked certificates that have not ended yet."""
    wanted = select(certificate.c.serial, certificate.c.revoked_at, certificate.c.reason).where(
        certificate.c.authority_id == authority_id,
        certificate.c.revoked_at.is_not(None),
        certificate.c.not_after > now,
    )
    return (await connection.execute(wanted.order_by(certificate.c.revoked_at))).all()


def _known() -> Any:
    return select(
        certificate.c.id, certificate.c.purpose, certificate.c.fingerprint, certificate.c.service_id,
        certificate.c.username, certificate.c.nas_id, certificate.c.revoked_at,
    )  # fmt: skip


async def known_page(connection: AsyncConnection, after: str, limit: int) -> Rows:
    """Certificates of clients and NASes in order of id."""
    statement = _known().where(certificate.c.id > after, certificate.c.purpose != "server")
    rows: Rows = (await connection.execute(statement.order_by(certificate.c.id).limit(limit))).all()
    return rows


async def known_with_ids(connection: AsyncConnection, ids: Sequence[str]) -> list[Any]:
    """These certificates of clients and NASes."""
    rows: list[Any] = []
    for some in chunks(ids):
        wanted = _known().where(certificate.c.id.in_(some), certificate.c.purpose != "server")
        rows += (await connection.execute(wanted)).all()
    return rows


async def servers_in_use(connection: AsyncConnection) -> Rows:
    """Our own server certificates that are neither revoked nor superseded, the newest first."""
    wanted = select(certificate).where(
        certificate.c.purpose == "server",
        certificate.c.revoked_at.is_(None),
        certificate.c.superseded_at.is_(None),
    )
    return (await connection.execute(wanted.order_by(certificate.c.issued_at.desc(), certificate.c.id))).all()


async def superseded_by(connection: AsyncConnection, now: datetime) -> Rows:
    """Certificates whose overlap with their successor is over, and which are not revoked yet."""
    wanted = select(certificate).where(
        certificate.c.superseded_at <= now, certificate.c.revoked_at.is_(None), certificate.c.not_after > now
    )
    return (await connection.execute(wanted.order_by(certificate.c.id).limit(CHUNK))).all()


async def in_use_ending(connection: AsyncConnection, after: datetime, before: datetime) -> Rows:
    """``(purpose, number, at)``: certificates in use that end between two instants, and the first's end."""
    wanted = (
        select(
            certificate.c.purpose, func.count().label("number"), func.min(certificate.c.not_after).label("at")
        )
        .outerjoin_from(certificate, service, service.c.id == certificate.c.service_id)
        .where(
            certificate.c.not_after.between(after, before), certificate.c.revoked_at.is_(None),
            certificate.c.superseded_at.is_(None),
            or_(service.c.lifecycle.is_(None), service.c.lifecycle != "ended"),
        )
        .group_by(certificate.c.purpose)
    )  # fmt: skip
    return (await connection.execute(wanted)).all()


def mentions(text: str) -> ColumnElement[bool]:
    """That ``text`` is in a name or the holder's label, begins the serial, or is the holder's id."""
    return or_(
        certificate.c.subject.icontains(text, autoescape=True),
        certificate.c.serial.startswith(text.lower().replace(":", ""), autoescape=True),
        certificate.c.service_id == text,
        service.c.label.icontains(text, autoescape=True),
    )


async def certificates(connection: AsyncConnection, *wanted: ColumnElement[bool], limit: int = 1_000) -> Rows:
    """Certificates with ``service_label``, ``nas_name`` and ``authority_name``, newest first."""
    statement = (
        select(
            certificate, service.c.label.label("service_label"), nas.c.name.label("nas_name"),
            authority.c.name.label("authority_name"),
        )
        .join_from(certificate, authority, authority.c.id == certificate.c.authority_id)
        .outerjoin(service, service.c.id == certificate.c.service_id)
        .outerjoin(nas, nas.c.id == certificate.c.nas_id)
        .where(*wanted)
        .order_by(certificate.c.issued_at.desc(), certificate.c.id)
        .limit(limit)
    )  # fmt: skip
    return (await connection.execute(statement)).all()


async def usernames_of_service(connection: AsyncConnection, service_id: str) -> list[str]:
    """The user names that a service signs in with, MACs left out, the oldest first."""
    wanted = select(credential.c.username).where(
        credential.c.service_id == service_id, credential.c.kind != "mac"
    )
    return list(
        (await connection.execute(wanted.order_by(credential.c.created_at, credential.c.id))).scalars()
    )
