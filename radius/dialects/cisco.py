"""Cisco IOS and IOS XE (vendor 9): PPPoE and ISG sessions, by Cisco-AVPair.

Source: Cisco, "RADIUS Attributes Configuration Guide": ``ip:sub-qos-policy-in`` and ``-out`` name policy
maps, "in" is from the subscriber; Filter-Id names an access list with ``.in`` or ``.out``; attribute 250
``A<service>`` logs the session on to an ISG service.
"""

from __future__ import annotations

from aaa.domain.profile import SessionTerms
from radius.dialects.attributes import WireAttribute, text
from radius.dialects.dialect import Dialect
from radius.dialects.named_policies import policy_names, remark
from radius.dialects.standard import filter_id, ipv6_pools, tunnel_vlan

CISCO = 9
_AV_PAIR, _ACCOUNT_INFO = 1, 250


def speed(terms: SessionTerms) -> list[WireAttribute]:
    """The names of the two policy maps."""
    up, down = policy_names(terms)
    return [
        text("Cisco-AVPair", _AV_PAIR, f"ip:sub-qos-policy-in={up}", CISCO),
        text("Cisco-AVPair", _AV_PAIR, f"ip:sub-qos-policy-out={down}", CISCO),
    ]


def access_list(terms: SessionTerms, name: str) -> list[WireAttribute]:
    """On what comes from the subscriber."""
    return filter_id(terms, name if name.endswith((".in", ".out")) else f"{name}.in")


def session(terms: SessionTerms) -> list[WireAttribute]:
    """The ISG service, pools, VLAN."""
    found = []
    if terms.router_group is not None:
        found.append(text("Cisco-Account-Info", _ACCOUNT_INFO, f"A{terms.router_group}", CISCO))
    return found + ipv6_pools(terms) + tunnel_vlan(terms)


DIALECT = Dialect("cisco", speed, access_list, session, remarks=lambda terms: [remark(terms)])
