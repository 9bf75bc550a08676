"""Money as integer minor units of one currency; rounding is always named, remainders are always allocated."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

# As people write it. What Decimal reads besides (1e3, 1_000, nan) is a slip of the finger here, and 1e9999999
# would keep the house busy for minutes; so many digits fit its precision.
_AMOUNT = re.compile(r"[+-]?(\d{1,20}(\.\d{0,8})?|\.\d{1,8})")

# ISO 4217: minor unit digits other than 2.
_DIGITS = {
    "BHD": 3,
    "IQD": 3,
    "JOD": 3,
    "KWD": 3,
    "LYD": 3,
    "OMR": 3,
    "TND": 3,
    "BIF": 0,
    "CLP": 0,
    "DJF": 0,
    "GNF": 0,
    "ISK": 0,
    "JPY": 0,
    "KMF": 0,
    "KRW": 0,
    "PYG": 0,
    "RWF": 0,
    "UGX": 0,
    "VND": 0,
    "VUV": 0,
    "XAF": 0,
    "XOF": 0,
    "XPF": 0,
}


def minor_digits(currency: str) -> int:
    """Digits behind the decimal point of ``currency`` (ISO 4217)."""
    return _DIGITS.get(currency, 2)


def round_half_up(value: Decimal) -> int:
    """Nearest integer, halves away from zero, so that a negative line mirrors its positive twin."""
    return int(value.quantize(Decimal(1), rounding=ROUND_HALF_UP))


@dataclass(frozen=True, slots=True, order=False)
class Money:
    """An amount in minor units (cents, fils, yen) of an ISO 4217 currency."""

    amount_minor: int
    currency: str

    def __add__(self, other: Money) -> Money:
        self._same(other)
        return Money(self.amount_minor + other.amount_minor, self.currency)

    def __sub__(self, other: Money) -> Money:
        self._same(other)
        return Money(self.amount_minor - other.amount_minor, self.currency)

    def __neg__(self) -> Money:
        return Money(-self.amount_minor, self.currency)

    def __str__(self) -> str:
        return format_money(self.amount_minor, self.currency)

    def _same(self, other: Money) -> None:
        if self.currency != other.currency:
            raise ValueError(f"cannot combine {self.currency} with {other.currency}")


def format_money(amount_minor: int, currency: str) -> str:
    """``12.34 USD``: plain, for logs, the CLI and explanations. Screens format by locale."""
    digits = minor_digits(currency)
    return f"{Decimal(amount_minor).scaleb(-digits):.{digits}f} {currency}"


def parse_amount(text: str, currency: str) -> int:
    """Minor units of a typed amount such as ``12.34``.

    Raises ``ValueError`` naming the trouble when the text is no number or has too many decimals.
    """
    if not _AMOUNT.fullmatch(text.strip()):
        raise ValueError(f"{text[:40]!r} is not an amount; write it like 12.34")
    scaled = Decimal(text.strip()).scaleb(minor_digits(currency))
    if scaled != scaled.to_integral_value():
        raise ValueError(f"{text!r} has more decimals than {currency} has ({minor_digits(currency)})")
    return int(scaled)


def allocate(total: int, weights: Sequence[int]) -> list[int]:
    """Split ``total`` by ``weights`` so that the parts sum to it exactly (largest remainder first).

    Raises ``ValueError`` for negative or all-zero weights.
    """
    whole = sum(weights)
    if whole <= 0 or any(weight < 0 for weight in weights):
        raise ValueError("weights must be non-negative and not all zero")
    sign = -1 if total < 0 else 1
    magnitude = abs(total)
    parts = [magnitude * weight // whole for weight in weights]
    order = sorted(range(len(weights)), key=lambda i: (-(magnitude * weights[i] % whole), i))
    for index in order[: magnitude - sum(parts)]:
        parts[index] += 1
    return [sign * part for part in parts]
