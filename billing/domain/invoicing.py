"""An invoice is the difference between what is owed and what was already invoiced.

For each subscription what is owed (``billing.domain.owed``) is compared, by plan version, item and period,
with what earlier invoices charged for the same. So a forgotten start, an early end, a back-dated change and
a run that crashed all come right on the next invoice, and an issued one is never touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any

from billing.domain.catalogue import Account, PlanVersion, ServicePlace, Subscription
from billing.domain.charge import OneOffCharge
from billing.domain.items import ONCE, PERIODIC, Item
from billing.domain.ledger import DEPOSIT
from billing.domain.owed import Key, Owed, Promotion, View, discounted_item, promoted_item, turns_of
from billing.domain.proration import RULES, explain_proration
from billing.domain.taxes.book import TaxBook
from billing.domain.taxes.decide import TaxableLine, TaxDecision, TaxDue, decide_taxes
from billing.domain.taxes.place import Place
from billing.domain.taxes.rule import Effect, Exemption
from core.money import format_money
from core.periods import Period

CREDIT_NOTE = "credit_note"
CHARGES = "charges"
"""The kind of an invoice between the cycles, of one-off charges alone."""
_ONE = Decimal(1)
_NONE = Decimal(0)


@dataclass(frozen=True, slots=True)
class InvoicedPart:
    """What an earlier line charged: for which item of which version, for its period from which day."""

    plan_version_id: str
    item_code: str
    charged_for: date
    quoted_minor: int

    @property
    def key(self) -> Key:
        return self.plan_version_id, self.item_code, self.charged_for


@dataclass(frozen=True, slots=True)
class ChargeDraft:
    """A rated charge on its way into the database: what was priced, of which closes.

    ``closes`` (``ClosedSpan.as_json``) None: of the one close ``close_id`` with just these days.
    """

    part: Period
    close_id: str
    closes: list[list[Any]] | None
    octets_in: int
    octets_out: int


@dataclass(slots=True)
class LineDraft:
    """One line. ``quoted_minor`` is as priced, with tax if ``tax_included``; ``amount_minor`` is net.

    ``kind``: recurring, rental, one_time, deposit, usage, discount, adjustment, charge, credit, surcharge or
    tax. ``units``: what fixed taxes count.
    ``tax_date`` picks the tax rates. ``charged_for`` with version and item code says what it was charged for.
    """

    kind: str
    description: str
    quantity: str | None
    amount_minor: int
    period: Period
    explanation: dict[str, Any]
    subscription_id: str | None = None
    plan_version_id: str | None = None
    item_code: str | None = None
    charged_for: date | None = None
    quoted_minor: int = 0
    tax_included: bool = False
    tax_class: str | None = None
    tax_date: date | None = None
    revenue: str | None = None
    deferred: bool = False
    place: ServicePlace | None = None
    units: Decimal = _ONE
    charge: ChargeDraft | None = None
    charge_id: str | None = None


@dataclass(frozen=True, slots=True)
class InvoiceDraft:
    """A complete invoice without its number. ``taxed_outside``: an engine said its taxes, not our rules."""

    account: Account
    cycle: Period
    issued_on: date
    due_on: date
    lines: tuple[LineDraft, ...]
    taxes: tuple[TaxDue, ...] = field(repr=False)
    net_minor: int
    tax_minor: int
    kind: str = "invoice"
    corrects_id: str | None = None
    taxed_outside: bool = False

    @property
    def total_minor(self) -> int:
        return self.net_minor + self.tax_minor

    def tax_by_jurisdiction(self) -> dict[str, int]:
        """Tax amounts by whom they are owed to."""
        owed: dict[str, int] = {}
        for tax in self.taxes:
            if tax.rule.effect is Effect.TAX:
                owed[tax.jurisdiction] = owed.get(tax.jurisdiction, 0) + tax.amount_minor
        return owed


# Recurring items, one-off items, discounts


def draft_difference(
    subscription: Subscription,
    owed: Sequence[Owed],
    invoiced: Iterable[InvoicedPart],
    versions: Mapping[str, PlanVersion],
    settled: Settled,
) -> Iterator[LineDraft]:
    """The lines that bring what was invoiced up to what is owed.

    ``settled`` tells of a charged item and period whether it is out of view, and stays as it was.
    """
    before: dict[Key, int] = {}
    for part in invoiced:
        before[part.key] = before.get(part.key, 0) + part.quoted_minor
    if not before:
        for one in owed:
            if one.amount_minor or one.item.kind in PERIODIC:
                yield _owed_line(subscription, one)
        return
    for one in owed:
        charged = before.pop(one.key, None)
        if charged is None:
            if one.amount_minor or one.item.kind in PERIODIC:
                yield _owed_line(subscription, one)
        elif charged != one.amount_minor and (charged < one.amount_minor or one.item.credit_unused):
            yield _adjustment(
                subscription, one.version, one.item, one.code, _Difference(one, one.period, charged)
            )
    for (version_id, code, first_day), charged in sorted(before.items(), key=lambda one: (one[0][2], one[0])):
        version = versions[version_id]
        item, turning = _gone(version, code)
        if item.usage is not None:
            continue  # corrections of usage are by ``billing.domain.usage_lines``
        period = settled.period_of(turning, first_day)
        if charged and not settled.is_settled(turning, first_day) and item.credit_unused:
            yield _adjustment(subscription, version, item, code, _Difference(None, period, charged))


def _gone(version: PlanVersion, code: str) -> tuple[Item, Item]:
    """The item that a line of that code charged, and the one whose periods it had.

    A promotion is no item of the version: it is taxed as what it reduced.
    """
    promoted = promoted_item(code, version)
    if promoted is not None:
        return replace(promoted[1], credit_unused=True), promoted[1]
    item = version.item(code)
    return discounted_item(code, version) or (
        (item, item) if item is not None else (Item(code, "discount", code),) * 2
    )


@dataclass(frozen=True, slots=True)
class Settled:
    """Which charged periods an invoice does not look at again."""

    account: Account
    subscription: Subscription
    view: View

    def is_settled(self, item: Item, first_day: date) -> bool:
        """Whether the item's period from ``first_day`` on is out of view."""
        return first_day < self.view.horizon(item, turns_of(self.account, self.subscription, item))

    def period_of(self, item: Item, first_day: date) -> Period:
        """The item's period that begins on ``first_day``."""
        if item.kind in ONCE:
            return Period(first_day, first_day)
        return turns_of(self.account, self.subscription, item).containing(first_day)


