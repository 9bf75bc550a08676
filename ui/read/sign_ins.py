"""The logins of a service with their conditions: CPEs, swap windows, ports, devices online."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.bind_cpe import CpeRecord, cpes_of_service
from aaa.domain.identity import spelled_mac
from aaa.store.tables import credential, nas, service
from ui.read.services import spoken_logins


@dataclass(frozen=True, slots=True)
class LoginConditions:
    """One login. ``binding`` is empty where the settings decide; times are UTC."""

    kind: str
    username: str
    binding: str
    macs: tuple[str, ...]
    replace_until: datetime | None
    replace_mac: str | None
    nas: str
    nas_id: str
    port: str
    called: str
    """The user name, or the port with its NAS's name."""


@dataclass(frozen=True, slots=True)
class SignInView:
    """What a service's sign-ins have to fulfil, and the devices it has had."""

    logins: list[LoginConditions]
    cpes: list[CpeRecord]
    devices: int | None
    when_crowded: str


async def sign_ins_of(connection: AsyncConnection, service_id: str) -> SignInView:
    """The conditions of the service's logins as they stand."""
    cpes = await cpes_of_service(connection, service_id)
    limits = (
        await connection.execute(
            select(service.c.devices, service.c.when_crowded).where(service.c.id == service_id)
        )
    ).one()
    query = (
        select(credential, nas.c.name.label("nas_name"))
        .outerjoin(nas, nas.c.id == credential.c.port_nas_id)
        .where(credential.c.service_id == service_id)
        .order_by(credential.c.id)
    )
    rows = (await connection.execute(query)).all()
    called = await spoken_logins(connection, [row.username for row in rows if row.kind == "port"])
    logins = [
        LoginConditions(
            row.kind, row.username, row.binding or "",
            tuple(one.label for one in cpes if one.username == row.username and one.retired_at is None),
            row.replace_until, spelled_mac(row.replace_mac) or None, row.nas_name or "",
            row.port_nas_id or "", row.port_pattern or "",
            called.get(row.username, row.username),
        )
        for row in rows
    ]  # fmt: skip
    return SignInView(logins, cpes, limits.devices, limits.when_crowded or "")
