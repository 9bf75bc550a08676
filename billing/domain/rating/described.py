"""Reading terms from JSON: each fault names its field by its whole path."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from billing.domain.rating.unit import parse_price

_T = TypeVar("_T")
LARGEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Described:
    """The fields of one JSON object; ``where`` is its path (``model.tiers[2]``), empty for the whole."""

    fields: Mapping[str, Any]
    where: str

    def path(self, name: str) -> str:
        """The path of one field."""
        return f"{self.where}.{name}" if self.where else name

    def only(self, known: Collection[str]) -> None:
        """Raises ``ValueError`` for a field that is not ``known``."""
        unknown = sorted(set(self.fields) - set(known))
        if unknown:
            raise ValueError(f"{self.path(unknown[0])} is unknown; the fields here are {', '.join(known)}")

    def has(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self.fields.get(name) is not None

    def count(self, name: str, least: int = 0, most: int = LARGEST, default: int | None = None) -> int:
        """A whole number."""
        value = self.fields.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError(
                f"{self.path(name)} must be a whole number from {least} to {most}; it is {value!r}"
            )
        return value

    def price(self, name: str) -> int:
        """Billionths of a minor unit."""
        if name not in self.fields:
            raise ValueError(f"{self.path(name)} is missing")
        return parse_price(self.fields[name], self.path(name))

    def flag(self, name: str, default: bool) -> bool:
        """True or false."""
        value = self.fields.get(name, default)
        if not isinstance(value, bool):
            raise ValueError(f"{self.path(name)} must be true or false; it is {value!r}")  # noqa: TRY004
        return value

    def choice(self, name: str, choices: Collection[str], default: str | None = None) -> str:
        """One of some words."""
        value = self.fields.get(name, default)
        if not isinstance(value, str) or value not in choices:
            raise ValueError(f"{self.path(name)} must be one of {', '.join(choices)}; it is {value!r}")
        return value

    def word(self, name: str, longest: int = 40) -> str:
        """A short text."""
        value = self.fields.get(name)
        if not isinstance(value, str) or not value.strip() or len(value) > longest:
            raise ValueError(f"{self.path(name)} must be a text of 1 to {longest} characters")
        return value.strip()

    def part(self, name: str) -> Described:
        """An object inside."""
        return described(self.fields.get(name), self.path(name))

    def each(self, name: str, read: Callable[[Described], _T], most: int = 50) -> tuple[_T, ...]:
        """Every object of a list, empty when it is left out."""
        value = self.fields.get(name, [])
        if not isinstance(value, list | tuple) or len(value) > most:
            raise ValueError(f"{self.path(name)} must be a list of at most {most}")
        path = self.path(name)
        return tuple(read(described(one, f"{path}[{index}]")) for index, one in enumerate(value, start=1))


def described(value: Any, where: str) -> Described:
    """The object at ``where``. Raises ``ValueError`` when it is none."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{where or 'terms'} must be an object with named fields")  # noqa: TRY004
    return Described(value, where)