def _owed_line(subscription: Subscription, one: Owed) -> LineDraft:
    item, version = one.item, one.version
    part = one.part
    advance = item.advance and item.kind in PERIODIC
    name = version.name if item.code == "recurring" else item.name
    kind = item.kind
    if one.promotion is not None:
        name, kind = one.promotion.name, "discount"
    return LineDraft(
        kind=kind,
        description=name,
        quantity=_quantity(one),
        amount_minor=one.amount_minor,
        period=part,
        explanation=_explain_owed(subscription, one),
        subscription_id=subscription.id,
        plan_version_id=version.id,
        item_code=one.code,
        charged_for=one.period.start,
        quoted_minor=one.amount_minor,
        tax_included=item.tax_included,
        tax_class=None if item.kind == "deposit" else item.tax_class,
        tax_date=part.start,
        revenue=item.revenue,
        deferred=advance or item.kind == "discount",
        place=subscription.place,
        units=_NONE if kind == "discount" else _ONE if one.quantity == 1 else Decimal(one.quantity),
    )


def _quantity(one: Owed) -> str | None:
    if one.item.kind == "discount" or one.promotion is not None:
        return None
    counts = {quantity for _, quantity in one.parts}
    if one.item.kind in ONCE:
        return str(one.parts[0][1])
    days = sum(part.days for part, _ in one.parts)
    words = _length(one.whole) if days == one.whole.days else f"{days} of {one.whole.days} days"
    return words if counts == {1} else f"{' and '.join(str(n) for n in sorted(counts))} × {words}"


def _length(period: Period) -> str:
    """``1 month``: as people say how long a period is."""
    months = (period.end.year - period.start.year) * 12 + period.end.month - period.start.month
    if period.days < 28:
        weeks, days = divmod(period.days, 7)
        if days == 0:
            return "1 week" if weeks == 1 else f"{weeks} weeks"
        return "1 day" if period.days == 1 else f"{period.days} days"
    if months % 12 == 0 and months:
        return "1 year" if months == 12 else f"{months // 12} years"
    return "1 month" if months <= 1 else f"{months} months"


