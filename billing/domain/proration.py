"""Proration: the share of a price for part of a period.

``actual_days``: the share of a part is the difference of two cumulative amounts, each rounded half up:
``round(price * days up to the part's end / days of the period) - round(price * days up to its start / …)``.
So adjoining parts always sum to the whole price, wherever the period is cut. ``thirty_days`` is the same with
months of 30 days: the last day of the period takes what is left. ``round_up``: the share of the actual days,
rounded up to a whole unit of the currency. ``none``: a part costs as much as the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.money import minor_digits
from core.periods import Period

RULE = "actual days, end exclusive; cumulative amounts rounded half up, so that parts sum to the whole"
RULES = {
    "actual_days": RULE,
    "thirty_days": "months of 30 days from the period's start, its last day takes the rest; rounded half up",
    "round_up": "actual days, rounded up to a whole unit of the currency, at most the whole price",
    "none": "a part costs as much as the whole period",
}


def prorate(price_minor: int, part: Period, cycle: Period, rule: str = "actual_days") -> int:
    """The share of ``price_minor`` for ``part``, which must lie within ``cycle``; by a rule of days."""
    if part.start < cycle.start or part.end > cycle.end:
        raise ValueError(f"{part} is not within the cycle {cycle}")
    if part.start == cycle.start and part.end == cycle.end:
        return price_minor
    upto_start, upto_end = (part.start - cycle.start).days, (part.end - cycle.start).days
    of_days = (cycle.end - cycle.start).days
    if rule == "thirty_days":
        months = max(1, round(of_days / 30.4375))
        return _thirty(price_minor, upto_end, of_days, months) - _thirty(
            price_minor, upto_start, of_days, months
        )
    return _share(price_minor, upto_end, of_days) - _share(price_minor, upto_start, of_days)


def prorate_parts(
    price_minor: int, parts: Sequence[tuple[Period, int]], cycle: Period, rule: str, currency: str
) -> int:
    """What ``(part, quantity)`` of one period cost together. No parts cost nothing under any rule."""
    if not parts:
        return 0
    if rule == "none":
        return price_minor * max(quantity for _, quantity in parts)
    if rule == "round_up":
        unit = int(10 ** minor_digits(currency))
        exact = sum(price_minor * quantity * part.days for part, quantity in parts)
        ceiling = price_minor * max(quantity for _, quantity in parts)
        return min(-(-exact // (cycle.days * unit)) * unit, ceiling)
    if len(parts) == 1:
        part, quantity = parts[0]
        return prorate(price_minor * quantity, part, cycle, rule)
    return sum(prorate(price_minor * quantity, part, cycle, rule) for part, quantity in parts)


def prorate_octets(octets: int, part: Period, cycle: Period) -> int:
    """The share of an allowance for ``part``, by actual days."""
    return prorate(octets, part, cycle)


def explain_proration(
    price_minor: int, part: Period, cycle: Period, rule: str = "actual_days"
) -> dict[str, Any]:
    """The proration of one part as data."""
    return {
        "price_minor": price_minor,
        "cycle": [cycle.start.isoformat(), cycle.end.isoformat()],
        "part": [part.start.isoformat(), part.end.isoformat()],
        "days": part.days,
        "of_days": cycle.days,
        "amount_minor": prorate(price_minor, part, cycle, rule),
        "rule": RULES[rule],
    }


def _share(price_minor: int, days: int, of_days: int) -> int:
    # Integer form of round half away from zero: exact, and mirrored for negative prices.
    magnitude = (2 * abs(price_minor) * days + of_days) // (2 * of_days)
    return magnitude if price_minor >= 0 else -magnitude


def _thirty(price_minor: int, days: int, of_days: int, months: int) -> int:
    if days >= of_days:
        return price_minor
    return _share(price_minor, min(days, 30 * months), 30 * months)
