"""One service: entitlement, sessions, holds, enforcement history, rejects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.domain.identity import normalise_mac
from aaa.domain.password_hash import METHODS
from aaa.list_pools import ServiceLease, leases_of_service
from aaa.set_addressing import addressing_of
from aaa.store.tables import (
    credential,
    entitlement,
    entitlement_change,
    hold,
    nas,
    reject,
    service,
    service_profile,
)
from provisioning.store.tables import device, enforcement_point, task, transcript
from ui.read.rows import PAGE


@dataclass(frozen=True, slots=True)
class LoginRow:
    """One way to sign in. ``kept``: cleartext, or the hash that alone is kept; empty for a MAC."""

    kind: str
    username: str
    kept: str
    called: str
    """The user name, or the port with its NAS's name."""

    @property
    def is_hash_only(self) -> bool:
        """True when the password cannot be read any more."""
        return self.kept not in {"", "cleartext"}

    @property
    def methods(self) -> str:
        """The methods that work with what is kept."""
        return METHODS.get(self.kept, "")


@dataclass(frozen=True, slots=True)
class ServiceView:
    """One service as it stands."""

    id: str
    account_id: str
    label: str
    lifecycle: str
    effect: str
    generation: int
    because: list[dict[str, Any]]
    changed_at: datetime
    profile_id: str
    profile: str
    rate_down_bps: int
    rate_up_bps: int
    framed_ip: str | None
    own: dict[str, str]  # prefixes and routes, as their form shows them
    logins: list[LoginRow]
    points: list[str]
    leases: list[ServiceLease] = field(default_factory=list)
    """What it has of Hilltop's own pools."""


@dataclass(frozen=True, slots=True)
class HoldRow:
    """One hold, standing or lifted."""

    holder: str
    effect: str
    reason: str
    placed_at: datetime
    placed_by: str
    lifted_at: datetime | None
    lifted_by: str


@dataclass(frozen=True, slots=True)
class TranscriptLink:
    """A device session that belongs to a task."""

    id: str
    outcome: str
    started_at: datetime


@dataclass(frozen=True, slots=True)
class TaskRow:
    """The way of one generation to one enforcement point."""

    generation: int
    effect: str
    point: str
    status: str
    cause: str
    attempts: int
    created_at: datetime
    verified_at: datetime | None
    last_error: str
    proof: Any = field(metadata={"csv": False})
    transcripts: list[TranscriptLink] = field(metadata={"csv": False})

    @property
    def took(self) -> timedelta | None:
        """From the intent to its verification."""
        return self.verified_at - self.created_at if self.verified_at else None


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """One generation of the entitlement with its tasks."""

    generation: int
    effect: str
    because: list[dict[str, Any]]
    changed_at: datetime
    changed_by: str
    tasks: list[TaskRow]


@dataclass(frozen=True, slots=True)
class RejectRow:
    """Why somebody was refused, how often, and what would have made it an accept."""

    last_at: datetime
    first_at: datetime
    count: int
    nas: str
    identity: str
    rule: str
    explanation: str
    remedy: str
    calling_station: str
    account_id: str | None = field(default=None, metadata={"csv": False})


async def service_view(connection: AsyncConnection, service_id: str) -> ServiceView | None:
    """The service with entitlement, profile, logins and enforcement points."""
    query = (
        select(
            service, service_profile.c.name.label("profile"), service_profile.c.rate_down_bps,
            service_profile.c.rate_up_bps, entitlement.c.effect, entitlement.c.generation,
            entitlement.c.because, entitlement.c.changed_at,
        )
        .join(service_profile, service_profile.c.id == service.c.profile_id)
        .join(entitlement, entitlement.c.service_id == service.c.id)
        .where(service.c.id == service_id)
    )  # fmt: skip
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        return None
    return ServiceView(
        row.id, row.account_id, row.label, row.lifecycle, row.effect, row.generation, row.because,
        row.changed_at, row.profile_id, row.profile, row.rate_down_bps, row.rate_up_bps, row.framed_ip,
        await addressing_shown(connection, service_id), await logins_of(connection, service_id), await
        _points(connection, service_id), await leases_of_service(connection, service_id),
    )  # fmt: skip


