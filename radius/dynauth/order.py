"""A Disconnect- or CoA-Request that somebody sends us, read (RFC 5176 sections 3 and 3.6). Pure.

Attributes fall into three kinds: those that name the session, those that name the NAS, and those that say
what is to change. What may not be there is answered with its Error-Cause and nothing is done.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import Final

from aaa.domain.identity import normalise_mac
from radius.dialects.attributes import WireAttribute
from radius.packet.codec import DISCONNECT_REQUEST, MIKROTIK, Attr, Packet, attribute, read_integer

UNSUPPORTED_ATTRIBUTE: Final = 401
MISSING_ATTRIBUTE: Final = 402
NAS_MISMATCH: Final = 403
UNSUPPORTED_SERVICE: Final = 405
INVALID_VALUE: Final = 407

_SERVICE_TYPE: Final = 6
_AUTHORIZE_ONLY: Final = 17
_NAS_IPV6_ADDRESS: Final = 95
_OPERATOR_NAME: Final = 126
_UNREAD: Final = {
    int(Attr.EVENT_TIMESTAMP), int(Attr.MESSAGE_AUTHENTICATOR), int(Attr.PROXY_STATE),
    int(Attr.REPLY_MESSAGE), int(Attr.ACCT_TERMINATE_CAUSE),
}  # fmt: skip
_CHANGES: Final = {
    int(Attr.FILTER_ID): "Filter-Id", int(Attr.SESSION_TIMEOUT): "Session-Timeout",
    int(Attr.IDLE_TIMEOUT): "Idle-Timeout", int(Attr.ACCT_INTERIM_INTERVAL): "Acct-Interim-Interval",
    int(Attr.VENDOR_SPECIFIC): "Vendor-Specific",
}  # fmt: skip
"""What a CoA may hand on to a NAS. Keys, passwords, Class and addresses are not among it: a NAS cannot change
an address of a live session, and the others are ours alone."""
_NUMBERS: Final = {int(Attr.SESSION_TIMEOUT), int(Attr.IDLE_TIMEOUT), int(Attr.ACCT_INTERIM_INTERVAL)}
_SECRET_VENDORS: Final = {311}


@dataclass(slots=True)
class DynauthOrder:
    """What is asked. ``error_cause`` is set when it must be refused whatever session is meant."""

    disconnect: bool
    names: dict[str, str] = field(default_factory=dict)
    nas_address: str | None = None
    nas_identifier: str | None = None
    chargeable: bytes = b""
    """Chargeable-User-Identity (RFC 4372): our pseudonym of a service, for the operator named beside it."""
    operator: bytes = b""
    change: list[WireAttribute] = field(default_factory=list)
    proxy_state: bytes = b""
    event_time_s: int | None = None
    error_cause: int | None = None

    @property
    def ack_code(self) -> int:
        """The code of the answer that grants it; one more refuses it."""
        return 41 if self.disconnect else 44


def read_order(packet: Packet) -> DynauthOrder:
    """The order in a packet whose signatures were checked."""
    order = DynauthOrder(disconnect=packet.code == DISCONNECT_REQUEST)
    for kind, value in packet.attributes:
        if kind == Attr.PROXY_STATE:
            order.proxy_state += attribute(kind, value)
        elif kind == Attr.EVENT_TIMESTAMP:
            order.event_time_s = read_integer(value)
        elif kind == Attr.CHARGEABLE_USER_IDENTITY and value.strip(b"\0"):
            order.chargeable = value
        elif kind == _OPERATOR_NAME:
            order.operator = value
        elif kind not in _UNREAD:
            cause = _take(order, kind, value)
            order.error_cause = order.error_cause or cause
    if order.error_cause is None and not order.names and not order.chargeable:
        order.error_cause = MISSING_ATTRIBUTE
    return order


def _take(order: DynauthOrder, kind: int, value: bytes) -> int | None:
    """Take one attribute in; the Error-Cause when it cannot be."""
    if kind == _SERVICE_TYPE:
        return UNSUPPORTED_SERVICE if read_integer(value) == _AUTHORIZE_ONLY else UNSUPPORTED_ATTRIBUTE
    if kind in _CHANGES and not order.disconnect:
        return _take_change(order, kind, value)
    if kind not in _NAMED_BY:
        return UNSUPPORTED_ATTRIBUTE
    return _take_name(order, *_NAMED_BY[kind], value)


def _take_name(order: DynauthOrder, name: str, read: Callable[[bytes], str], value: bytes) -> int | None:
    try:
        text = read(value)
    except (ValueError, UnicodeDecodeError):
        return INVALID_VALUE
    if name == "nas_identifier":
        order.nas_identifier = text
    elif name == "nas_address":
        order.nas_address = text
    elif name == "calling_station" and (mac := normalise_mac(text)) is not None:
        order.names["mac"] = mac
    else:
        order.names[name] = text
    return None


def _text(value: bytes) -> str:
    text = value.decode()
    if "\0" in text:
        raise ValueError("no database takes it, and no session has it")
    return text


def _ipv4(value: bytes) -> str:
    return str(IPv4Address(value))


def _ipv6(value: bytes) -> str:
    return str(IPv6Address(value))


def _prefix(value: bytes) -> str:
    if not 2 <= len(value) <= 18:
        raise ValueError("a prefix of an impossible length")
    return str(IPv6Network((value[2:].ljust(16, b"\0"), value[1]), strict=False))


_NAMED_BY: Final[dict[int, tuple[str, Callable[[bytes], str]]]] = {
    Attr.USER_NAME: ("username", _text), Attr.ACCT_SESSION_ID: ("acct_session_id", _text),
    Attr.NAS_PORT_ID: ("nas_port_id", _text), Attr.CALLING_STATION_ID: ("calling_station", _text),
    Attr.FRAMED_IP_ADDRESS: ("framed_ip", _ipv4), Attr.FRAMED_IPV6_ADDRESS: ("framed_ipv6_address", _ipv6),
    Attr.FRAMED_IPV6_PREFIX: ("framed_ipv6_prefix", _prefix),
    Attr.DELEGATED_IPV6_PREFIX: ("delegated_ipv6_prefix", _prefix),
    Attr.NAS_IDENTIFIER: ("nas_identifier", _text), Attr.NAS_IP_ADDRESS: ("nas_address", _ipv4),
    _NAS_IPV6_ADDRESS: ("nas_address", _ipv6),
}  # fmt: skip
"""Attributes that name a session, by its columns, or its NAS."""


def _take_change(order: DynauthOrder, kind: int, value: bytes) -> int | None:
    if (kind in _NUMBERS and len(value) != 4) or (kind == Attr.VENDOR_SPECIFIC and len(value) < 6):
        return INVALID_VALUE
    order.change.append(WireAttribute(_CHANGES[kind], 0, kind, value, _shown(kind, value)))
    return None


def _shown(kind: int, value: bytes) -> str:
    """For people; what may be a key is not shown."""
    if kind in _NUMBERS:
        return str(int.from_bytes(value, "big"))
    if kind != Attr.VENDOR_SPECIFIC:
        return value.decode(errors="replace")
    vendor = int.from_bytes(value[:4], "big")
    if vendor in _SECRET_VENDORS:
        return f"vendor {vendor}, {len(value) - 4} octets"
    text = value[6:].decode(errors="replace")
    shown = f'"{text}"' if vendor == MIKROTIK or text.isprintable() else value[6:].hex()
    return f"vendor {vendor}, attribute {value[4]}: {shown}"
