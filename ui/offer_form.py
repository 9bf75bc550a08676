"""A plan version as people type it in a form, and as the items that are kept."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from billing.domain.cadence import UNITS
from billing.domain.catalogue import PlanVersion
from billing.domain.contract import parse_contract
from billing.domain.items import Item, parse_items
from billing.domain.proration import RULES
from billing.domain.rating.charge_model import Graduated
from billing.domain.rating.terms import UsageTerms, plain_terms
from core.money import format_money
from core.quantities import GB
from ui.web.forms import Form

KINDS = {
    "plan": "A plan, for a line", "addon": "An add-on, beside a plan", "bundle": "A bundle, under one name"
}  # fmt: skip
METERED = {"sum": "Download and upload", "down": "Download", "up": "Upload", "max": "The greater of both"}
PRORATION = {
    "actual_days": "By actual days", "thirty_days": "By months of 30 days",
    "round_up": "Actual days, rounded up", "none": "A part costs the whole",
}  # fmt: skip
PERIODS = {"": "The account's cycle", **{unit: f"Each {unit}" for unit in UNITS}}
ROW_KINDS = {
    "one_time": "One-time fee", "deposit": "Deposit", "rental": "Rental", "recurring": "Recurring",
    "discount": "Discount",
}  # fmt: skip
FEES = {
    "none": "None", "flat": "A flat fee", "remaining": "A share of the months left",
    "declining": "A flat fee, less with each month",
}  # fmt: skip
TIERS = 3
ROWS = 5
_LARGEST_GB = 1_000_000
_PPM = 10_000

USUAL = {
    "kind": "plan", "tax_class": "internet", "metered": "sum", "period": "",
    "period_count": "1", "advance": "yes", "credit_unused": "yes", "proration": "actual_days",
    "contract_fee": "none",
}  # fmt: skip
"""What the form starts with, beside the house's currency."""

if set(PRORATION) != set(RULES):
    raise RuntimeError("a rule of proration has no words")


def read_offer_form(form: Form) -> dict[str, Any]:
    """The arguments of ``define_offer``; faults are on the form."""
    kind, currency = form.choice("kind", KINDS), form.text("currency", longest=3).upper()
    name, tax_class = form.text("name", longest=120), form.text("tax_class", longest=40)
    items: list[Mapping[str, Any]] = []
    if kind == "plan" or form.value("price").strip():
        items.append(_recurring(form, currency, name, tax_class))
    if kind == "plan":
        items.append(_usage(form, currency, name, tax_class))
    items += [
        item for number in range(1, ROWS + 1) if (item := _row(form, number, currency, tax_class)) is not None
    ]
    return {
        "code": form.text("code", longest=40), "name": name, "currency": currency, "kind": kind,
        "items": items, "contract": _contract(form, currency),
        "service_profile_id": form.text("service_profile_id", longest=40) if kind == "plan" else None,
        "offered_from": form.optional_date("offered_from"),
        "offered_until": form.optional_date("offered_until"),
    }  # fmt: skip


def _recurring(form: Form, currency: str, name: str, tax_class: str) -> dict[str, Any]:
    item: dict[str, Any] = {
        "code": "recurring", "kind": "recurring", "name": name, "tax_class": tax_class,
        "price_minor": form.amount("price", currency, zero=True),
        "advance": form.flag("advance"), "credit_unused": form.flag("credit_unused"),
        "while_paused": form.flag("while_paused"), "tax_included": form.flag("tax_included"),
        "proration": form.choice("proration", PRORATION),
    }  # fmt: skip
    period = form.choice("period", PERIODS)
    if period:
        count = form.integer("period_count", least=1, most=366, default=1)
        item["period"] = {"unit": period, "count": count}
    return item


def _usage(form: Form, currency: str, name: str, tax_class: str) -> dict[str, Any]:
    allowance = form.scaled("allowance_gb", GB, most=_LARGEST_GB, required=False)
    usage: Any = {}
    try:
        tiers = _read_tiers(form, currency)
        metered = form.choice("metered", METERED)
        if form.ok:
            usage = plain_terms(metered, allowance, tiers).as_json()
    except ValueError as trouble:
        form.blame("tier1_gb", str(trouble))
    return {"code": "usage", "kind": "usage", "name": name, "tax_class": tax_class, "usage": usage}


def _read_tiers(form: Form, currency: str) -> list[dict[str, Any]]:
    """Up to three tiers: a price per GB, and up to how many GB; the last one typed has no end."""
    tiers: list[dict[str, Any]] = []
    for number in range(1, TIERS + 1):
        if not form.value(f"tier{number}_price").strip():
            continue
        up_to = form.scaled(f"tier{number}_gb", GB, most=_LARGEST_GB, required=False)
        price = form.amount(f"tier{number}_price", currency, zero=True)
        tiers.append({"up_to_octets": up_to, "minor_per_gb": str(price)})
    return tiers


def _row(form: Form, number: int, currency: str, tax_class: str) -> dict[str, Any] | None:
    """One more item; a row without a name is left out."""
    name = form.optional(f"item{number}_name", longest=120)
    if name is None:
        return None
    kind = form.choice(f"item{number}_kind", ROW_KINDS)
    item: dict[str, Any] = {
        "code": f"{kind}_{number}", "kind": kind, "name": name,
        "tax_class": form.optional(f"item{number}_tax_class", longest=40) or tax_class,
    }  # fmt: skip
    periods = form.optional_integer(f"item{number}_periods", least=1, most=1200)
    if kind == "discount":
        item["discount"] = {**_discount(form, f"item{number}_amount", currency), "periods": periods}
    else:
        item["price_minor"] = form.amount(f"item{number}_amount", currency)
    return item


