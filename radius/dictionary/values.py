"""Values between their text and their octets, by type. pyrad's codecs where it has one.

``0x`` and hex digits are the octets themselves, except for numbers, where they are the number. What does not
decode as its type says is shown in that form too: nothing here fails on octets.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Address
from typing import Final

from pyrad import tools

from radius.dictionary.definitions import FIXED_OCTETS, NUMBER_OCTETS, AttributeFault, Definition

HIDDEN: Final = "(hidden)"
_HEX = re.compile(r"0x((?:[0-9a-fA-F]{2})*)")
_NUMBER = re.compile(r"-?[0-9]{1,20}|0[xX][0-9a-fA-F]{1,16}")
_WORDS_SHOWN = 12
_EXAMPLES = {
    "ipaddr": "an IPv4 address like 192.0.2.1",
    "ipv4prefix": "an IPv4 prefix like 192.0.2.0/24",
    "ipv6addr": "an IPv6 address like 2001:db8::1",
    "ipv6prefix": "an IPv6 prefix like 2001:db8:1::/48",
    "combo-ip": "an IPv4 or IPv6 address",
    "ifid": "an interface identifier like 0:0:0:1",
    "ether": "a MAC address like 00:00:5e:00:53:01",
    "date": "a time like 2026-01-31T12:00:00Z, or seconds since 1970",
    "bool": "yes or no",
    "abinary": "an Ascend filter like 'ip in forward dstip 192.0.2.0/24', or 0x and hex digits",
}
_PYRAD = frozenset(("ipaddr", "ipv6addr", "ipv6prefix", "ifid", "ether", "abinary"))


def to_octets(definition: Definition, text: str) -> bytes:
    """The octets of a value. Raises ``AttributeFault``."""
    if definition.array:
        return b"".join(_one_to_octets(definition, one.strip()) for one in text.split(","))
    return _one_to_octets(definition, text)


def _one_to_octets(definition: Definition, text: str) -> bytes:
    if definition.is_number:
        return _number_to_octets(definition, text)
    raw = _HEX.fullmatch(text)
    octets = bytes.fromhex(raw[1]) if raw else _text_to_octets(definition, text)
    if definition.size is not None and len(octets) != definition.size:
        raise fault(definition, text, f"it has {definition.size} octets, not {len(octets)}")
    return octets


def _text_to_octets(definition: Definition, text: str) -> bytes:
    if definition.kind in ("string", "octets"):
        return text.encode()
    try:
        if definition.kind in _PYRAD:
            return bytes(tools.EncodeAttr(definition.kind, text))
        return _ENCODERS[definition.kind](text)
    except KeyError:
        raise fault(definition, text, f"it is of type {definition.kind}: write 0x and hex digits") from None
    except (ValueError, TypeError, OverflowError):
        example = _EXAMPLES.get(definition.kind, "0x and hex digits")
        raise fault(definition, text, f"it has to be {example}") from None


def _number_to_octets(definition: Definition, text: str) -> bytes:
    number = (definition.numbers or {}).get(text.lower())
    if number is None:
        if not _NUMBER.fullmatch(text):
            raise fault(definition, text, _allowed_words(definition, text))
        number = int(text, 16 if text[:2].lower() == "0x" else 10)
    # a tag takes the first octet of a number (RFC 2868 section 3.1)
    octets = 3 if definition.tagged else NUMBER_OCTETS[definition.kind]
    signed = definition.kind == "signed"
    least = -(1 << 8 * octets - 1) if signed else 0
    most = (1 << 8 * octets - signed) - 1
    if not least <= number <= most:
        raise fault(definition, text, f"it has to be a number from {least} to {most}")
    return number.to_bytes(octets, "big", signed=signed)


def _allowed_words(definition: Definition, text: str) -> str:
    words = list((definition.words or {}).values())
    if not words:
        return "it has to be a number"
    near = get_close_matches(text, words, n=1)
    shown = ", ".join(words[:_WORDS_SHOWN])
    more = f" and {len(words) - _WORDS_SHOWN} more" if len(words) > _WORDS_SHOWN else ""
    meant = f"; is {near[0]} meant?" if near else ""
    return f"it has to be a number or one of {shown}{more}{meant}"


def fault(definition: Definition, text: str, wanted: str) -> AttributeFault:
    """What is wrong with a value, without the value when it is a secret."""
    value = "the value" if definition.secret else repr(text)
    return AttributeFault(f"{definition.name}: {value} cannot be sent; {wanted}")


def _date_to_octets(text: str) -> bytes:
    if text.isdecimal():
        seconds = int(text)
    else:
        at = datetime.fromisoformat(text)
        seconds = int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())
    return seconds.to_bytes(4, "big")


def _ipv4_prefix_to_octets(text: str) -> bytes:
    """RFC 8044 section 3.11: a reserved octet, the length, four octets with zeros behind the prefix."""
    network = IPv4Network(text)
    return bytes((0, network.prefixlen)) + network.network_address.packed


def _either_address_to_octets(text: str) -> bytes:
    return IPv6Address(text).packed if ":" in text else bytes(tools.EncodeAddress(text))


def _truth_to_octets(text: str) -> bytes:
    if text.lower() not in ("yes", "true", "1", "no", "false", "0"):
        raise ValueError(text)
    return b"\1" if text.lower() in ("yes", "true", "1") else b"\0"


_ENCODERS: dict[str, Callable[[str], bytes]] = {
    "date": _date_to_octets,
    "ipv4prefix": _ipv4_prefix_to_octets,
    "combo-ip": _either_address_to_octets,
    "bool": _truth_to_octets,
}


def to_text(definition: Definition, octets: bytes) -> str:
    """The value as people read it; ``0x`` and hex digits where the octets are not of its type."""
    width = FIXED_OCTETS.get(definition.kind)
    if definition.array and width and octets and len(octets) % width == 0:
        parts = [octets[at : at + width] for at in range(0, len(octets), width)]
        return ",".join(_one_to_text(definition, part) for part in parts)
    return _one_to_text(definition, octets)


def _one_to_text(definition: Definition, octets: bytes) -> str:
    if definition.is_number:
        return _number_to_text(definition, octets)
    try:
        text = _DECODERS[definition.kind](octets)
    except (ValueError, TypeError, LookupError, OverflowError):
        return as_hex(octets)
    return text


def _number_to_text(definition: Definition, octets: bytes) -> str:
    wanted = 3 if definition.tagged else NUMBER_OCTETS[definition.kind]
    if len(octets) != wanted:
        return as_hex(octets)
    number = int.from_bytes(octets, "big", signed=definition.kind == "signed")
    return (definition.words or {}).get(number, str(number))


def as_hex(octets: bytes) -> str:
    """``0x`` and the hex digits."""
    return "0x" + octets.hex()


def _string_to_text(octets: bytes) -> str:
    text = octets.decode()
    return text if text.isprintable() and not _HEX.fullmatch(text) else as_hex(octets)


def _date_to_text(octets: bytes) -> str:
    if len(octets) != 4:
        return as_hex(octets)
    at = datetime.fromtimestamp(int.from_bytes(octets, "big"), UTC)
    return at.isoformat().replace("+00:00", "Z")


def _ipv4_prefix_to_text(octets: bytes) -> str:
    if len(octets) != 6 or octets[1] & 0xC0:
        return as_hex(octets)
    return str(IPv4Network((octets[2:], octets[1])))


def _ipv6_prefix_to_text(octets: bytes) -> str:
    if octets[:1] != b"\0" or any(octets[2 + -(-octets[1] // 8) :]):
        return as_hex(octets)  # pyrad would drop what stands behind the prefix
    return str(tools.DecodeIPv6Prefix(octets))


def _ipv6_address_to_text(octets: bytes) -> str:
    return str(IPv6Address(octets)) if len(octets) == 16 else as_hex(octets)


def _either_address_to_text(octets: bytes) -> str:
    return str(tools.DecodeAddress(octets)) if len(octets) == 4 else _ipv6_address_to_text(octets)


def _truth_to_text(octets: bytes) -> str:
    return {b"\0": "no", b"\1": "yes"}[octets]


_DECODERS: dict[str, Callable[[bytes], str]] = {
    "string": _string_to_text,
    "octets": as_hex,
    "abinary": as_hex,
    "ipaddr": lambda octets: str(tools.DecodeAddress(octets)),
    "ipv4prefix": _ipv4_prefix_to_text,
    "ipv6prefix": _ipv6_prefix_to_text,
    "ipv6addr": _ipv6_address_to_text,
    "combo-ip": _either_address_to_text,
    "ifid": lambda octets: str(tools.DecodeIfId(octets)),
    "ether": lambda octets: str(tools.DecodeEther(octets)),
    "date": _date_to_text,
    "bool": _truth_to_text,
}
