"""What a session's terms are in the words of each kind of NAS: declared once, for replies and for CoA."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address

from aaa.domain.profile import SessionTerms
from radius.codec import MIKROTIK, WISPR, Attr, attribute, integer, vendor_attribute

_MIKROTIK_RATE_LIMIT = 8
_MIKROTIK_ADDRESS_LIST = 19
_WISPR_MAX_UP = 7
_WISPR_MAX_DOWN = 8


@dataclass(frozen=True, slots=True)
class WireAttribute:
    """One attribute to send: ``vendor`` 0 means a standard one. ``shown`` is for people."""

    name: str
    vendor: int
    kind: int
    octets: bytes
    shown: str

    def encoded(self) -> bytes:
        """Its octets on the wire."""
        if self.vendor:
            return vendor_attribute(self.vendor, self.kind, self.octets)
        return attribute(self.kind, self.octets)

    def __str__(self) -> str:
        return f"{self.name} = {self.shown}"


def rate_attributes(terms: SessionTerms, dialect: str) -> list[WireAttribute]:
    """The attributes that set the line rate."""
    if dialect == "mikrotik":
        return [
            _vendor_text("Mikrotik-Rate-Limit", MIKROTIK, _MIKROTIK_RATE_LIMIT, mikrotik_rate_limit(terms))
        ]
    if dialect == "wispr":
        return [
            _vendor_integer("WISPr-Bandwidth-Max-Up", WISPR, _WISPR_MAX_UP, terms.rate_up_bps),
            _vendor_integer("WISPr-Bandwidth-Max-Down", WISPR, _WISPR_MAX_DOWN, terms.rate_down_bps),
        ]
    return []


def list_attributes(address_list: str | None, dialect: str) -> list[WireAttribute]:
    """The attribute that puts a session on a filter of the NAS: its walled garden."""
    if address_list is None:
        return []
    if dialect == "mikrotik":
        return [_vendor_text("Mikrotik-Address-List", MIKROTIK, _MIKROTIK_ADDRESS_LIST, address_list)]
    return [WireAttribute("Filter-Id", 0, Attr.FILTER_ID, address_list.encode(), address_list)]


def terms_attributes(terms: SessionTerms, dialect: str) -> list[WireAttribute]:
    """What every session under these terms is told, whoever it belongs to."""
    attributes = rate_attributes(terms, dialect) + list_attributes(terms.address_list, dialect)
    if terms.session_timeout_s is not None:
        attributes.append(_integer("Session-Timeout", Attr.SESSION_TIMEOUT, terms.session_timeout_s))
    if terms.idle_timeout_s is not None:
        attributes.append(_integer("Idle-Timeout", Attr.IDLE_TIMEOUT, terms.idle_timeout_s))
    return attributes


def address_attributes(framed_ip: str | None, pool: str | None) -> list[WireAttribute]:
    """Where the subscriber gets his address: his static one, else the pool."""
    if framed_ip is not None:
        octets = IPv4Address(framed_ip).packed
        return [WireAttribute("Framed-IP-Address", 0, Attr.FRAMED_IP_ADDRESS, octets, framed_ip)]
    if pool is not None:
        return [WireAttribute("Framed-Pool", 0, Attr.FRAMED_POOL, pool.encode(), pool)]
    return []


def interim_attribute(interval_s: int) -> WireAttribute:
    """How often the NAS is to report."""
    return _integer("Acct-Interim-Interval", Attr.ACCT_INTERIM_INTERVAL, interval_s)


def mikrotik_rate_limit(terms: SessionTerms) -> str:
    """``rx/tx [burst burst-threshold burst-time]`` as the router sees it: rx is the customer's upload.

    ``burst_seconds`` is RouterOS's burst-time, the span it averages over; the threshold is the plain rate.
    """
    rate = f"{_rate(terms.rate_up_bps)}/{_rate(terms.rate_down_bps)}"
    if terms.burst_up_bps is None or terms.burst_down_bps is None or terms.burst_seconds is None:
        return rate
    burst = f"{_rate(terms.burst_up_bps)}/{_rate(terms.burst_down_bps)}"
    return f"{rate} {burst} {rate} {terms.burst_seconds}/{terms.burst_seconds}"


def _rate(bps: int) -> str:
    if bps % 1_000_000 == 0:
        return f"{bps // 1_000_000}M"
    return f"{bps // 1_000}k" if bps % 1_000 == 0 else str(bps)


def _integer(name: str, kind: int, value: int) -> WireAttribute:
    return WireAttribute(name, 0, kind, integer(value), str(value))


def _vendor_integer(name: str, vendor: int, kind: int, value: int) -> WireAttribute:
    return WireAttribute(name, vendor, kind, integer(value), str(value))


def _vendor_text(name: str, vendor: int, kind: int, value: str) -> WireAttribute:
    return WireAttribute(name, vendor, kind, value.encode(), f'"{value}"')
