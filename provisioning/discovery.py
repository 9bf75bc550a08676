"""Seeing devices on a segment: MikroTik neighbours (MNDP, UDP 5678) and Ubiquiti (UDP 10001), by scapy.

Only on the interfaces that the operator names. A short datagram to the broadcast address makes both kinds
answer at once; MikroTik devices also announce themselves about once a minute. The decoders take any octets
and raise only ``MalformedAnnouncement``.
"""

from __future__ import annotations

import asyncio
import ctypes
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any

MNDP_PORT = 5678
UBIQUITI_PORT = 10001
_UBIQUITI_GROUP = "233.89.188.1"
_QUESTIONS = (
    (MNDP_PORT, "255.255.255.255", bytes(4)),
    (UBIQUITI_PORT, "255.255.255.255", bytes((1, 0, 0, 0))),
    (UBIQUITI_PORT, _UBIQUITI_GROUP, bytes((1, 0, 0, 0))),
    (UBIQUITI_PORT, "255.255.255.255", bytes((2, 8, 0, 0))),
)
_SO_ATTACH_FILTER = 26  # linux/asm-generic/socket.h
MOST_DEVICES = 4096


class MalformedAnnouncement(Exception):  # noqa: N818 - the word for it
    """These octets are no announcement of the protocol."""


@dataclass(frozen=True, slots=True)
class SeenDevice:
    """A device that announced itself. Empty strings: it did not say."""

    protocol: str  # mndp or ubiquiti
    mac: str
    identity: str = ""
    platform: str = ""
    board: str = ""
    version: str = ""
    ipv4: str = ""
    ipv6: str = ""
    interface: str = ""  # the far end's, where it says
    software_id: str = ""
    essid: str = ""
    uptime_s: int | None = None
    source: str = ""  # address the datagram came from


class DiscoveryRefused(Exception):  # noqa: N818 - the word for it
    """Discovery cannot run here; the text says what is missing."""


def decode_mndp(payload: bytes) -> SeenDevice:
    """An MNDP datagram: 4 octets of header and sequence, then TLVs of 16-bit type and length, big endian."""
    if len(payload) < 4 + 4:
        raise MalformedAnnouncement("shorter than a header and one field")
    fields: dict[str, Any] = {}
    for kind, value in _tlvs(payload[4:], type_octets=2):
        reader = _MNDP_FIELDS.get(kind)
        if reader is not None:
            name, read = reader
            fields[name] = read(value)
    if "mac" not in fields:
        raise MalformedAnnouncement("no MAC address in it")
    return SeenDevice("mndp", **fields)


def decode_ubiquiti(payload: bytes) -> SeenDevice:
    """A Ubiquiti reply: version, command, 16-bit length, then TLVs of 8-bit type and 16-bit length."""
    if len(payload) < 4 or payload[0] not in (1, 2):
        raise MalformedAnnouncement("not version 1 or 2")
    length = int.from_bytes(payload[2:4], "big")
    if length == 0 or len(payload) < 4 + length:
        raise MalformedAnnouncement("a question, or cut short")
    fields: dict[str, Any] = {}
    for kind, value in _tlvs(payload[4 : 4 + length], type_octets=1):
        if kind == 0x02:
            _require(value, 10)
            fields.setdefault("mac", _mac(value[:6]))
            fields.setdefault("ipv4", str(IPv4Address(value[6:10])))
        elif kind in _UBIQUITI_FIELDS:
            name, read = _UBIQUITI_FIELDS[kind]
            fields[name] = read(value)
    if "mac" not in fields:
        raise MalformedAnnouncement("no MAC address in it")
    return SeenDevice("ubiquiti", **fields)


def _tlvs(octets: bytes, *, type_octets: int) -> Iterator[tuple[int, bytes]]:
    """(type, value) pairs; every length is checked before it is believed."""
    head = type_octets + 2
    position = 0
    while position < len(octets):
        if len(octets) - position < head:
            raise MalformedAnnouncement("a field is cut short")
        kind = int.from_bytes(octets[position : position + type_octets], "big")
        length = int.from_bytes(octets[position + type_octets : position + head], "big")
        if len(octets) - position - head < length:
            raise MalformedAnnouncement("a field claims more octets than there are")
        yield kind, octets[position + head : position + head + length]
        position += head + length


def _require(value: bytes, length: int) -> None:
    if len(value) != length:
        raise MalformedAnnouncement(f"a field has {len(value)} octets, not {length}")


def _mac(value: bytes) -> str:
    _require(value, 6)
    return value.hex(":")


def _ipv4(value: bytes) -> str:
    _require(value, 4)
    return str(IPv4Address(value))


def _ipv6(value: bytes) -> str:
    _require(value, 16)
    return str(IPv6Address(value))


def _text(value: bytes) -> str:
    """Printable text of at most 255 characters: it goes to terminals and screens."""
    decoded = value.decode("utf-8", "replace").rstrip("\0")
    return "".join(c if c.isprintable() else "�" for c in decoded)[:255]


def _little_endian(value: bytes) -> int:
    _require(value, 4)
    return int.from_bytes(value, "little")


def _big_endian(value: bytes) -> int:
    _require(value, 4)
    return int.from_bytes(value, "big")


