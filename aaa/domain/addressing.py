"""What a service is given beside its IPv4 address: a netmask, IPv6 prefixes, routes behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from core.refusal import Refusal

MOST_ROUTES: Final = 8
MOST_PREFIXES: Final = MOST_ROUTES + 3
"""Rows of one service: its routes, one prefix of the link, one behind the CPE, one address."""

_HIGHEST_METRIC: Final = 255


@dataclass(frozen=True, slots=True)
class Route:
    """A route to what lies behind a subscriber; without ``gateway`` by way of the subscriber himself."""

    prefix: str
    gateway: str | None = None
    metric: int = 1

    def __str__(self) -> str:
        """As RFC 2865 section 5.22 and RFC 3162 section 2.5 spell it: prefix, gateway, metric."""
        by_himself = str((IPv6Address if ":" in self.prefix else IPv4Address)(0))
        return f"{self.prefix} {self.gateway or by_himself} {self.metric}"


@dataclass(frozen=True, slots=True)
class Addressing:
    """A service's own prefixes and routes, and the netmask of its static address."""

    netmask_bits: int | None = None
    ipv6_prefix: str | None = None
    delegated_prefix: str | None = None
    ipv6_address: str | None = None
    routes: tuple[Route, ...] = ()

    @property
    def prefixes(self) -> list[tuple[str, str]]:
        """Every (kind, prefix), routes last."""
        single = (
            ("ipv6_prefix", self.ipv6_prefix), ("delegated_prefix", self.delegated_prefix),
            ("ipv6_address", self.ipv6_address),
        )  # fmt: skip
        found = [(kind, prefix) for kind, prefix in single if prefix is not None]
        return found + [("route", route.prefix) for route in self.routes]


NO_ADDRESSING: Final = Addressing()


def check_addressing(
    *,
    netmask_bits: int | None,
    ipv6_prefix: str | None,
    delegated_prefix: str | None,
    ipv6_address: str | None,
    routes: Sequence[str],
) -> Addressing | Refusal:
    """The addressing as it is stored; refused with the field that is wrong.

    ``routes`` are lines like ``203.0.113.8/29``, ``2001:db8:7::/48`` or ``10.8.0.0/16 10.1.2.3 5``.
    """
    if netmask_bits is not None and not 8 <= netmask_bits <= 32:
        return Refusal(
            "netmask_bits.range", f"a netmask of {netmask_bits} bits; give 8 to 32", "netmask_bits"
        )
    link = None if ipv6_prefix is None else check_ipv6_prefix(ipv6_prefix, "ipv6_prefix")
    behind = None if delegated_prefix is None else check_ipv6_prefix(delegated_prefix, "delegated_prefix")
    host = None if ipv6_address is None else check_ipv6_address(ipv6_address, "ipv6_address")
    if len(routes) > MOST_ROUTES:
        return Refusal("routes.many", f"{len(routes)} routes; give at most {MOST_ROUTES}", "routes")
    checked: list[Route] = []
    for line in routes:
        route = check_route(line)
        if isinstance(route, Refusal):
            return route
        checked.append(route)
    for one in (link, behind, host):
        if isinstance(one, Refusal):
            return one
    return Addressing(netmask_bits, _text(link), _text(behind), _text(host), tuple(checked))


def _text(value: str | Refusal | None) -> str | None:
    return None if isinstance(value, Refusal) else value


def check_ipv6_prefix(text: str, field: str) -> str | Refusal:
    """An IPv6 prefix of one's own, in its shortest spelling."""
    try:
        network = ip_network(text.strip())
    except ValueError:
        network = None
    if not isinstance(network, IPv6Network) or "/" not in text:
        return Refusal(
            f"{field}.malformed",
            f"{text!r} is not an IPv6 prefix; write it like 2001:db8:12::/48, with nothing behind its length",
            field,
        )
    return _check_usable(network, field) or str(network)


def check_ipv6_address(text: str, field: str) -> str | Refusal:
    """One IPv6 address, in its shortest spelling."""
    try:
        address = ip_address(text.strip())
    except ValueError:
        address = None
    if not isinstance(address, IPv6Address) or address.scope_id is not None:
        return Refusal(
            f"{field}.malformed", f"{text!r} is not an IPv6 address; write it like 2001:db8::12", field
        )
    return _check_usable(IPv6Network(address), field) or str(address)


def _check_usable(network: IPv4Network | IPv6Network, field: str) -> Refusal | None:
    if network.prefixlen == 0:
        return Refusal(f"{field}.everything", f"{network} is all there is; give one of your own", field)
    if network.is_multicast or network.is_loopback or network.is_unspecified or network.is_link_local:
        return Refusal(f"{field}.no_host", f"{network} cannot be a subscriber's; give one of your own", field)
    return None


def check_route(line: str) -> Route | Refusal:
    """One route: a prefix, and perhaps a gateway of the same family and a metric."""
    prefix, *rest = line.split()[:4] or [""]
    try:
        network = ip_network(prefix)
        gateway = ip_address(rest[0]) if rest else None
        metric = int(rest[1]) if len(rest) > 1 else 1
    except ValueError:
        return _bad_route(line)
    if "/" not in prefix or len(rest) > 2 or (gateway is not None and gateway.version != network.version):
        return _bad_route(line)
    if not 1 <= metric <= _HIGHEST_METRIC:
        return Refusal("routes.metric", f"{line!r} has the metric {metric}; give 1 to 255", "routes")
    by_itself = gateway is None or gateway.is_unspecified
    return _check_usable(network, "routes") or Route(
        str(network), None if by_itself else str(gateway), metric
    )


def _bad_route(line: str) -> Refusal:
    return Refusal(
        "routes.malformed",
        f"{line!r} is not a route; write a prefix, and if need be a gateway and a metric, like "
        "203.0.113.8/29 or 2001:db8:7::/48 or 10.8.0.0/16 10.1.2.3 5",
        "routes",
    )


def span(prefix: str) -> tuple[str, str]:
    """First and last address in 32 hexadecimal digits, IPv4 mapped into IPv6: the texts sort as addresses."""
    network = ip_network(prefix)
    first, last = int(network.network_address), int(network.broadcast_address)
    if network.version == 4:
        first, last = first | 0xFFFF << 32, last | 0xFFFF << 32
    return f"{first:032x}", f"{last:032x}"
