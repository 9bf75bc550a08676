"""A dry run: the exact commands that enforcing would send, from what is on record. No device is touched."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.domain.effect import Effect
from aaa.entitlements import entitlement_of, services_at
from provisioning.desired import present_addresses
from provisioning.domain.plan import Change, Observation, OwnedEntry, Wanted, owner_of, plan
from provisioning.drivers.registry import driver_named
from provisioning.store import repositories
from provisioning.targets import describe_target


@dataclass(frozen=True, slots=True)
class PreviewedChange:
    """What would happen to one service on one device. No commands: the device would already agree."""

    service_id: str
    device_name: str
    addresses: list[str]
    commands: list[str]


async def preview_enforcement(
    connection: AsyncConnection, service_ids: Collection[str], effect: str
) -> list[PreviewedChange]:
    """The commands for these services if all of them had ``effect`` now, by device and service.

    The device is taken to be as it was last observed. Its version chooses the words; before the first contact
    the older words stand, which newer versions take as well.
    """
    by_device: dict[str, list[str]] = defaultdict(list)
    for point in await repositories.device_points_of(connection, service_ids):
        by_device[point.device_id].append(point.service_id)
    previews = []
    for device_id, services in by_device.items():
        previews += await _preview_device(connection, device_id, services, Effect(effect))
    return previews


async def _preview_device(
    connection: AsyncConnection, device_id: str, services: list[str], effect: Effect
) -> list[PreviewedChange]:
    row = await repositories.device_row(connection, device_id)
    observed = _last_seen(await repositories.last_observation(connection, device_id))
    addresses = {one: await present_addresses(connection, one) for one in services}
    wanted = await _wanted(connection, addresses, effect)
    changes = plan(wanted, observed)
    target = describe_target(row)
    driver = driver_named(target.driver)
    return [
        PreviewedChange(
            service_id,
            target.name,
            sorted(addresses[service_id]),
            [command.text for command in driver.change_commands(target, _about(service_id, changes))],
        )
        for service_id in services
    ]


async def _wanted(
    connection: AsyncConnection, addresses: dict[str, frozenset[str]], effect: Effect
) -> Wanted:
    """As the enforcer would read it, were ``effect`` the services' entitlement."""
    cut_off: dict[str, frozenset[str]] = {}
    free = set()
    for address in sorted(frozenset().union(*addresses.values())):
        users = await services_at(connection, address)
        cut = {user for user in users if await _cut_off(connection, user, addresses, effect)}
        if len(cut) < len(users):
            free.add(address)
        elif cut:
            cut_off[address] = frozenset(cut)
    return Wanted(cut_off, frozenset(free), frozenset(addresses))


async def _cut_off(
    connection: AsyncConnection, service_id: str, previewed: dict[str, frozenset[str]], effect: Effect
) -> bool:
    if service_id in previewed:
        return effect.cuts_off
    entitlement = await entitlement_of(connection, service_id)
    return entitlement is not None and entitlement.effect.cuts_off


def _last_seen(row: Any) -> Observation:
    """Our entries as the device last showed them; an empty list before the first contact."""
    entries = row.entries if row is not None else []
    owned = {OwnedEntry(owner_of(entry["mark"]) or "", entry["address"]) for entry in entries}
    return Observation(frozenset(owned))


def _about(service_id: str, changes: tuple[Change, ...]) -> list[Change]:
    return [change for change in changes if change.service_id == service_id]
