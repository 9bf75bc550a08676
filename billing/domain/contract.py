"""A plan version's contract: how long the customer is bound, what ending early costs, how it goes on.

The fee for ending early is ``flat``, or ``remaining`` (a share of the price of the months left), or
``declining`` (the flat fee, less an equal part for each month served).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from core.periods import add_months

FEES = ("none", "flat", "remaining", "declining")
_MILLION = 1_000_000
_FIELDS = {"term_months", "fee", "fee_minor", "share_ppm", "renews_months", "tax_class"}


@dataclass(frozen=True, slots=True)
class Contract:
    """``term_months`` from the start; then it runs on by ``renews_months`` each time, or freely if None."""

    term_months: int
    fee: str = "none"
    fee_minor: int = 0
    share_ppm: int = _MILLION
    renews_months: int | None = None
    tax_class: str = "fee"

    def as_json(self) -> dict[str, Any]:
        """The form stored in ``plan_version.contract``."""
        return {
            "term_months": self.term_months, "fee": self.fee, "fee_minor": self.fee_minor,
            "share_ppm": self.share_ppm, "renews_months": self.renews_months, "tax_class": self.tax_class,
        }  # fmt: skip

    def binds_until(self, signed_on: date) -> date:
        """The first day after the first term."""
        return add_months(signed_on, self.term_months, signed_on.day)


@dataclass(frozen=True, slots=True)
class EarlyEnd:
    """What ending a contract early costs, and how that comes about."""

    amount_minor: int
    months_left: int
    explanation: dict[str, Any]


def parse_contract(described: Mapping[str, Any]) -> Contract:
    """Raises ``ValueError`` naming the field."""
    unknown = sorted(set(described) - _FIELDS)
    if unknown:
        raise ValueError(f"contract: {', '.join(unknown)} is no field of a contract")
    fee = described.get("fee", "none")
    if fee not in FEES:
        raise ValueError(f"contract: fee {fee!r} is not one of {', '.join(FEES)}")
    renews = described.get("renews_months")
    return Contract(
        _number("term_months", described.get("term_months"), 1, 120),
        str(fee),
        _number("fee_minor", described.get("fee_minor", 0), 0, 10**12),
        _number("share_ppm", described.get("share_ppm", _MILLION), 0, _MILLION),
        None if renews is None else _number("renews_months", renews, 1, 120),
        str(described.get("tax_class", "fee")),
    )


def _number(field: str, value: object, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"contract: {field} must be a whole number from {least} to {most}")
    return value


def bound_until(contract: Contract, first_end: date, on: date) -> date | None:
    """The day up to which the customer is bound as of ``on``; None: he is free, the term is over."""
    if on < first_end:
        return first_end
    if contract.renews_months is None:
        return None
    months, end = 0, first_end
    while end <= on:
        months += contract.renews_months
        end = add_months(first_end, months, first_end.day)
    return end


def decide_early_end(
    contract: Contract, monthly_minor: int, bound: date | None, ends_on: date
) -> EarlyEnd | None:
    """The fee for ending on ``ends_on`` while bound up to ``bound``; None: nothing is owed.

    Started months count as months left.
    """
    if bound is None or ends_on >= bound or contract.fee == "none":
        return None
    left = 0
    while add_months(bound, -left, bound.day) > ends_on:
        left += 1
    if contract.fee == "flat":
        amount = contract.fee_minor
    elif contract.fee == "declining":
        amount = (2 * contract.fee_minor * min(left, contract.term_months) + contract.term_months) // (
            2 * contract.term_months
        )
    else:
        amount = (2 * monthly_minor * left * contract.share_ppm + _MILLION) // (2 * _MILLION)
    explanation = {
        **contract.as_json(), "bound_until": bound.isoformat(), "ends_on": ends_on.isoformat(),
        "months_left": left, "monthly_minor": monthly_minor, "amount_minor": amount,
    }  # fmt: skip
    return EarlyEnd(amount, left, explanation) if amount else None
