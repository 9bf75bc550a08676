"""Proration by actual days: the share of a monthly price for part of a billing cycle.

The share of a part is the difference of two cumulative amounts, each rounded half up:
``round(price * days up to the part's end / days of the cycle) - round(price * days up to its start / …)``.
So adjoining parts always sum to the whole price, wherever the cycle is cut.
"""

from __future__ import annotations

from typing import Any

from core.periods import Period

RULE = "actual days, end exclusive; cumulative amounts rounded half up, so that parts sum to the whole"


def prorate(price_minor: int, part: Period, cycle: Period) -> int:
    """The share of ``price_minor`` for ``part``, which must lie within ``cycle``."""
    if part.start < cycle.start or part.end > cycle.end:
        raise ValueError(f"{part} is not within the cycle {cycle}")
    upto_end = _share(price_minor, (part.end - cycle.start).days, cycle.days)
    upto_start = _share(price_minor, (part.start - cycle.start).days, cycle.days)
    return upto_end - upto_start


def prorate_octets(octets: int, part: Period, cycle: Period) -> int:
    """The share of an allowance for ``part``, by the same rule."""
    return prorate(octets, part, cycle)


def explain_proration(price_minor: int, part: Period, cycle: Period) -> dict[str, Any]:
    """The proration as data."""
    return {
        "price_minor": price_minor,
        "cycle": [cycle.start.isoformat(), cycle.end.isoformat()],
        "part": [part.start.isoformat(), part.end.isoformat()],
        "days": part.days,
        "of_days": cycle.days,
        "amount_minor": prorate(price_minor, part, cycle),
        "rule": RULE,
    }


def _share(price_minor: int, days: int, of_days: int) -> int:
    # Integer form of round half away from zero: exact, and mirrored for negative prices.
    magnitude = (2 * abs(price_minor) * days + of_days) // (2 * of_days)
    return magnitude if price_minor >= 0 else -magnitude
