"""Addresses of Hilltop's pools on their way to services: set aside, given away, written down, taken back.

A RADIUS process gives away only what was set aside for it here, and what a service has already. So two
services never get the same, however many processes there are and whichever of them dies when.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from aaa.define_pool import pool_of
from aaa.domain.address_pool import SETTLE_S, AddressPool, first_of, read_unit
from aaa.domain.addressing import span
from aaa.store import pool_rows
from aaa.store.usage_rows import take_metering_lane
from core.clock import EPOCH
from core.health import HealthIssue, open_issue
from core.refusal import Refusal
from core.work import Work

_MOST_CLAIMED = 4_096
_LOOKED_AT = 20_000
"""Positions that are looked at for one reservation: a network full of static addresses takes several."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A service was given a network that it did not have, by the process that could."""

    network: str
    pool_id: str
    service_id: str
    station: str | None
    nas_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Giver:
    """A RADIUS process that gives addresses away: its name, its journal, and until when it may."""

    owner: str
    journal_id: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Reservation:
    """What was set aside, by pool, and the pools that had nothing left."""

    networks: Mapping[str, Sequence[str]]
    empty: Collection[str]


async def report_for_duty(work: Work, giver: Giver, seen_version: int) -> None:
    """The process says that it is here, and which changes of leases it knows."""
    row = {
        "owner": giver.owner, "journal_id": giver.journal_id, "until": giver.until,
        "seen_version": seen_version,
    }  # fmt: skip
    await pool_rows.put_worker(work.connection, row)


async def reserve(
    work: Work, owner: str, wanted: Mapping[str, int], starving: Collection[str] = ()
) -> Reservation:
    """Set networks aside for ``owner``: up to so many of each pool, and no more than its share of the rest.

    Of pools for which it is ``starving`` others that have some left will hear, and give some back.
    """
    await pool_rows.take_pool_lane(work.connection)
    workers = await pool_rows.workers(work.connection)
    alive = [one for one in workers if one.until > work.now]
    known = min((one.seen_version for one in alive), default=0)
    counted = {one.pool_id: one for one in await pool_rows.counts(work.connection)}
    got: dict[str, list[str]] = {}
    empty: list[str] = []
    for pool_id, number in wanted.items():
        row = await pool_rows.pool(work.connection, pool_id)
        if row is None or row.draining or number < 1:
            continue
        taking, used = _PoolTaking(work, row, owner, known), counted.get(pool_id)
        share = taking.left(used) // (2 * max(1, len(alive)))
        found = await taking.take(min(number, max(1, share)))
        if found:
            got[pool_id] = found
        else:
            empty.append(pool_id)
        if not found and pool_id in starving:
            await pool_rows.update_pool(work.connection, pool_id, {"wanted_at": work.now, "wanted_by": owner})
    return Reservation(got, empty)


