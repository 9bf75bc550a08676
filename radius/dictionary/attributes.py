"""Attributes by name: text to octets and octets to text, through the RFC and vendor dictionaries.

For people, files and templates. The path of a request does not come here: it has its own codec
(``radius.packet.codec``), and loads nothing of this.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from radius.dictionary.definitions import AttributeFault, Definition, Vendor
from radius.dictionary.eap_shown import shown_eap
from radius.dictionary.files import Contents, read_files
from radius.dictionary.values import HIDDEN, as_hex, fault, to_octets, to_text
from radius.dictionary.wire import DoesNotFitError, Found, split, tlv, unwrap, wrap
from radius.packet.codec import Attr, Packet
from radius.packet.shared_secret import SharedSecret

_UNKNOWN = re.compile(r"(?:vendor-([0-9]{1,10})-)?attr-([0-9]{1,10}(?:\.[0-9]{1,10}){0,9})")
_LAST_TAG: Final = 0x1F
_CISCO_AV_PAIR: Final = (9, (1,))
_MS_CHAP_ERROR: Final = (311, (2,))
_SECRET_PAIR = re.compile(r"(?i)([^=*]*(?:passw|psk|secret|key)[^=*]*[=*]).*", re.DOTALL)
_SALTED, _AS_PASSWORD = 2, 1


@dataclass(frozen=True, slots=True)
class Hiding:
    """What hidden values are hidden with: the secret, and the authenticator of the request."""

    secret: SharedSecret
    authenticator: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class NamedValue:
    """A decoded attribute. ``octets`` are as they came, without the tag; ``text`` shows no secret."""

    name: str
    tag: int | None
    octets: bytes = field(repr=False)
    text: str
    vendor: int
    path: tuple[int, ...]

    @property
    def label(self) -> str:
        """The name, with the tag behind it."""
        return self.name if self.tag is None else f"{self.name}:{self.tag}"

    def __str__(self) -> str:
        return f"{self.label} = {self.text}"


class AttributeDictionary:
    """The attributes that are known by name."""

    def __init__(self, contents: Contents) -> None:
        self.pyrad: Any = contents.pyrad
        """pyrad's dictionary of the same files."""
        self._vendors = contents.vendors
        self._by_name = contents.definitions
        self._by_place = {(one.vendor, one.path): one for one in contents.definitions.values()}
        self._joined = frozenset(
            one.path[0] for one in contents.definitions.values() if one.joined and not one.vendor
        )

    @property
    def names(self) -> list[str]:
        """Every name, sorted."""
        return sorted(one.name for one in self._by_name.values())

    def find(self, name: str) -> Definition | None:
        """The attribute of that name, in any case; ``Attr-N`` and ``Vendor-V-Attr-N`` name unknown ones."""
        known = self._by_name.get(name.lower())
        if known is not None:
            return known
        unknown = _UNKNOWN.fullmatch(name.lower())
        if unknown is None:
            return None
        vendor = int(unknown[1] or 0)
        path = tuple(int(step) for step in unknown[2].split("."))
        if not self._is_place(vendor, path):
            return None
        return self._by_place.get((vendor, path)) or _unknown(vendor, path)

    def _is_place(self, vendor: int, path: tuple[int, ...]) -> bool:
        known = self._vendors.get(vendor)
        first = (1 << 8 * known.type_octets) - 1 if vendor and known else 255
        largest = [first, *[255] * (len(path) - 1)]
        if not vendor and path[0] in range(241, 247) and path[1:2] == (26,):
            largest[2:3] = [0xFFFFFFFF] * len(path[2:3])
        return vendor <= 0xFFFFFFFF and all(step <= most for step, most in zip(path, largest, strict=True))

    def _named(self, name: str) -> Definition:
        definition = self.find(name)
        if definition is not None:
            return definition
        near = get_close_matches(name.lower(), self._by_name, n=3)
        meant = ", ".join(self._by_name[one].name for one in near)
        raise AttributeFault(
            f"{name}: no attribute has this name" + (f"; is {meant} meant?" if meant else ".")
            + " Others are written Attr-N or Vendor-V-Attr-N, with a value of 0x and hex digits."
        )  # fmt: skip

    def encode(self, name: str, text: str, tag: int | None = None, *, hiding: Hiding | None = None) -> bytes:
        """Complete attribute octets. ``name`` may end in ``:tag``. Raises ``AttributeFault``."""
        return self.encode_all([(name, text)], hiding=hiding, tag=tag)

    def encode_all(
        self, pairs: Iterable[tuple[str, str]], *, hiding: Hiding | None = None, tag: int | None = None
    ) -> bytes:
        """Several attributes in order; members of one TLV that follow one another share it.

        A member that a TLV has already begins the next one.
        """
        encoded: list[bytes] = []
        opened: _OpenTlv | None = None
        for name, text in pairs:
            definition, octets = self._value(name, text, tag, hiding)
            around = self._around(definition)
            if opened is not None and (around is None or not opened.takes(definition)):
                encoded.append(opened.closed(self._vendors))
                opened = None
            if around is None:
                encoded.append(self._wrapped(definition, octets))
                continue
            opened = opened or _OpenTlv(definition)
            opened.add(definition, octets)
        if opened is not None:
            encoded.append(opened.closed(self._vendors))
        return b"".join(encoded)

    def _value(
        self, name: str, text: str, tag: int | None, hiding: Hiding | None
    ) -> tuple[Definition, bytes]:
        bare, tag = _split_tag(name, tag)
        definition = self._named(bare)
        if tag is not None and not definition.tagged:
            raise AttributeFault(f"{definition.name}: this attribute has no tag; write it without :{tag}")
        octets = to_octets(definition, text)
        return definition, _tagged(definition, tag, _hidden(definition, octets, text, hiding))

    def _around(self, definition: Definition) -> Definition | None:
        """The TLV that holds the attribute."""
        around = self._by_place.get((definition.vendor, definition.path[:-1]))
        return around if around is not None and around.kind == "tlv" else None

    def _wrapped(self, definition: Definition, octets: bytes) -> bytes:
        vendor = None
        if definition.vendor:
            vendor = self._vendors.get(definition.vendor) or Vendor("", definition.vendor)
        try:
            return wrap(vendor, definition.path, octets, joined=definition.joined)
        except DoesNotFitError as trouble:
            raise AttributeFault(f"{definition.name}: {trouble}") from None

    def decode(self, source: Packet | bytes) -> list[NamedValue]:
        """What a packet's attributes, or octets of attributes, say. Never fails, whatever the octets."""
        if isinstance(source, Packet):
            attributes, left = list(source.attributes), b""
        else:
            attributes, left = split(source)
        values = [
            value
            for found in unwrap(attributes, self._vendors, self._joined)
            for value in self._opened(found)
        ]
        if left:
            values.append(NamedValue("Malformed", None, left, as_hex(left), 0, ()))
        return values

    def _opened(self, found: Found) -> Iterator[NamedValue]:
        """The members of a TLV, however deep; the value itself for anything else."""
        definition = self._by_place.get((found.vendor, found.path))
        if definition is not None and definition.kind == "tlv":
            members, left = split(found.octets)
            if members and not left:
                for kind, octets in members:
                    yield from self._opened(Found(found.vendor, (*found.path, kind), octets))
                return
        yield _named_value(definition or _unknown(found.vendor, found.path), found)


