"""Juniper ERX (E series) and Junos subscriber management (vendor 4874).

Source: dictionary.erx of FreeRADIUS 3.2; Juniper, "Standard and Vendor-Specific RADIUS Attributes": ingress
is from the subscriber; policies (on Junos: filters) must exist on the router.
"""

from __future__ import annotations

from aaa.domain.profile import SessionTerms
from radius.dialects.attributes import WireAttribute, text
from radius.dialects.dialect import Dialect
from radius.dialects.named_policies import policy_names, remark
from radius.dialects.standard import link_pool, tunnel_vlan

JUNIPER_ERX = 4874
_VIRTUAL_ROUTER, _INGRESS, _EGRESS = 1, 10, 11
_IPV6_INGRESS, _IPV6_EGRESS, _DELEGATED_POOL = 106, 107, 161


def speed(terms: SessionTerms) -> list[WireAttribute]:
    """Policies of both families; what comes from a session with a filter is under that instead."""
    up, down = policy_names(terms)
    found = [
        text("ERX-Egress-Policy-Name", _EGRESS, down, JUNIPER_ERX),
        text("ERX-IPv6-Egress-Policy-Name", _IPV6_EGRESS, down, JUNIPER_ERX),
    ]
    return found if terms.access_filter is not None else _ingress(up) + found


def _ingress(name: str) -> list[WireAttribute]:
    return [
        text("ERX-Ingress-Policy-Name", _INGRESS, name, JUNIPER_ERX),
        text("ERX-IPv6-Ingress-Policy-Name", _IPV6_INGRESS, name, JUNIPER_ERX),
    ]


def policy(terms: SessionTerms, name: str) -> list[WireAttribute]:
    """A filter takes the place of the policy on what comes from the subscriber, in both families.

    A session that is restored has its policy of rate back already, so that the open filter need not be named.
    """
    return _ingress(name) if terms.access_filter is not None else []


def session(terms: SessionTerms) -> list[WireAttribute]:
    """The virtual router (routing instance), pools, VLAN."""
    found = []
    if terms.router_group is not None:
        found.append(text("ERX-Virtual-Router-Name", _VIRTUAL_ROUTER, terms.router_group, JUNIPER_ERX))
    found += link_pool(terms)
    if terms.delegated_pool is not None:
        found.append(text("ERX-IPv6-Delegated-Pool-Name", _DELEGATED_POOL, terms.delegated_pool, JUNIPER_ERX))
    return found + tunnel_vlan(terms)


def remarks(terms: SessionTerms) -> list[str]:
    """What the router must have."""
    found = [remark(terms)]
    if terms.access_filter is not None:
        found.append(f"the policy {terms.access_filter} takes the place of the one for the upload")
    return found


DIALECT = Dialect("juniper", speed, policy, session, remarks=remarks)
