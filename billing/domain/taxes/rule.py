"""One dated rule of an authority, and who is exempt from it. Values that never change once written."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum

from billing.domain.taxes.place import Jurisdiction
from core.money import format_money

MILLION = 1_000_000
SINCE_EVER = datetime(1970, 1, 1, tzinfo=UTC)
"""When a rule was recorded of which nobody noted it."""


class Effect(StrEnum):
    """Whose money it is: a tax is held for the authority, a surcharge is our own revenue."""

    TAX = "tax"
    SURCHARGE = "surcharge"


class Method(StrEnum):
    """How the amount is found."""

    PERCENT = "percent"
    PER_LINE = "per_line"
    PER_UNIT = "per_unit"


class Rounding(StrEnum):
    """To the minor unit; every way mirrors a credit, so that it gives back exactly what was taken."""

    HALF_UP = "half_up"  # halves away from zero
    HALF_EVEN = "half_even"
    DOWN = "down"  # towards zero
    UP = "up"  # away from zero


class RoundedPer(StrEnum):
    """What is rounded: each line by itself, or the sum of a rule over the invoice."""

    LINE = "line"
    INVOICE = "invoice"


_ROUNDING_WORDS = {
    Rounding.HALF_UP: "half up",
    Rounding.HALF_EVEN: "half to even",
    Rounding.DOWN: "down",
    Rounding.UP: "up",
}


@dataclass(frozen=True, slots=True)
class TaxRule:
    """What an authority asks, from ``valid_from`` up to ``valid_until`` (exclusive; None: for good).

    The day of a line decides which rules tax it. ``rate_ppm`` is parts per million of the base (7.25 % is
    72500) where the method is percent; else ``unit_millionths`` is the amount for a line or a unit, in
    millionths of the minor unit of ``currency``. ``share_ppm`` is the part of a line that is taxable, such as
    649000 for the interstate share of VoIP (FCC 06-94, safe harbour). ``on_top_of`` names taxes of the same
    country whose amounts belong to the base. A ``taxable`` surcharge belongs to the base of every tax on its
    line. Empty ``tax_classes`` or ``line_kinds`` mean all.
    """

    id: str
    name: str
    jurisdiction: Jurisdiction
    valid_from: date
    valid_until: date | None = None
    effect: Effect = Effect.TAX
    tax_classes: frozenset[str] = frozenset()
    line_kinds: frozenset[str] = frozenset()
    method: Method = Method.PERCENT
    rate_ppm: int = 0
    unit_millionths: int = 0
    currency: str | None = None
    share_ppm: int = MILLION
    on_top_of: frozenset[str] = frozenset()
    taxable: bool = False
    rounding: Rounding = Rounding.HALF_UP
    rounded_per: RoundedPer = RoundedPer.INVOICE
    authority: str | None = None
    recorded_at: datetime = SINCE_EVER
    withdrawn_at: datetime | None = None

    @property
    def owed_to(self) -> str:
        """Under what the tax is payable: its authority, or else its jurisdiction."""
        return self.authority or self.jurisdiction.code

    @property
    def ledger_account(self) -> str:
        """Where it is booked: payable to the authority, or revenue of our own."""
        return f"tax:{self.owed_to}" if self.effect is Effect.TAX else f"revenue:surcharge:{self.name}"

    def in_force(self, on: date) -> bool:
        """Whether the rule holds on that day."""
        return self.valid_from <= on and (self.valid_until is None or on < self.valid_until)

    def concerns(self, tax_class: str, line_kind: str) -> bool:
        """Whether the rule taxes such lines."""
        return (not self.tax_classes or tax_class in self.tax_classes) and (
            not self.line_kinds or line_kind in self.line_kinds
        )

    def rate_in_words(self) -> str:
        """``7.625 %``, ``37.6 % of 64.9 %``, ``1.51 USD a line``."""
        if self.method is Method.PERCENT:
            words = format_ppm(self.rate_ppm)
            return words if self.share_ppm == MILLION else f"{words} of {format_ppm(self.share_ppm)}"
        each = "a line" if self.method is Method.PER_LINE else "a unit"
        return f"{self._unit_amount()} {each}"

    def _unit_amount(self) -> str:
        whole, rest = divmod(self.unit_millionths, MILLION)
        if rest == 0:
            return format_money(whole, self.currency or "")
        exact = Decimal(format_money(1, self.currency or "").split()[0]) * self.unit_millionths / MILLION
        return f"{exact:f}".rstrip("0") + f" {self.currency}"

    def rounding_in_words(self) -> str:
        """``half up, once per rate and invoice``."""
        per = "line by line" if self.rounded_per is RoundedPer.LINE else "once per rate and invoice"
        return f"{_ROUNDING_WORDS[self.rounding]}, {per}"


@dataclass(frozen=True, slots=True)
class Exemption:
    """An account pays less of some taxes, or nothing, from ``valid_from`` up to ``valid_until`` (exclusive).

    Empty ``taxes`` (names), ``authorities`` (authority or jurisdiction) or ``tax_classes`` mean all.
    ``share_ppm`` of the base is exempt, 1000000 for all of it. Of several that fit, the greatest counts.
    """

    id: str
    account_id: str
    certificate: str
    valid_from: date
    valid_until: date | None = None
    taxes: frozenset[str] = frozenset()
    authorities: frozenset[str] = frozenset()
    tax_classes: frozenset[str] = frozenset()
    share_ppm: int = MILLION
    issued_on: date | None = None
    note: str | None = None
    recorded_at: datetime = SINCE_EVER
    withdrawn_at: datetime | None = None

    def frees(self, rule: TaxRule, tax_class: str, on: date) -> bool:
        """Whether it takes a line of that class and day out of the rule."""
        return (
            self.valid_from <= on
            and (self.valid_until is None or on < self.valid_until)
            and (not self.taxes or rule.name in self.taxes)
            and (
                not self.authorities
                or rule.owed_to in self.authorities
                or rule.jurisdiction.code in self.authorities
            )
            and (not self.tax_classes or tax_class in self.tax_classes)
        )


def format_ppm(ppm: int) -> str:
    """``7.625 %``."""
    whole, rest = divmod(ppm, 10_000)
    return f"{whole}.{rest:04d}".rstrip("0").rstrip(".") + " %"
