"""Leases as accounting shows them: in use, out of use, used by somebody who was never given them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aaa.define_pool import pools_of
from aaa.domain.address_pool import AddressPool
from aaa.domain.session import Session
from aaa.lease_addresses import history_row, lease_row, touches
from aaa.store import pool_rows
from core.health import HealthIssue, close_issue, open_issue
from core.work import Work

STRANGER = ""
"""The service of a lease that a session without a service has."""


async def follow_sessions(work: Work, sessions: Sequence[Session]) -> None:
    """Sessions have begun, ended or moved, and that is written: their leases are as live as they are.

    What a session says counts, whoever gave the address: one that is seen in use is never given to another.
    """
    if not sessions or not await pool_rows.has_pools(work.connection):
        return
    pools = await pools_of(work.connection)
    named: dict[str, dict[str, AddressPool]] = {}
    for session in sessions:
        for network in networks_of(session):
            pool = touches(pools, network)
            if pool is None:
                continue
            named.setdefault(pool.kind, {})[network] = pool
    if not named:
        return
    await pool_rows.take_pool_lane(work.connection)
    for kind, pool_by_network in named.items():
        await _Following(work, kind, pool_by_network).follow()


def networks_of(session: Session) -> Iterable[str]:
    """What of a session could be of a pool, with what it had before it was given another."""
    now = (session.framed_ip, session.framed_ipv6_prefix, session.delegated_ipv6_prefix)
    before = (move.before for move in session.address_moves)
    return {one for one in (*now, *before) if one is not None}


class _Following:
    """Leases of one kind after a batch of accounting."""

    def __init__(self, work: Work, kind: str, pools: Mapping[str, AddressPool]) -> None:
        self._work = work
        self._kind = kind
        self._pools = pools
        self._version = 0
        self._changed: list[dict[str, Any]] = []
        self._history: list[dict[str, Any]] = []
        self._handed_on: list[str] = []

    async def follow(self) -> None:
        connection = self._work.connection
        live: dict[str, list[Any]] = {}
        for row in await pool_rows.open_sessions_with(connection, self._kind, self._pools):
            live.setdefault(str(row.network), []).append(row)
        stored = await pool_rows.leases(connection, self._pools)
        self._version = await pool_rows.next_version(connection)
        for network in self._pools:
            values = pool_rows.values_of(stored[network]) if network in stored else None
            if network in live:
                await self._in_use(network, values, live[network])
            elif values and values["service_id"] is not None and values["idle_since"] is None:
                # from now on, and not from its Stop: what came after that may still be on its way here
                self._changed.append(values | {"idle_since": self._work.now, "version": self._version})
        await pool_rows.put_leases(connection, self._changed)
        await pool_rows.close_history(connection, self._handed_on, self._work.now, "another uses it")
        await pool_rows.open_history(connection, self._history)

    async def _in_use(self, network: str, row: dict[str, Any] | None, sessions: Sequence[Any]) -> None:
        """``sessions`` are open at the network, the youngest last."""
        services = {one.service_id or STRANGER for one in sessions}
        if row is not None and row["service_id"] in services:
            if row["idle_since"] is not None or not row["started"]:
                self._changed.append(row | {"idle_since": None, "started": True, "version": self._version})
            await self._tell(network, services)
            return
        if row is not None and row["service_id"] is not None:
            if row["idle_since"] is None:
                await self._tell(network, {*services, str(row["service_id"])})
                return
            self._handed_on.append(network)
        youngest = sessions[-1]
        bound = lease_row(
            self._pools[network].id if row is None else row["pool_id"], network, self._version,
            service_id=youngest.service_id or STRANGER, started=True, granted_at=youngest.started_at,
            station=youngest.calling_station, nas_id=youngest.nas_id,
        )  # fmt: skip
        self._changed.append(bound)
        self._history.append(history_row(bound, bound["station"], bound["nas_id"], youngest.started_at))
        await self._tell(network, services)

    async def _tell(self, network: str, services: set[str]) -> None:
        """Two services at one address is what pools are there to prevent."""
        key = f"aaa.pool_conflict:{network}"
        if len(services) < 2:
            await close_issue(self._work, key)
            return
        named = ", ".join(sorted(one or "a stranger" for one in services))
        await open_issue(
            self._work,
            HealthIssue(
                key, "critical", f"{network} is in use by several: {named}",
                "disconnect all but one; a NAS that gives addresses of this pool away itself must stop that",
            ),
        )  # fmt: skip
