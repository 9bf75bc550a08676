"""Pools of addresses and prefixes: define, change, empty and delete them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.domain import checks
from aaa.domain.address_pool import (
    KINDS,
    USUAL_LENGTH,
    WHEN_FULL,
    AddressPool,
    check_excluded,
    check_ranges,
    edges_of,
)
from aaa.store import pool_rows, repositories
from core.refusal import Refusal, granted
from core.work import Work

CHANGEABLE = (
    "name", "ranges", "excluded", "netmask_bits", "keep_s", "rest_s", "when_full", "draining",
)  # fmt: skip
_NAMED = 5
_LONGEST_S = 366 * 86_400


def pool_of(row: Row[Any]) -> AddressPool:
    """A row in our words; what was stored was checked."""
    ranges = granted(check_ranges(row.kind, row.length, row.ranges))
    excluded = granted(check_excluded(4 if row.kind == "ipv4" else 6, row.excluded))
    return AddressPool(
        row.id, row.name, row.kind, row.length, ranges[0], excluded[0], row.netmask_bits, row.keep_s,
        row.rest_s, row.when_full, row.draining,
    )  # fmt: skip


async def pools_of(connection: AsyncConnection) -> list[AddressPool]:
    """Every pool, by name."""
    return [pool_of(row) for row in await pool_rows.pools(connection)]


async def define_pool(
    work: Work,
    *,
    name: str,
    kind: str,
    ranges: Sequence[str],
    length: int | None = None,
    excluded: Sequence[str] = (),
    netmask_bits: int | None = None,
    keep_s: int | None = None,
    rest_s: int = 900,
    when_full: str = "reject",
) -> str | Refusal:
    """A pool that Hilltop hands out itself; returns its id. Profiles that name it get addresses from it.

    ``rest_s`` should be two interim intervals: how long an address was out of use before it is another's.
    The first and last address of IPv4 networks are left out. ``keep_s`` None keeps an address for its service
    until the pool is short.
    """
    chosen = checks.check_choice(kind, "kind", tuple(KINDS))
    if isinstance(chosen, Refusal):
        return chosen
    given = {
        "name": name, "kind": kind, "length": USUAL_LENGTH[kind] if length is None else length,
        "ranges": list(ranges), "excluded": [*excluded, *edges_of_readable(kind, ranges)],
        "netmask_bits": netmask_bits, "keep_s": keep_s, "rest_s": rest_s, "when_full": when_full,
        "draining": False,
    }  # fmt: skip
    await repositories.take_directory_lane(work.connection)
    await pool_rows.take_pool_lane(work.connection)
    values = await _checked(work, given, "")
    if isinstance(values, Refusal):
        return values
    pool_id = work.ids.new("ipp")
    row = values | {"id": pool_id, "next_position": 0, "created_at": work.now}
    await pool_rows.insert_pool(work.connection, row)
    await repositories.append_directory_change(work.connection, "pool", pool_id, work.now)
    await work.audit("pool.define", pool_id, **values)
    return pool_id


def edges_of_readable(kind: str, ranges: Sequence[str]) -> list[str]:
    """``edges_of`` what can be read; the rest is refused where it is checked."""
    return [] if kind != "ipv4" or isinstance(check_ranges(kind, 32, ranges), Refusal) else edges_of(ranges)


async def change_pool(work: Work, pool_id: str, **changes: Any) -> list[str] | Refusal:
    """Change fields of a pool (those of ``CHANGEABLE``); returns the names of those that changed.

    Ranges that would leave out an address in use are refused, and those that have it are named.
    """
    await repositories.take_directory_lane(work.connection)
    await pool_rows.take_pool_lane(work.connection)
    row = await pool_rows.pool(work.connection, pool_id)
    if row is None:
        return _unknown(pool_id)
    unknown = sorted(set(changes) - set(CHANGEABLE))
    if unknown:
        return Refusal(
            f"{unknown[0]}.fixed", f"a pool's {unknown[0]} cannot be changed; define another pool", unknown[0]
        )
    stands = {field: getattr(row, field) for field in (*CHANGEABLE, "kind", "length")}
    values = await _checked(work, stands | changes, pool_id)
    if isinstance(values, Refusal):
        return values
    new = {field: value for field, value in values.items() if value != stands[field]}
    if "ranges" in new or "excluded" in new:
        refusal = await _cut(work, pool_id, pool_of_values(pool_id, values))
        if refusal is not None:
            return refusal
        new["next_position"] = 0  # positions count through the ranges, which are others now
    if new:
        await pool_rows.update_pool(work.connection, pool_id, new)
        await repositories.append_directory_change(work.connection, "pool", pool_id, work.now)
        await work.audit("pool.change", pool_id, **{name: values[name] for name in new if name in values})
    return sorted(set(new) - {"next_position"})


def pool_of_values(pool_id: str, values: Mapping[str, Any]) -> AddressPool:
    """The pool that checked values make."""
    ranges = granted(check_ranges(values["kind"], values["length"], values["ranges"]))
    excluded = granted(check_excluded(4 if values["kind"] == "ipv4" else 6, values["excluded"]))
    return AddressPool(pool_id, values["name"], values["kind"], values["length"], ranges[0], excluded[0])


async def _cut(work: Work, pool_id: str, after: AddressPool) -> Refusal | None:
    """Let go of what the pool hands out no more; refused while some of it is in use."""
    rows = await pool_rows.rows_of_pool(work.connection, pool_id)
    outside = [row for row in rows if not after.gives(row.network)]
    live = [row.network for row in outside if row.service_id is not None and row.idle_since is None]
    if live:
        return await _in_use(work, pool_id, live, "ranges")
    held = [row.network for row in outside if row.service_id is not None]
    await pool_rows.close_history(work.connection, held, work.now, "left the pool")
    version = await pool_rows.next_version(work.connection)
    # rows stay, as nobody's, until every process has let go of them: they are never set aside again
    freed = {"service_id": None, "owner": None, "released_at": work.now, "version": version}
    known = {row.network for row in outside}
    stored = await pool_rows.leases(work.connection, known)
    await pool_rows.put_leases(
        work.connection,
        [pool_rows.values_of(stored[network]) | freed for network in sorted(known)],
    )
    return None


async def _in_use(work: Work, pool_id: str, networks: Sequence[str], field: str) -> Refusal:
    wanted = set(networks)
    rows = await pool_rows.leases_of_pool(work.connection, pool_id, live=True, limit=100_000)
    named = [f"{row.network} ({row.label or 'unknown'})" for row in rows if row.network in wanted][:_NAMED]
    more = f" and {len(networks) - len(named)} more" if len(networks) > len(named) else ""
    return Refusal(
        f"{field}.in_use",
        f"in use: {', '.join(named)}{more}; let the pool drain first (it gives nothing new then), or "
        "disconnect them",
        field,
    )


async def delete_pool(work: Work, pool_id: str) -> Refusal | None:
    """Delete a pool; refused while something of it is in use. Profiles that name it send its name again."""
    await repositories.take_directory_lane(work.connection)
    await pool_rows.take_pool_lane(work.connection)
    row = await pool_rows.pool(work.connection, pool_id)
    if row is None:
        return _unknown(pool_id)
    rows = await pool_rows.rows_of_pool(work.connection, pool_id)
    live = [one.network for one in rows if one.service_id is not None and one.idle_since is None]
    if live:
        return await _in_use(work, pool_id, live, "pool")
    held = [one.network for one in rows if one.service_id is not None]
    await pool_rows.close_history(work.connection, held, work.now, "the pool was deleted")
    await pool_rows.delete_pool(work.connection, pool_id)
    await repositories.append_directory_change(work.connection, "pool", pool_id, work.now)
    await work.audit("pool.delete", pool_id, name=row.name)
    return None


async def _checked(work: Work, given: Mapping[str, Any], pool_id: str) -> dict[str, Any] | Refusal:
    values = dict(given)
    name = checks.check_printable(values["name"], "name", 80)
    if isinstance(name, Refusal):
        return name
    values["name"] = name
    refusal = _check_numbers(values)
    if refusal is not None:
        return refusal
    ranges = check_ranges(values["kind"], values["length"], values["ranges"])
    if isinstance(ranges, Refusal):
        return ranges
    excluded = check_excluded(4 if values["kind"] == "ipv4" else 6, list(dict.fromkeys(values["excluded"])))
    if isinstance(excluded, Refusal):
        return excluded
    values |= {"ranges": ranges[1], "excluded": list(dict.fromkeys(excluded[1]))}
    if pool_of_values(pool_id, values).size < 1:
        return Refusal("ranges.empty", "nothing is left of the ranges; exclude less", "ranges")
    return await _check_alone(work, values, pool_id) or values


def _check_numbers(values: Mapping[str, Any]) -> Refusal | None:
    version = 4 if values["kind"] == "ipv4" else 6
    if version == 4 and values["length"] != 32:
        return Refusal(
            "length.ipv4", "of an IPv4 pool single addresses are handed out; leave it out", "length"
        )
    if version == 6 and not 32 <= values["length"] <= 64:
        return Refusal("length.range", f"a prefix length of {values['length']}; give 32 to 64", "length")
    bits = values["netmask_bits"]
    if bits is not None and (version == 6 or not 8 <= bits <= 32):
        return Refusal(
            "netmask_bits.range", "a netmask of 8 to 32 bits goes with IPv4 addresses", "netmask_bits"
        )
    if values["keep_s"] is not None and not 0 <= values["keep_s"] <= _LONGEST_S:
        return Refusal("keep_s.range", "an unused address is kept for 0 s to a year", "keep_s")
    if not 60 <= values["rest_s"] <= _LONGEST_S:
        return Refusal(
            "rest_s.range", "an address rests 60 s to a year; two interim intervals are best", "rest_s"
        )
    chosen = checks.check_choice(values["when_full"], "when_full", WHEN_FULL)
    return chosen if isinstance(chosen, Refusal) else None


async def _check_alone(work: Work, values: Mapping[str, Any], pool_id: str) -> Refusal | None:
    """No two pools hand out the same, and no two have the same name."""
    mine = pool_of_values(pool_id, values)
    for row in await pool_rows.pools(work.connection):
        if row.id == pool_id:
            continue
        if row.name == values["name"]:
            return Refusal("name.taken", f"there is a pool {row.name}; choose another name", "name")
        other = pool_of(row)
        if any(one.overlaps(another) for one in mine.spans for another in other.spans):
            return Refusal(
                "ranges.taken", f"the pool {row.name} has some of these addresses; leave them out", "ranges"
            )
    return None


def _unknown(pool_id: str) -> Refusal:
    return Refusal("pool.unknown", f"there is no pool {pool_id}; see: hilltop pool list", "pool")
