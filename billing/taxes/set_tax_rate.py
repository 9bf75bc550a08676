"""Tax rates by class, place and date; a new rate of the same name ends the one before.

The short form of a rule: a percentage of one class on net prices, in a country or region.
"""

from __future__ import annotations

from datetime import date

from billing.domain.taxes.place import Jurisdiction
from billing.domain.taxes.rule import TaxRule
from billing.taxes.define_rule import define_tax_rule
from core.refusal import Refusal
from core.work import Work


async def set_tax_rate(
    work: Work,
    *,
    name: str,
    tax_class: str,
    country: str,
    rate_ppm: int,
    valid_from: date,
    region: str | None = None,
) -> str | Refusal:
    """From ``valid_from`` on, tax ``tax_class`` in that place with ``rate_ppm`` (7.25 % is 72500).

    Rates of different names add up (state and county). A rate of the same name, class and place that still
    runs ends the day before; one that starts on that day or later must not exist.
    """
    name, region = name.strip(), (region or "").strip() or None
    if not 0 <= rate_ppm <= 1_000_000:
        return Refusal("bad_rate", "rate_ppm must be 0 to 1000000; 7.25 % is 72500", "rate_ppm")
    return await define_tax_rule(
        work,
        TaxRule(
            "", name, Jurisdiction(country, region), valid_from, tax_classes=frozenset({tax_class}),
            rate_ppm=rate_ppm,
        ),
    )  # fmt: skip
