"""The shapes attributes have on the wire, from the outermost attribute to the value and back.

Plain, vendor (RFC 2865 section 5.26), TLV (RFC 6929 section 2.3), extended and long-extended (sections 2.1
and 2.2), extended vendor-specific (section 2.4). Reading never fails: what has no sound shape is left whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from radius.dictionary.definitions import EXTENDED, EXTENDED_VENDOR_SPECIFIC, LONG_EXTENDED, Vendor
from radius.packet.codec import MAX_VALUE_OCTETS, Attr, attribute

_MORE: Final = 0x80
_FRAGMENT_OCTETS: Final = 251
_TLV_OCTETS: Final = 253


@dataclass(frozen=True, slots=True)
class Found:
    """A value and its place: ``path`` of types from the outside in; ``vendor`` 0 is the standard space."""

    vendor: int
    path: tuple[int, ...]
    octets: bytes = field(repr=False)


class DoesNotFitError(ValueError):
    """A value is too long for its place; the text says how many octets fit."""


def tlv(kind: int, content: bytes) -> bytes:
    """One member of a TLV."""
    if len(content) > _TLV_OCTETS:
        raise DoesNotFitError(f"at most {_TLV_OCTETS} octets fit, not {len(content)}")
    return bytes((kind, len(content) + 2)) + content


def wrap(vendor: Vendor | None, path: tuple[int, ...], content: bytes, *, joined: bool = False) -> bytes:
    """Complete attributes around a value. Raises ``DoesNotFitError``."""
    if vendor is not None:
        return _wrap_vendor(vendor, path[0], _nest(path[1:], content))
    if path[0] in EXTENDED and len(path) > 1:
        return _fit(path[0], _within_extended(path[1:], content))
    if path[0] in LONG_EXTENDED and len(path) > 1:
        return _in_fragments(path[0], _within_extended(path[1:], content))
    content = _nest(path[1:], content)
    if joined and len(content) > MAX_VALUE_OCTETS:
        parts = [content[at : at + MAX_VALUE_OCTETS] for at in range(0, len(content), MAX_VALUE_OCTETS)]
        return b"".join(attribute(path[0], part) for part in parts)
    return _fit(path[0], content)


def _fit(kind: int, content: bytes, overhead: int = 0) -> bytes:
    if len(content) > MAX_VALUE_OCTETS:
        most = MAX_VALUE_OCTETS - overhead
        raise DoesNotFitError(f"at most {most} octets fit, not {len(content) - overhead}")
    return attribute(kind, content)


def _nest(path: tuple[int, ...], content: bytes) -> bytes:
    for kind in reversed(path):
        content = tlv(kind, content)
    return content


def _wrap_vendor(vendor: Vendor, kind: int, content: bytes) -> bytes:
    if vendor.continued:
        raise DoesNotFitError(f"attributes of {vendor.name} have a format that is read and not written")
    overhead = vendor.type_octets + vendor.length_octets
    header = vendor.number.to_bytes(4, "big") + kind.to_bytes(vendor.type_octets, "big")
    if vendor.length_octets and len(content) + overhead <= 255:
        header += (len(content) + overhead).to_bytes(vendor.length_octets, "big")
    return _fit(Attr.VENDOR_SPECIFIC, header + content, overhead + 4)


def _within_extended(path: tuple[int, ...], content: bytes) -> bytes:
    """The extended type and what follows; a vendor's type (RFC 6929 section 2.4) has no length of its own."""
    if path[0] == EXTENDED_VENDOR_SPECIFIC and len(path) > 2:
        return bytes((path[0],)) + path[1].to_bytes(4, "big") + bytes((path[2],)) + _nest(path[3:], content)
    return bytes((path[0],)) + _nest(path[1:], content)


def _in_fragments(kind: int, content: bytes) -> bytes:
    extended, body = content[:1], content[1:]
    if len(body) > 4096:
        raise DoesNotFitError(f"at most 4000 octets fit in a packet, not {len(body)}")
    parts = [body[at : at + _FRAGMENT_OCTETS] for at in range(0, len(body), _FRAGMENT_OCTETS)] or [b""]
    flags = [_MORE] * (len(parts) - 1) + [0]
    return b"".join(
        attribute(kind, extended + bytes((flag,)) + part) for flag, part in zip(flags, parts, strict=True)
    )


def split(octets: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """Attributes as (type, value), and what is left when a length lies."""
    attributes, at = [], 0
    while at + 2 <= len(octets):
        size = octets[at + 1]
        if size < 2 or at + size > len(octets):
            break
        attributes.append((octets[at], octets[at + 2 : at + size]))
        at += size
    return attributes, octets[at:]


def unwrap(
    attributes: list[tuple[int, bytes]], vendors: Mapping[int, Vendor], joined: frozenset[int]
) -> Iterator[Found]:
    """The values in the attributes, in order, TLVs still closed; ``joined``: types that go on in the next."""
    at = 0
    while at < len(attributes):
        kind, value = attributes[at]
        at += 1
        if kind in joined:
            while at < len(attributes) and attributes[at][0] == kind:
                value += attributes[at][1]
                at += 1
            yield Found(0, (kind,), value)
        elif kind in LONG_EXTENDED and len(value) >= 2:
            at, value = _gather(attributes, at, value)
            yield _extended(kind, value)
        elif kind in EXTENDED and value:
            yield _extended(kind, value)
        elif kind == Attr.VENDOR_SPECIFIC:
            yield from _vendor_values(value, vendors)
        else:
            yield Found(0, (kind,), value)


def _gather(attributes: list[tuple[int, bytes]], at: int, value: bytes) -> tuple[int, bytes]:
    """A long-extended value with the fragments that follow it: (where to go on, type and value)."""
    kind, extended, more = attributes[at - 1][0], value[0], value[1] & _MORE
    parts = [value[:1], value[2:]]
    while more and at < len(attributes):
        next_kind, following = attributes[at]
        if next_kind != kind or len(following) < 2 or following[0] != extended:
            break
        more = following[1] & _MORE
        parts.append(following[2:])
        at += 1
    return at, b"".join(parts)


def _extended(kind: int, value: bytes) -> Found:
    if value[0] == EXTENDED_VENDOR_SPECIFIC and len(value) >= 6:
        vendor = int.from_bytes(value[1:5], "big")
        return Found(0, (kind, value[0], vendor, value[5]), value[6:])
    return Found(0, (kind, value[0]), value[1:])


def _vendor_values(value: bytes, vendors: Mapping[int, Vendor]) -> Iterator[Found]:
    whole = Found(0, (int(Attr.VENDOR_SPECIFIC),), value)
    if len(value) < 4:
        yield whole
        return
    number = int.from_bytes(value[:4], "big")
    members = _members(value[4:], vendors.get(number) or Vendor("", number))
    if members is None:
        yield whole
        return
    for kind, content in members:
        yield Found(number, (kind,), content)


def _members(content: bytes, vendor: Vendor) -> list[tuple[int, bytes]] | None:
    """A vendor's attributes; None when the octets are not in its format."""
    found, at, head = [], 0, vendor.type_octets + vendor.length_octets + vendor.continued
    while at < len(content):
        if at + head > len(content):
            return None
        kind = int.from_bytes(content[at : at + vendor.type_octets], "big")
        size = len(content) - at
        if vendor.length_octets:
            behind = at + vendor.type_octets
            size = int.from_bytes(content[behind : behind + vendor.length_octets], "big")
        if size < head or at + size > len(content):
            return None
        found.append((kind, content[at + head : at + size]))
        at += size
    return found or None
