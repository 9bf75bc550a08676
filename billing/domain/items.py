"""The items of a plan version: what is charged, how often, in advance or arrears.

Kinds: ``recurring`` and ``rental`` (a price for each period), ``one_time`` (charged when the plan begins),
``deposit`` (the same, but it stays the customer's money), ``usage`` (priced by meter), ``discount`` (takes
something off other items of the same version).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from billing.domain.cadence import Cadence, parse_cadence
from billing.domain.proration import RULES
from billing.domain.rating.terms import UsageTerms, parse_usage_terms

PERIODIC = ("recurring", "rental")
ONCE = ("one_time", "deposit")
KINDS = (*PERIODIC, *ONCE, "usage", "discount")
_CODE = re.compile(r"[a-z][a-z0-9_.-]{0,39}")
_MILLION = 1_000_000
LARGEST_MINOR = 10**12


@dataclass(frozen=True, slots=True)
class Discount:
    """Off the items ``of`` (all periodic ones if empty): a share of them, or an amount a period.

    ``periods``: only for so many periods from the subscription's first; None: for good.
    """

    percent_ppm: int | None
    amount_minor: int | None
    of: tuple[str, ...]
    periods: int | None

    def off(self, base_minor: int) -> int:
        """What it takes off ``base_minor``: never more than that, rounded half up, mirrored below nothing."""
        if self.percent_ppm is not None:
            magnitude = (abs(base_minor) * self.percent_ppm * 2 + _MILLION) // (2 * _MILLION)
            return magnitude if base_minor >= 0 else -magnitude
        return min(self.amount_minor or 0, max(base_minor, 0))


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that a plan version charges.

    ``price_minor`` is for one, for one period, with tax if ``tax_included``. ``cadence`` None: the account's
    own cycle. ``credit_unused``: what was paid in advance and not used comes back. ``while_paused``: charged
    also while the subscription is paused. ``on_change``: a one-off item charged also on a change to the plan.
    """

    code: str
    kind: str
    name: str
    price_minor: int = 0
    cadence: Cadence | None = None
    advance: bool = True
    proration: str = "actual_days"
    credit_unused: bool = True
    while_paused: bool = False
    on_change: bool = False
    tax_class: str = "internet"
    tax_included: bool = False
    revenue: str = "recurring"
    usage: UsageTerms | None = None
    discount: Discount | None = None

    def as_json(self) -> dict[str, Any]:
        """The form stored in ``plan_version.items``; what is as usual is left out."""
        described: dict[str, Any] = {"code": self.code, "kind": self.kind, "name": self.name}
        usual = Item(self.code, self.kind, self.name, revenue=_revenue_of(self.kind))
        for field in _PLAIN:
            if getattr(self, field) != getattr(usual, field):
                described[field] = getattr(self, field)
        if self.cadence is not None:
            described["period"] = {"unit": self.cadence.unit, "count": self.cadence.count}
        if self.usage is not None:
            described["usage"] = self.usage.as_json()
        if self.discount is not None:
            described["discount"] = {
                "percent_ppm": self.discount.percent_ppm,
                "amount_minor": self.discount.amount_minor,
                "of": list(self.discount.of),
                "periods": self.discount.periods,
            }
        return described


_BOOLEANS = ("advance", "credit_unused", "while_paused", "on_change", "tax_included")
_PLAIN = ("price_minor", *_BOOLEANS, "proration", "tax_class", "revenue")
_FIELDS = {"code", "kind", "name", "period", "usage", "discount", *_PLAIN}


def _revenue_of(kind: str) -> str:
    return {"discount": "recurring", "one_time": "one_time"}.get(kind, kind)


def parse_items(described: Iterable[Mapping[str, Any]]) -> tuple[Item, ...]:
    """Items from their JSON form. Raises ``ValueError`` naming the item, the field and the remedy."""
    items = tuple(_parse(number, one) for number, one in enumerate(described, start=1))
    codes = [one.code for one in items]
    for code in codes:
        if codes.count(code) > 1:
            raise ValueError(f"two items have the code {code!r}; give each its own")
    for one in items:
        for target in one.discount.of if one.discount else ():
            if target not in codes or target == one.code:
                raise ValueError(f"item {one.code}: discount.of names {target!r}, which is no other item")
    return items


