"""Towers, their devices and NASes, and what the devices last said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import and_, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.store.tables import nas, service, service_profile, session
from billing.store.tables import account
from provisioning.store.tables import device, enforcement_point, observation, site, task, transcript
from ui.read.rows import PAGE
from ui.read.services import TranscriptLink


@dataclass(frozen=True, slots=True)
class TowerRow:
    """One tower in the list. ``state`` is clear, trouble, outage or empty."""

    id: str
    name: str
    state: str
    devices: int
    devices_in_trouble: int
    services: int
    online: int
    waiting_tasks: int
    last_contact_at: datetime | None
    known_outage: bool


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """One device as it stands."""

    id: str
    name: str
    site: str
    driver: str
    address: str
    port: int
    enabled: bool
    state: str  # answering, failing, unreachable, never, off
    last_contact_at: datetime | None
    failures_in_row: int
    breaker_open_until: datetime | None
    pinned: bool
    services: int
    facts: dict[str, Any] = field(metadata={"csv": False})
    observed_at: datetime | None
    entries: list[Any] = field(metadata={"csv": False})
    drift: Any = field(metadata={"csv": False})
    transcripts: list[TranscriptLink] = field(metadata={"csv": False})


@dataclass(frozen=True, slots=True)
class NasRow:
    """One NAS."""

    id: str
    name: str
    network: str
    dialect: str
    tower: str
    site_id: str | None = field(metadata={"csv": False})
    identifier: str
    radsec_identity: str
    message_authenticator: str
    signs_requests: bool
    mac_format: str
    mac_case: str
    mac_password: str
    identity: str
    dynauth_port: int
    octets_reversed: bool
    admin_logins: bool
    enabled: bool
    online: int


@dataclass(frozen=True, slots=True)
class ProfileRow:
    """One service profile."""

    id: str
    name: str
    rate_down_bps: int
    rate_up_bps: int
    pool: str
    interim_interval_s: int
    services: int


@dataclass(frozen=True, slots=True)
class TaskLine:
    """An enforcement task that has not come true yet."""

    service_id: str
    account_id: str
    account_name: str
    label: str
    device: str
    effect: str
    status: str
    attempts: int
    next_attempt_at: datetime | None
    last_error: str


def _device_state(row: Any, now: datetime) -> str:
    if not row.enabled:
        return "off"
    if row.breaker_open_until and row.breaker_open_until > now:
        return "unreachable"
    if row.failures_in_row:
        return "failing"
    return "answering" if row.last_contact_at else "never"


async def list_towers(connection: AsyncConnection, now: datetime) -> list[TowerRow]:
    """Every tower with the state of its devices."""
    devices: dict[str, list[Any]] = {}
    for row in await connection.execute(select(device)):
        devices.setdefault(row.site_id, []).append(row)
    services = await _services_by_site(connection)
    online = await _online_by_site(connection)
    waiting = await _waiting_by_site(connection)
    rows = (await connection.execute(select(site).order_by(site.c.name))).all()
    return [
        _tower_row(
            row,
            devices.get(row.id, []),
            now,
            services=services.get(row.id, 0),
            online=online.get(row.id, 0),
            waiting=waiting.get(row.id, 0),
        )
        for row in rows
    ]


def _tower_row(
    row: Any, devices: Sequence[Any], now: datetime, *, services: int, online: int, waiting: int
) -> TowerRow:
    trouble = sum(_device_state(one, now) in ("unreachable", "failing") for one in devices)
    state = "outage" if row.known_outage else "trouble" if trouble else "clear" if devices else "empty"
    contacts = [one.last_contact_at for one in devices if one.last_contact_at]
    return TowerRow(
        row.id, row.name, state, len(devices), trouble, services, online, waiting,
        max(contacts) if contacts else None, row.known_outage,
    )  # fmt: skip


async def _services_by_site(connection: AsyncConnection) -> dict[str, int]:
    query = (
        select(device.c.site_id, func.count(enforcement_point.c.service_id.distinct()))
        .join(enforcement_point, enforcement_point.c.device_id == device.c.id)
        .where(enforcement_point.c.mechanism == "device")
        .group_by(device.c.site_id)
    )
    return {row[0]: int(row[1]) for row in await connection.execute(query)}


async def _online_by_site(connection: AsyncConnection) -> dict[str, int]:
    query = (
        select(nas.c.site_id, func.count())
        .join(session, and_(session.c.nas_id == nas.c.id, session.c.stopped_at.is_(None)))
        .where(nas.c.site_id.is_not(None))
        .group_by(nas.c.site_id)
    )
    return {row[0]: int(row[1]) for row in await connection.execute(query)}


async def _waiting_by_site(connection: AsyncConnection) -> dict[str, int]:
    query = (
        select(device.c.site_id, func.count())
        .join(enforcement_point, enforcement_point.c.device_id == device.c.id)
        .join(task, task.c.point_id == enforcement_point.c.id)
        .where(task.c.status.in_(["waiting", "claimed", "parked"]))
        .group_by(device.c.site_id)
    )
    return {row[0]: int(row[1]) for row in await connection.execute(query)}


@dataclass(frozen=True, slots=True)
class TowerView:
    """One tower's page."""

    id: str
    name: str
    latitude: float | None
    longitude: float | None
    known_outage: bool
    created_at: datetime


async def tower_view(connection: AsyncConnection, site_id: str) -> TowerView | None:
    """The tower with that id."""
    row = (await connection.execute(select(site).where(site.c.id == site_id))).one_or_none()
    if row is None:
        return None
    return TowerView(row.id, row.name, row.latitude, row.longitude, row.known_outage, row.created_at)