def _explain_owed(subscription: Subscription, one: Owed) -> dict[str, Any]:
    named = named_in_plan(subscription, one.version, one.code)
    if one.promotion is not None or one.item.kind == "discount":
        terms = one.promotion or one.item.discount
        return {
            "model": "discount",
            **named,
            **_promotion_terms(one.promotion),
            "base_minor": one.base_minor,
            "percent_ppm": None if terms is None else terms.percent_ppm,
            "amount_minor": one.amount_minor,
            "period": [one.period.start.isoformat(), one.period.end.isoformat()],
        }
    if one.item.kind in ONCE:
        return {
            "model": one.item.kind, **named, "price_minor": one.item.price_minor,
            "quantity": one.parts[0][1], "amount_minor": one.amount_minor,
        }  # fmt: skip
    part, quantity = one.parts[0]
    rule = one.item.proration
    if len(one.parts) == 1 and quantity == 1 and rule in ("actual_days", "thirty_days"):
        return {
            "model": "recurring",
            **named,
            **explain_proration(one.item.price_minor, part, one.whole, rule),
        }
    return {
        "model": "recurring",
        **named,
        "price_minor": one.item.price_minor,
        "cycle": [one.whole.start.isoformat(), one.whole.end.isoformat()],
        "part": [one.part.start.isoformat(), one.part.end.isoformat()],
        "parts": [
            {"from": each.start.isoformat(), "until": each.end.isoformat(), "days": each.days, "quantity": n}
            for each, n in one.parts
        ],
        "days": sum(each.days for each, _ in one.parts),
        "of_days": one.whole.days,
        "amount_minor": one.amount_minor,
        "rule": RULES[rule],
    }