class _OpenTlv:
    """A TLV that more members may join."""

    def __init__(self, first: Definition) -> None:
        self._vendor = first.vendor
        self._path = first.path[:-1]
        self._name = first.name
        self._kinds: set[int] = set()
        self._content = b""

    def takes(self, definition: Definition) -> bool:
        return (
            (definition.vendor, definition.path[:-1]) == (self._vendor, self._path)
            and definition.path[-1] not in self._kinds
        )  # fmt: skip

    def add(self, definition: Definition, octets: bytes) -> None:
        self._kinds.add(definition.path[-1])
        self._name = definition.name
        try:
            self._content += tlv(definition.path[-1], octets)
        except DoesNotFitError as trouble:
            raise AttributeFault(f"{definition.name}: {trouble}") from None

    def closed(self, vendors: dict[int, Vendor]) -> bytes:
        vendor = vendors.get(self._vendor) if self._vendor else None
        try:
            return wrap(vendor, self._path, self._content)
        except DoesNotFitError as trouble:
            raise AttributeFault(f"{self._name}: {trouble}") from None


def _unknown(vendor: int, path: tuple[int, ...]) -> Definition:
    number = ".".join(map(str, path))
    return Definition(
        f"Vendor-{vendor}-Attr-{number}" if vendor else f"Attr-{number}", vendor, path, "octets"
    )


