"""Usage on an invoice: what a part costs less what was charged for it before, and what it draws. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from billing.domain.catalogue import Account, PlanVersion, Subscription
from billing.domain.invoicing import ChargeDraft, LineDraft, named_in_plan
from billing.domain.items import Item
from billing.domain.rating.calendar import Calendar
from billing.domain.rating.parts import Balance, PartToRate, Step, rate_parts
from billing.domain.rating.rate import RatedUsage, Usage, rate_usage
from billing.domain.rating.slices import Slice
from billing.domain.rating.terms import UsageTerms
from billing.domain.rating.words import quantity_text
from billing.domain.usage_parts import Asked, ClosedSpan, Gone, MeasuredUsage, UsagePlan, measure_part
from core.periods import Period


@dataclass(frozen=True, slots=True)
class UsageAnswers:
    """What the meters say to a plan: a close for each of its gaps, in order, and slices by close.

    A close None, or one whose slices are None, leaves out what rests on it.
    """

    closes: Sequence[ClosedSpan | None]
    slices: Mapping[str, Sequence[Slice] | None]


def draft_usage(
    account: Account,
    plan: UsagePlan,
    answers: UsageAnswers,
    balances: Mapping[str, Balance],
    with_holidays: Callable[[Calendar, UsageTerms], Calendar],
) -> tuple[list[tuple[int, LineDraft]], dict[Step, int]]:
    """The lines, each with how many other lines stand before it, and what changes in the buckets.

    A part that is new is always shown, 0.00 while the allowance lasts; one that was charged before only if it
    costs something else now, or if more was closed.
    """
    measured = [measure_part(account, one, answers.closes, answers.slices.__getitem__) for one in plan.asked]
    known = [(one, usage) for one, usage in zip(plan.asked, measured, strict=True) if usage is not None]
    parts = [(one, usage, with_holidays(one.of.calendar(account), one.of.terms)) for one, usage in known]
    lines = [(gone.after, _taken_back(gone)) for gone in plan.gone]
    changed: dict[Step, int] = {}
    if all(_is_alone(one, balances) for one, _ in known):
        rated = [
            rate_usage(one.of.terms, Usage(usage.octets_in, usage.octets_out, usage.slices), calendar)
            for one, usage, calendar in parts
        ]
    else:
        rated, changed = _rate_together(account, plan, parts, balances)
    for (one, usage), priced in zip(known, rated, strict=True):
        if one.charged is None:
            lines.append((one.after, _usage_line(one, usage, priced)))
        elif one.gaps or priced.amount_minor != one.charged:
            lines.append((one.after, _adjustment(one, usage, priced, one.charged)))
    return lines, changed


def _is_alone(one: Asked, balances: Mapping[str, Balance]) -> bool:
    return one.of.terms.shared is None and one.of.terms.rollover is None and one.bucket not in balances


def _rate_together(
    account: Account,
    plan: UsagePlan,
    parts: Sequence[tuple[Asked, MeasuredUsage, Calendar]],
    balances: Mapping[str, Balance],
) -> tuple[list[RatedUsage], dict[Step, int]]:
    to_rate = [
        PartToRate(
            one.subscription.account_id, account.id, one.subscription.id, one.of.item.code, one.of.terms,
            calendar, Usage(usage.octets_in, usage.octets_out, usage.slices),
        )
        for one, usage, calendar in parts
    ]  # fmt: skip
    held = {bucket: balances.get(bucket) or Balance(bucket) for bucket in plan.turns}
    result = rate_parts(
        to_rate, {bucket: held[bucket].lots_before(day) for bucket, day in plan.turns.items()}
    )
    changed: dict[Step, int] = {}
    for bucket, day in plan.turns.items():
        moved = [one for one in result.moved if one.bucket == bucket]
        changed |= held[bucket].difference(day, moved)
    return result.rated, changed


def _usage_line(one: Asked, usage: MeasuredUsage, rated: RatedUsage) -> LineDraft:
    line = _line(one.subscription, one.of.version, one.of.item, one.of.part)
    terms = one.of.terms
    included = (
        "unlimited" if rated.allowance is None else f"{quantity_text(rated.allowance, terms.unit)} included"
    )
    name = one.of.version.name if one.of.item.code == "usage" else one.of.item.name
    line.description = f"{name}: data used, {included}"
    line.quantity = quantity_text(rated.used, rated.unit)
    line.amount_minor = line.quoted_minor = rated.amount_minor
    line.explanation |= _explain(rated, usage)
    line.charge = _charge(usage, usage.is_one and bool(one.gaps))
    return line


def _adjustment(one: Asked, usage: MeasuredUsage, rated: RatedUsage, charged: int) -> LineDraft:
    line = _line(one.subscription, one.of.version, one.of.item, one.of.part)
    line.kind = "adjustment"
    line.explanation |= {
        "model": "difference",
        "owed": _explain(rated, usage),
        "owed_minor": rated.amount_minor,
        "already_invoiced_minor": charged,
        "amount_minor": rated.amount_minor - charged,
    }
    line.amount_minor = line.quoted_minor = rated.amount_minor - charged
    line.charge = _charge(usage, is_whole=False)
    return line


def _taken_back(gone: Gone) -> LineDraft:
    line = _line(gone.subscription, gone.version, gone.item, gone.part)
    line.kind = "adjustment"
    line.explanation |= {
        "model": "difference",
        "owed": None,
        "owed_minor": 0,
        "already_invoiced_minor": gone.charged,
        "amount_minor": -gone.charged,
    }
    line.amount_minor = line.quoted_minor = -gone.charged
    line.charge = ChargeDraft(gone.part, gone.close_id, [], 0, 0)
    return line


def _line(subscription: Subscription, version: PlanVersion, item: Item, part: Period) -> LineDraft:
    name = version.name if item.code == "usage" else item.name
    return LineDraft(
        kind="usage",
        description=f"{name}: data used, rated again",
        quantity=None,
        amount_minor=0,
        period=part,
        explanation=named_in_plan(subscription, version, item.code),
        subscription_id=subscription.id,
        plan_version_id=version.id,
        item_code=item.code,
        charged_for=part.start,
        tax_included=item.tax_included,
        tax_class=item.tax_class,
        tax_date=part.start,
        revenue=item.revenue,
        place=subscription.place,
    )


def _explain(rated: RatedUsage, usage: MeasuredUsage) -> dict[str, Any]:
    if usage.is_one and usage.closes[0].digest is not None:
        close = usage.closes[0]
        return {
            **rated.explanation,
            "usage_close_id": close.close_id,
            "usage_records": close.records,
            "usage_digest": close.digest,
        }
    return {**rated.explanation, "usage_closes": [_named_close(close) for close in usage.closes]}


def _named_close(close: ClosedSpan) -> dict[str, Any]:
    return {
        "close_id": close.close_id, "from": close.span.start.isoformat(),
        "until": close.span.end.isoformat(), "octets_in": close.octets_in, "octets_out": close.octets_out,
    }  # fmt: skip


def _charge(usage: MeasuredUsage, is_whole: bool) -> ChargeDraft:
    closes = None if is_whole else [close.as_json() for close in usage.closes]
    return ChargeDraft(usage.part, usage.closes[0].close_id, closes, usage.octets_in, usage.octets_out)
