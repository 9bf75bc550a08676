"""Whether a rule can be one: each fault by its field, with the remedy."""

from __future__ import annotations

import re
from datetime import date

from billing.domain.taxes.place import LONGEST_CODE, Jurisdiction
from billing.domain.taxes.rule import MILLION, Effect, Method, TaxRule
from core.currencies import refuse_currency
from core.refusal import Refusal

_LENGTHS = {"region": 40, "county": 80, "city": 100, "district": 80}
LONGEST_SURCHARGE = 30
"""Characters of a surcharge's name: with ``surcharge:`` before it, it is the name of a revenue."""
_WORD = re.compile(r"[a-z0-9][a-z0-9_.-]{0,39}")
_POSTAL_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9 -]{0,11}\*?|[A-Za-z0-9 -]{1,12}\.\.[A-Za-z0-9 -]{1,12}")
FIRST_DAY, LAST_DAY = date(1990, 1, 1), date(2200, 1, 1)


def check_rule(rule: TaxRule) -> Refusal | None:
    """The first fault of a rule by itself, or None."""
    return _check_name(rule) or _check_place(rule.jurisdiction) or _check_amount(rule) or _check_reach(rule)


def _check_name(rule: TaxRule) -> Refusal | None:
    longest = 80 if rule.effect is Effect.TAX else LONGEST_SURCHARGE
    if (
        not rule.name
        or len(rule.name) > longest
        or not rule.name.isprintable()
        or rule.name.strip() != rule.name
    ):
        what = "tax" if rule.effect is Effect.TAX else "surcharge"
        return Refusal("bad_name", f"a {what} has a name of 1 to {longest} characters", "name")
    if rule.authority is not None and not (
        0 < len(rule.authority) <= LONGEST_CODE and rule.authority.isprintable()
    ):
        return Refusal(
            "bad_authority", f"an authority has a name of 1 to {LONGEST_CODE} characters", "authority"
        )
    if len(rule.owed_to) > LONGEST_CODE:
        return Refusal(
            "long_jurisdiction",
            f"{rule.owed_to} is too long for a ledger account; say shortly whom it is owed to "
            f"(at most {LONGEST_CODE} characters)",
            "authority",
        )
    return None


def _check_place(where: Jurisdiction) -> Refusal | None:
    if not re.fullmatch(r"[A-Z]{2}", where.country):
        return Refusal("bad_country", f"{where.country!r} is not an ISO 3166 code such as US", "country")
    for field, longest in _LENGTHS.items():
        text: str | None = getattr(where, field)
        if text is not None and not (0 < len(text) <= longest and text.isprintable()):
            return Refusal("bad_place", f"{text[:40]!r} is no name of 1 to {longest} characters", field)
    for code in where.postal_codes:
        if not _POSTAL_CODE.fullmatch(code):
            return Refusal(
                "bad_postal_code",
                f"{code[:30]!r} is no postal code; write 87501, 875* (all that begin so) or 87501..87599",
                "postal_codes",
            )
    if where.district and not where.postal_codes:
        return Refusal(
            "no_postal_codes", "a district is known by its postal codes: list them", "postal_codes"
        )
    if where.postal_codes and not (where.county or where.city or where.district):
        return Refusal(
            "no_district", "name the district, county or city that has these postal codes", "district"
        )
    return None


def _check_amount(rule: TaxRule) -> Refusal | None:
    if not 0 < rule.share_ppm <= MILLION:
        return Refusal("bad_share", "the taxable share must be above 0 and at most 100 %", "share")
    if rule.method is not Method.PERCENT:
        return _check_fixed(rule)
    if not 0 <= rule.rate_ppm <= MILLION:
        return Refusal("bad_rate", "the rate must be 0 to 100 %", "percent")
    return None


def _check_fixed(rule: TaxRule) -> Refusal | None:
    if not 0 < rule.unit_millionths <= 10**15:
        return Refusal("bad_amount", "a fixed amount must be above zero, like 1.51", "amount")
    if refuse_currency(rule.currency or "") is not None:
        return Refusal("bad_currency", "a fixed amount needs its currency, such as USD", "currency")
    if not rule.line_kinds:
        return Refusal(
            "no_kinds",
            "a fixed amount must say which lines it is for, such as recurring; else usage would pay it too",
            "kinds",
        )
    if rule.on_top_of or rule.share_ppm != MILLION:
        return Refusal("not_a_percentage", "only a percentage rests on taxes or on a share", "on_top_of")
    return None


def _check_reach(rule: TaxRule) -> Refusal | None:
    for field, words in (("classes", rule.tax_classes), ("kinds", rule.line_kinds)):
        for word in words:
            if not _WORD.fullmatch(word):
                return Refusal("bad_word", f"{word[:40]!r}: write it like internet, in small letters", field)
    if rule.name in rule.on_top_of:
        return Refusal("tax_circle", f"{rule.name} cannot rest on itself", "on_top_of")
    if rule.taxable and rule.effect is not Effect.SURCHARGE:
        return Refusal(
            "not_a_surcharge", "only a surcharge can be taxable; a tax on a tax says on_top_of", "taxable"
        )
    if not FIRST_DAY <= rule.valid_from <= LAST_DAY:
        return Refusal("bad_day", "choose a first day from 1990 to 2199", "valid_from")
    if rule.valid_until is not None and not rule.valid_from < rule.valid_until <= LAST_DAY:
        return Refusal("bad_day", "the rule must end after its first day", "valid_until")
    return None
