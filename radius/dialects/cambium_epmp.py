"""Cambium ePMP subscriber modules (vendor 17713).

Source: dictionary.cambium of FreeRADIUS 3.2 for numbers and types; the ePMP user guide's MIR profiles count
in kbit/s.
"""

from __future__ import annotations

from aaa.domain.profile import SessionTerms
from radius.dialects.attributes import WireAttribute, kbit, number
from radius.dialects.dialect import Dialect

CAMBIUM = 17713
_DATA_VLAN_ID, _UPLINK_RATE, _DOWNLINK_RATE, _SM_PRIORITY = 21, 26, 27, 51
_DATA_VLAN_PRIORITY = 54
_NORMAL, _HIGH, _LOW = 0, 1, 2


def speed(terms: SessionTerms) -> list[WireAttribute]:
    """The module's maximum rates: the burst where there is one, for it has no word for both."""
    up = terms.burst_up_bps or terms.rate_up_bps
    down = terms.burst_down_bps or terms.rate_down_bps
    return [
        number("Cambium-ePMP-Max-Burst-Uplink-Rate", _UPLINK_RATE, kbit(up), CAMBIUM),
        number("Cambium-ePMP-Max-Burst-Downlink-Rate", _DOWNLINK_RATE, kbit(down), CAMBIUM),
    ]


def no_filter(_terms: SessionTerms, _name: str) -> list[WireAttribute]:
    """A radio filters nothing by RADIUS: its subscribers are walled at a router."""
    return []


def session(terms: SessionTerms) -> list[WireAttribute]:
    """The data VLAN and the module's turn on the air: 1 and 2 are high, 7 and 8 low."""
    found = []
    if terms.vlan is not None:
        found.append(number("Cambium-ePMP-Data-VLAN-Id", _DATA_VLAN_ID, terms.vlan, CAMBIUM))
    if terms.priority is not None:
        turn = _HIGH if terms.priority <= 2 else _LOW if terms.priority >= 7 else _NORMAL
        found.append(number("Cambium-ePMP-SM-Priority", _SM_PRIORITY, turn, CAMBIUM))
    return found


def remarks(terms: SessionTerms) -> list[str]:
    """What a subscriber module cannot be told."""
    found = []
    if terms.access_filter is not None:
        found.append("ePMP modules take no filter: let a router wall this subscriber (an enforcement point)")
    if terms.burst_down_bps is not None:
        found.append(
            "ePMP has one rate each way: the burst is sent, the plan's rate is not enforced by the radio"
        )
    if terms.outer_vlan is not None:
        found.append("ePMP takes one VLAN: the outer one is not sent")
    return found


DIALECT = Dialect("cambium_epmp", speed, no_filter, session, gives_addresses=False, remarks=remarks)
