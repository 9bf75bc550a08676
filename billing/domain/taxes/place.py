"""Where a service is, and which authorities reach that place.

A tax follows the address of the service, not that of the payer. Authorities nest: a country, its region
(state, province), county, city, and districts, which are known by their postal codes alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

LONGEST_CODE = 50
"""Characters of a jurisdiction's code: with ``tax:`` before it, it is the name of a ledger account."""


class Level(StrEnum):
    """How far down an authority sits."""

    COUNTRY = "country"
    REGION = "region"
    COUNTY = "county"
    CITY = "city"
    DISTRICT = "district"


@dataclass(frozen=True, slots=True)
class Place:
    """The address of a service, as far as taxes ask. ``country`` is an ISO 3166-1 code; None is unknown."""

    country: str
    region: str | None = None
    county: str | None = None
    city: str | None = None
    postal_code: str | None = None

    def folded(self) -> FoldedPlace:
        """The same place, spelt so that it can be compared."""
        return FoldedPlace(
            self.country.upper(), fold(self.region), fold(self.county), fold(self.city),
            fold_postal_code(self.postal_code or ""),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class FoldedPlace:
    """A place without its capitals and blanks; empty is unknown."""

    country: str
    region: str
    county: str
    city: str
    postal_code: str


@dataclass(frozen=True, slots=True)
class Jurisdiction:
    """The reach of one authority; everything named here must be true of a place.

    ``postal_codes``: one of them must fit. ``87501`` fits itself and, in the United States, the nine digit
    codes below it; ``875*`` fits what begins so; ``87501..87599`` fits what lies between. A county or city
    that an address does not tell follows from its postal code.
    """

    country: str
    region: str | None = None
    county: str | None = None
    city: str | None = None
    district: str | None = None
    postal_codes: tuple[str, ...] = ()
    code: str = field(init=False, repr=False, compare=False)
    """``US-NM/Bernalillo/Albuquerque``: what taxes are owed under."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "code", self._code())

    def _code(self) -> str:
        top = f"{self.country}-{self.region}" if self.region else self.country
        return "/".join([top, *(part for part in (self.county, self.city, self.district) if part)])

    @property
    def level(self) -> Level:
        """The deepest part that is named."""
        for level in reversed(Level):
            if getattr(self, level.value):
                return level
        return Level.DISTRICT if self.postal_codes else Level.COUNTRY

    def covers(self, place: FoldedPlace) -> bool:
        """Whether the authority's reach holds that place."""
        if self.country != place.country or (self.region and fold(self.region) != place.region):
            return False
        if self.postal_codes:
            if not any(_fits(code, place) for code in self.postal_codes):
                return False
        elif self.district:
            return False
        return all(
            told == fold(named) or (not told and bool(self.postal_codes))
            for named, told in ((self.county, place.county), (self.city, place.city))
            if named
        )


def fold(text: str | None) -> str:
    """A name without capitals and needless blanks."""
    return " ".join((text or "").split()).casefold()


def fold_postal_code(text: str) -> str:
    """A postal code without blanks and hyphens, in capitals."""
    return "".join(character for character in text.upper() if character not in " -")


def exact_postal_codes(place: FoldedPlace) -> Iterator[str]:
    """The codes that a place's own postal code stands for."""
    if place.postal_code:
        yield place.postal_code
        if place.country == "US" and len(place.postal_code) == 9:
            yield place.postal_code[:5]


def is_exact(code: str) -> bool:
    """Whether a postal code of a jurisdiction is a single one."""
    return not code.endswith("*") and ".." not in code


def _fits(code: str, place: FoldedPlace) -> bool:
    if not place.postal_code:
        return False
    if code.endswith("*"):
        return place.postal_code.startswith(fold_postal_code(code[:-1]))
    first, dots, last = code.partition("..")
    if dots:
        first, last = fold_postal_code(first), fold_postal_code(last)
        return first <= place.postal_code[: len(first)] <= last
    return fold_postal_code(code) in exact_postal_codes(place)
