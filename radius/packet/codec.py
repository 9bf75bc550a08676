"""RADIUS packets (RFC 2865, RFC 2866): octets in, values out. Pure: no socket, no secret kept, no clock.

Parsing checks lengths before it looks inside. ``locate`` is the hot path: one pass that notes where each
attribute begins, so that only what policy needs is ever cut out. ``parse`` is the whole packet as a value.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

HEADER_OCTETS: Final = 20
MAX_PACKET_OCTETS: Final = 4096
MAX_VALUE_OCTETS: Final = 253

ACCESS_REQUEST: Final = 1
ACCESS_ACCEPT: Final = 2
ACCESS_REJECT: Final = 3
ACCOUNTING_REQUEST: Final = 4
ACCOUNTING_RESPONSE: Final = 5
ACCESS_CHALLENGE: Final = 11
STATUS_SERVER: Final = 12
DISCONNECT_REQUEST: Final = 40
DISCONNECT_ACK: Final = 41
DISCONNECT_NAK: Final = 42
COA_REQUEST: Final = 43
COA_ACK: Final = 44
COA_NAK: Final = 45


class Attr(IntEnum):
    """Attribute types (RFC 2865, 2866, 2869, 5176) that Hilltop reads or writes."""

    USER_NAME = 1
    USER_PASSWORD = 2
    CHAP_PASSWORD = 3
    NAS_IP_ADDRESS = 4
    FRAMED_IP_ADDRESS = 8
    FILTER_ID = 11
    FRAMED_MTU = 12
    REPLY_MESSAGE = 18
    STATE = 24
    CLASS = 25
    VENDOR_SPECIFIC = 26
    SESSION_TIMEOUT = 27
    IDLE_TIMEOUT = 28
    CALLED_STATION_ID = 30
    CALLING_STATION_ID = 31
    NAS_IDENTIFIER = 32
    PROXY_STATE = 33
    ACCT_STATUS_TYPE = 40
    ACCT_DELAY_TIME = 41
    ACCT_INPUT_OCTETS = 42
    ACCT_OUTPUT_OCTETS = 43
    ACCT_SESSION_ID = 44
    ACCT_SESSION_TIME = 46
    ACCT_TERMINATE_CAUSE = 49
    ACCT_INPUT_GIGAWORDS = 52
    ACCT_OUTPUT_GIGAWORDS = 53
    EVENT_TIMESTAMP = 55
    CHAP_CHALLENGE = 60
    NAS_PORT_TYPE = 61
    EAP_MESSAGE = 79
    MESSAGE_AUTHENTICATOR = 80
    ACCT_INTERIM_INTERVAL = 85
    NAS_PORT_ID = 87
    FRAMED_POOL = 88
    CHARGEABLE_USER_IDENTITY = 89
    FRAMED_IPV6_PREFIX = 97
    ERROR_CAUSE = 101
    EAP_KEY_NAME = 102
    DELEGATED_IPV6_PREFIX = 123
    FRAMED_IPV6_ADDRESS = 168


MICROSOFT: Final = 311
MIKROTIK: Final = 14988
WISPR: Final = 14122


class MalformedPacket(Exception):  # noqa: N818 - named for what it is
    """The octets are not a RADIUS packet. The only exception decoding raises."""


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet as a value: attributes are (type, octets) in the order of the wire."""

    code: int
    identifier: int
    authenticator: bytes
    attributes: tuple[tuple[int, bytes], ...]

    def first(self, kind: int) -> bytes | None:
        """The first value of that type, or None."""
        return next((value for one, value in self.attributes if one == kind), None)

    def all(self, kind: int) -> list[bytes]:
        """Every value of that type, in order."""
        return [value for one, value in self.attributes if one == kind]


def trim(datagram: bytes) -> bytes:
    """The packet within the datagram; octets behind its Length are padding (RFC 2865 section 3)."""
    received = len(datagram)
    if received < HEADER_OCTETS:
        raise MalformedPacket("shorter than a header")
    length = datagram[2] << 8 | datagram[3]
    if length == received and length <= MAX_PACKET_OCTETS:
        return datagram
    if length < HEADER_OCTETS or length > MAX_PACKET_OCTETS:
        raise MalformedPacket("the Length field is out of range")
    if length > received:
        raise MalformedPacket("cut off")
    return datagram[:length]


