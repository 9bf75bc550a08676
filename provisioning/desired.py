"""Reading what should be so now: entitlements and addresses of the moment, never those of the decision."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.entitlements import Entitlement, addresses_of, entitlement_of, services_at
from provisioning.domain.plan import Observation, Wanted, canonical_address


@dataclass(frozen=True, slots=True)
class Desired:
    """The desired state of one device, and what it was read from, by service."""

    wanted: Wanted
    entitlements: Mapping[str, Entitlement | None]
    addresses: Mapping[str, frozenset[str]]

    def cuts_off(self, service_id: str) -> bool:
        """True when the service must not reach the internet. An unknown service is held by nothing."""
        entitlement = self.entitlements.get(service_id)
        return entitlement is not None and entitlement.effect.cuts_off


async def read_desired(connection: AsyncConnection, scope: Iterable[str], observed: Observation) -> Desired:
    """The present desired state for the services in ``scope`` and for every address that our entries hold.

    An address is free as soon as one service that uses it now is entitled, whatever the others are.
    """
    services = frozenset(scope)
    addresses = {one: await _canonical_addresses(connection, one) for one in sorted(services)}
    entitlements = {one: await entitlement_of(connection, one) for one in sorted(services)}
    cut_off: dict[str, frozenset[str]] = {}
    free = set()
    for address in sorted({e.address for e in observed.owned}.union(*addresses.values())):
        users = await services_at(connection, address)
        for user in users:
            if user not in entitlements:
                entitlements[user] = await entitlement_of(connection, user)
        known = {user: entitlements[user] for user in users}
        cut = {user for user, one in known.items() if one is not None and one.effect.cuts_off}
        if len(cut) < len([one for one in known.values() if one is not None]):
            free.add(address)
        elif cut:
            cut_off[address] = frozenset(cut)
    return Desired(Wanted(cut_off, frozenset(free), services), entitlements, addresses)


async def _canonical_addresses(connection: AsyncConnection, service_id: str) -> frozenset[str]:
    return frozenset(canonical_address(address) for address in await addresses_of(connection, service_id))
