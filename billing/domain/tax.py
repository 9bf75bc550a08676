"""Exclusive taxes: one line a rate over the sum of what it taxes, rounded half up, symmetric for credits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from billing.domain.catalogue import TaxRate

_MILLION = 1_000_000
RULE = "rate valid on the first day of each line's period, at the account's address"


@dataclass(frozen=True, slots=True)
class Taxable:
    """A net amount with what decides its tax. ``position`` is its place on the invoice."""

    position: int
    amount_minor: int
    tax_class: str
    tax_date: date


@dataclass(frozen=True, slots=True)
class TaxDue:
    """What one rate asks on one invoice."""

    rate: TaxRate
    base_minor: int
    amount_minor: int
    positions: tuple[int, ...]

    def explanation(self) -> dict[str, Any]:
        """The tax as data."""
        return {
            "name": self.rate.name,
            "jurisdiction": self.rate.jurisdiction,
            "tax_class": self.rate.tax_class,
            "rate_ppm": self.rate.rate_ppm,
            "valid_from": self.rate.valid_from.isoformat(),
            "base_minor": self.base_minor,
            "lines": list(self.positions),
            "amount_minor": self.amount_minor,
            "rounding": "half up, once per rate and invoice",
            "rule": RULE,
        }


def tax_amount(base_minor: int, rate_ppm: int) -> int:
    """The tax on a net base; a credit of the same base gives exactly the negative."""
    magnitude = (abs(base_minor) * rate_ppm * 2 + _MILLION) // (2 * _MILLION)
    return magnitude if base_minor >= 0 else -magnitude


def decide_taxes(
    lines: Sequence[Taxable], rates: Iterable[TaxRate], country: str, region: str | None
) -> list[TaxDue]:
    """Every tax of an invoice, in the order of jurisdiction and name. Rates add up; none is a tax on tax."""
    due = [_tax_of(rate, lines, country, region) for rate in rates]
    charged = [tax for tax in due if tax.positions and tax.base_minor != 0]
    return sorted(
        charged, key=lambda tax: (tax.rate.jurisdiction, tax.rate.name, tax.rate.valid_from, tax.rate.id)
    )


def _tax_of(rate: TaxRate, lines: Sequence[Taxable], country: str, region: str | None) -> TaxDue:
    taxed = [line for line in lines if rate.applies(line.tax_class, country, region, line.tax_date)]
    base = sum(line.amount_minor for line in taxed)
    return TaxDue(rate, base, tax_amount(base, rate.rate_ppm), tuple(line.position for line in taxed))