def locate(packet: bytes) -> tuple[dict[int, int], list[int]]:
    """Where attributes begin in a trimmed packet: the first of each type by type, every further one in order.

    A packet with two Message-Authenticators, or one of the wrong length, is malformed (RFC 3579 section 3.2).
    """
    first: dict[int, int] = {}
    repeats: list[int] = []
    at, end = HEADER_OCTETS, len(packet)
    try:
        while at < end:
            kind = packet[at]
            size = packet[at + 1]
            if size < 2:
                raise MalformedPacket("an attribute shorter than its header")
            if kind in first:
                if kind == 80:
                    raise MalformedPacket("two Message-Authenticators")
                repeats.append(at)
            else:
                first[kind] = at
            at += size
    except IndexError:
        raise MalformedPacket("an attribute without a length") from None
    if at != end:
        raise MalformedPacket("an attribute runs past the end")
    if 80 in first and packet[first[80] + 1] != 18:
        raise MalformedPacket("a Message-Authenticator of the wrong length")
    return first, repeats


def value_at(packet: bytes, at: int) -> bytes:
    """The value of the attribute that begins at ``at``."""
    return packet[at + 2 : at + packet[at + 1]]


def values_of(packet: bytes, kind: int, first: Mapping[int, int], repeats: Sequence[int]) -> list[bytes]:
    """Every value of one type, in the order of the wire."""
    at = first.get(kind)
    if at is None:
        return []
    return [value_at(packet, at), *(value_at(packet, one) for one in repeats if packet[one] == kind)]


def parse(datagram: bytes) -> Packet:
    """The whole packet; raises ``MalformedPacket`` for anything else."""
    packet = trim(datagram)
    first, repeats = locate(packet)
    positions = sorted([*first.values(), *repeats])
    attributes = tuple((packet[at], value_at(packet, at)) for at in positions)
    return Packet(packet[0], packet[1], packet[4:20], attributes)


def encode(packet: Packet) -> bytes:
    """The octets of a packet, its authenticator as it stands. Raises ``ValueError`` when it does not fit."""
    body = b"".join(attribute(kind, value) for kind, value in packet.attributes)
    length = HEADER_OCTETS + len(body)
    if length > MAX_PACKET_OCTETS:
        raise ValueError(f"a packet of {length} octets; {MAX_PACKET_OCTETS} fit")
    return struct.pack("!BBH", packet.code, packet.identifier, length) + packet.authenticator + body


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute. Raises ``ValueError`` when the value does not fit."""
    if len(value) > MAX_VALUE_OCTETS:
        raise ValueError(f"attribute {kind} has {len(value)} octets; {MAX_VALUE_OCTETS} fit")
    return bytes((kind, len(value) + 2)) + value


def vendor_attribute(vendor: int, kind: int, value: bytes) -> bytes:
    """One vendor attribute in the form every vendor here uses (RFC 2865 section 5.26)."""
    return attribute(Attr.VENDOR_SPECIFIC, struct.pack("!IBB", vendor, kind, len(value) + 2) + value)


def proxy_states(packet: bytes, first: Mapping[int, int], repeats: Sequence[int]) -> bytes:
    """Every Proxy-State of the request, as it came and in order (RFC 2865 section 5.33)."""
    if 33 not in first:
        return b""
    return b"".join(attribute(33, value) for value in values_of(packet, 33, first, repeats))


def integer(value: int) -> bytes:
    """Four octets, most significant first; larger values stay at the largest that fits."""
    return min(value, 0xFFFFFFFF).to_bytes(4, "big")


def read_integer(value: bytes | None) -> int | None:
    """The number in four octets; None when absent or of another length."""
    return int.from_bytes(value, "big") if value is not None and len(value) == 4 else None


def vendor_values(vendor_specific: Iterable[bytes], vendor: int) -> dict[int, bytes]:
    """The first value of each sub-attribute type of one vendor; badly formed ones are left out."""
    found: dict[int, bytes] = {}
    number = vendor.to_bytes(4, "big")
    for value in vendor_specific:
        if value[:4] == number:
            _take_sub_attributes(value, found)
    return found


def _take_sub_attributes(value: bytes, found: dict[int, bytes]) -> None:
    at, end = 4, len(value)
    while at + 2 <= end:
        size = value[at + 1]
        if size < 2 or at + size > end:
            return
        found.setdefault(value[at], value[at + 2 : at + size])
        at += size