class _PoolTaking:
    """Setting aside some of one pool."""

    def __init__(self, work: Work, row: Any, owner: str, known: int) -> None:
        self._work = work
        self._pool = pool_of(row)
        self._position = row.next_position
        self._owner = owner
        self._known = known

    def left(self, used: Any | None) -> int:
        """How many are neither services' nor set aside, more or less."""
        return self._pool.size - (0 if used is None else used.online + used.kept + used.set_aside)

    async def take(self, number: int) -> list[str]:
        """First what was never given to anybody, so that others' addresses stay theirs as long as can be."""
        fresh = await self._fresh(number)
        if len(fresh) >= number:
            return fresh
        return fresh + await self._rested(number - len(fresh))

    async def _fresh(self, number: int) -> list[str]:
        """Networks beyond the last position that was ever set aside."""
        found: list[str] = []
        position, looked = self._position, 0
        while len(found) < number and looked < _LOOKED_AT:
            some = list(islice(self._pool.from_position(position), number - len(found)))
            if not some:
                position = self._pool.positions
                break
            position, looked = some[-1][0] + 1, looked + len(some)
            found += await self._usable([network for _, network in some])
        version = await pool_rows.next_version(self._work.connection)
        await pool_rows.put_leases(
            self._work.connection,
            [lease_row(self._pool.id, one, version, owner=self._owner) for one in found],
        )
        if position != self._position:
            await pool_rows.update_pool(self._work.connection, self._pool.id, {"next_position": position})
        return found

    async def _usable(self, networks: Sequence[str]) -> list[str]:
        """Those that nobody has in another way."""
        stored = await pool_rows.leases(self._work.connection, networks)
        taken = await self._taken(networks)
        return [one for one in networks if one not in stored and one not in taken]

    async def _rested(self, number: int) -> list[str]:
        """Networks whose last service has had no use for them for long enough."""
        rows = await pool_rows.rested(
            self._work.connection, self._pool.id, known=self._known, limit=2 * number,
            released_by=self._work.now - timedelta(seconds=SETTLE_S),
        )  # fmt: skip
        networks = [row.network for row in rows if self._pool.gives(row.network)]
        taken = await self._taken(networks)
        found = [one for one in networks if one not in taken][:number]
        await pool_rows.set_aside(self._work.connection, found, self._owner)
        return found

    async def _taken(self, networks: Sequence[str]) -> set[str]:
        """Which of these are static addresses, or live sessions', or touch services' own prefixes."""
        if not networks:
            return set()
        connection = self._work.connection
        live = await pool_rows.open_sessions_with(connection, self._pool.kind, networks)
        taken = {str(row.network) for row in live}
        if self._pool.version == 4:
            taken |= await pool_rows.static_addresses(connection, networks)
        spans = {one: span(one) for one in networks}
        first, last = min(one[0] for one in spans.values()), max(one[1] for one in spans.values())
        static = await pool_rows.static_spans(connection, first, last)
        return taken | {
            network
            for network, (low, high) in spans.items()
            if any(one.first <= high and low <= one.last for one in static)
        }


def lease_row(pool_id: str, network: str, version: int, **more: Any) -> dict[str, Any]:
    """A row of a lease with every column."""
    nothing = dict.fromkeys(
        ("service_id", "station", "nas_id", "owner", "granted_at", "idle_since", "released_at")
    )
    row = {"network": network, "pool_id": pool_id, "first": first_of(network), "started": False}
    return nothing | row | {"version": version} | more


async def give_back(work: Work, owner: str, networks: Iterable[str]) -> None:
    """Networks that were set aside for ``owner`` and that it will not give away."""
    await pool_rows.take_pool_lane(work.connection)
    await pool_rows.give_back(work.connection, owner, networks)


async def record_grants(work: Work, grants: Sequence[Grant]) -> None:
    """Write down what RADIUS processes have given away, from their journals. Idempotent, in any order."""
    if not grants:
        return
    connection = work.connection
    await take_metering_lane(connection)  # before the other one, as whoever records sessions takes them
    await pool_rows.take_pool_lane(connection)
    stored = await pool_rows.leases(connection, (one.network for one in grants))
    pools = {row.id for row in await pool_rows.pools(connection)}
    version = await pool_rows.next_version(connection)
    changed: dict[str, dict[str, Any]] = {}
    history = []
    for grant in grants:
        row = changed.get(grant.network)
        if row is None and grant.network in stored:
            row = pool_rows.values_of(stored[grant.network])
        if grant.pool_id not in pools:
            continue  # it was deleted meanwhile
        if row is not None and row["service_id"] not in (None, grant.service_id):
            await _tell_conflict(work, grant.network, str(row["service_id"]), grant.service_id)
            continue
        if row is None or row["service_id"] is None:
            row = lease_row(grant.pool_id, grant.network, version, service_id=grant.service_id)
            history.append(history_row(row, grant.station, grant.nas_id, grant.at))
        changed[grant.network] = row | {
            "station": grant.station, "nas_id": grant.nas_id, "granted_at": grant.at, "version": version,
            # from now on, however long ago it was given: nobody has looked for its session yet
            "idle_since": None if row["started"] and row["idle_since"] is None else work.now,
        }  # fmt: skip
    await pool_rows.put_leases(connection, list(changed.values()))
    await pool_rows.open_history(connection, history)


