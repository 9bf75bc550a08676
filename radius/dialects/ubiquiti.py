"""Ubiquiti (vendor 41112): access points and gateways; 64-bit rates, and WISPr for what knows only that.

Source: FreeRADIUS 4's dictionary.ubnt (Data-Rate-DL 1, Data-Burst-DL 2, Data-Rate-UL 3, Data-Burst-UL 4, all
uint64), in bit/s; numbers and width are sure, the unit is not in the dictionary.
"""

from __future__ import annotations

from aaa.domain.profile import SessionTerms
from radius.dialects import wispr
from radius.dialects.attributes import WireAttribute, long_number
from radius.dialects.dialect import Dialect
from radius.dialects.standard import filter_id

UBIQUITI = 41112
_RATE_DL, _BURST_DL, _RATE_UL, _BURST_UL = 1, 2, 3, 4


def speed(terms: SessionTerms) -> list[WireAttribute]:
    """Rates, bursts where there are, and WISPr's rates beside them."""
    found = [
        long_number("UBNT-Data-Rate-DL", _RATE_DL, terms.rate_down_bps, UBIQUITI),
        long_number("UBNT-Data-Rate-UL", _RATE_UL, terms.rate_up_bps, UBIQUITI),
    ]
    if terms.burst_down_bps is not None and terms.burst_up_bps is not None:
        found.append(long_number("UBNT-Data-Rate-DL-Burst", _BURST_DL, terms.burst_down_bps, UBIQUITI))
        found.append(long_number("UBNT-Data-Rate-UL-Burst", _BURST_UL, terms.burst_up_bps, UBIQUITI))
    return found + wispr.speed(terms)


def remarks(terms: SessionTerms) -> list[str]:
    """Devices that read WISPr alone have its limits."""
    return [one for one in wispr.remarks(terms) if "burst" not in one]


DIALECT = Dialect("ubiquiti", speed, filter_id, wispr.session, remarks=remarks)