_Readers = dict[int, tuple[str, Callable[[bytes], str | int]]]
_MNDP_FIELDS: _Readers = {
    1: ("mac", _mac), 5: ("identity", _text), 7: ("version", _text), 8: ("platform", _text),
    10: ("uptime_s", _little_endian), 11: ("software_id", _text), 12: ("board", _text),
    15: ("ipv6", _ipv6), 16: ("interface", _text), 17: ("ipv4", _ipv4),
}  # fmt: skip
_UBIQUITI_FIELDS: _Readers = {
    0x01: ("mac", _mac), 0x03: ("version", _text), 0x0A: ("uptime_s", _big_endian),
    0x0B: ("identity", _text), 0x0C: ("platform", _text), 0x0D: ("essid", _text), 0x14: ("board", _text),
}  # fmt: skip
_DECODERS = {MNDP_PORT: decode_mndp, UBIQUITI_PORT: decode_ubiquiti}


async def discover(interface: str, *, listen_s: float = 5.0) -> list[SeenDevice]:
    """Ask on ``interface`` and listen for ``listen_s`` seconds; devices by MAC and protocol, merged.

    Raises ``DiscoveryRefused`` for an unknown interface or without the right to open packet sockets.
    """
    if interface not in {name for _number, name in socket.if_nameindex()}:
        raise DiscoveryRefused(f"there is no interface {interface!r}; see 'ip link' for the names")
    try:
        return await asyncio.to_thread(_ask_and_listen, interface, listen_s)
    except PermissionError:
        raise DiscoveryRefused("discovery needs root or CAP_NET_RAW for packet sockets") from None
    except OSError as trouble:
        raise DiscoveryRefused(f"interface {interface} cannot be used: {trouble.strerror}") from None


def _ask_and_listen(interface: str, listen_s: float) -> list[SeenDevice]:
    # scapy loads slowly, and the socket needs the layers to be known before it opens
    import scapy.layers.inet
    import scapy.layers.inet6  # noqa: F401
    from scapy.arch.linux import L2ListenSocket
    from scapy.sendrecv import sniff

    seen: dict[tuple[str, str], SeenDevice] = {}
    listening = L2ListenSocket(iface=interface)
    try:
        _let_in_announcements_only(listening.ins)
        _ask(interface)
        sniff(opened_socket=listening, timeout=listen_s, store=False, prn=lambda packet: _note(packet, seen))
    finally:
        listening.close()
    return sorted(seen.values(), key=lambda one: (one.protocol, one.mac))


def _let_in_announcements_only(packets: socket.socket) -> None:
    """Attach a classic BPF program: unfragmented UDP over IPv4 from or to the two ports, nothing else.

    Assembled by hand, so that libpcap need not be installed to compile it.
    """
    program = (
        (0x28, 0, 0, 12), (0x15, 0, 12, 0x0800),  # EtherType IPv4
        (0x30, 0, 0, 23), (0x15, 0, 10, socket.IPPROTO_UDP),
        (0x28, 0, 0, 20), (0x45, 8, 0, 0x1FFF),  # first or only fragment
        (0xB1, 0, 0, 14),  # length of the IP header
        (0x48, 0, 0, 14), (0x15, 4, 0, MNDP_PORT), (0x15, 3, 0, UBIQUITI_PORT),  # source port
        (0x48, 0, 0, 16), (0x15, 1, 0, MNDP_PORT), (0x15, 0, 1, UBIQUITI_PORT),  # destination port
        (0x06, 0, 0, 0xFFFF), (0x06, 0, 0, 0),
    )  # fmt: skip
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in program))
    attached = struct.pack("@HP", len(program), ctypes.addressof(code))
    packets.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, attached)


def _ask(interface: str) -> None:
    from scapy.arch import get_if_addr, get_if_hwaddr
    from scapy.layers.inet import IP, UDP
    from scapy.layers.l2 import Ether
    from scapy.packet import Raw
    from scapy.sendrecv import sendp

    mac, ours = get_if_hwaddr(interface), get_if_addr(interface)
    frames = [
        Ether(dst="ff:ff:ff:ff:ff:ff", src=mac)
        / IP(src=ours, dst=to, ttl=1)
        / UDP(sport=port, dport=port)
        / Raw(question)
        for port, to, question in _QUESTIONS
    ]
    sendp(frames, iface=interface, verbose=False)


def _note(packet: Any, seen: dict[tuple[str, str], SeenDevice]) -> None:
    """Take in one packet; what is no announcement (our own questions among them) is passed over."""
    from scapy.layers.inet import IP, UDP
    from scapy.layers.inet6 import IPv6

    if UDP not in packet:
        return
    decode = _DECODERS.get(packet[UDP].sport) or _DECODERS.get(packet[UDP].dport)
    if decode is None:
        return
    try:
        device = decode(bytes(packet[UDP].payload))
    except MalformedAnnouncement:
        return
    layer = next((packet[kind] for kind in (IP, IPv6) if kind in packet), None)
    device = replace(device, source=layer.src if layer is not None else "")
    key = (device.protocol, device.mac)
    if key in seen or len(seen) < MOST_DEVICES:
        seen[key] = _merged(seen.get(key), device)


def _merged(before: SeenDevice | None, now: SeenDevice) -> SeenDevice:
    """The newer announcement, with what only the older one said kept."""
    if before is None:
        return now
    silent = {
        name: getattr(before, name) for name in SeenDevice.__slots__ if getattr(now, name) in ("", None)
    }
    return replace(now, **silent)
