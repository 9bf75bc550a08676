"""Reading what should be so now: entitlements and addresses of the moment, never those of the decision."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.entitlements import Entitlement
from provisioning.domain.plan import Observation, Wanted, canonical_address
from provisioning.store.whereabouts import addresses_of_each, entitlements_of, users_of_each


@dataclass(frozen=True, slots=True)
class Desired:
    """The desired state of one device, and what it was read from, by service.

    ``leaving`` are services that this device no longer enforces: nothing of theirs may stand there.
    """

    wanted: Wanted
    entitlements: Mapping[str, Entitlement | None]
    addresses: Mapping[str, frozenset[str]]
    leaving: frozenset[str] = frozenset()

    def cuts_off(self, service_id: str) -> bool:
        """True when the service must not reach the internet. An unknown service is held by nothing."""
        return service_id not in self.leaving and _is_cut_off(self.entitlements.get(service_id))


async def read_desired(
    connection: AsyncConnection,
    scope: Iterable[str],
    observed: Observation,
    leaving: frozenset[str] = frozenset(),
) -> Desired:
    """The present desired state for the services in ``scope`` and for every address that our entries hold.

    An address is free as soon as one service that uses it now is entitled, whatever the others are.
    """
    services = frozenset(scope)
    addresses = await _addresses(connection, services - leaving) | dict.fromkeys(leaving, frozenset())
    places = {e.address for e in observed.owned}.union(*addresses.values())
    users = await users_of_each(connection, places)
    entitlements = await entitlements_of(connection, services.union(*users.values()))
    cut_off: dict[str, frozenset[str]] = {}
    free = set()
    for address, here in users.items():
        known = {user for user in here if entitlements[user] is not None}
        cut = frozenset(user for user in known if _is_cut_off(entitlements[user]))
        if len(cut) < len(known):
            free.add(address)
        elif cut - leaving:
            cut_off[address] = cut - leaving
    return Desired(Wanted(cut_off, frozenset(free), services), entitlements, addresses, leaving & services)


async def _addresses(connection: AsyncConnection, service_ids: Collection[str]) -> dict[str, frozenset[str]]:
    found = await addresses_of_each(connection, service_ids)
    return {one: frozenset(_readable(addresses)) for one, addresses in found.items()}


def _readable(addresses: Iterable[str]) -> Iterator[str]:
    """Without what is no address: a device would take it for a DNS name, and nobody has it."""
    for one in addresses:
        with suppress(ValueError):
            yield canonical_address(one)


async def present_addresses(connection: AsyncConnection, service_id: str) -> frozenset[str]:
    """Every address the service has now, in the one spelling that is used here."""
    return (await _addresses(connection, [service_id]))[service_id]


async def spared_addresses(
    connection: AsyncConnection, service_id: str, addresses: Collection[str]
) -> frozenset[str]:
    """Those of the addresses that an entitled service uses too: cutting the service off must leave them."""
    users = await users_of_each(connection, addresses)
    entitlements = await entitlements_of(connection, frozenset().union(*users.values()) - {service_id})
    entitled = {user for user, one in entitlements.items() if one is not None and not one.effect.cuts_off}
    return frozenset(address for address, here in users.items() if here & entitled)


def _is_cut_off(entitlement: Entitlement | None) -> bool:
    return entitlement is not None and entitlement.effect.cuts_off
