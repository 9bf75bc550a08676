"""What a sign-in would get of Hilltop's own pools, in words: for explaining and for previews."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.directory import ServiceAccess
from aaa.list_pools import leases_of_service
from radius.leases.leasing import encoded

_NAMES = {
    "ipv4": "Framed-IP-Address", "ipv6_prefix": "Framed-IPv6-Prefix",
    "delegated_prefix": "Delegated-IPv6-Prefix",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class PooledAttribute:
    """One attribute; ``octets`` in hexadecimal, empty while nobody can know them."""

    name: str
    value: str
    octets: str
    origin: str

    def __str__(self) -> str:
        return f"{self.name} = {self.value} ({self.origin})"


async def pooled_attributes(connection: AsyncConnection, service: ServiceAccess) -> list[PooledAttribute]:
    """Of each of the service's pools: what it has already, else that it gets something free."""
    if not service.pools:
        return []
    leases = await leases_of_service(connection, service.id)
    found = []
    for pool in service.pools:
        name, held = _NAMES[pool.kind], [one for one in leases if one.pool_id == pool.id]
        if not held:
            drains = "; it drains and gives nothing new" if pool.draining else ""
            found.append(PooledAttribute(name, "the next that is free", "", f"pool {pool.name}{drains}"))
            continue
        one = next((lease for lease in held if lease.idle_since is None), held[0])
        others = f", one of {len(held)} it has" if len(held) > 1 else ""
        state = "in use" if one.idle_since is None else f"kept for it since {one.idle_since:%Y-%m-%d %H:%M}Z"
        octets = encoded(pool, one.network).hex()
        found.append(PooledAttribute(name, one.network, octets, f"pool {pool.name}, {state}{others}"))
    return found
