"""Give a service prefixes and routes of its own; no two living services ever overlap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aaa import service_terms as terms
from aaa.domain.addressing import MOST_PREFIXES, Addressing, check_addressing, span
from aaa.lease_addresses import claim
from aaa.store import prefix_rows
from aaa.store.repositories import take_directory_lane, update_service
from core.refusal import Refusal
from core.work import Work


async def set_addressing(
    work: Work,
    service_id: str,
    *,
    netmask_bits: int | None = None,
    ipv6_prefix: str | None = None,
    delegated_prefix: str | None = None,
    ipv6_address: str | None = None,
    routes: Sequence[str] = (),
) -> Refusal | None:
    """Replace all of a service's addressing beside its IPv4 address; what is not given is taken away.

    The running session keeps its own until it signs in again: no NAS changes addresses by CoA. A prefix of
    a service that has ended is taken over; one that touches a living service's is refused.
    """
    await take_directory_lane(work.connection)
    row = await terms.living_service(work, service_id)
    if isinstance(row, Refusal):
        return row
    new = check_addressing(
        netmask_bits=netmask_bits, ipv6_prefix=ipv6_prefix, delegated_prefix=delegated_prefix,
        ipv6_address=ipv6_address, routes=routes,
    )  # fmt: skip
    if isinstance(new, Refusal):
        return new
    if new.netmask_bits is not None and row.framed_ip is None:
        return Refusal(
            "netmask_bits.alone", "a netmask goes with a static address; give the service one first",
            "netmask_bits",
        )  # fmt: skip
    if new == (await addressing_of(work.connection, [row]))[service_id]:
        return None
    for kind, prefix in new.prefixes:
        refusal = await _take(work, service_id, kind, prefix)
        if refusal is not None:
            return refusal
    await prefix_rows.delete_prefixes(work.connection, service_id)
    await prefix_rows.insert_prefixes(work.connection, _rows(work, service_id, new))
    await update_service(work.connection, service_id, {"netmask_bits": new.netmask_bits})
    await terms.service_changed(
        work, service_id, "service.addressing", netmask_bits=new.netmask_bits, ipv6_prefix=new.ipv6_prefix,
        delegated_prefix=new.delegated_prefix, ipv6_address=new.ipv6_address,
        routes=[str(route) for route in new.routes],
    )  # fmt: skip
    return None


async def _take(work: Work, service_id: str, kind: str, prefix: str) -> Refusal | None:
    """Free the prefix of services that have ended; refused while a living one has some of it."""
    first, last = span(prefix)
    for other in await prefix_rows.nearest_below(work.connection, service_id, last, MOST_PREFIXES):
        if other.last < first:
            continue
        if other.lifecycle != "ended":
            return Refusal(
                "prefix.taken",
                f"{prefix} overlaps {other.prefix} of {other.label}; give another one, or end that service",
                "routes" if kind == "route" else kind,
            )
        await prefix_rows.delete_prefixes(work.connection, other.service_id)
        return await _take(work, service_id, kind, prefix)
    return await claim(work, prefix, service_id, "routes" if kind == "route" else kind)


def _rows(work: Work, service_id: str, new: Addressing) -> list[dict[str, Any]]:
    rows = []
    for position, (kind, prefix) in enumerate(new.prefixes):
        first, last = span(prefix)
        route = new.routes[position - len(new.prefixes)] if kind == "route" else None
        rows.append(
            {
                "id": work.ids.new("pfx"), "service_id": service_id, "kind": kind, "prefix": prefix,
                "gateway": route and route.gateway, "metric": route and route.metric, "position": position,
                "first": first, "last": last,
            }
        )  # fmt: skip
    return rows


addressing_of = prefix_rows.addressing_of
"""The addressing of each of these services (rows with ``id`` and ``netmask_bits``)."""
