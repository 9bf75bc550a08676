"""Tax rates by class, place and date; a new rate of the same name ends the one before."""

from __future__ import annotations

from datetime import date

from billing.store import tax_rows
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
    if not name or len(name) > 80:
        return Refusal("bad_name", "a tax has a name of 1 to 80 characters", "name")
    if not 0 <= rate_ppm <= 1_000_000:
        return Refusal("bad_rate", "rate_ppm must be 0 to 1000000; 7.25 % is 72500", "rate_ppm")
    if len(country) != 2 or not country.isupper():
        return Refusal("bad_country", f"{country!r} is not an ISO 3166 code such as US", "country")
    same = [
        rate
        for rate in await tax_rows.tax_rates(work.connection)
        if (rate.name, rate.tax_class, rate.country, rate.region) == (name, tax_class, country, region)
    ]
    later = next((rate for rate in same if rate.valid_from >= valid_from), None)
    if later:
        return Refusal(
            "rate_exists",
            f"{name} has a rate from {later.valid_from} already; take a later day",
            "valid_from",
        )
    for rate in same:
        if rate.valid_until is None or rate.valid_until > valid_from:
            await tax_rows.end_tax_rate(work.connection, rate.id, valid_from)
    rate_id = work.ids.new("tax")
    await tax_rows.insert_tax_rate(
        work.connection,
        {
            "id": rate_id, "name": name, "tax_class": tax_class, "country": country, "region": region,
            "rate_ppm": rate_ppm, "valid_from": valid_from, "valid_until": None,
        },
    )  # fmt: skip
    await work.audit(
        "billing.tax_rate_set", rate_id, name=name, rate_ppm=rate_ppm, valid_from=str(valid_from)
    )
    return rate_id
