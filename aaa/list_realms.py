"""Realms and home servers as people look at them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.store import realm_rows as rows
from aaa.store import repositories
from aaa.store.tables import home_server, realm


@dataclass(frozen=True, slots=True)
class HomeServerLine:
    """One home server; its secret is not among what is told."""

    id: str
    name: str
    address: str
    auth_port: int | None
    accounting_port: int | None
    signs_replies: bool
    status_check: bool
    timeout_ms: int
    tries: int
    dead_s: int
    enabled: bool
    realms: list[str]


@dataclass(frozen=True, slots=True)
class RealmLine:
    """One realm with its servers in the order in which they are asked, and the reports that wait for them."""

    id: str
    name: str
    servers: list[str]
    strip: bool
    accounting: bool
    passes: list[str]
    profile_id: str | None
    profile: str | None
    enabled: bool
    reports_waiting: int
    waiting_since: datetime | None


async def list_home_servers(connection: AsyncConnection) -> list[HomeServerLine]:
    """All of them, by name."""
    names = {row.id: row.name for row in await rows.all_of(connection, realm)}
    asked_by: dict[str, list[str]] = {}
    for row in await rows.order_of_servers(connection):
        asked_by.setdefault(row.server_id, []).append(names.get(row.realm_id, ""))
    return [
        HomeServerLine(
            row.id, row.name, row.address, row.auth_port, row.accounting_port, row.signs_replies,
            row.status_check, row.timeout_ms, row.tries, row.dead_s, row.enabled,
            sorted(asked_by.get(row.id, ())),
        )
        for row in await rows.all_of(connection, home_server)
    ]  # fmt: skip


async def list_realms(connection: AsyncConnection) -> list[RealmLine]:
    """All of them, by name."""
    servers = {row.id: row.name for row in await rows.all_of(connection, home_server)}
    order: dict[str, list[str]] = {}
    for row in await rows.order_of_servers(connection):
        order.setdefault(row.realm_id, []).append(servers[row.server_id])
    waiting = await rows.waiting_reports(connection)
    found = []
    for row in await rows.all_of(connection, realm):
        number, since = waiting.get(row.id, (0, None))
        profile = None
        if row.profile_id is not None:
            profile = await repositories.profile_row(connection, row.profile_id)
        found.append(
            RealmLine(
                row.id, row.name, order.get(row.id, []), row.strip, row.accounting, list(row.passes),
                row.profile_id, None if profile is None else profile.name, row.enabled, number, since,
            )
        )  # fmt: skip
    return found
