"""Dictionary files in the format of FreeRADIUS, read by pyrad and by us.

pyrad reads every file first, so what it finds wrong is wrong here; what it leaves out (extended and
long-extended attributes, TLVs in TLVs, IPv4 prefixes, arrays, other vendor formats) and the flags it does not
need are read in a second pass over the same lines.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pyrad.dictfile import DictFile
from pyrad.dictionary import Dictionary, ParseError

from radius.dictionary.definitions import (
    EXTENDED,
    EXTENDED_VENDOR_SPECIFIC,
    FIXED_OCTETS,
    LONG_EXTENDED,
    Definition,
    DictionaryFault,
    Vendor,
)

OWN_FILE: Final = Path(__file__).parent / "data" / "dictionary"
_STEP_OCTETS: Final = 255
_LARGEST_VENDOR: Final = 0xFFFFFF


_Words = tuple[dict[int, str], dict[str, int]]


@dataclass(slots=True)
class Contents:
    """What the files say. ``pyrad``: its own dictionary of them, for its clients."""

    pyrad: Any
    vendors: dict[int, Vendor] = field(default_factory=dict)
    definitions: dict[str, Definition] = field(default_factory=dict)


def read_files(extra: Sequence[Path] = ()) -> Contents:
    """The product's dictionary and then the operator's files. Raises ``DictionaryFault``."""
    paths = [OWN_FILE, *extra]
    contents = Contents(_read_with_pyrad(paths))
    words: dict[str, _Words] = {}
    for path in paths:
        _SecondPass(contents, path, words).read()
    return contents


def _read_with_pyrad(paths: Sequence[Path]) -> Any:
    log = logging.getLogger("pyrad")
    quiet = log.disabled
    log.disabled = True  # it warns of what it leaves out, which is what the second pass is for
    try:
        dictionary = Dictionary()
        for path in paths:
            _read_one(dictionary, path)
    finally:
        log.disabled = quiet
    return dictionary


def _read_one(dictionary: Any, path: Path) -> None:
    try:
        dictionary.ReadDictionary(str(path))
    except ParseError as trouble:
        where = f"{trouble.file} line {trouble.line}" if trouble.line > 0 else f"{path}"
        raise DictionaryFault(f"{where}: {trouble.msg or 'not in the format of a dictionary'}") from trouble
    except OSError as trouble:
        raise DictionaryFault(f"{trouble.filename or path}: {trouble.strerror or trouble}") from trouble
    except (ValueError, KeyError, IndexError) as trouble:
        raise DictionaryFault(f"{path}: not in the format of a dictionary: {trouble}") from trouble


class _SecondPass:
    """Over the lines of one file and what it includes."""

    def __init__(self, contents: Contents, path: Path, words: dict[str, _Words]) -> None:
        self._contents = contents
        self._path = path
        self._values: list[tuple[str, str, str]] = []
        self._words: dict[str, _Words] = words
        self._vendor = 0
        self._within: tuple[int, ...] = ()
        """The path of the extended attribute that a block's attributes are in, with the vendor."""

    def read(self) -> None:
        """A VALUE may stand in front of its ATTRIBUTE."""
        for tokens in self._lines():
            self._take(tokens)
        for name, word, number in self._values:
            self._value(name, word, number)

    def _lines(self) -> Iterator[list[str]]:
        for line in DictFile(str(self._path)):
            tokens = line.split("#", 1)[0].split()
            if tokens:
                yield tokens

    def _take(self, tokens: list[str]) -> None:
        match tokens:
            case ["ATTRIBUTE", name, code, kind, *rest]:
                self._attribute(name, code, kind, rest)
            case ["VALUE", name, word, number]:
                self._values.append((name.lower(), word, number))
            case ["VENDOR", name, number, *rest]:
                self._contents.vendors[int(number, 0)] = _vendor(name, int(number, 0), rest)
            case ["BEGIN-VENDOR", name, *rest]:
                self._begin(name, rest)
            case ["END-VENDOR", *_]:
                self._vendor, self._within = 0, ()
            case _:
                return

    def _vendor_number(self, name: str) -> int:
        number: int = self._contents.pyrad.vendors.GetForward(name)
        return number

    def _begin(self, name: str, rest: list[str]) -> None:
        number = self._vendor_number(name)
        if not rest:
            self._vendor, self._within = number, ()
            return
        around = self._contents.definitions.get(rest[0].removeprefix("format=").lower())
        if around is None or around.kind != "evs":
            raise DictionaryFault(f"{self._path}: BEGIN-VENDOR {name} {rest[0]}: no such evs attribute")
        self._vendor, self._within = 0, (*around.path, number)

    def _attribute(self, name: str, code: str, kind: str, rest: list[str]) -> None:
        vendors = self._contents.pyrad.vendors
        vendor = self._vendor_number(rest[0]) if rest and vendors.HasForward(rest[0]) else self._vendor
        path = (*self._within, *(int(step, 0) for step in code.split(".")))
        self._check_path(name, vendor, path)
        base, _, size = kind.partition("[")
        flags = "" if vendor != self._vendor else ",".join(rest)
        words, numbers = self._words[name.lower()] = ({}, {})
        self._contents.definitions[name.lower()] = Definition(
            name, vendor, path, base,
            size=int(size.rstrip("]")) if size else None,
            words=words, numbers=numbers, **_flags(flags.split(","), base),
        )  # fmt: skip

    def _check_path(self, name: str, vendor: int, path: tuple[int, ...]) -> None:
        largest = [_STEP_OCTETS] * len(path)
        if vendor and vendor in self._contents.vendors:
            largest[0] = (1 << 8 * self._contents.vendors[vendor].type_octets) - 1
        elif path[0] in EXTENDED | LONG_EXTENDED and path[1:2] == (EXTENDED_VENDOR_SPECIFIC,):
            largest[2:3] = [_LARGEST_VENDOR] * len(path[2:3])
        for step, most in zip(path, largest, strict=True):
            if not 0 <= step <= most:
                raise DictionaryFault(
                    f"{self._path}: ATTRIBUTE {name}: its number has to be 0 to {most}, not {step}"
                )

    def _value(self, name: str, word: str, number: str) -> None:
        known = self._contents.definitions.get(name)
        if known is not None and known.is_number:
            words, numbers = self._words[name]
            words[int(number, 0)] = word
            numbers[word.lower()] = int(number, 0)


def _vendor(name: str, number: int, rest: list[str]) -> Vendor:
    if not rest:
        return Vendor(name, number)
    widths = rest[0].removeprefix("format=").split(",")
    return Vendor(name, number, int(widths[0]), int(widths[1]), continued=widths[2:] == ["c"])


def _flags(flags: Sequence[str], kind: str) -> dict[str, Any]:
    encryption = [int(flag[8:]) for flag in flags if flag.startswith("encrypt=")]
    return {
        "tagged": "has_tag" in flags,
        "encryption": encryption[0] if encryption else 0,
        "secret": "secret" in flags or bool(encryption),
        "joined": "concat" in flags,
        "array": "array" in flags and kind in FIXED_OCTETS,
    }
