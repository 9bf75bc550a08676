"""What to change on a device so that it agrees with what is wanted. Pure.

A device holds one list of cut-off addresses. Entries with our mark name the service they stand for; all
others are foreign and are never touched. An address is on the list at most once (RouterOS and nftables both
refuse a second entry), so a foreign entry at a wanted address already does the work and is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

MARK_PREFIX = "hilltop:"
_SERVICE_ID = re.compile(r"[A-Za-z0-9_-]{1,40}\Z")


def mark_of(service_id: str) -> str:
    """The owner mark of a service's entries; raises ``ValueError`` for an id unfit for a command line."""
    if not _SERVICE_ID.match(service_id):
        raise ValueError(f"{service_id!r} cannot be an owner mark")
    return MARK_PREFIX + service_id


def owner_of(comment: str) -> str | None:
    """The service that a comment marks, or None when the comment is not exactly a mark of ours."""
    if not comment.startswith(MARK_PREFIX):
        return None
    service_id = comment.removeprefix(MARK_PREFIX)
    return service_id if _SERVICE_ID.match(service_id) else None


def canonical_address(text: str) -> str:
    """One spelling of an address or prefix (``2001:DB8::1/128`` is ``2001:db8::1``).

    Raises ``ValueError`` for anything else: devices would take it for a DNS name.
    """
    network = ip_network(text.strip())
    return str(network.network_address) if network.num_addresses == 1 else str(network)


def is_ipv6(address: str) -> bool:
    """True for a canonical IPv6 address or prefix."""
    return ip_address(address.partition("/")[0]).version == 6


@dataclass(frozen=True, slots=True, order=True)
class OwnedEntry:
    """An entry with our mark. ``active`` is False when someone disabled it: then it does nothing."""

    service_id: str
    address: str
    active: bool = True


@dataclass(frozen=True, slots=True)
class Observation:
    """The list as the device says it is.

    ``foreign`` holds addresses of active entries without our mark, ``foreign_idle`` those of disabled ones,
    which do nothing but are in the way of an entry of ours.
    """

    owned: frozenset[OwnedEntry]
    foreign: frozenset[str] = frozenset()
    foreign_idle: frozenset[str] = frozenset()

    def covers(self, address: str) -> bool:
        """True when the address is cut off by this list, whoever put it there."""
        return address in self.foreign or any(e.address == address and e.active for e in self.owned)


@dataclass(frozen=True, slots=True, order=True)
class Remove:
    """Take our entry away."""

    service_id: str
    address: str


@dataclass(frozen=True, slots=True, order=True)
class Add:
    """Put an entry with our mark."""

    service_id: str
    address: str


Change = Remove | Add


@dataclass(frozen=True, slots=True)
class Wanted:
    """What should be so on one device.

    ``cut_off`` maps each address to the services that are to be cut off there; ``free`` are addresses in
    use by an entitled service: nothing of ours may stand there whoever's mark it carries. ``scope`` are the
    services this plan may decide about.
    """

    cut_off: Mapping[str, frozenset[str]]
    free: frozenset[str]
    scope: frozenset[str]

    def keeps(self, entry: OwnedEntry) -> bool:
        """True when the entry is right as it is."""
        return (
            entry.active
            and entry.address not in self.free
            and entry.service_id in self.cut_off.get(entry.address, frozenset())
        )

    def decides(self, entry: OwnedEntry) -> bool:
        """True when this plan may remove the entry: its owner, its address or its place is ours to decide."""
        return (
            entry.service_id in self.scope
            or entry.address in self.free
            or bool(self.cut_off.get(entry.address, frozenset()) & self.scope)
        )


def plan(wanted: Wanted, observed: Observation) -> tuple[Change, ...]:
    """The changes that make ``observed`` agree with ``wanted``: removals first, in a stable order."""
    removals = [
        Remove(entry.service_id, entry.address)
        for entry in sorted(observed.owned)
        if wanted.decides(entry) and not wanted.keeps(entry)
    ]
    gone = {(change.service_id, change.address) for change in removals}
    taken = observed.foreign | {e.address for e in observed.owned if (e.service_id, e.address) not in gone}
    additions = [
        Add(min(owners & wanted.scope), address)
        for address, owners in sorted(wanted.cut_off.items())
        if owners & wanted.scope and address not in wanted.free and address not in taken
    ]
    return (*removals, *additions)


def apply_changes(observed: Observation, changes: tuple[Change, ...]) -> Observation:
    """What a truthful device would show after the changes."""
    owned = set(observed.owned)
    for change in changes:
        match change:
            case Remove(service_id, address):
                owned = {e for e in owned if (e.service_id, e.address) != (service_id, address)}
            case Add(service_id, address):
                owned.add(OwnedEntry(service_id, address))
    return Observation(frozenset(owned), observed.foreign, observed.foreign_idle)
