"""Reads: what a service may do now, where it is now, and on which sessions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.domain.effect import Effect
from aaa.store import repositories


@dataclass(frozen=True, slots=True)
class Entitlement:
    """What a service may do since ``changed_at``, and every reason that stands, strongest first."""

    service_id: str
    generation: int
    effect: Effect
    because: list[dict[str, Any]]
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A session without a Stop. ``generation`` is the entitlement it was last known to run under."""

    id: str
    nas_id: str
    acct_session_id: str
    username: str
    framed_ip: str | None
    calling_station: str | None
    generation: int | None


async def entitlement_of(connection: AsyncConnection, service_id: str) -> Entitlement | None:
    """The service's entitlement; None for an unknown service."""
    row = await repositories.entitlement_row(connection, service_id)
    if row is None:
        return None
    return Entitlement(row.service_id, row.generation, Effect(row.effect), row.because, row.changed_at)


async def addresses_of(connection: AsyncConnection, service_id: str) -> frozenset[str]:
    """Every address the service has now: its static one and those of its open sessions."""
    return (await repositories.addresses_by_service(connection, [service_id]))[service_id]


async def services_at(connection: AsyncConnection, address: str) -> list[str]:
    """The services that have ``address`` now, sorted."""
    return await repositories.services_at(connection, address)


async def open_sessions_of(connection: AsyncConnection, service_id: str) -> list[OpenSession]:
    """The service's sessions without a Stop, oldest first."""
    rows = await repositories.open_session_rows(connection, service_id)
    return [
        OpenSession(
            row.id, row.nas_id, row.acct_session_id, row.username, row.framed_ip, row.calling_station,
            row.generation,
        )
        for row in rows
    ]  # fmt: skip
