"""Cambium PMP 450 subscriber modules ("Canopy", vendor 161).

Source: dictionary.motorola of FreeRADIUS 3.2 and the VSA table of the PMP 450 operations guide: sustained and
committed rates in kbit/s, burst allocations in kbit. A Framed-IP-Address would become the module's own
management address, so subscribers' addresses are not sent to it.
"""

from __future__ import annotations

from aaa.domain.profile import SessionTerms
from radius.dialects.attributes import WireAttribute, kbit, number
from radius.dialects.dialect import Dialect

CANOPY = 161
_LPULCIR, _LPDLCIR, _HPULCIR, _HPDLCIR, _HPENABLE = 1, 2, 3, 4, 5
_ULBR, _ULBL, _DLBR, _DLBL = 6, 7, 8, 9
_VLIGVID = 21
_HIGH = 2


def speed(terms: SessionTerms) -> list[WireAttribute]:
    """Sustained rates, the buckets that are filled at them, and committed rates.

    A burst of b for t seconds over a rate r is a bucket of (b - r) * t; without one it holds a second of the
    rate.
    """
    up = _bucket(terms.rate_up_bps, terms.burst_up_bps, terms.burst_seconds)
    down = _bucket(terms.rate_down_bps, terms.burst_down_bps, terms.burst_seconds)
    found = [
        _canopy("ULBR", _ULBR, kbit(terms.rate_up_bps)), _canopy("ULBL", _ULBL, up),
        _canopy("DLBR", _DLBR, kbit(terms.rate_down_bps)), _canopy("DLBL", _DLBL, down),
    ]  # fmt: skip
    return found + _committed(terms)


def _bucket(rate_bps: int, burst_bps: int | None, seconds: int | None) -> int:
    if burst_bps is None or seconds is None or burst_bps == rate_bps:
        return kbit(rate_bps)
    return kbit((burst_bps - rate_bps) * seconds)


def _committed(terms: SessionTerms) -> list[WireAttribute]:
    """On the high priority channel for priority 1 and 2, which is then switched on; else on the low one."""
    if terms.min_up_bps is None or terms.min_down_bps is None:
        return []
    up, down = kbit(terms.min_up_bps), kbit(terms.min_down_bps)
    if terms.priority is None or terms.priority > _HIGH:
        return [_canopy("LPULCIR", _LPULCIR, up), _canopy("LPDLCIR", _LPDLCIR, down)]
    return [
        _canopy("HPENABLE", _HPENABLE, 1),
        _canopy("HPULCIR", _HPULCIR, up),
        _canopy("HPDLCIR", _HPDLCIR, down),
    ]


def _canopy(short: str, kind: int, value: int) -> WireAttribute:
    return number(f"Motorola-Canopy-{short}", kind, value, CANOPY)


def no_filter(_terms: SessionTerms, _name: str) -> list[WireAttribute]:
    """A radio filters nothing by RADIUS: its subscribers are walled at a router."""
    return []


def session(terms: SessionTerms) -> list[WireAttribute]:
    """The VLAN of what comes in untagged at the module."""
    return [] if terms.vlan is None else [_canopy("VLIGVID", _VLIGVID, terms.vlan)]


def remarks(terms: SessionTerms) -> list[str]:
    """What a subscriber module cannot be told."""
    found = []
    if terms.access_filter is not None:
        found.append(
            "PMP 450 modules take no filter: let a router wall this subscriber (an enforcement point)"
        )
    if terms.outer_vlan is not None:
        found.append("PMP 450 takes one VLAN by RADIUS: the outer one is not sent")
    return found


DIALECT = Dialect("cambium_pmp450", speed, no_filter, session, gives_addresses=False, remarks=remarks)
