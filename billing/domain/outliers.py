"""What a person should look at before a run: invoices unlike the account's last ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from core.money import minor_digits

FEWEST = 2
"""So many invoices it takes to say what is usual."""


class Flag(StrEnum):
    """Why an invoice of a preview is worth a look."""

    PARKED = "parked"  # it cannot be made
    NEGATIVE = "negative"
    ZERO = "zero"
    NO_TAX = "no_tax"
    DEVIATES = "deviates"
    FIRST = "first"


@dataclass(frozen=True, slots=True)
class Threshold:
    """How far from the median is far: by more than ``percent`` of it, and at least ``amount`` whole units."""

    percent: int
    amount: int


def median_of(totals_minor: Sequence[int]) -> int | None:
    """The middle of them, of two in the middle the lower; None when there are too few to tell."""
    if len(totals_minor) < FEWEST:
        return None
    return sorted(totals_minor)[(len(totals_minor) - 1) // 2]


def deviates(total_minor: int, median_minor: int | None, currency: str, threshold: Threshold) -> bool:
    """Whether a total is far from what is usual."""
    if median_minor is None:
        return False
    distance = abs(total_minor - median_minor)
    return (
        distance * 100 > threshold.percent * abs(median_minor)
        and distance >= threshold.amount * 10 ** minor_digits(currency)
        and distance > 0
    )
