"""The dictionary as a table, for people who look for the name of an attribute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from radius.dictionary.attributes import attribute_dictionary
from radius.dictionary.definitions import Definition


@dataclass(frozen=True, slots=True)
class DescribedAttribute:
    """One attribute in words. ``number``: as in ``Attr-N`` or ``Vendor-V-Attr-N``."""

    name: str
    number: str
    kind: str
    words: str


def described_attributes(part: str, files: Sequence[str] = ()) -> list[DescribedAttribute]:
    """The attributes whose name has ``part`` in it, in whatever case. Raises ``DictionaryFault``."""
    book = attribute_dictionary(files)
    found = [book.find(name) for name in book.names if part.lower() in name.lower()]
    return [_described(one) for one in found if one is not None]


def _described(one: Definition) -> DescribedAttribute:
    number = ".".join(map(str, one.path))
    place = f"Vendor-{one.vendor}-Attr-{number}" if one.vendor else f"Attr-{number}"
    traits = [("several", one.array), ("tagged", one.tagged), ("hidden", bool(one.encryption))]
    kind = " ".join([one.kind, *(word for word, holds in traits if holds)])
    words = ", ".join(f"{word} {number}" for number, word in sorted((one.words or {}).items()))
    return DescribedAttribute(one.name, place, kind, words)
