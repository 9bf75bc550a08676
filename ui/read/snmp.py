"""SNMP targets and whose counters they hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.store.tables import service
from billing.store.tables import account
from provisioning.store.tables import site
from snmp.store.tables import binding, target


@dataclass(frozen=True, slots=True)
class TargetRow:
    """One target as it stands. ``state`` is answering, failing, never or off."""

    id: str
    name: str
    site_id: str | None = field(metadata={"csv": False})
    tower: str
    address: str
    port: int
    version: str
    username: str
    poll_interval_s: int
    state: str
    last_polled_at: datetime | None
    last_answer_at: datetime | None
    last_error: str
    sys_name: str
    bindings: int


@dataclass(frozen=True, slots=True)
class BindingRow:
    """One interface that meters a service."""

    target_id: str = field(metadata={"csv": False})
    target: str
    if_name: str
    service_id: str
    service: str
    account_id: str
    account_name: str
    reversed: bool
    bills: bool
    rate_cap_bps: int | None


async def list_targets(connection: AsyncConnection, target_id: str = "") -> list[TargetRow]:
    """Targets by name, or the one with that id."""
    counts = select(binding.c.target_id, func.count()).group_by(binding.c.target_id)
    bound = {row[0]: int(row[1]) for row in await connection.execute(counts)}
    query = select(target, site.c.name.label("tower")).outerjoin(site, site.c.id == target.c.site_id)
    if target_id:
        query = query.where(target.c.id == target_id)
    return [
        _target_row(row, bound.get(row.id, 0))
        for row in await connection.execute(query.order_by(target.c.name))
    ]


def _target_row(row: Any, bindings: int) -> TargetRow:
    return TargetRow(
        row.id, row.name, row.site_id, row.tower or "", row.address, row.port, row.version,
        row.username or "", row.poll_interval_s, _state(row), row.last_polled_at, row.last_answer_at,
        row.last_error or "", row.sys_name or "", bindings,
    )  # fmt: skip


def _state(row: Any) -> str:
    if not row.enabled:
        return "off"
    if row.last_error:
        return "failing"
    return "answering" if row.last_answer_at else "never"


async def bindings_of_target(connection: AsyncConnection, target_id: str) -> list[BindingRow]:
    """Whose interfaces are whose, by interface name."""
    return await _bindings(connection, binding.c.target_id == target_id)


async def bindings_of_service(connection: AsyncConnection, service_id: str) -> list[BindingRow]:
    """The interfaces that meter a service."""
    return await _bindings(connection, binding.c.service_id == service_id)


async def _bindings(connection: AsyncConnection, wanted: Any) -> list[BindingRow]:
    query = (
        select(
            binding.c.target_id, target.c.name, binding.c.if_name, binding.c.service_id, service.c.label,
            service.c.account_id, account.c.name, binding.c.reversed, binding.c.bills, binding.c.rate_cap_bps,
        )
        .join(target, target.c.id == binding.c.target_id)
        .outerjoin(service, service.c.id == binding.c.service_id)
        .outerjoin(account, account.c.id == service.c.account_id)
        .where(wanted)
        .order_by(target.c.name, binding.c.if_name)
    )  # fmt: skip
    rows = (await connection.execute(query)).all()
    return [
        BindingRow(
            row[0], row[1], row[2], row[3], row[4] or "", row[5] or "", row[6] or "", row[7], row[8], row[9]
        )
        for row in rows
    ]
