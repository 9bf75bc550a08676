"""Pools as people look at them: how full they are, who has what, who had it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.define_pool import pool_of
from aaa.store import pool_rows

PAGE = 200


@dataclass(frozen=True, slots=True)
class PoolLine:
    """One pool and its use. ``kept``: of services that are offline; ``resting``: soon anybody's."""

    id: str
    name: str
    kind: str
    ranges: list[str]
    excluded: list[str]
    length: int
    netmask_bits: int | None
    keep_s: int | None
    rest_s: int
    when_full: str
    draining: bool
    size: int
    online: int
    kept: int
    set_aside: int
    resting: int

    @property
    def percent(self) -> int:
        """How much of it is in use, in percent."""
        return 100 * self.online // self.size

    @property
    def free(self) -> int:
        """What anybody could be given."""
        return max(0, self.size - self.online - self.kept - self.set_aside - self.resting)


@dataclass(frozen=True, slots=True)
class LeaseLine:
    """One address or prefix and the service that has it. ``idle_since`` None: a session uses it."""

    network: str
    service_id: str
    service: str
    account_id: str | None
    station: str | None
    nas: str | None
    granted_at: datetime | None
    idle_since: datetime | None
    first: str


@dataclass(frozen=True, slots=True)
class ServiceLease:
    """What a service has of one pool."""

    network: str
    kind: str
    pool_id: str
    pool: str
    station: str | None
    granted_at: datetime | None
    idle_since: datetime | None


@dataclass(frozen=True, slots=True)
class PastLease:
    """Who had a network, from when until when. ``until_at`` None: he still has it."""

    network: str
    pool: str
    service_id: str
    service: str
    station: str | None
    from_at: datetime
    until_at: datetime | None
    because: str | None


async def list_pools(connection: AsyncConnection) -> list[PoolLine]:
    """Every pool, by name."""
    counted = {one.pool_id: one for one in await pool_rows.counts(connection)}
    return [_line(row, counted.get(row.id)) for row in await pool_rows.pools(connection)]


def _line(row: Any, used: Any | None) -> PoolLine:
    online, kept, aside, resting = (
        (0, 0, 0, 0) if used is None else (used.online, used.kept, used.set_aside, used.resting)
    )
    return PoolLine(
        row.id, row.name, row.kind, list(row.ranges), list(row.excluded), row.length, row.netmask_bits,
        row.keep_s, row.rest_s, row.when_full, row.draining, pool_of(row).size, int(online), int(kept),
        int(aside), int(resting),
    )  # fmt: skip


async def leases_of_pool(
    connection: AsyncConnection, pool_id: str, *, after: str = "", live: bool = False, limit: int = PAGE
) -> list[LeaseLine]:
    """Who has what of a pool, in the order of addresses; ``after`` is the ``first`` of the last one seen."""
    rows = await pool_rows.leases_of_pool(connection, pool_id, after=after, live=live, limit=limit)
    return [
        LeaseLine(
            row.network, row.service_id, row.label or "nobody known", row.account_id, row.station,
            row.nas_name, row.granted_at, row.idle_since, row.first,
        )
        for row in rows
    ]  # fmt: skip


async def leases_of_service(connection: AsyncConnection, service_id: str) -> list[ServiceLease]:
    """What a service has of Hilltop's pools."""
    return [
        ServiceLease(
            row.network, row.kind, row.pool_id, row.pool_name, row.station, row.granted_at, row.idle_since
        )
        for row in await pool_rows.leases_of_service(connection, service_id)
    ]


async def past_leases(
    connection: AsyncConnection, *, network: str = "", service_id: str = "", pool_id: str = ""
) -> list[PastLease]:
    """The newest lines of the history of an address, a service or a pool."""
    rows = await pool_rows.history(connection, network=network, service_id=service_id, pool_id=pool_id)
    return [
        PastLease(
            row.network, row.pool_name or "(deleted)", row.service_id, row.label or "nobody known",
            row.station, row.from_at, row.until_at, row.because,
        )
        for row in rows
    ]  # fmt: skip
