"""What sessions are narrowed to, read from what people type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv6Network, ip_network

from aaa.domain.identity import normalise_mac
from core.instants import read_instant
from core.refusal import Refusal

STATES = ("", "online", "closed")
WORDS = ("state", "username", "mac", "address", "why", "from", "until")
"""What ``read_filter`` understands."""


@dataclass(frozen=True, slots=True)
class Place:
    """Addresses to look for: one IPv4 or IPv6 address, or an IPv6 prefix exactly as it was given out."""

    text: str
    version: int
    networks: tuple[str, ...]
    """Every IPv6 prefix that holds it, as text, longest first; for IPv4 the address alone."""


@dataclass(frozen=True, slots=True)
class SessionFilter:
    """Everything given must hold. A session counts that started from ``from_at`` on and before ``until_at``.

    ``service_ids`` and ``username`` are alternatives: sessions of those services or under that name.
    """

    state: str = ""  # "", online, closed
    service_ids: tuple[str, ...] = ()
    username: str | None = None
    mac: str | None = None
    place: Place | None = None
    nas_ids: tuple[str, ...] | None = None  # None: any
    cause: str | None = None
    from_at: datetime | None = None
    until_at: datetime | None = None


def read_filter(asked: Mapping[str, str], zone_name: str | None) -> SessionFilter | Refusal:
    """The filter in texts by ``WORDS``, empty ones left out; times without offset are in ``zone_name``."""
    state = asked.get("state", "")
    if state not in STATES:
        return Refusal("state.unknown", f"{state!r}: use online or closed, or leave it out for both", "state")
    mac = normalise_mac(asked["mac"]) if asked.get("mac") else None
    if asked.get("mac") and mac is None:
        return Refusal("mac.malformed", f"{asked['mac']!r} is no MAC; write it like 00:e1:0c:38:c8:f8", "mac")
    place = read_place(asked["address"]) if asked.get("address") else None
    if isinstance(place, Refusal):
        return place
    times: dict[str, datetime | None] = {}
    for name in ("from", "until"):
        try:
            times[name] = read_instant(asked[name], zone_name) if asked.get(name) else None
        except ValueError as trouble:
            return Refusal(f"{name}.malformed", str(trouble), name)
    return SessionFilter(
        state=state, username=asked.get("username") or None, mac=mac, place=place,
        cause=asked.get("why") or None, from_at=times["from"], until_at=times["until"],
    )  # fmt: skip


def read_place(text: str) -> Place | Refusal:
    """An address or an IPv6 prefix; what is neither is refused with a remedy."""
    typed = text.strip().strip("[]")
    try:
        network = ip_network(typed, strict=False)
    except ValueError:
        return Refusal(
            "address.malformed",
            f"{text[:60]!r} is no address; write it like 100.64.0.9 or 2001:db8:7::1",
            "address",
        )
    if isinstance(network, IPv6Network):
        mapped = network.network_address.ipv4_mapped
        if mapped is not None and network.prefixlen == 128:
            return Place(str(mapped), 4, (str(mapped),))
        whole = str(network.network_address) if network.prefixlen == 128 else str(network)
        return Place(whole, 6, tuple(_holders(network)))
    if network.prefixlen < 32:
        return Refusal("address.network", f"{typed} is a network; look for one address at a time", "address")
    address = str(network.network_address)
    return Place(address, 4, (address,))


def _holders(network: IPv6Network) -> list[str]:
    """The network and every larger one around it, down to /16: nobody delegates more."""
    return [str(network.supernet(new_prefix=bits)) for bits in range(network.prefixlen, 15, -1)] or [
        str(network)
    ]
