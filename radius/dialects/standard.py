"""What the RFCs say of any session: time-outs, pools, VLANs, addresses, routes, interim reports."""

from __future__ import annotations

from ipaddress import IPv4Network

from aaa.domain.addressing import Addressing
from aaa.domain.profile import SessionTerms
from radius.dialects.attributes import (
    WireAttribute,
    ipv4,
    ipv6,
    ipv6_prefix,
    number,
    tagged_number,
    tagged_text,
    text,
)
from radius.packet.codec import Attr

_FRAMED_IP_NETMASK = 9
_FRAMED_ROUTE = 22
_TUNNEL_TYPE, _TUNNEL_MEDIUM_TYPE, _TUNNEL_PRIVATE_GROUP_ID = 64, 65, 81
_FRAMED_IPV6_PREFIX, _FRAMED_IPV6_ROUTE, _FRAMED_IPV6_POOL = 97, 99, 100
_DELEGATED_IPV6_PREFIX = 123
_FRAMED_IPV6_ADDRESS = 168
_DELEGATED_IPV6_PREFIX_POOL = 171
_VLAN, _IEEE_802 = 13, 6
_TAG = 1


def filter_id(_terms: SessionTerms, name: str) -> list[WireAttribute]:
    """The name of a filter that the NAS has (RFC 2865 section 5.11)."""
    return [text("Filter-Id", Attr.FILTER_ID, name)]


def timeouts(terms: SessionTerms) -> list[WireAttribute]:
    """When the NAS ends the session by itself (RFC 2865 sections 5.27 and 5.28)."""
    found = []
    if terms.session_timeout_s is not None:
        found.append(number("Session-Timeout", Attr.SESSION_TIMEOUT, terms.session_timeout_s))
    if terms.idle_timeout_s is not None:
        found.append(number("Idle-Timeout", Attr.IDLE_TIMEOUT, terms.idle_timeout_s))
    return found


def link_pool(terms: SessionTerms) -> list[WireAttribute]:
    """The pool on the NAS that the prefix of the link comes from (RFC 3162 section 2.6)."""
    return [] if terms.ipv6_pool is None else [text("Framed-IPv6-Pool", _FRAMED_IPV6_POOL, terms.ipv6_pool)]


def ipv6_pools(terms: SessionTerms) -> list[WireAttribute]:
    """Pools on the NAS: of link prefixes, and of delegated ones (RFC 6911 section 3.4)."""
    pool = terms.delegated_pool
    if pool is None:
        return link_pool(terms)
    return [*link_pool(terms), text("Delegated-IPv6-Prefix-Pool", _DELEGATED_IPV6_PREFIX_POOL, pool)]


def tunnel_vlan(terms: SessionTerms) -> list[WireAttribute]:
    """The VLAN as a tagged tunnel (RFC 3580 section 3.31; tags: RFC 2868 section 3.1).

    With an outer VLAN the group is OUTER.INNER, which no RFC says: switches and gateways that do QinQ read it
    so.
    """
    if terms.vlan is None:
        return []
    group = str(terms.vlan) if terms.outer_vlan is None else f"{terms.outer_vlan}.{terms.vlan}"
    return [
        tagged_number("Tunnel-Type", _TUNNEL_TYPE, _VLAN, _TAG),
        tagged_number("Tunnel-Medium-Type", _TUNNEL_MEDIUM_TYPE, _IEEE_802, _TAG),
        tagged_text("Tunnel-Private-Group-Id", _TUNNEL_PRIVATE_GROUP_ID, group, _TAG),
    ]


def addresses(framed_ip: str | None, pool: str | None, own: Addressing) -> list[WireAttribute]:
    """Where the subscriber gets his addresses, and the routes to what lies behind him."""
    found = address_or_pool(framed_ip, pool)
    if framed_ip is not None and own.netmask_bits is not None:
        mask = str(IPv4Network(f"0.0.0.0/{own.netmask_bits}").netmask)
        found.append(ipv4("Framed-IP-Netmask", _FRAMED_IP_NETMASK, mask))
    for route in own.routes:
        name, kind = ("Framed-Route", _FRAMED_ROUTE)
        if ":" in route.prefix:
            name, kind = ("Framed-IPv6-Route", _FRAMED_IPV6_ROUTE)
        found.append(text(name, kind, str(route)))
    if own.ipv6_prefix is not None:
        found.append(ipv6_prefix("Framed-IPv6-Prefix", _FRAMED_IPV6_PREFIX, own.ipv6_prefix))
    if own.ipv6_address is not None:
        found.append(ipv6("Framed-IPv6-Address", _FRAMED_IPV6_ADDRESS, own.ipv6_address))
    if own.delegated_prefix is not None:
        found.append(ipv6_prefix("Delegated-IPv6-Prefix", _DELEGATED_IPV6_PREFIX, own.delegated_prefix))
    return found


def address_or_pool(framed_ip: str | None, pool: str | None) -> list[WireAttribute]:
    """The subscriber's static IPv4 address, else the pool (RFC 2865 section 5.8, RFC 2869 section 5.18)."""
    if framed_ip is not None:
        return [ipv4("Framed-IP-Address", Attr.FRAMED_IP_ADDRESS, framed_ip)]
    return [] if pool is None else [text("Framed-Pool", Attr.FRAMED_POOL, pool)]


def interim(interval_s: int) -> WireAttribute:
    """How often the NAS is to report (RFC 2869 section 5.16)."""
    return number("Acct-Interim-Interval", Attr.ACCT_INTERIM_INTERVAL, interval_s)
