"""Define a promotion: a share or an amount off some items for a while, by coupon; credit for referrals."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

from billing.domain.invoicing import format_ppm
from billing.domain.items import LARGEST_MINOR, ONCE, PERIODIC
from billing.store import plan_rows, promotion_rows
from core.currencies import refuse_currency
from core.refusal import answering, refuse
from core.work import Work

ITEM_KINDS = (*PERIODIC, *(kind for kind in ONCE if kind != "deposit"))
"""What a promotion may reduce: neither usage, which is priced when it is known, nor a deposit."""
LONGEST_CODE = 30
_CODE = re.compile(r"[A-Z0-9][A-Z0-9_.-]{1,29}")
_MILLION = 1_000_000


def plain_code(text: str) -> str:
    """A code as it is kept: what is typed with blanks around it or in small letters is the same."""
    return text.strip().upper()


@answering
async def define_promotion(
    work: Work,
    *,
    code: str,
    name: str,
    percent_ppm: int | None = None,
    amount_minor: int | None = None,
    currency: str | None = None,
    item_kinds: Sequence[str] = PERIODIC,
    item_codes: Sequence[str] = (),
    plan_codes: Sequence[str] = (),
    months: int | None = None,
    periods: int | None = None,
    redeem_from: date | None = None,
    redeem_until: date | None = None,
    max_uses: int | None = None,
    new_only: bool = False,
    referral_minor: int | None = None,
    referred_minor: int | None = None,
) -> str:
    """A new promotion; returns its id. It never changes: withdraw it and define another.

    ``code`` is what customers quote. It takes ``percent_ppm`` (10 % is 100000) or ``amount_minor`` a period
    off the items of ``item_kinds`` on ``plan_codes`` with ``item_codes`` (none named: all), for ``months``
    from its first day, or ``periods`` of each item, or for good. It is redeemed from ``redeem_from`` to
    ``redeem_until`` (exclusive), at most ``max_uses`` times, by ``new_only`` customers. Who brings a customer
    gets ``referral_minor`` of credit and the one brought ``referred_minor``, when his first invoice is paid.
    """
    code, name = plain_code(code), name.strip()
    if not _CODE.fullmatch(code):
        refuse("bad_code", "a code has 2 to 30 letters, digits, _ . or -, like WELCOME-10", "code")
    if not 1 <= len(name) <= 120 or not name.isprintable():
        refuse("bad_name", "say in 1 to 120 characters what stands on the invoice", "name")
    _check_gift(percent_ppm, amount_minor, referral_minor, referred_minor)
    if any(one is not None for one in (amount_minor, referral_minor, referred_minor)) and (
        currency is None or refuse_currency(currency) is not None
    ):
        refuse("bad_currency", "an amount has a currency: an ISO 4217 code such as USD", "currency")
    unknown = [kind for kind in item_kinds if kind not in ITEM_KINDS]
    if unknown or not item_kinds:
        refuse("bad_kinds", f"choose among {', '.join(ITEM_KINDS)}", "item_kinds")
    for plan_code in plan_codes:
        if await plan_rows.find_plan(work.connection, plan_code) is None:
            refuse("unknown_plan", f"there is no plan {plan_code!r}; see: hilltop plan list", "plan_codes")
    _check_time(months, periods, redeem_from, redeem_until, max_uses)
    values = {
        "id": work.ids.new("prm"), "code": code, "name": name, "percent_ppm": percent_ppm,
        "amount_minor": amount_minor, "currency": currency, "item_kinds": list(item_kinds),
        "item_codes": list(item_codes), "plan_codes": list(plan_codes), "months": months, "periods": periods,
        "redeem_from": redeem_from, "redeem_until": redeem_until, "max_uses": max_uses, "new_only": new_only,
        "referral_minor": referral_minor, "referred_minor": referred_minor, "created_at": work.now,
        "created_by": work.actor, "withdrawn_at": None,
    }  # fmt: skip
    if not await promotion_rows.insert_promotion(work.connection, values):
        refuse("code_taken", f"there is a promotion {code} already; choose another code", "code")
    await work.audit(
        "billing.promotion_defined", str(values["id"]), code=code, percent_ppm=percent_ppm,
        amount_minor=amount_minor, referral_minor=referral_minor, referred_minor=referred_minor,
    )  # fmt: skip
    return str(values["id"])


def _check_gift(
    percent_ppm: int | None, amount_minor: int | None, referral_minor: int | None, referred_minor: int | None
) -> None:
    if percent_ppm is not None and amount_minor is not None:
        refuse("two_gifts", "give either a share or an amount, not both", "amount_minor")
    if all(one is None for one in (percent_ppm, amount_minor, referral_minor, referred_minor)):
        refuse("no_gift", "say what it gives: a share, an amount, or credit for a referral", "percent_ppm")
    if percent_ppm is not None and not 0 < percent_ppm <= _MILLION:
        refuse("bad_percent", "a share is above 0 and at most 100 percent", "percent_ppm")
    for field, minor in (
        ("amount_minor", amount_minor), ("referral_minor", referral_minor),
        ("referred_minor", referred_minor),
    ):  # fmt: skip
        if minor is not None and not 0 < minor < LARGEST_MINOR:
            refuse(f"bad_{field}", "an amount is above nothing, in minor units", field)


def _check_time(
    months: int | None,
    periods: int | None,
    redeem_from: date | None,
    redeem_until: date | None,
    max_uses: int | None,
) -> None:
    if months is not None and periods is not None:
        refuse("two_durations", "count either months or periods, not both", "periods")
    for field, number, most in (
        ("months", months, 1200), ("periods", periods, 1200), ("max_uses", max_uses, 10**9),
    ):  # fmt: skip
        if number is not None and not 1 <= number <= most:
            refuse(f"bad_{field}", f"must be a whole number from 1 to {most}", field)
    if redeem_from is not None and redeem_until is not None and redeem_until <= redeem_from:
        refuse("bad_dates", f"it ends on {redeem_until}, before it begins on {redeem_from}", "redeem_until")


@answering
async def withdraw_promotion(work: Work, *, code: str, reason: str) -> None:
    """Nobody can redeem it any more; who uses it keeps it."""
    if not reason.strip():
        refuse("reason_missing", "say why it is withdrawn", "reason")
    found = await promotion_rows.find_promotion(work.connection, plain_code(code), lock=True)
    if found is None:
        refuse("unknown_promotion", f"there is no promotion {plain_code(code)[:40]}", "code")
    if found.withdrawn_at is not None:
        refuse("withdrawn", f"{found.code} was withdrawn on {found.withdrawn_at:%Y-%m-%d}", "code")
    await promotion_rows.withdraw_promotion(work.connection, found.id, work.now)
    await work.audit("billing.promotion_withdrawn", found.id, code=found.code, reason=reason.strip())


def gift_in_words(terms: Any, money: Callable[[int, str], str]) -> str:
    """What a promotion gives, for a list: ``50 % off``; ``money`` writes amounts."""
    said = []
    if terms.percent_ppm is not None:
        said.append(f"{format_ppm(terms.percent_ppm)} off")
    if terms.amount_minor is not None:
        said.append(f"{money(terms.amount_minor, terms.currency)} off")
    if terms.referral_minor is not None:
        said.append(f"{money(terms.referral_minor, terms.currency)} for who brings a customer")
    if terms.referred_minor is not None:
        said.append(f"{money(terms.referred_minor, terms.currency)} for who is brought")
    return ", ".join(said)


def time_in_words(terms: Any) -> str:
    """For how long: ``3 months``, ``1 period``, ``for good``."""
    for number, unit in ((terms.months, "month"), (terms.periods, "period")):
        if number is not None:
            return f"{number} {unit}{'' if number == 1 else 's'}"
    return "for good"
