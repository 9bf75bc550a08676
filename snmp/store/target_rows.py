"""Rows of SNMP targets and bindings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, delete, insert, select, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.store.tables import service, service_profile
from aaa.store.tables import session as radius_session
from core.store.tables import health_issue
from snmp.store.tables import binding, target

_CHUNK = 500


async def _target(connection: AsyncConnection, *where: ColumnElement[bool]) -> Row[Any] | None:
    return (await connection.execute(select(target).where(*where))).one_or_none()


async def target_row(connection: AsyncConnection, target_id: str) -> Row[Any] | None:
    """The target with that id."""
    return await _target(connection, target.c.id == target_id)


async def lock_target(connection: AsyncConnection, target_id: str) -> Row[Any] | None:
    """The target, for this transaction alone: two polls of one target are recorded one after the other."""
    statement = select(target).where(target.c.id == target_id).with_for_update()
    return (await connection.execute(statement)).one_or_none()


async def target_named(connection: AsyncConnection, name: str) -> Row[Any] | None:
    """The target with that name."""
    return await _target(connection, target.c.name == name)


async def enabled_targets(connection: AsyncConnection) -> Sequence[Row[Any]]:
    """The targets to poll, by name."""
    statement = select(target).where(target.c.enabled.is_(True)).order_by(target.c.name)
    return (await connection.execute(statement)).all()


async def insert_target(connection: AsyncConnection, values: Mapping[str, Any]) -> None:
    """A new target."""
    await connection.execute(insert(target).values(**values))


async def update_target(connection: AsyncConnection, target_id: str, values: Mapping[str, Any]) -> None:
    """Change columns of a target."""
    await connection.execute(update(target).where(target.c.id == target_id).values(**values))


async def bindings_of(connection: AsyncConnection, target_id: str) -> Sequence[Row[Any]]:
    """The bindings of a target, by interface name."""
    statement = select(binding).where(binding.c.target_id == target_id).order_by(binding.c.if_name)
    return (await connection.execute(statement)).all()


async def binding_at(connection: AsyncConnection, target_id: str, if_name: str) -> Row[Any] | None:
    """Whose interface it is."""
    statement = select(binding).where(binding.c.target_id == target_id, binding.c.if_name == if_name)
    return (await connection.execute(statement)).one_or_none()


async def billing_binding_of(connection: AsyncConnection, service_id: str) -> Row[Any] | None:
    """The interface from which a service is billed, with the name of its target."""
    statement = (
        select(binding, target.c.name.label("target_name"))
        .join(target, target.c.id == binding.c.target_id)
        .where(binding.c.service_id == service_id, binding.c.bills.is_(True))
        .limit(1)
    )
    return (await connection.execute(statement)).one_or_none()


async def insert_binding(connection: AsyncConnection, values: Mapping[str, Any]) -> None:
    """A new binding."""
    await connection.execute(insert(binding).values(**values))


async def delete_binding(connection: AsyncConnection, binding_id: str) -> None:
    """An interface that is nobody's any more."""
    await connection.execute(delete(binding).where(binding.c.id == binding_id))


def _chunks(ids: Iterable[str]) -> list[list[str]]:
    every = sorted(set(ids))
    return [every[start : start + _CHUNK] for start in range(0, len(every), _CHUNK)]


async def metered_by_radius(
    connection: AsyncConnection, service_ids: Iterable[str], since: datetime
) -> set[str]:
    """Services of which RADIUS accounting has told anything since then."""
    found: set[str] = set()
    for some in _chunks(service_ids):
        statement = (
            select(radius_session.c.service_id)
            .where(radius_session.c.service_id.in_(some), radius_session.c.last_event_at >= since)
            .distinct()
        )
        found |= set((await connection.execute(statement)).scalars())
    return found


async def fastest_rates_bps(connection: AsyncConnection, service_ids: Iterable[str]) -> dict[str, int]:
    """The highest rate in the profile of each service, bursts included."""
    rates = (
        service_profile.c.rate_up_bps, service_profile.c.rate_down_bps,
        service_profile.c.burst_up_bps, service_profile.c.burst_down_bps,
    )  # fmt: skip
    found: dict[str, int] = {}
    for some in _chunks(service_ids):
        statement = (
            select(service.c.id, *rates)
            .join(service_profile, service_profile.c.id == service.c.profile_id)
            .where(service.c.id.in_(some))
        )
        for row in await connection.execute(statement):
            found[row.id] = max(rate or 0 for rate in row[1:])
    return found


async def open_issue_keys(connection: AsyncConnection, keys: Iterable[str]) -> set[str]:
    """Those of the health issues that are open."""
    found: set[str] = set()
    for some in _chunks(keys):
        statement = select(health_issue.c.key).where(
            health_issue.c.key.in_(some), health_issue.c.closed_at.is_(None)
        )
        found |= set((await connection.execute(statement)).scalars())
    return found
