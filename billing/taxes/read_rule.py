"""A rule from texts, as forms, files, commands and programs write it; one reading for all of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Final, TypeVar

from billing.domain.taxes.place import Jurisdiction
from billing.domain.taxes.rule import MILLION, Effect, Method, RoundedPer, Rounding, TaxRule
from billing.taxes.check_rule import check_rule
from core.money import minor_digits
from core.refusal import Refusal, Refused

FIELDS: Final = (
    "name", "effect", "country", "region", "county", "city", "district", "postal_codes", "authority",
    "classes", "kinds", "percent", "method", "amount", "currency", "share", "on_top_of", "taxable",
    "rounding", "rounded_per", "valid_from", "valid_until",
)  # fmt: skip
SINCE_LONG = date(2000, 1, 1)
_YES, _NO = {"yes", "true", "1"}, {"no", "false", "0", ""}

E = TypeVar("E", bound=StrEnum)


def read_rule(told: Mapping[str, str]) -> TaxRule | Refusal:
    """The rule that these texts mean, without id and instant; a fault names its field.

    Lists are separated by semicolons (postal codes, classes and kinds by blanks or commas too). Percentages
    stand in ``percent`` and ``share``, a fixed ``amount`` with ``method`` per_line or per_unit and its
    ``currency``. Without ``valid_from`` the rule holds since 2000.
    """
    try:
        rule = _read({field: (told.get(field) or "").strip() for field in FIELDS})
    except Refused as refused:
        return refused.refusal
    return check_rule(rule) or rule


def rule_texts(rule: TaxRule) -> dict[str, str]:
    """The texts that ``read_rule`` reads as this rule."""
    where = rule.jurisdiction
    fixed = rule.method is not Method.PERCENT
    return {
        "name": rule.name, "effect": rule.effect.value, "country": where.country,
        "region": where.region or "", "county": where.county or "", "city": where.city or "",
        "district": where.district or "",
        "postal_codes": "; ".join(where.postal_codes), "authority": rule.authority or "",
        "classes": "; ".join(sorted(rule.tax_classes)), "kinds": "; ".join(sorted(rule.line_kinds)),
        "percent": "" if fixed else _plain(Decimal(rule.rate_ppm) / 10_000),
        "method": rule.method.value,
        "amount": _plain(Decimal(rule.unit_millionths).scaleb(-6 - minor_digits(rule.currency or "")))
        if fixed
        else "",
        "currency": rule.currency or "",
        "share": "" if rule.share_ppm == MILLION else _plain(Decimal(rule.share_ppm) / 10_000),
        "on_top_of": "; ".join(sorted(rule.on_top_of)), "taxable": "yes" if rule.taxable else "",
        "rounding": rule.rounding.value, "rounded_per": rule.rounded_per.value,
        "valid_from": rule.valid_from.isoformat(),
        "valid_until": "" if rule.valid_until is None else rule.valid_until.isoformat(),
    }  # fmt: skip


def _plain(number: Decimal) -> str:
    """All its digits and no more."""
    return f"{number:f}".rstrip("0").rstrip(".") if "." in f"{number:f}" else f"{number:f}"


def _read(told: Mapping[str, str]) -> TaxRule:
    method = _choice(told, "method", Method, Method.PERCENT)
    if told["amount"] and method is Method.PERCENT:
        raise _fault("method", "say whether the amount is per_line or per_unit")
    if told["percent"] and method is not Method.PERCENT:
        raise _fault("percent", "give a percentage or a fixed amount, not both")
    if method is Method.PERCENT and not told["percent"]:
        raise _fault("percent", "is missing; write it like 7.25")
    codes = _words(told["postal_codes"])
    district = told["district"] or None
    if codes and not (district or told["county"] or told["city"]):
        district = ", ".join(codes)[:80]
    return TaxRule(
        id="",
        name=told["name"],
        jurisdiction=Jurisdiction(
            told["country"].upper(), told["region"] or None, told["county"] or None, told["city"] or None,
            district, codes,
        ),
        valid_from=_day(told, "valid_from") or SINCE_LONG,
        valid_until=_day(told, "valid_until"),
        effect=_choice(told, "effect", Effect, Effect.TAX),
        tax_classes=frozenset(_words(told["classes"])),
        line_kinds=frozenset(_words(told["kinds"])),
        method=method,
        rate_ppm=_ppm(told, "percent", 0),
        unit_millionths=_millionths(told, method),
        currency=told["currency"].upper() or None if method is not Method.PERCENT else None,
        share_ppm=_ppm(told, "share", MILLION),
        on_top_of=frozenset(one.strip() for one in told["on_top_of"].split(";") if one.strip()),
        taxable=_flag(told, "taxable"),
        rounding=_choice(told, "rounding", Rounding, Rounding.HALF_UP),
        rounded_per=_choice(told, "rounded_per", RoundedPer, RoundedPer.INVOICE),
        authority=told["authority"] or None,
    )  # fmt: skip


def _fault(field: str, message: str) -> Refused:
    return Refused(Refusal("bad_" + field, message, field))


def _words(text: str) -> tuple[str, ...]:
    """In order, each once."""
    return tuple(dict.fromkeys(one for one in re.split(r"[;,\s]+", text) if one))


def _choice(told: Mapping[str, str], field: str, choices: type[E], default: E) -> E:
    text = told[field].lower()
    try:
        return choices(text) if text else default
    except ValueError:
        known = ", ".join(one.value for one in choices)
        raise _fault(field, f"{text[:20]!r} is none of {known}") from None


def _flag(told: Mapping[str, str], field: str) -> bool:
    text = told[field].lower()
    if text not in _YES | _NO:
        raise _fault(field, f"{text[:20]!r}: write yes or no")
    return text in _YES


def _number(told: Mapping[str, str], field: str) -> Decimal:
    text = told[field]
    try:
        number = Decimal(text.removesuffix("%").strip()[:40])
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or abs(number) > 10**9:
        raise _fault(field, f"{text[:20]!r}: write it like 7.25")
    return number


def _ppm(told: Mapping[str, str], field: str, default: int) -> int:
    """Millionths of a percentage; none of its decimals is lost."""
    if not told[field]:
        return default
    number = _number(told, field) * 10_000
    if not 0 <= number <= MILLION:
        raise _fault(field, f"{told[field][:20]!r}: from 0 to 100")
    if number != int(number):
        raise _fault(field, f"{told[field][:20]!r}: at most four decimals")
    return int(number)


def _millionths(told: Mapping[str, str], method: Method) -> int:
    if method is Method.PERCENT:
        return 0
    if not told["amount"]:
        raise _fault("amount", "is missing; write it like 1.51")
    exact = _number(told, "amount").scaleb(minor_digits(told["currency"].upper()) + 6)
    if exact != int(exact):
        raise _fault("amount", f"{told['amount'][:20]!r} has too many decimals")
    return int(exact)


def _day(told: Mapping[str, str], field: str) -> date | None:
    if not told[field]:
        return None
    try:
        return date.fromisoformat(told[field])
    except ValueError:
        raise _fault(field, f"{told[field][:20]!r} is not a date; write 2026-03-31") from None