async def logins_of(connection: AsyncConnection, service_id: str) -> list[LoginRow]:
    """Each way to sign in, and what of its password is kept."""
    clear = credential.c.password_sealed.is_not(None).label("clear")
    query = (
        select(credential.c.kind, credential.c.username, credential.c.hash_scheme, clear)
        .where(credential.c.service_id == service_id)
        .order_by(credential.c.id)
    )
    rows = (await connection.execute(query)).all()
    called = await spoken_logins(connection, [row.username for row in rows if row.kind == "port"])
    return [
        LoginRow(
            row.kind, row.username, row.hash_scheme or ("cleartext" if row.clear else ""),
            called.get(row.username, row.username),
        )
        for row in rows
    ]  # fmt: skip


async def spoken_logins(connection: AsyncConnection, ports: Sequence[str]) -> dict[str, str]:
    """Logins by port as people call them: the NAS by its name."""
    if not ports:
        return {}
    names = {row.id: row.name for row in await connection.execute(select(nas.c.id, nas.c.name))}
    called = {}
    for username in ports:
        nas_id, _, port = username.removeprefix("port:").partition("/")
        called[username] = f"{names.get(nas_id, nas_id)} {port}"
    return called


async def addressing_shown(connection: AsyncConnection, service_id: str) -> dict[str, str]:
    """What of prefixes and routes is the service's own, as its form shows it."""
    row = (await connection.execute(select(service).where(service.c.id == service_id))).one()
    own = (await addressing_of(connection, [row]))[service_id]
    return {
        "netmask_bits": str(own.netmask_bits or ""), "ipv6_prefix": own.ipv6_prefix or "",
        "delegated_prefix": own.delegated_prefix or "", "ipv6_address": own.ipv6_address or "",
        "routes": "\n".join(str(route) for route in own.routes),
    }  # fmt: skip


async def device_ids_of(connection: AsyncConnection, service_id: str) -> set[str]:
    """The devices that enforce the service."""
    query = select(enforcement_point.c.device_id).where(
        enforcement_point.c.service_id == service_id, enforcement_point.c.mechanism == "device"
    )
    return set((await connection.execute(query)).scalars())


async def find_service(connection: AsyncConnection, text: str) -> str | None:
    """The service that people mean: by its id, a name that signs in, a MAC or a static address."""
    by_name = select(credential.c.service_id).where(
        credential.c.username.in_([text, normalise_mac(text) or text])
    )
    by_place = select(service.c.id).where(or_(service.c.id == text, service.c.framed_ip == text))
    found = (await connection.execute(by_name.union(by_place))).scalars().all()
    return found[0] if len(found) == 1 else None


async def _points(connection: AsyncConnection, service_id: str) -> list[str]:
    query = (
        select(enforcement_point.c.mechanism, device.c.name)
        .outerjoin(device, device.c.id == enforcement_point.c.device_id)
        .where(
            enforcement_point.c.service_id == service_id,
            enforcement_point.c.mechanism.in_(("device", "live_session")),  # not what it has left
        )
        .order_by(enforcement_point.c.mechanism, device.c.name)
    )
    return [_point_name(row.mechanism, row.name) for row in await connection.execute(query)]


def _point_name(mechanism: str, device_name: str | None) -> str:
    return device_name or ("live session" if mechanism == "live_session" else mechanism)


async def holds_of(connection: AsyncConnection, service_id: str, limit: int = 20) -> list[HoldRow]:
    """Standing holds first, then those lifted, newest first."""
    query = (
        select(hold)
        .where(hold.c.service_id == service_id)
        .order_by(hold.c.lifted_at.is_not(None), hold.c.placed_at.desc())
        .limit(limit)
    )
    return [
        HoldRow(
            row.holder,
            row.effect,
            row.reason,
            row.placed_at,
            row.placed_by,
            row.lifted_at,
            row.lifted_by or "",
        )
        for row in await connection.execute(query)
    ]


