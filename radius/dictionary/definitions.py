"""What a dictionary says of an attribute: its name, its place on the wire, its type, words for numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

NUMBER_OCTETS: Final[Mapping[str, int]] = {
    "byte": 1, "short": 2, "uint16": 2, "integer": 4, "signed": 4, "uint32": 4, "integer64": 8,
}  # fmt: skip
"""The types that are numbers, and how many octets they have."""
FIXED_OCTETS: Final[Mapping[str, int]] = {
    **NUMBER_OCTETS, "ipaddr": 4, "ipv4prefix": 6, "ipv6addr": 16, "ether": 6, "ifid": 8, "date": 4,
}  # fmt: skip
"""The types whose values are all of one length, so that several can stand in one attribute."""

EXTENDED: Final = frozenset(range(241, 245))
LONG_EXTENDED: Final = frozenset((245, 246))
EXTENDED_VENDOR_SPECIFIC: Final = 26
"""The type within an extended attribute that holds a vendor's own (RFC 6929 section 2.4)."""


class DictionaryFault(ValueError):  # noqa: N818 - named for what it is
    """A dictionary file cannot be used; the text names file, line and what is wrong."""


class AttributeFault(ValueError):  # noqa: N818 - named for what it is
    """An attribute's name or value cannot be encoded; the text names both and what is allowed.

    A secret value is never in the text.
    """


@dataclass(frozen=True, slots=True)
class Vendor:
    """A vendor, by its IANA enterprise number, and how wide types and lengths are in its attributes."""

    name: str
    number: int
    type_octets: int = 1
    length_octets: int = 1
    continued: bool = False
    """Whether an octet of flags follows the length (WiMAX): read, never written."""


@dataclass(frozen=True, slots=True)
class Definition:
    """One attribute.

    ``vendor`` 0 is the standard space. ``path``: the types from the outside in; more than one for members of
    a TLV or an extended attribute, whose vendor (RFC 6929 section 2.4) is a step of the path.
    """

    name: str
    vendor: int
    path: tuple[int, ...]
    kind: str
    tagged: bool = False
    encryption: int = 0
    """1: as User-Password (RFC 2865), 2: with a salt (RFC 2868 section 3.5), 3: as Ascend hides secrets."""
    secret: bool = False
    joined: bool = False
    """A value longer than one attribute goes on in the next (RFC 3579 section 3.1)."""
    array: bool = False
    size: int | None = None
    words: Mapping[int, str] | None = None
    numbers: Mapping[str, int] | None = None
    """The same by word, in lower case; aliases too."""

    @property
    def is_number(self) -> bool:
        """Whether the value is a number."""
        return self.kind in NUMBER_OCTETS
