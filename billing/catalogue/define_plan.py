"""Plans and their versions: a version never changes, a new price is a new version."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from billing.domain.charge_models import parse_tiers
from billing.store import plan_rows
from core.refusal import Refusal
from core.work import Work

_CURRENCY = re.compile(r"[A-Z]{3}")
_METERED = ("sum", "down", "up")


async def define_plan_version(
    work: Work,
    *,
    code: str,
    name: str,
    price_minor: int,
    currency: str,
    allowance_octets: int | None,
    overage_tiers: Sequence[Mapping[str, Any]],
    service_profile_id: str,
    metered: str = "sum",
    tax_class: str = "internet",
) -> str | Refusal:
    """A new version of the plan ``code`` (the plan is made with its first version); returns the version's id.

    ``overage_tiers``: ``[{"up_to_octets": 50 * 10**9, "minor_per_gb": "12.5"}, {"up_to_octets": None, …}]``,
    counted from the first octet beyond the allowance; ``minor_per_gb`` is decimal text. An empty list:
    overage is free. ``price_minor`` is for one month, net of tax.
    """
    code, name = code.strip(), name.strip()
    refusal = _refuse_names(code, name, metered, tax_class) or _refuse_price(
        price_minor, currency, allowance_octets
    )
    if refusal:
        return refusal
    try:
        tiers = parse_tiers(overage_tiers)
    except ValueError as trouble:
        return Refusal("bad_tiers", str(trouble), "overage_tiers")
    plan_id = await _plan_of(work, code, name)
    version_id = work.ids.new("pv")
    version = await plan_rows.next_version(work.connection, plan_id)
    await plan_rows.insert_plan_version(
        work.connection,
        {
            "id": version_id, "plan_id": plan_id, "version": version, "currency": currency,
            "price_minor": price_minor, "allowance_octets": allowance_octets,
            "overage_tiers": [tier.as_json() for tier in tiers], "metered": metered, "tax_class": tax_class,
            "service_profile_id": service_profile_id, "created_at": work.now,
        },
    )  # fmt: skip
    await work.audit("billing.plan_version_defined", version_id, code=code, version=version)
    return version_id


def _refuse_names(code: str, name: str, metered: str, tax_class: str) -> Refusal | None:
    if not code or len(code) > 40:
        return Refusal("bad_code", "a plan code has 1 to 40 characters", "code")
    if not name or len(name) > 120:
        return Refusal("bad_name", "a plan name has 1 to 120 characters", "name")
    if metered not in _METERED:
        return Refusal("bad_metered", f"metered is {metered!r}; use sum, down or up", "metered")
    if not tax_class or len(tax_class) > 40:
        return Refusal("bad_tax_class", "a tax class has 1 to 40 characters", "tax_class")
    return None


def _refuse_price(price_minor: int, currency: str, allowance_octets: int | None) -> Refusal | None:
    if not 0 <= price_minor < 10**12:
        return Refusal("bad_price", f"a price of {price_minor} minor units is out of range", "price_minor")
    if not _CURRENCY.fullmatch(currency):
        return Refusal("bad_currency", f"{currency!r} is not an ISO 4217 code such as USD", "currency")
    if allowance_octets is not None and not 0 <= allowance_octets < 2**63:
        return Refusal("bad_allowance", "the allowance must be octets from 0, or none", "allowance_octets")
    return None


async def _plan_of(work: Work, code: str, name: str) -> str:
    values = {"id": work.ids.new("plan"), "code": code, "name": name, "created_at": work.now}
    await plan_rows.insert_plan(work.connection, values)
    found = await plan_rows.find_plan(work.connection, code)
    if found is None:
        raise RuntimeError(f"plan {code} is neither new nor there")
    return str(found.id)
