"""EAP packets (RFC 3748 section 4) and how RADIUS carries them (RFC 3579 section 3.1). Pure."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Final, NamedTuple

HEADER_OCTETS: Final = 4
LARGEST: Final = 4_000
"""Octets of an EAP packet: what fits a RADIUS packet beside the attributes that must be there."""

REQUEST: Final = 1
RESPONSE: Final = 2
SUCCESS: Final = 3
FAILURE: Final = 4


class EapType(IntEnum):
    """Types of requests and responses (RFC 3748 section 5, and the methods spoken here)."""

    IDENTITY = 1
    NOTIFICATION = 2
    NAK = 3
    MD5_CHALLENGE = 4
    TLS = 13
    TTLS = 21
    PEAP = 25
    MSCHAPV2 = 26
    EXTENSIONS = 33  # MS-PEAP section 2.2.8
    EXPANDED = 254


METHOD_NAMES: Final = {
    EapType.MD5_CHALLENGE: "EAP-MD5",
    EapType.TLS: "EAP-TLS",
    EapType.TTLS: "EAP-TTLS",
    EapType.PEAP: "PEAP",
    EapType.MSCHAPV2: "EAP-MSCHAPv2",
    5: "EAP-OTP",
    6: "EAP-GTC",
    17: "LEAP",
    18: "EAP-SIM",
    23: "EAP-AKA",
    43: "EAP-FAST",
    50: "EAP-AKA'",
    52: "EAP-PWD",
    55: "TEAP",
}


class MalformedEap(Exception):  # noqa: N818 - named for what it is
    """The octets are not an EAP packet, or not one of its method. The only exception decoding raises."""


class EapPacket(NamedTuple):
    """A request or response. ``kind`` is its type; success and failure have none (0) and no ``data``."""

    code: int
    identifier: int
    kind: int
    data: bytes

    def __repr__(self) -> str:  # the data may hold a password's proof
        return f"EapPacket(code={self.code}, identifier={self.identifier}, kind={self.kind}, …)"


def parse(octets: bytes) -> EapPacket:
    """The packet; octets behind its length are padding (section 4.1). Raises ``MalformedEap``."""
    if len(octets) < HEADER_OCTETS:
        raise MalformedEap("shorter than a header")
    code, identifier, length = octets[0], octets[1], octets[2] << 8 | octets[3]
    if not HEADER_OCTETS <= length <= len(octets):
        raise MalformedEap("the Length field is out of range")
    if code in (SUCCESS, FAILURE):
        return EapPacket(code, identifier, 0, b"")
    if code not in (REQUEST, RESPONSE):
        raise MalformedEap("an unknown code")
    if length == HEADER_OCTETS:
        raise MalformedEap("a request or response without a type")
    return EapPacket(code, identifier, octets[4], octets[5:length])


def encode(code: int, identifier: int, kind: int, data: bytes) -> bytes:
    """A request or response."""
    length = HEADER_OCTETS + 1 + len(data)
    return bytes((code, identifier, length >> 8, length & 255, kind)) + data


def finished(code: int, identifier: int) -> bytes:
    """A success or failure: it repeats the identifier of the response it answers (section 4.2)."""
    return bytes((code, identifier, 0, HEADER_OCTETS))


def join(values: Iterable[bytes]) -> bytes:
    """The packet in the EAP-Message attributes of a RADIUS packet, in the order of the wire."""
    return b"".join(values)


def split(packet: bytes) -> bytes:
    """EAP-Message attributes that hold the packet: full ones, then the rest."""
    if len(packet) <= 253:  # nearly every one
        return bytes((79, len(packet) + 2)) + packet
    pieces = []
    for at in range(0, len(packet), 253):
        piece = packet[at : at + 253]
        pieces.append(bytes((79, len(piece) + 2)) + piece)
    return b"".join(pieces)


def method_name(kind: int) -> str:
    """What people call a method."""
    return METHOD_NAMES.get(kind, f"EAP type {kind}")