def history_row(
    row: Mapping[str, Any], station: str | None, nas_id: str | None, at: datetime
) -> dict[str, Any]:
    """A line of the history that begins."""
    return {
        "network": row["network"], "pool_id": row["pool_id"], "service_id": row["service_id"],
        "station": station, "nas_id": nas_id, "from_at": at, "until_at": None, "because": None,
    }  # fmt: skip


async def _tell_conflict(work: Work, network: str, has: str, gets: str) -> None:
    await open_issue(
        work,
        HealthIssue(
            f"aaa.pool_conflict:{network}", "critical",
            f"{network} was given to the service {gets} while it is that of {has or 'a stranger'}",
            "disconnect both sessions; if nobody gave the address away by hand, report it with the times",
        ),
    )  # fmt: skip


async def release(work: Work, networks: Sequence[str], because: str, rest_s: int = 0) -> None:
    """Take networks from their services; they rest, then others may get them.

    One that was given and not seen in use yet rests until ``rest_s`` after that: its Start may be lost.
    """
    if not networks:
        return
    connection = work.connection
    stored = await pool_rows.leases(connection, networks)
    version = await pool_rows.next_version(connection)
    freed = {
        "service_id": None, "owner": None, "station": None, "nas_id": None, "granted_at": None,
        "idle_since": None, "started": False, "version": version,
    }  # fmt: skip
    rows = []
    for row in stored.values():
        unseen = row.idle_since is not None and not row.started
        rests = row.idle_since + timedelta(seconds=rest_s - SETTLE_S) if unseen else work.now
        rows.append(pool_rows.values_of(row) | freed | {"released_at": max(work.now, rests)})
    await pool_rows.put_leases(connection, rows)
    await pool_rows.close_history(connection, networks, work.now, because)


async def dismiss(work: Work, owner: str, *, exactly: bool) -> int:
    """A process is gone: what was set aside for it is free, at once if it is known to be on no way.

    ``exactly``: its journal has come into the database whole, so everything it gave away is on record.
    """
    await pool_rows.take_pool_lane(work.connection)
    version = await pool_rows.next_version(work.connection)
    released_at = EPOCH if exactly else work.now
    return await pool_rows.dismiss_worker(work.connection, owner, released_at, version)


async def claim(work: Work, network: str, service_id: str, field: str) -> Refusal | None:
    """A service is given ``network`` for good: no pool gives any of it to another from now on.

    Refused while a session of another service is there. A process that had it set aside hears of this within
    a second.
    """
    if not await pool_rows.has_pools(work.connection):
        return None
    await pool_rows.take_pool_lane(work.connection)
    first, last = span(network)
    rows = await pool_rows.leases_touching(work.connection, first, last, _MOST_CLAIMED)
    rows = [one for one in rows if span(one.network)[1] >= first and one.service_id != service_id]
    for row in rows:
        if row.service_id is not None and row.idle_since is None:
            return Refusal(
                f"{field}.leased",
                f"{row.network} is in use by {row.label or 'a stranger'}, who has it of a pool; end that "
                "session first, or give another one",
                field,
            )
    if len(rows) > _MOST_CLAIMED:
        return Refusal(f"{field}.pool", f"{network} holds most of a pool; exclude it there first", field)
    await release(work, [row.network for row in rows], "given to a service for good")
    return None


def touches(pools: Sequence[AddressPool], network: str) -> AddressPool | None:
    """The pool that hands ``network`` out."""
    unit = read_unit(network)
    if unit is None:
        return None
    return next((one for one in pools if one.gives(network)), None)
