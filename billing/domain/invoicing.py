"""An invoice is the difference between what is owed and what was already invoiced.

For each subscription the recurring price of every cycle up to the opening one is owed, by actual days; what
earlier invoices charged for the same cycle is taken off. So a forgotten start, an early end and a run that
crashed all come right on the next invoice, and an issued one is never touched.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from billing.domain.catalogue import Account, PlanVersion, Subscription, TaxRate
from billing.domain.charge_models import RatedUsage, rate_usage
from billing.domain.proration import explain_proration, prorate, prorate_octets
from billing.domain.tax import Taxable, TaxDue, decide_taxes
from core.periods import Period, add_months, cycle_containing
from core.quantities import format_octets


@dataclass(frozen=True, slots=True)
class InvoicedPart:
    """A recurring or adjustment line of an earlier invoice."""

    subscription_id: str
    period_start: date
    amount_minor: int


@dataclass(frozen=True, slots=True)
class MeasuredUsage:
    """Closed usage of a subscription over a part of a cycle, ready to be priced."""

    part: Period
    cycle: Period
    close_id: str
    octets_in: int
    octets_out: int
    records: int
    digest: str


@dataclass(frozen=True, slots=True)
class ChargeDraft:
    """A rated charge on its way into the database."""

    plan_version_id: str
    measured: MeasuredUsage
    rated: RatedUsage
    explanation: dict[str, Any]


@dataclass(frozen=True, slots=True)
class LineDraft:
    """One line: ``kind`` is recurring, usage, adjustment or tax. ``tax_date`` picks the tax rates."""

    kind: str
    description: str
    quantity: str | None
    amount_minor: int
    period: Period
    explanation: dict[str, Any]
    subscription_id: str | None = None
    tax_class: str | None = None
    tax_date: date | None = None
    charge: ChargeDraft | None = None


@dataclass(frozen=True, slots=True)
class InvoiceDraft:
    """A complete invoice without its number."""

    account: Account
    cycle: Period
    issued_on: date
    due_on: date
    lines: tuple[LineDraft, ...]
    taxes: tuple[TaxDue, ...] = field(repr=False)

    @property
    def net_minor(self) -> int:
        return sum(line.amount_minor for line in self.lines if line.kind != "tax")

    @property
    def tax_minor(self) -> int:
        return sum(line.amount_minor for line in self.lines if line.kind == "tax")

    @property
    def total_minor(self) -> int:
        return self.net_minor + self.tax_minor

    def revenue(self) -> dict[str, int]:
        """Net amounts by kind of revenue; adjustments correct recurring revenue."""
        usage = sum(line.amount_minor for line in self.lines if line.kind == "usage")
        return {"recurring": self.net_minor - usage, "usage": usage}

    def tax_by_jurisdiction(self) -> dict[str, int]:
        """Tax amounts by whom they are owed to."""
        owed: dict[str, int] = {}
        for tax in self.taxes:
            owed[tax.rate.jurisdiction] = owed.get(tax.rate.jurisdiction, 0) + tax.amount_minor
        return owed


def cycles_in_reach(starts_on: date, opening: Period, anchor_day: int, reach: int) -> list[Period]:
    """The cycles from the subscription's first, at most ``reach`` before ``opening``, up to ``opening``."""
    first = cycle_containing(starts_on, anchor_day).start
    back = (opening.start.year - first.year) * 12 + opening.start.month - first.month
    turns = [add_months(opening.start, -step, anchor_day) for step in range(min(back, reach), -1, -1)]
    return [Period(start, add_months(start, 1, anchor_day)) for start in turns]


def parts_to_rate(
    subscription: Subscription, cycles: Sequence[Period], rated: Collection[date]
) -> list[tuple[Period, Period]]:
    """``(part, cycle)`` of every closed cycle (all but the last) whose usage has no rated charge yet."""
    parts = [(subscription.within(cycle), cycle) for cycle in cycles[:-1]]
    return [(part, cycle) for part, cycle in parts if part is not None and part.start not in rated]


def draft_recurring(
    subscription: Subscription, plan: PlanVersion, cycles: Sequence[Period], invoiced: Iterable[InvoicedPart]
) -> list[LineDraft]:
    """The recurring lines that bring what was invoiced up to what is owed, cycle by cycle."""
    starts = [cycle.start for cycle in cycles]
    before: list[list[InvoicedPart]] = [[] for _ in cycles]
    for one in invoiced:
        index = bisect_right(starts, one.period_start) - 1
        if index >= 0 and one.period_start < cycles[index].end:
            before[index].append(one)
    lines = (
        _difference(subscription, plan, cycle, earlier, cycle is cycles[-1])
        for cycle, earlier in zip(cycles, before, strict=True)
    )
    return [line for line in lines if line is not None]


def _difference(
    subscription: Subscription, plan: PlanVersion, cycle: Period, earlier: list[InvoicedPart], opening: bool
) -> LineDraft | None:
    part = subscription.within(cycle)
    if part is not None and not earlier:
        amount = prorate(plan.price_minor, part, cycle)
        return _recurring_line(subscription, plan, part, cycle) if amount or opening else None
    owed = 0 if part is None else prorate(plan.price_minor, part, cycle)
    charged = sum(one.amount_minor for one in earlier)
    if owed == charged:
        return None
    return _adjustment_line(subscription, plan, cycle, earlier, owed)


