"""Charge models: pure functions from a quantity to an amount with its explanation.

Built so far: an allowance with graduated (marginal) overage. Prices per GB (10^9 octets, as plans are sold)
are decimal minor units and may be fractions of one, so amounts stay exact decimals until the one rounding.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal, InvalidOperation
from functools import reduce
from typing import Any

from core.money import round_half_up
from core.quantities import GB

ROUNDING = "half up, once, on the total"
PRICE_CEILING = 10**12
PRICE_STEP = Decimal("1e-9")
_EXACT = Context(prec=60)  # 63-bit octets times any sane price: never rounds


@dataclass(frozen=True, slots=True)
class Tier:
    """One slice of overage; ``up_to_octets`` counts from the end of the allowance, None: all the rest."""

    up_to_octets: int | None
    minor_per_gb: Decimal

    def as_json(self) -> dict[str, Any]:
        """The form stored in ``plan_version.overage_tiers``."""
        return {"up_to_octets": self.up_to_octets, "minor_per_gb": str(self.minor_per_gb)}


@dataclass(frozen=True, slots=True)
class TierCharge:
    """What one tier contributed: exact, not rounded."""

    from_octets: int
    octets: int
    minor_per_gb: Decimal
    exact_minor: Decimal


@dataclass(frozen=True, slots=True)
class RatedUsage:
    """Usage with its price and the way it came about."""

    used_octets: int
    allowance_octets: int | None
    overage_octets: int
    tiers: tuple[TierCharge, ...]
    exact_minor: Decimal
    amount_minor: int

    def explanation(self) -> dict[str, Any]:
        """The explanation as data, for the rated charge and the invoice line."""
        return {
            "model": "graduated",
            "used_octets": self.used_octets,
            "allowance_octets": self.allowance_octets,
            "overage_octets": self.overage_octets,
            "tiers": [
                {
                    "from_octets": tier.from_octets,
                    "octets": tier.octets,
                    "minor_per_gb": _plain(tier.minor_per_gb),
                    "exact_minor": _plain(tier.exact_minor),
                }
                for tier in self.tiers
            ],
            "exact_minor": _plain(self.exact_minor),
            "amount_minor": self.amount_minor,
            "rounding": ROUNDING,
        }


def _plain(value: Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def parse_tiers(described: Iterable[Mapping[str, Any]]) -> tuple[Tier, ...]:
    """Tiers from their JSON form ``{"up_to_octets": 50000000000, "minor_per_gb": "12.5"}``.

    The last tier must be open (``up_to_octets`` null) and borders must rise. No tiers: overage is free.
    Raises ``ValueError`` naming the tier and the trouble.
    """
    tiers = tuple(_parse_tier(index, one) for index, one in enumerate(described, start=1))
    borders = [tier.up_to_octets for tier in tiers]
    if borders and borders[-1] is not None:
        raise ValueError(f"tier {len(tiers)} is the last and must have no up_to_octets")
    floor = 0
    for index, border in enumerate(borders[:-1], start=1):
        if border is None or border <= floor:
            raise ValueError(f"tier {index} must end above {floor} octets; up_to_octets is {border}")
        floor = border
    return tiers


def _parse_tier(index: int, described: Mapping[str, Any]) -> Tier:
    unknown = set(described) - {"up_to_octets", "minor_per_gb"}
    if unknown or "minor_per_gb" not in described:
        raise ValueError(
            f"tier {index} has the fields up_to_octets and minor_per_gb; got {sorted(described)}"
        )
    price, border = described["minor_per_gb"], described.get("up_to_octets")
    if isinstance(price, float):
        raise ValueError(  # noqa: TRY004 - all faults of a tier are one kind to the caller
            f"tier {index}: write minor_per_gb as text, such as '12.5'; a float is not exact"
        )
    try:
        minor_per_gb = Decimal(price)
    except (InvalidOperation, TypeError, ValueError):
        raise ValueError(f"tier {index}: minor_per_gb {price!r} is not a number") from None
    if not minor_per_gb.is_finite() or not 0 <= minor_per_gb < PRICE_CEILING:
        raise ValueError(f"tier {index}: minor_per_gb must be from 0 to {PRICE_CEILING}")
    if minor_per_gb != minor_per_gb.quantize(PRICE_STEP):
        raise ValueError(f"tier {index}: minor_per_gb may have at most 9 decimals")
    if border is not None and (isinstance(border, bool) or not isinstance(border, int)):
        raise ValueError(f"tier {index}: up_to_octets must be a whole number or null")
    return Tier(border, minor_per_gb)


def rate_usage(used_octets: int, allowance_octets: int | None, tiers: Sequence[Tier]) -> RatedUsage:
    """Price ``used_octets``: the allowance is free, each octet beyond it costs what its own tier says."""
    if used_octets < 0:
        raise ValueError(f"usage cannot be negative ({used_octets} octets)")
    overage = 0 if allowance_octets is None else max(0, used_octets - allowance_octets)
    charges = tuple(_charge_tiers(overage, tiers))
    exact = reduce(_EXACT.add, (charge.exact_minor for charge in charges), Decimal(0))
    return RatedUsage(used_octets, allowance_octets, overage, charges, exact, round_half_up(exact))


def _charge_tiers(overage: int, tiers: Sequence[Tier]) -> Iterable[TierCharge]:
    floor = 0
    for tier in tiers:
        ceiling = overage if tier.up_to_octets is None else min(overage, tier.up_to_octets)
        octets = ceiling - floor
        if octets <= 0:
            return
        exact = _EXACT.divide(_EXACT.multiply(Decimal(octets), tier.minor_per_gb), Decimal(GB))
        yield TierCharge(floor, octets, tier.minor_per_gb, exact)
        floor = ceiling