async def tasks_of(connection: AsyncConnection, service_id: str, limit: int = PAGE) -> list[TaskRow]:
    """The service's enforcement tasks, newest first, each with its transcripts."""
    query = (
        select(task, enforcement_point.c.mechanism, device.c.name.label("device_name"))
        .join(enforcement_point, enforcement_point.c.id == task.c.point_id)
        .outerjoin(device, device.c.id == enforcement_point.c.device_id)
        .where(task.c.service_id == service_id)
        .order_by(task.c.id.desc())
        .limit(limit)
    )
    rows = (await connection.execute(query)).all()
    transcripts = await _transcripts_of(connection, [row.id for row in rows])
    return [
        TaskRow(
            row.generation, row.effect, _point_name(row.mechanism, row.device_name), row.status, row.cause,
            row.attempts, row.created_at, row.verified_at, row.last_error or "", row.proof,
            transcripts.get(row.id, []),
        )
        for row in rows
    ]  # fmt: skip


async def _transcripts_of(
    connection: AsyncConnection, task_ids: Sequence[str]
) -> dict[str, list[TranscriptLink]]:
    query = (
        select(transcript.c.task_id, transcript.c.id, transcript.c.outcome, transcript.c.started_at)
        .where(transcript.c.task_id.in_(task_ids))
        .order_by(transcript.c.id)
    )
    found: dict[str, list[TranscriptLink]] = {}
    for row in await connection.execute(query):
        found.setdefault(row.task_id, []).append(TranscriptLink(row.id, row.outcome, row.started_at))
    return found


async def history_of(connection: AsyncConnection, service_id: str, limit: int = 10) -> list[ChangeRow]:
    """The entitlement's generations, newest first, with how each was made true."""
    query = (
        select(entitlement_change)
        .where(entitlement_change.c.service_id == service_id)
        .order_by(entitlement_change.c.generation.desc())
        .limit(limit)
    )
    tasks: dict[int, list[TaskRow]] = {}
    for one in await tasks_of(connection, service_id):
        tasks.setdefault(one.generation, []).append(one)
    return [
        ChangeRow(
            row.generation, row.effect, row.because, row.changed_at, row.changed_by,
            sorted(tasks.get(row.generation, []), key=lambda one: one.point),
        )
        for row in await connection.execute(query)
    ]  # fmt: skip


async def rejects_of(connection: AsyncConnection, service_id: str, limit: int = 20) -> list[RejectRow]:
    """Refused sign-ins of this service, and of anybody who used one of its names."""
    names = select(credential.c.username).where(credential.c.service_id == service_id)
    return await _rejects(
        connection, limit, or_(reject.c.service_id == service_id, reject.c.identity.in_(names))
    )


async def recent_rejects(connection: AsyncConnection, limit: int = PAGE) -> list[RejectRow]:
    """Refused sign-ins of all NASes, the latest first."""
    return await _rejects(connection, limit)


async def _rejects(connection: AsyncConnection, limit: int, *wanted: Any) -> list[RejectRow]:
    query = (
        select(reject, nas.c.name.label("nas_name"), service.c.account_id)
        .outerjoin(nas, nas.c.id == reject.c.nas_id)
        .outerjoin(service, service.c.id == reject.c.service_id)
        .where(*wanted)
        .order_by(reject.c.last_at.desc())
        .limit(limit)
    )
    return [
        RejectRow(
            row.last_at, row.first_at, row._mapping[reject.c.count], row.nas_name or row.nas_id,
            row.identity, row.rule, row.explanation, row.remedy, row.calling_station or "", row.account_id,
        )
        for row in await connection.execute(query)
    ]  # fmt: skip