def _promotion_terms(promotion: Promotion | None) -> dict[str, Any]:
    if promotion is None:
        return {}
    return {
        "promotion": promotion.code, "promotion_name": promotion.name,
        "promotion_minor": promotion.amount_minor, "promotion_periods": promotion.periods,
        "promotion_from": promotion.from_on.isoformat(),
        "promotion_until": None if promotion.until_on is None else promotion.until_on.isoformat(),
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Difference:
    owed: Owed | None
    period: Period
    charged_minor: int


def _adjustment(
    subscription: Subscription, version: PlanVersion, item: Item, code: str, difference: _Difference
) -> LineDraft:
    one, charged = difference.owed, difference.charged_minor
    owed = 0 if one is None else one.amount_minor
    period = difference.period
    begins = period.start
    if one is not None and item.kind in PERIODIC:
        begins = one.part.end if one.part.end < period.end else one.part.start
    words = "days not used" if owed < charged else "days not charged before"
    if item.kind not in PERIODIC:
        words = "corrected"
    name = version.name if code == "recurring" else item.name
    promotion = promoted_item(code, version)
    if promotion is not None:
        name = promotion[0] if one is None or one.promotion is None else one.promotion.name
        words = "corrected"
    return LineDraft(
        kind="adjustment",
        description=f"{name}: {words}",
        quantity=None,
        amount_minor=owed - charged,
        period=Period(begins, max(begins, period.end)),
        explanation={
            "model": "difference",
            **named_in_plan(subscription, version, code),
            "owed": None if one is None else _explain_owed(subscription, one),
            "owed_minor": owed,
            "already_invoiced_minor": charged,
            "amount_minor": owed - charged,
        },
        subscription_id=subscription.id,
        plan_version_id=version.id,
        item_code=code,
        charged_for=period.start,
        quoted_minor=owed - charged,
        tax_included=item.tax_included,
        tax_class=None if item.kind == "deposit" else item.tax_class,
        tax_date=period.start,  # a credit takes back the tax at the rate it was charged with
        revenue=item.revenue,
        deferred=item.advance and item.kind in PERIODIC,
        place=subscription.place,
        units=_NONE,
    )


def named_in_plan(subscription: Subscription, version: PlanVersion, code: str) -> dict[str, Any]:
    """Which item of which plan version of which service an explanation is about."""
    return {
        "plan": version.code, "plan_version": version.version, "item": code,
        "service_id": subscription.service_id,
    }  # fmt: skip


# One-off charges


def draft_charge(charge: OneOffCharge, currency: str, place: ServicePlace | None) -> LineDraft:
    """The line of a one-off charge or credit."""
    end = charge.period_end or charge.happened_on + timedelta(days=1)
    return LineDraft(
        kind="charge" if charge.quoted_minor > 0 else "credit",
        description=charge.description,
        quantity=charge.quantity,
        amount_minor=charge.quoted_minor,
        period=Period(charge.happened_on, end),
        explanation={
            "model": "one_off",
            "kind": charge.kind,
            "source": charge.source,
            "amount": format_money(charge.quoted_minor, currency),
            "amount_minor": charge.quoted_minor,
            **charge.explanation,
        },
        subscription_id=charge.subscription_id,
        item_code=charge.kind,
        quoted_minor=charge.quoted_minor,
        tax_included=charge.tax_included,
        tax_class=None if charge.revenue == DEPOSIT else charge.tax_class,
        tax_date=charge.happened_on,
        revenue=charge.revenue,
        deferred=charge.period_end is not None,
        place=place,
        charge_id=charge.id,
    )


# The whole


@dataclass(frozen=True, slots=True)
class TaxTerms:
    """What decides an invoice's taxes: the rules, and the account's certificates."""

    book: TaxBook
    exemptions: Sequence[Exemption] = ()


def assemble_invoice(
    account: Account, cycle: Period, issued_on: date, lines: list[LineDraft], terms: TaxTerms
) -> InvoiceDraft | None:
    """The invoice over ``lines`` with its tax lines, or None when there is nothing to say.

    Raises ``ValueError`` when a fixed tax is due in another currency than the account's.
    """
    if not lines:
        return None
    decision = decide_taxes(taxable_lines(account, lines), terms.book, terms.exemptions, account.currency)
    return complete_invoice(account, cycle, issued_on, lines, decision)


def taxable_lines(account: Account, lines: Sequence[LineDraft]) -> list[TaxableLine]:
    """The lines that taxes are asked on, each at the place of its service."""
    home = place_of(account, None)
    return [
        TaxableLine(
            position, line.quoted_minor, line.tax_included, line.tax_class, line.kind, line.tax_date,
            home if line.place is None else place_of(account, line.place), line.units,
        )
        for position, line in enumerate(lines, start=1)
        if line.tax_class is not None and line.tax_date is not None
    ]  # fmt: skip


def complete_invoice(
    account: Account,
    cycle: Period,
    issued_on: date,
    lines: list[LineDraft],
    decision: TaxDecision,
    *,
    outside: bool = False,
) -> InvoiceDraft:
    """The invoice over ``lines`` with the taxes decided for them, ``outside`` or by our own rules."""
    for taxed in decision.lines:
        lines[taxed.position - 1].amount_minor = taxed.net_minor
    added = [_tax_line(tax, cycle) for tax in decision.taxes]
    net = sum(line.amount_minor for line in lines)
    net += sum(line.amount_minor for line in added if line.kind == "surcharge")
    return InvoiceDraft(
        account=account,
        cycle=cycle,
        issued_on=issued_on,
        due_on=issued_on + timedelta(days=account.payment_terms_days),
        lines=(*lines, *added),
        taxes=decision.taxes,
        net_minor=net,
        tax_minor=sum(line.amount_minor for line in added if line.kind == "tax"),
        taxed_outside=outside,
    )


@lru_cache(maxsize=65_536)
def _place(*address: str | None) -> Place:
    country, region, county, city, postal_code = address
    return Place(country or "", region, county, city, postal_code)


def place_of(account: Account, place: ServicePlace | None) -> Place:
    """Where a line is taxed: at the service, else at the account's address."""
    if place is None or place.country is None:
        county = None if place is None else place.county
        return _place(account.country, account.region, county, account.city, account.postal_code)
    return _place(place.country, place.region, place.county, place.city, place.postal_code)


def _tax_line(tax: TaxDue, cycle: Period) -> LineDraft:
    is_tax = tax.rule.effect is Effect.TAX
    return LineDraft(
        kind="tax" if is_tax else "surcharge",
        description=tax.description,
        quantity=None,
        amount_minor=tax.amount_minor,
        period=cycle,
        explanation={"model": "tax", **tax.explanation()},
        quoted_minor=tax.amount_minor,
        revenue=None if is_tax else f"surcharge:{tax.rule.name}"[:40],
    )


def format_ppm(rate_ppm: int) -> str:
    """``7.625 %``."""
    whole, rest = divmod(rate_ppm, 10_000)
    return f"{whole}.{rest:04d}".rstrip("0").rstrip(".") + " %"


def next_turn(subscriptions: Iterable[Subscription], cycle: Period) -> date | None:
    """The first day of the cycle to invoice after ``cycle``, or None when nothing runs beyond its start."""
    running = any(one.ends_on is None or one.ends_on > cycle.start for one in subscriptions)
    return cycle.end if running else None