def _discount(form: Form, field: str, currency: str) -> dict[str, Any]:
    """``10 %`` or ``5.00``."""
    typed = form.value(field).strip()
    if not typed.endswith("%"):
        return {"amount_minor": form.amount(field, currency)}
    share = Form({field: typed.removesuffix("%")})
    percent = share.optional_decimal(field, least=0, most=100)
    if percent is None or percent <= 0:
        form.blame(field, "must be a share like 10 %, or an amount like 5.00")
    return {"percent_ppm": round((percent or 1) * _PPM)}


def _contract(form: Form, currency: str) -> dict[str, Any] | None:
    months = form.optional_integer("contract_months", least=1, most=120)
    if months is None:
        return None
    typed_share = form.optional_decimal("contract_share", least=0, most=100)
    return {
        "term_months": months, "fee": form.choice("contract_fee", FEES),
        "fee_minor": form.amount("contract_amount", currency) if form.value("contract_amount").strip() else 0,
        "share_ppm": round((100 if typed_share is None else typed_share) * _PPM),
        "renews_months": form.optional_integer("contract_renews", least=1, most=120),
        "ends": form.flag("contract_ends"),
    }  # fmt: skip


def form_of(offer: PlanVersion) -> dict[str, str] | None:
    """What the form says of a version, to make the next one of it; None where it cannot say all of it."""
    typed = {
        **USUAL, "kind": offer.kind, "code": offer.code, "name": offer.name, "currency": offer.currency,
        "tax_class": offer.tax_class, "service_profile_id": offer.service_profile_id or "",
        "advance": "", "credit_unused": "",
    }  # fmt: skip
    for item in offer.items:
        if item.code == "recurring" and item.kind == "recurring":
            typed |= _typed_recurring(item, offer.currency)
        elif item.code == "usage" and item.usage is not None:
            typed |= _typed_usage(item.usage, offer.currency)
        else:
            typed |= _typed_row(item, offer.currency)
    if offer.contract is not None:
        typed |= _typed_contract(offer.contract, offer.currency)
    form = Form(typed)
    said = read_offer_form(form)
    contract = said["contract"]
    is_whole = (
        form.ok
        and parse_items(said["items"]) == offer.items
        and (contract and parse_contract(contract)) == (offer.contract and parse_contract(offer.contract))
    )
    return typed if is_whole else None


def _typed(amount_minor: int, currency: str) -> str:
    return format_money(amount_minor, currency).split()[0]


def _yes(told: bool) -> str:
    return "yes" if told else ""


def _typed_recurring(item: Item, currency: str) -> dict[str, str]:
    typed = {
        "price": _typed(item.price_minor, currency), "proration": item.proration,
        "advance": _yes(item.advance), "credit_unused": _yes(item.credit_unused),
        "while_paused": _yes(item.while_paused), "tax_included": _yes(item.tax_included),
    }  # fmt: skip
    if item.cadence is not None:
        typed |= {"period": item.cadence.unit, "period_count": str(item.cadence.count)}
    return typed


def _typed_usage(terms: UsageTerms, currency: str) -> dict[str, str]:
    typed = {"metered": terms.metered}
    if terms.allowance is not None and terms.allowance.amount is not None:
        typed["allowance_gb"] = _gigabytes(terms.allowance.amount)
    for number, tier in enumerate(terms.model.tiers if isinstance(terms.model, Graduated) else (), start=1):
        if tier.text.isdigit():
            typed[f"tier{number}_price"] = _typed(int(tier.text), currency)
        typed[f"tier{number}_gb"] = "" if tier.up_to is None else _gigabytes(tier.up_to)
    return typed


def _gigabytes(octets: int) -> str:
    return f"{Decimal(octets) / GB:f}"


def _typed_row(item: Item, currency: str) -> dict[str, str]:
    """Of an item with the code that its row gives it; any other is not said, and so the whole is not."""
    number = item.code.rpartition("_")[2]
    at = f"item{number}_"
    typed = {at + "kind": item.kind, at + "name": item.name, at + "tax_class": item.tax_class}
    if item.discount is None:
        return typed | {at + "amount": _typed(item.price_minor, currency)}
    share, amount = item.discount.percent_ppm, item.discount.amount_minor
    typed[at + "amount"] = f"{Decimal(share) / _PPM:f} %" if share else _typed(amount or 0, currency)
    return typed | {at + "periods": str(item.discount.periods or "")}


def _typed_contract(told: Mapping[str, Any], currency: str) -> dict[str, str]:
    contract = parse_contract(told)
    return {
        "contract_months": str(contract.term_months), "contract_fee": contract.fee,
        "contract_amount": _typed(contract.fee_minor, currency) if contract.fee_minor else "",
        "contract_share": f"{Decimal(contract.share_ppm) / _PPM:f}",
        "contract_renews": str(contract.renews_months or ""), "contract_ends": _yes(contract.ends),
    }  # fmt: skip