async def list_sites(connection: AsyncConnection) -> list[tuple[str, str]]:
    """Ids and names of all towers, for choices in forms."""
    rows = await connection.execute(select(site.c.id, site.c.name).order_by(site.c.name))
    return [(row.id, row.name) for row in rows]


async def device_choices(connection: AsyncConnection) -> list[tuple[str, str]]:
    """Ids and names of all devices with their tower, for choices in forms."""
    query = (
        select(device.c.id, device.c.name, site.c.name)
        .join(site, site.c.id == device.c.site_id)
        .where(device.c.enabled.is_(True))
        .order_by(site.c.name, device.c.name)
    )
    return [(row[0], f"{row[2]}: {row[1]}") for row in await connection.execute(query)]


async def list_devices(connection: AsyncConnection, now: datetime, site_id: str = "") -> list[DeviceRow]:
    """Devices with what they last said."""
    query = select(device, site.c.name.label("site_name")).join(site, site.c.id == device.c.site_id)
    if site_id:
        query = query.where(device.c.site_id == site_id)
    rows = (await connection.execute(query.order_by(site.c.name, device.c.name))).all()
    at_device = enforcement_point.c.mechanism == "device"
    counts = (
        select(enforcement_point.c.device_id, func.count())
        .where(at_device)
        .group_by(enforcement_point.c.device_id)
    )
    services = {row[0]: int(row[1]) for row in await connection.execute(counts)}
    return [await _device_row(connection, row, now, services.get(row.id, 0)) for row in rows]


async def _device_row(connection: AsyncConnection, row: Any, now: datetime, services: int) -> DeviceRow:
    seen = (
        await connection.execute(
            select(observation)
            .where(observation.c.device_id == row.id)
            .order_by(observation.c.seq.desc())
            .limit(1)
        )
    ).one_or_none()
    talks = await connection.execute(
        select(transcript.c.id, transcript.c.outcome, transcript.c.started_at)
        .where(transcript.c.device_id == row.id)
        .order_by(transcript.c.id.desc())
        .limit(6)
    )
    return DeviceRow(
        row.id, row.name, row.site_name, row.driver, row.address, row.port, row.enabled,
        _device_state(row, now), row.last_contact_at, row.failures_in_row, row.breaker_open_until,
        row.host_key is not None, services, row.facts or {}, seen.at if seen else None,
        seen.entries if seen else [], seen.drift if seen else [], [TranscriptLink(*talk) for talk in talks],
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class DeviceFields:
    """What is on record of a device, without its secrets: for its form."""

    id: str
    name: str
    site_id: str
    driver: str
    address: str
    port: int
    username: str
    host_key: str | None
    options: dict[str, Any]
    enabled: bool


async def device_fields(connection: AsyncConnection, device_id: str) -> DeviceFields | None:
    """The device with that id."""
    columns = (
        device.c.id, device.c.name, device.c.site_id, device.c.driver, device.c.address, device.c.port,
        device.c.username, device.c.host_key, device.c.options, device.c.enabled,
    )  # fmt: skip
    row = (await connection.execute(select(*columns).where(device.c.id == device_id))).one_or_none()
    return None if row is None else DeviceFields(**row._mapping)


async def open_tasks(connection: AsyncConnection, site_id: str, limit: int = PAGE) -> list[TaskLine]:
    """What a tower's devices have still to be brought to."""
    query = (
        select(
            task.c.service_id, service.c.account_id, account.c.name, service.c.label, device.c.name,
            task.c.effect, task.c.status, task.c.attempts, task.c.next_attempt_at, task.c.last_error,
        )
        .join(enforcement_point, enforcement_point.c.id == task.c.point_id)
        .join(device, device.c.id == enforcement_point.c.device_id)
        .join(service, service.c.id == task.c.service_id)
        .join(account, account.c.id == service.c.account_id)
        .where(device.c.site_id == site_id, task.c.status.in_(["waiting", "claimed", "parked"]))
        .order_by(task.c.id)
        .limit(limit)
    )  # fmt: skip
    return [TaskLine(*row[:9], row.last_error or "") for row in await connection.execute(query)]


async def list_nases(connection: AsyncConnection, site_id: str = "") -> list[NasRow]:
    """NASes by name with the number of open sessions on each."""
    counts = (
        select(session.c.nas_id, func.count())
        .where(session.c.stopped_at.is_(None))
        .group_by(session.c.nas_id)
    )
    online = {row[0]: int(row[1]) for row in await connection.execute(counts)}
    query = select(nas, site.c.name.label("site_name")).outerjoin(site, site.c.id == nas.c.site_id)
    if site_id:
        query = query.where(nas.c.site_id == site_id)
    return [
        NasRow(
            row.id, row.name, row.network, row.dialect, row.site_name or "", row.site_id,
            row.identifier or "", row.radsec_identity or "", row.message_authenticator, row.signs_requests,
            row.mac_format, row.mac_case, row.mac_password, row.identity, row.dynauth_port,
            row.octets_reversed, row.admin_logins, row.enabled, online.get(row.id, 0),
        )
        for row in await connection.execute(query.order_by(nas.c.name))
    ]  # fmt: skip


async def list_profiles(connection: AsyncConnection) -> list[ProfileRow]:
    """Service profiles by name with the number of services on each."""
    counts = select(service.c.profile_id, func.count()).group_by(service.c.profile_id)
    services = {row[0]: int(row[1]) for row in await connection.execute(counts)}
    rows = await connection.execute(select(service_profile).order_by(service_profile.c.name))
    return [
        ProfileRow(
            row.id, row.name, row.rate_down_bps, row.rate_up_bps, row.pool or "", row.interim_interval_s,
            services.get(row.id, 0),
        )
        for row in rows
    ]  # fmt: skip
