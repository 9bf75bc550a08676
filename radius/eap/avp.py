"""Diameter AVPs as EAP-TTLS carries them (RFC 5281 section 10). Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from radius.eap.packet import MalformedEap

_VENDOR: Final = 0x80
_MANDATORY: Final = 0x40


class Avp(NamedTuple):
    """One attribute; ``vendor`` 0 is a RADIUS attribute's number."""

    vendor: int
    code: int
    mandatory: bool
    value: bytes

    def __repr__(self) -> str:
        return f"Avp({self.vendor}, {self.code}, …)"


def parse(octets: bytes) -> Iterator[Avp]:
    """The AVPs of a message. Raises ``MalformedEap`` where lengths contradict each other."""
    at, end = 0, len(octets)
    while at < end:
        if end - at < 8:
            raise MalformedEap("an AVP shorter than its header")
        flags = octets[at + 4]
        length = int.from_bytes(octets[at + 5 : at + 8], "big")
        header = 12 if flags & _VENDOR else 8
        if length < header or at + length > end:
            raise MalformedEap("an AVP's length is out of range")
        vendor = int.from_bytes(octets[at + 8 : at + 12], "big") if flags & _VENDOR else 0
        code = int.from_bytes(octets[at : at + 4], "big")
        yield Avp(vendor, code, bool(flags & _MANDATORY), octets[at + header : at + length])
        at += length + -length % 4


def encode(vendor: int, code: int, value: bytes) -> bytes:
    """One mandatory AVP, padded to four octets."""
    header = 12 if vendor else 8
    length = header + len(value)
    flags = _MANDATORY | (_VENDOR if vendor else 0)
    front = code.to_bytes(4, "big") + bytes((flags,)) + length.to_bytes(3, "big")
    if vendor:
        front += vendor.to_bytes(4, "big")
    return front + value + bytes(-len(value) % 4)
