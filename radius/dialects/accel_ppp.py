"""accel-ppp: PPPoE and IPoE on Linux.

Source: accel-ppp's shaper module: Filter-Id (its default ``attr``) is ``DOWN/UP`` in kbit/s, in Accepts and
in CoA. It is the shaper's word, so no filter can be named beside it.
"""

from __future__ import annotations

from aaa.domain.profile import SessionTerms
from radius.dialects.attributes import WireAttribute, kbit, text
from radius.dialects.dialect import Dialect
from radius.dialects.standard import ipv6_pools, tunnel_vlan
from radius.packet.codec import Attr


def speed(terms: SessionTerms) -> list[WireAttribute]:
    """The shaper's rates."""
    return [text("Filter-Id", Attr.FILTER_ID, f"{kbit(terms.rate_down_bps)}/{kbit(terms.rate_up_bps)}")]


def no_filter(_terms: SessionTerms, _name: str) -> list[WireAttribute]:
    """Filter-Id is taken."""
    return []


def session(terms: SessionTerms) -> list[WireAttribute]:
    """Pools in the RFCs' words; accel-ppp reads them when its ippool modules are told to."""
    return ipv6_pools(terms) + tunnel_vlan(terms)


def remarks(terms: SessionTerms) -> list[str]:
    """What its shaper cannot be told."""
    found = []
    if terms.access_filter is not None:
        found.append(
            "Filter-Id is the shaper's here: let the firewall wall this subscriber (an enforcement point)"
        )
    if terms.burst_down_bps is not None:
        found.append("bursts are set in accel-ppp.conf (down-burst-factor), not by RADIUS")
    return found


DIALECT = Dialect("accel_ppp", speed, no_filter, session, remarks=remarks)