def _recurring_line(subscription: Subscription, plan: PlanVersion, part: Period, cycle: Period) -> LineDraft:
    explanation = explain_proration(plan.price_minor, part, cycle)
    whole = part == cycle
    return LineDraft(
        kind="recurring",
        description=plan.name,
        quantity="1 month" if whole else f"{part.days} of {cycle.days} days",
        amount_minor=explanation["amount_minor"],
        period=part,
        explanation={"model": "recurring", **_named(subscription, plan), **explanation},
        subscription_id=subscription.id,
        tax_class=plan.tax_class,
        tax_date=part.start,
    )


def _adjustment_line(
    subscription: Subscription, plan: PlanVersion, cycle: Period, earlier: list[InvoicedPart], owed: int
) -> LineDraft:
    charged = sum(one.amount_minor for one in earlier)
    part = subscription.within(cycle)
    first_charged = min(one.period_start for one in earlier)
    changed_from = part.end if part is not None and part.end < cycle.end else first_charged
    words = "days not used" if owed < charged else "days not charged before"
    return LineDraft(
        kind="adjustment",
        description=f"{plan.name}: {words}",
        quantity=None,
        amount_minor=owed - charged,
        period=Period(changed_from, cycle.end),
        explanation={
            "model": "difference",
            **_named(subscription, plan),
            "owed": None if part is None else explain_proration(plan.price_minor, part, cycle),
            "owed_minor": owed,
            "already_invoiced_minor": charged,
            "amount_minor": owed - charged,
        },
        subscription_id=subscription.id,
        tax_class=plan.tax_class,
        tax_date=first_charged,  # a credit takes back the tax at the rate it was charged with
    )


def draft_usage(subscription: Subscription, plan: PlanVersion, measured: MeasuredUsage) -> LineDraft:
    """The usage line of a closed part: always shown, 0.00 while the allowance lasts."""
    allowance = plan.allowance_octets
    if allowance is not None:
        allowance = prorate_octets(allowance, measured.part, measured.cycle)
    used = plan.metered_octets(measured.octets_in, measured.octets_out)
    rated = rate_usage(used, allowance, plan.tiers)
    explanation = {
        **_named(subscription, plan),
        **rated.explanation(),
        "metered": plan.metered,
        "octets_in": measured.octets_in,
        "octets_out": measured.octets_out,
        "period": [measured.part.start.isoformat(), measured.part.end.isoformat()],
        "cycle": [measured.cycle.start.isoformat(), measured.cycle.end.isoformat()],
        "allowance_of_full_cycle_octets": plan.allowance_octets,
        "usage_close_id": measured.close_id,
        "usage_records": measured.records,
        "usage_digest": measured.digest,
    }
    included = "unlimited" if allowance is None else f"{format_octets(allowance)} included"
    return LineDraft(
        kind="usage",
        description=f"{plan.name}: data used, {included}",
        quantity=format_octets(used),
        amount_minor=rated.amount_minor,
        period=measured.part,
        explanation=explanation,
        subscription_id=subscription.id,
        tax_class=plan.tax_class,
        tax_date=measured.part.start,
        charge=ChargeDraft(plan.id, measured, rated, explanation),
    )


def _named(subscription: Subscription, plan: PlanVersion) -> dict[str, Any]:
    return {"plan": plan.code, "plan_version": plan.version, "service_id": subscription.service_id}


def assemble_invoice(
    account: Account, cycle: Period, issued_on: date, lines: Sequence[LineDraft], rates: Iterable[TaxRate]
) -> InvoiceDraft | None:
    """The invoice over ``lines`` with its tax lines, or None when there is nothing to say."""
    if not lines:
        return None
    taxable = [
        Taxable(position, line.amount_minor, line.tax_class, line.tax_date)
        for position, line in enumerate(lines, start=1)
        if line.tax_class is not None and line.tax_date is not None
    ]
    taxes = decide_taxes(taxable, rates, account.country, account.region)
    return InvoiceDraft(
        account=account,
        cycle=cycle,
        issued_on=issued_on,
        due_on=issued_on + timedelta(days=account.payment_terms_days),
        lines=(*lines, *(_tax_line(tax, cycle) for tax in taxes)),
        taxes=tuple(taxes),
    )


def _tax_line(tax: TaxDue, cycle: Period) -> LineDraft:
    return LineDraft(
        kind="tax",
        description=f"{tax.rate.name} {format_ppm(tax.rate.rate_ppm)}",
        quantity=None,
        amount_minor=tax.amount_minor,
        period=cycle,
        explanation={"model": "tax", **tax.explanation()},
    )


def format_ppm(rate_ppm: int) -> str:
    """``7.625 %``."""
    whole, rest = divmod(rate_ppm, 10_000)
    return f"{whole}.{rest:04d}".rstrip("0").rstrip(".") + " %"


def next_turn(subscriptions: Iterable[Subscription], cycle: Period) -> date | None:
    """The first day of the cycle to invoice after ``cycle``, or None when nothing runs beyond its start."""
    running = any(one.ends_on is None or one.ends_on > cycle.start for one in subscriptions)
    return cycle.end if running else None
