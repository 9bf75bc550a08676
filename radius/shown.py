"""Attributes of a packet in words, for people who look at an answer."""

from __future__ import annotations

from ipaddress import IPv4Address

from radius.codec import MICROSOFT, MIKROTIK, WISPR, Attr, Packet

_NAMES = {
    (0, 6): "Service-Type", (0, 7): "Framed-Protocol", (0, 61): "NAS-Port-Type",
    (MIKROTIK, 8): "Mikrotik-Rate-Limit", (MIKROTIK, 19): "Mikrotik-Address-List",
    (WISPR, 7): "WISPr-Bandwidth-Max-Up", (WISPR, 8): "WISPr-Bandwidth-Max-Down",
    (MICROSOFT, 2): "MS-CHAP-Error", (MICROSOFT, 7): "MS-MPPE-Encryption-Policy",
    (MICROSOFT, 8): "MS-MPPE-Encryption-Types", (MICROSOFT, 16): "MS-MPPE-Send-Key",
    (MICROSOFT, 17): "MS-MPPE-Recv-Key", (MICROSOFT, 26): "MS-CHAP2-Success",
}  # fmt: skip
_ADDRESSES = {(0, int(Attr.FRAMED_IP_ADDRESS)), (0, int(Attr.NAS_IP_ADDRESS))}
_NUMBERS = {
    (0, int(Attr.SESSION_TIMEOUT)), (0, int(Attr.IDLE_TIMEOUT)), (0, int(Attr.ACCT_INTERIM_INTERVAL)),
    (0, int(Attr.ERROR_CAUSE)), (WISPR, 7), (WISPR, 8), (MICROSOFT, 7), (MICROSOFT, 8),
}  # fmt: skip
_CAPITALS = ("NAS", "IP", "CHAP", "EAP")
_HIDDEN = {(MICROSOFT, 16), (MICROSOFT, 17), (MICROSOFT, 12), (0, 2)}


def shown_attributes(packet: Packet) -> list[str]:
    """``Name = value`` of every attribute, in order; keys and passwords are not shown."""
    return [_shown(*_unwrapped(kind, value)) for kind, value in packet.attributes]


def _unwrapped(kind: int, value: bytes) -> tuple[int, int, bytes]:
    if kind == Attr.VENDOR_SPECIFIC and len(value) >= 6 and value[5] == len(value) - 4:
        return int.from_bytes(value[:4], "big"), value[4], value[6:]
    return 0, kind, value


def _shown(vendor: int, kind: int, value: bytes) -> str:
    key = (vendor, kind)
    return f"{_name(vendor, kind)} = {_value(key, value)}"


def _name(vendor: int, kind: int) -> str:
    if (vendor, kind) in _NAMES:
        return _NAMES[vendor, kind]
    if vendor:
        return f"vendor {vendor} attribute {kind}"
    try:
        words = Attr(kind).name.split("_")
    except ValueError:
        return f"attribute {kind}"
    return "-".join(word if word in _CAPITALS else word.capitalize() for word in words)


def _value(key: tuple[int, int], value: bytes) -> str:
    if key in _HIDDEN:
        return "(hidden)"
    if key in _ADDRESSES and len(value) == 4:
        return str(IPv4Address(value))
    if key in _NUMBERS and len(value) == 4:
        return str(int.from_bytes(value, "big"))
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return "0x" + value.hex()
    return text if text.isprintable() else "0x" + value.hex()
