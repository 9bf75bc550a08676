"""WISPr (vendor 14122): hotspot gateways and access points of many makers.

Source: Wi-Fi Alliance, "Best Current Practices for Wireless Internet Service Provider Roaming" 1.0, section
6.3: rates in bit/s in 32 bits.
"""

from __future__ import annotations

from aaa.domain.profile import SessionTerms
from core.quantities import format_rate
from radius.dialects.attributes import MOST_UINT32, WireAttribute, number
from radius.dialects.dialect import Dialect
from radius.dialects.standard import filter_id, ipv6_pools, tunnel_vlan
from radius.packet.codec import WISPR

_MIN_UP, _MIN_DOWN, _MAX_UP, _MAX_DOWN = 5, 6, 7, 8


def speed(terms: SessionTerms) -> list[WireAttribute]:
    """Most, and least where something is committed."""
    found = [
        number("WISPr-Bandwidth-Max-Up", _MAX_UP, terms.rate_up_bps, WISPR),
        number("WISPr-Bandwidth-Max-Down", _MAX_DOWN, terms.rate_down_bps, WISPR),
    ]
    if terms.min_up_bps is not None and terms.min_down_bps is not None:
        found.append(number("WISPr-Bandwidth-Min-Up", _MIN_UP, terms.min_up_bps, WISPR))
        found.append(number("WISPr-Bandwidth-Min-Down", _MIN_DOWN, terms.min_down_bps, WISPR))
    return found


def session(terms: SessionTerms) -> list[WireAttribute]:
    """Pools and VLAN in the RFCs' own words."""
    return ipv6_pools(terms) + tunnel_vlan(terms)


def remarks(terms: SessionTerms) -> list[str]:
    """What 32 bits do not hold."""
    found = [
        f"WISPr has 32 bits for a rate: {way} of {format_rate(rate)} is sent as {format_rate(MOST_UINT32)}"
        for way, rate in (("the download", terms.rate_down_bps), ("the upload", terms.rate_up_bps))
        if rate > MOST_UINT32
    ]
    if terms.burst_down_bps is not None:
        found.append("WISPr has no word for a burst")
    return found


DIALECT = Dialect("wispr", speed, filter_id, session, remarks=remarks)
