"""What is counted and how it is sold: octets by the GB, seconds by the minute, pieces by the piece.

Prices are whole billionths of a minor unit (1e-9), quantities whole counts, so an exact amount is an integer
over ``Unit.scale`` and stays one until the one rounding.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from math import gcd
from typing import Any, Final

NANO: Final = 10**9
"""Billionths in one minor unit: prices may have nine decimals."""
PRICE_CEILING: Final = 10**12
"""A price is below this many minor units."""
ROUNDING: Final = "half up, once, on the total"

_WORD = re.compile(r"[a-z][a-z0-9_]{0,19}")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9/]{0,19}")


@dataclass(frozen=True, slots=True)
class Unit:
    """``size`` of what is counted (``of``) make one unit as sold: 10^9 octets are a GB.

    Keys of stored terms and of explanations carry the unit (``up_to_octets``, ``minor_per_gb``).
    """

    name: str
    of: str
    size: int
    scale: int = field(init=False, repr=False, compare=False)
    up_to_key: str = field(init=False, repr=False, compare=False)
    from_key: str = field(init=False, repr=False, compare=False)
    price_key: str = field(init=False, repr=False, compare=False)
    _decimals: int | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        scale = self.size * NANO
        decimals = len(str(scale)) - 1
        put = object.__setattr__
        put(self, "scale", scale)
        put(self, "up_to_key", f"up_to_{self.of}")
        put(self, "from_key", f"from_{self.of}")
        put(self, "price_key", "minor_per_" + re.sub(r"[^a-z0-9]", "", self.name.lower()))
        put(self, "_decimals", decimals if 10**decimals == scale else None)

    def exact_text(self, scaled: int) -> str:
        """An exact amount in minor units: ``1234.5``, or ``100/3`` where no decimals are enough."""
        if self._decimals is not None and scaled >= 0:
            whole, rest = divmod(scaled, self.scale)
            return f"{whole}.{rest:0{self._decimals}d}".rstrip("0") if rest else str(whole)
        return ratio_text(scaled, self.scale)

    def as_json(self) -> str | dict[str, Any]:
        """Its name if everybody knows it, else all of it."""
        if KNOWN_UNITS.get(self.name) == self:
            return self.name
        return {"name": self.name, "of": self.of, "size": self.size}


GIGABYTE: Final = Unit("GB", "octets", 10**9)
MEGABIT_PER_S: Final = Unit("Mbit/s", "bps", 10**6)
KNOWN_UNITS: Final[Mapping[str, Unit]] = {
    one.name: one
    for one in (
        GIGABYTE,
        Unit("GiB", "octets", 2**30),
        Unit("minute", "seconds", 60),
        Unit("unit", "units", 1),
        MEGABIT_PER_S,
    )
}


def ratio_text(numerator: int, denominator: int) -> str:
    """A ratio exactly: as decimals if they end (``1.25``), else as a fraction (``100/3``)."""
    common = gcd(numerator, denominator)
    numerator, denominator = numerator // common, denominator // common
    twos = fives = 0
    rest = denominator
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    if rest != 1:
        return f"{numerator}/{denominator}"
    decimals = max(twos, fives)
    sign, digits = "-" if numerator < 0 else "", str(abs(numerator) * 10**decimals // denominator)
    if not decimals:
        return sign + digits
    digits = digits.rjust(decimals + 1, "0")
    return f"{sign}{digits[:-decimals]}.{digits[-decimals:]}"


def round_ratio(numerator: int, denominator: int) -> int:
    """The nearest integer, halves away from zero (``core.money.round_half_up`` without a decimal)."""
    magnitude = (2 * abs(numerator) + denominator) // (2 * denominator)
    return magnitude if numerator >= 0 else -magnitude


def price_text(nano: int) -> str:
    """A price in minor units as people write it: ``12.5``."""
    return ratio_text(nano, NANO)


def parse_price(price: Any, where: str) -> int:
    """Billionths of a minor unit from decimal text such as ``12.5``, or a whole number.

    Raises ``ValueError`` that begins with ``where``.
    """
    if isinstance(price, float):
        raise ValueError(  # noqa: TRY004 - all faults of terms are one kind to the caller
            f"{where} is {price!r}; write it as text, such as '12.5': a float is not exact"
        )
    try:
        value = Decimal(price) if isinstance(price, int | str) and not isinstance(price, bool) else None
    except InvalidOperation:
        value = None
    if value is None:
        raise ValueError(f"{where} {price!r} is not a number; write it as text, such as '12.5'")
    if not value.is_finite() or not 0 <= value < PRICE_CEILING:
        raise ValueError(f"{where} must be from 0 to {PRICE_CEILING}")
    scaled = value.scaleb(9)
    if scaled != scaled.to_integral_value():
        raise ValueError(f"{where} may have at most 9 decimals")
    return int(scaled)


def parse_unit(described: Any, where: str = "unit") -> Unit:
    """A unit from its name, or from ``{"name": "call", "of": "calls", "size": 1}``. Raises ``ValueError``."""
    if isinstance(described, str):
        if described not in KNOWN_UNITS:
            raise ValueError(
                f"{where} {described!r} is not known; use {', '.join(KNOWN_UNITS)}, or say name, of and size"
            )
        return KNOWN_UNITS[described]
    if not isinstance(described, Mapping) or set(described) != {"name", "of", "size"}:
        raise ValueError(f"{where} is a name such as GB, or has the fields name, of and size")
    name, of, size = described["name"], described["of"], described["size"]
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"{where}.name is one word of letters and digits, such as GB")
    if not isinstance(of, str) or not _WORD.fullmatch(of):
        raise ValueError(f"{where}.of is one word in small letters, such as octets")
    if isinstance(size, bool) or not isinstance(size, int) or not 0 < size <= 10**15:
        raise ValueError(f"{where}.size is how many {of} one {name} has: a whole number from 1")
    return Unit(name, of, size)