def _split_tag(name: str, tag: int | None) -> tuple[str, int | None]:
    bare, colon, written = name.partition(":")
    if colon:
        if not written.isdecimal():
            raise AttributeFault(f"{name}: behind the colon belongs a tag, a number from 1 to {_LAST_TAG}")
        tag = int(written)
    if tag is not None and not 0 <= tag <= _LAST_TAG:
        raise AttributeFault(f"{name}: a tag is a number from 1 to {_LAST_TAG}, not {tag}")
    return bare, tag or None


def _tagged(definition: Definition, tag: int | None, octets: bytes) -> bytes:
    """RFC 2868 section 3: numbers and hidden values always have a tag's octet, texts when they need it."""
    if not definition.tagged:
        return octets
    needed = definition.is_number or definition.encryption or (octets and octets[0] <= _LAST_TAG)
    return bytes((tag or 0,)) + octets if tag or needed else octets


def _hidden(definition: Definition, octets: bytes, text: str, hiding: Hiding | None) -> bytes:
    if not definition.encryption:
        return octets
    if hiding is None:
        raise AttributeFault(
            f"{definition.name}: it travels hidden under the shared secret, which is not at hand here"
        )
    if definition.encryption == _AS_PASSWORD:
        if len(octets) > 128:
            raise fault(definition, text, "at most 128 octets fit")
        return hiding.secret.hide_password(octets, hiding.authenticator)
    if definition.encryption != _SALTED:
        raise AttributeFault(f"{definition.name}: it is hidden in Ascend's own way, which is not sent")
    if len(octets) > 239:
        raise fault(definition, text, "at most 239 octets fit")
    salt = bytes((0x80 | secrets.randbits(7), secrets.randbits(8)))
    return hiding.secret.hide_salted(octets, hiding.authenticator, salt)


def _named_value(definition: Definition, found: Found) -> NamedValue:
    tag, octets = None, found.octets
    if definition.tagged and octets and octets[0] <= _LAST_TAG:
        tag, octets = octets[0] or None, octets[1:]
    return NamedValue(
        definition.name, tag, octets, _shown(definition, octets, found), found.vendor, found.path
    )


def _shown(definition: Definition, octets: bytes, found: Found) -> str:
    place = (found.vendor, found.path)
    if place == (0, (Attr.EAP_MESSAGE,)):
        return shown_eap(octets)
    if definition.secret:
        return HIDDEN
    if place == _MS_CHAP_ERROR and octets[:1] < b" ":
        octets = octets[1:]  # the identifier in front of the text (RFC 2548 section 2.1.5)
    text = to_text(definition, octets)
    pair = _SECRET_PAIR.fullmatch(text) if place == _CISCO_AV_PAIR else None
    return f"{pair[1]}{HIDDEN}" if pair else text


@lru_cache(maxsize=4)
def _loaded(extra: tuple[tuple[Path, int], ...]) -> AttributeDictionary:
    return AttributeDictionary(read_files([path for path, _ in extra]))


def attribute_dictionary(extra: Sequence[str | Path] = ()) -> AttributeDictionary:
    """The product's dictionary with the operator's files (``radius.dictionary_files``), loaded once.

    A file that was changed is read again. Raises ``DictionaryFault`` naming the file and the line.
    """
    return _loaded(tuple((Path(one), _changed_at(Path(one))) for one in extra))


def _changed_at(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0  # reading it says why
