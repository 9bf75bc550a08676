"""MikroTik RouterOS (vendor 14988): PPP, DHCP, HotSpot and wireless clients.

Source: MikroTik's manual, "RADIUS", and its dictionary. ``Mikrotik-Rate-Limit`` is
``rx[/tx] [rx-burst/tx-burst [rx-thr/tx-thr [rx-time/tx-time [priority [rx-min/tx-min]]]]]`` as the router
sees it: rx is the subscriber's upload. Rates in bit/s, with k and M for thousands and millions.
"""

from __future__ import annotations

from aaa.domain.profile import SessionTerms
from radius.dialects.attributes import WireAttribute, number, text
from radius.dialects.dialect import Dialect
from radius.dialects.standard import link_pool, tunnel_vlan
from radius.packet.codec import MIKROTIK

_GROUP, _RATE_LIMIT, _ADDRESS_LIST, _DELEGATED_POOL = 3, 8, 19, 22
_WIRELESS_VLAN_ID, _WIRELESS_VLAN_TYPE = 26, 27
_TYPE_802_1Q = 0
_LOWEST_PRIORITY = 8


def speed(terms: SessionTerms) -> list[WireAttribute]:
    """One queue for both ways; it takes precedence over WISPr attributes."""
    return [text("Mikrotik-Rate-Limit", _RATE_LIMIT, rate_limit(terms), MIKROTIK)]


def address_list(_terms: SessionTerms, name: str) -> list[WireAttribute]:
    """The firewall address list that the subscriber's addresses are put on."""
    return [text("Mikrotik-Address-List", _ADDRESS_LIST, name, MIKROTIK)]


def session(terms: SessionTerms) -> list[WireAttribute]:
    """The PPP or HotSpot profile, pools, and the VLAN of a wireless client (HotSpot reads the tunnel)."""
    found = []
    if terms.router_group is not None:
        found.append(text("Mikrotik-Group", _GROUP, terms.router_group, MIKROTIK))
    found += link_pool(terms)
    if terms.delegated_pool is not None:
        found.append(text("Mikrotik-Delegated-IPv6-Pool", _DELEGATED_POOL, terms.delegated_pool, MIKROTIK))
    if terms.vlan is not None:
        found.append(number("Mikrotik-Wireless-VLANID", _WIRELESS_VLAN_ID, terms.vlan, MIKROTIK))
        found.append(number("Mikrotik-Wireless-VLANID-Type", _WIRELESS_VLAN_TYPE, _TYPE_802_1Q, MIKROTIK))
    return found + tunnel_vlan(terms)


def rate_limit(terms: SessionTerms) -> str:
    """The value of Mikrotik-Rate-Limit, no longer than it must be.

    ``burst_seconds`` is RouterOS's burst-time, the span it averages over; the threshold is the plain rate.
    Whoever has a priority or committed rates and no burst is given a burst equal to the rate, which is none.
    """
    rate = f"{_rate(terms.rate_up_bps)}/{_rate(terms.rate_down_bps)}"
    bursts = terms.burst_up_bps is not None and terms.burst_down_bps is not None
    ranked = terms.priority is not None or terms.min_down_bps is not None
    if not bursts and not ranked:
        return rate
    burst = f"{_rate(terms.burst_up_bps or 0)}/{_rate(terms.burst_down_bps or 0)}" if bursts else "0/0"
    seconds = terms.burst_seconds if bursts else 0
    said = f"{rate} {burst} {rate if bursts else '0/0'} {seconds}/{seconds}"
    if not ranked:
        return said
    said += f" {terms.priority or _LOWEST_PRIORITY}"
    if terms.min_down_bps is None or terms.min_up_bps is None:
        return said
    return f"{said} {_rate(terms.min_up_bps)}/{_rate(terms.min_down_bps)}"


def _rate(bps: int) -> str:
    if bps and bps % 1_000_000 == 0:
        return f"{bps // 1_000_000}M"
    return f"{bps // 1_000}k" if bps and bps % 1_000 == 0 else str(bps)


def remarks(terms: SessionTerms) -> list[str]:
    """A queue has one tag."""
    if terms.outer_vlan is not None:
        return ["RouterOS takes one VLAN for a wireless client: the outer one goes in the tunnel group alone"]
    return []


DIALECT = Dialect("mikrotik", speed, address_list, session, remarks=remarks)
