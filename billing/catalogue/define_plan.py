"""Plans and their versions: a version never changes, a new price is a new version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from billing.domain.contract import parse_contract
from billing.domain.items import parse_items
from billing.domain.rating.terms import METERED, UsageTerms, plain_terms
from billing.store import plan_rows
from core.currencies import refuse_currency
from core.refusal import Refusal
from core.work import Work

PLAN_KINDS = ("plan", "addon", "bundle")


async def define_offer(
    work: Work,
    *,
    code: str,
    name: str,
    currency: str,
    items: Sequence[Mapping[str, Any]],
    kind: str = "plan",
    service_profile_id: str | None = None,
    contract: Mapping[str, Any] | None = None,
    offered_from: date | None = None,
    offered_until: date | None = None,
) -> str | Refusal:
    """A new version of the plan ``code`` with these items (the plan is made with its first version).

    Returns the version's id. ``items`` and ``contract``: see the modules of ``billing.domain`` of that name.
    It may be sold from ``offered_from`` to ``offered_until`` (exclusive). A plan keeps its kind.
    """
    code, name = code.strip(), name.strip()
    refusal = _refuse_names(code, name) or _refuse_terms(kind, currency, offered_from, offered_until)
    if refusal:
        return refusal
    try:
        parsed = parse_items(items)
        terms = None if contract is None else parse_contract(contract)
    except ValueError as trouble:
        return Refusal("bad_items", str(trouble), "items")
    if not parsed:
        return Refusal("no_items", "a plan version needs at least one item", "items")
    if kind == "plan" and service_profile_id is None:
        message = "a plan of a line needs a service profile; an addon has none"
        return Refusal("no_profile", message, "service_profile_id")
    plan_id = await _plan_of(work, code, name, kind)
    if isinstance(plan_id, Refusal):
        return plan_id
    version_id = work.ids.new("pv")
    version = await plan_rows.next_version(work.connection, plan_id)
    await plan_rows.insert_plan_version(
        work.connection,
        {
            "id": version_id, "plan_id": plan_id, "version": version, "currency": currency,
            "items": [item.as_json() for item in parsed],
            "contract": None if terms is None else terms.as_json(),
            "service_profile_id": service_profile_id, "offered_from": offered_from,
            "offered_until": offered_until, "created_at": work.now,
        },
    )  # fmt: skip
    await work.audit("billing.plan_version_defined", version_id, code=code, version=version)
    return version_id


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
    more_items: Sequence[Mapping[str, Any]] = (),
    contract: Mapping[str, Any] | None = None,
) -> str | Refusal:
    """The usual plan: a price for each cycle in advance, an allowance, overage in tiers; returns its id.

    ``overage_tiers``: ``[{"up_to_octets": 50 * 10**9, "minor_per_gb": "12.5"}, {"up_to_octets": None, …}]``,
    counted from the first octet beyond the allowance; ``minor_per_gb`` is decimal text. An empty list:
    overage is free. ``price_minor`` is net of tax. ``more_items`` follow, such as a router's rental.
    """
    refusal = _refuse_price(price_minor, allowance_octets) or _refuse_usage(metered, tax_class)
    if refusal:
        return refusal
    try:
        usage: UsageTerms = plain_terms(metered, allowance_octets, overage_tiers)
    except ValueError as trouble:
        return Refusal("bad_tiers", str(trouble), "overage_tiers")
    shown = name.strip()
    items: list[Mapping[str, Any]] = [
        {
            "code": "recurring", "kind": "recurring", "name": shown, "price_minor": price_minor,
            "tax_class": tax_class,
        },
        {
            "code": "usage", "kind": "usage", "name": shown, "tax_class": tax_class,
            "usage": usage.as_json(),
        },
        *more_items,
    ]  # fmt: skip
    return await define_offer(
        work,
        code=code,
        name=name,
        currency=currency,
        items=items,
        service_profile_id=service_profile_id,
        contract=contract,
    )


def _refuse_names(code: str, name: str) -> Refusal | None:
    if not code or len(code) > 40:
        return Refusal("bad_code", "a plan code has 1 to 40 characters", "code")
    if not name or len(name) > 120 or not name.isprintable():
        return Refusal("bad_name", "a plan name has 1 to 120 characters", "name")
    return None


def _refuse_terms(
    kind: str, currency: str, offered_from: date | None, offered_until: date | None
) -> Refusal | None:
    if kind not in PLAN_KINDS:
        return Refusal("bad_kind", f"{kind!r} is not one of {', '.join(PLAN_KINDS)}", "kind")
    refusal = refuse_currency(currency)
    if refusal is not None:
        return refusal
    if offered_from is not None and offered_until is not None and offered_until <= offered_from:
        message = f"it is offered until {offered_until}, before it begins on {offered_from}"
        return Refusal("bad_offer", message, "offered_until")
    return None


def _refuse_usage(metered: str, tax_class: str) -> Refusal | None:
    if metered not in METERED:
        return Refusal("bad_metered", f"metered is {metered!r}; use {', '.join(METERED)}", "metered")
    if not tax_class or len(tax_class) > 40:
        return Refusal("bad_tax_class", "a tax class has 1 to 40 characters", "tax_class")
    return None


def _refuse_price(price_minor: int, allowance_octets: int | None) -> Refusal | None:
    if not 0 <= price_minor < 10**12:
        return Refusal("bad_price", f"a price of {price_minor} minor units is out of range", "price_minor")
    if allowance_octets is not None and not 0 <= allowance_octets < 2**62:
        return Refusal("bad_allowance", "the allowance must be octets from 0, or none", "allowance_octets")
    return None


async def _plan_of(work: Work, code: str, name: str, kind: str) -> str | Refusal:
    values = {"id": work.ids.new("plan"), "code": code, "name": name, "kind": kind, "created_at": work.now}
    await plan_rows.insert_plan(work.connection, values)
    found = await plan_rows.find_plan(work.connection, code)
    if found is None:
        raise RuntimeError(f"plan {code} is neither new nor there")
    if found.kind != kind:
        return Refusal("other_kind", f"{code} is a {found.kind}; give a {kind} another code", "kind")
    return str(found.id)
