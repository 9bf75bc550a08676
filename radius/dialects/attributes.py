"""One attribute as it is sent: its octets, and its words for people."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network

from radius.packet.codec import attribute, vendor_attribute

MOST_UINT32 = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class WireAttribute:
    """One attribute to send: ``vendor`` 0 means a standard one. ``shown`` is for people.

    ``origin`` says where it comes from: the dialect, the service, or a line of a template.
    """

    name: str
    vendor: int
    kind: int
    octets: bytes
    shown: str
    origin: str = ""
    whole: bool = False
    """Whether ``octets`` are the complete attribute and not its value alone."""

    def encoded(self) -> bytes:
        """Its octets on the wire."""
        if self.whole:
            return self.octets
        if self.vendor:
            return vendor_attribute(self.vendor, self.kind, self.octets)
        return attribute(self.kind, self.octets)

    def __str__(self) -> str:
        return f"{self.name} = {self.shown}"


def number(name: str, kind: int, value: int, vendor: int = 0) -> WireAttribute:
    """A 32-bit number; a larger one stays at the largest that fits."""
    sent = min(value, MOST_UINT32)
    return WireAttribute(name, vendor, kind, sent.to_bytes(4, "big"), str(sent))


def long_number(name: str, kind: int, value: int, vendor: int) -> WireAttribute:
    """A 64-bit number."""
    return WireAttribute(name, vendor, kind, value.to_bytes(8, "big"), str(value))


def text(name: str, kind: int, value: str, vendor: int = 0) -> WireAttribute:
    """A text."""
    return WireAttribute(name, vendor, kind, value.encode(), f'"{value}"' if vendor else value)


def ipv4(name: str, kind: int, value: str) -> WireAttribute:
    """An IPv4 address."""
    return WireAttribute(name, 0, kind, IPv4Address(value).packed, value)


def ipv6(name: str, kind: int, value: str) -> WireAttribute:
    """An IPv6 address (RFC 6911 section 3.1)."""
    return WireAttribute(name, 0, kind, IPv6Address(value).packed, value)


def ipv6_prefix(name: str, kind: int, value: str) -> WireAttribute:
    """A reserved octet, the length in bits, and only the octets those bits need (RFC 3162 section 2.3)."""
    network = IPv6Network(value)
    needed = (network.prefixlen + 7) // 8
    octets = bytes((0, network.prefixlen)) + network.network_address.packed[:needed]
    return WireAttribute(name, 0, kind, octets, value)


def tagged_number(name: str, kind: int, value: int, tag: int) -> WireAttribute:
    """A tag octet and a 24-bit number (RFC 2868 section 3.1)."""
    return WireAttribute(name, 0, kind, bytes((tag,)) + value.to_bytes(3, "big"), f"{value} (tag {tag})")


def tagged_text(name: str, kind: int, value: str, tag: int) -> WireAttribute:
    """A tag octet and a text (RFC 2868 section 3.6)."""
    return WireAttribute(name, 0, kind, bytes((tag,)) + value.encode(), f'"{value}" (tag {tag})')


def kbit(bps: int) -> int:
    """Whole kbit/s, rounded up: nobody gets less than was sold, and 0 would mean "no limit" to many."""
    return max(1, -(-bps // 1_000))