def _parse(number: int, described: Mapping[str, Any]) -> Item:
    code, kind = described.get("code"), described.get("kind")
    if not isinstance(code, str) or not _CODE.fullmatch(code):
        raise ValueError(f"item {number}: code {code!r} must be 1 to 40 small letters, digits, _ . or -")
    unknown = sorted(set(described) - _FIELDS)
    if unknown:
        raise ValueError(f"item {code}: {', '.join(unknown)} is no field of an item")
    if kind not in KINDS:
        raise ValueError(f"item {code}: kind {kind!r} is not one of {', '.join(KINDS)}")
    name = described.get("name")
    if not isinstance(name, str) or not 1 <= len(name.strip()) <= 120 or not name.isprintable():
        raise ValueError(f"item {code}: name must be one line of 1 to 120 characters")
    for field in _BOOLEANS:
        if not isinstance(described.get(field, True), bool):
            raise ValueError(f"item {code}: {field} must be true or false")  # noqa: TRY004
    return Item(
        code=code,
        kind=str(kind),
        name=name.strip(),
        price_minor=_price(code, described.get("price_minor", 0)),
        cadence=_cadence(code, described.get("period")),
        advance=described.get("advance", kind != "usage"),
        proration=_choice(code, "proration", described.get("proration", "actual_days"), tuple(RULES)),
        credit_unused=described.get("credit_unused", True),
        while_paused=described.get("while_paused", False),
        on_change=described.get("on_change", False),
        tax_class=_word(code, "tax_class", described.get("tax_class", "internet")),
        tax_included=described.get("tax_included", False),
        revenue=_word(code, "revenue", described.get("revenue", _revenue_of(str(kind)))),
        usage=_usage(code, described.get("usage")) if kind == "usage" else None,
        discount=_discount(code, described.get("discount")) if kind == "discount" else None,
    )


def _price(code: str, price: object) -> int:
    if isinstance(price, bool) or not isinstance(price, int) or not 0 <= price < LARGEST_MINOR:
        raise ValueError(f"item {code}: price_minor must be a whole number of minor units from 0")
    return price


def _word(code: str, field: str, word: object) -> str:
    if not isinstance(word, str) or not 1 <= len(word) <= 40 or not word.isprintable():
        raise ValueError(f"item {code}: {field} must be a word of 1 to 40 characters")
    return word


def _choice(code: str, field: str, chosen: object, known: tuple[str, ...]) -> str:
    if chosen not in known:
        raise ValueError(f"item {code}: {field} {chosen!r} is not one of {', '.join(known)}")
    return str(chosen)


def _cadence(code: str, described: object) -> Cadence | None:
    if described is None:
        return None
    if not isinstance(described, Mapping):
        raise ValueError(f'item {code}: period is written like {{"unit": "month", "count": 1}}')  # noqa: TRY004
    try:
        return parse_cadence(described.get("unit"), described.get("count", 1))
    except ValueError as trouble:
        raise ValueError(f"item {code}: period: {trouble}") from None


def _usage(code: str, described: object) -> UsageTerms:
    if not isinstance(described, Mapping):
        raise ValueError(f"item {code}: usage says how it is metered, included and priced")  # noqa: TRY004
    try:
        return parse_usage_terms(described)
    except ValueError as trouble:
        raise ValueError(f"item {code}: usage: {trouble}") from None


def _discount(code: str, described: object) -> Discount:
    if not isinstance(described, Mapping):
        raise ValueError(f"item {code}: discount says how much: percent_ppm or amount_minor")  # noqa: TRY004
    percent, amount = described.get("percent_ppm"), described.get("amount_minor")
    if (percent is None) == (amount is None):
        raise ValueError(f"item {code}: give either percent_ppm (10 % is 100000) or amount_minor")
    if percent is not None and (
        isinstance(percent, bool) or not isinstance(percent, int) or not 0 < percent <= _MILLION
    ):
        raise ValueError(f"item {code}: percent_ppm must be 1 to 1000000; 10 % is 100000")
    periods = described.get("periods")
    if periods is not None and (
        isinstance(periods, bool) or not isinstance(periods, int) or not 1 <= periods <= 1200
    ):
        raise ValueError(f"item {code}: periods must be a whole number from 1, or null for good")
    return Discount(
        percent,
        None if amount is None else _price(code, amount),
        tuple(str(one) for one in described.get("of", ())),
        periods,
    )
