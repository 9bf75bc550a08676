"""Late fees: which are owed for the days that nobody has decided yet, and how much."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from billing.domain.dunning import ANY_MOMENT, Debtor, Moment, UnpaidInvoice, counted_of, find_deferral
from billing.domain.dunning_policy import Ladders, LateFee
from core.money import round_half_up
from core.periods import add_months

_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class FeeDue:
    """The ``number``-th late fee of an invoice, owed from day ``on``; net."""

    invoice_id: str
    invoice: str
    number: int
    on: date
    amount_minor: int
    explanation: dict[str, Any]

    @property
    def source(self) -> str:
        """What makes it unique."""
        return f"late_fee:{self.invoice_id}:{self.number}"


def fee_amount(fee: LateFee, open_minor: int) -> int:
    """Flat and share together, at least the minimum, at most the maximum."""
    share = round_half_up(Decimal(open_minor) * fee.percent_ppm / _MILLION)
    amount = max(fee.minimum_minor, fee.flat_minor + share)
    return amount if fee.maximum_minor is None else min(amount, fee.maximum_minor)


def fee_number(fee: LateFee, invoice: UnpaidInvoice, on: date) -> int:
    """Which fee the day belongs to: 0 within the grace, 1 from the day after it, monthly one more each month.

    Held days of the invoice do not count, here as on the ladder.
    """
    late_by = invoice.days_overdue(on)
    if late_by <= fee.grace_days:
        return 0
    if not fee.monthly:
        return 1
    first = invoice.due_on + timedelta(days=fee.grace_days + 1)
    as_if = invoice.due_on + timedelta(days=late_by)
    months = (as_if.year - first.year) * 12 + as_if.month - first.month
    if add_months(first, months, first.day) > as_if:
        months -= 1
    return min(months + 1, fee.most_times)


def fees_due(
    debtor: Debtor,
    ladders: Ladders,
    today: date,
    charged: Collection[tuple[str, int]],
    moment: Moment = ANY_MOMENT,
) -> list[FeeDue]:
    """The fees of the days after the last evaluated one up to ``today``, in order.

    Each number of an invoice is owed once, on the first of its days on which the account is not immune, not
    deferred and not below the minimum balance; a month spent so is let go. ``charged``: ``(invoice id,
    number)`` of what was owed before.
    """
    if not ladders.charges_late:
        return []
    first = min((one.due_on for one in debtor.unpaid), default=today) + timedelta(days=1)
    day = max(min(debtor.evaluated_on + timedelta(days=1), today), first)
    done, found = set(charged), []
    while day <= today:
        for fee in _of_day(debtor, ladders, day, moment):
            if (fee.invoice_id, fee.number) not in done:
                done.add((fee.invoice_id, fee.number))
                found.append(fee)
        day += timedelta(days=1)
    return found


def _of_day(debtor: Debtor, ladders: Ladders, on: date, moment: Moment) -> list[FeeDue]:
    policy = ladders.on(on)
    fee = policy.late_fee
    if fee is None or moment.all or debtor.is_immune(on) or find_deferral(debtor, on):
        return []
    counted = counted_of(debtor, on)
    if sum(amount for _, amount in counted) < policy.minimum_balance_minor:
        return []
    due = []
    for invoice, open_minor in counted:
        number, amount = fee_number(fee, invoice, on), fee_amount(fee, open_minor)
        if number and amount > 0:
            explanation = {
                "invoice": invoice.number, "due_on": str(invoice.due_on), "late_on": str(on),
                "days_overdue": invoice.days_overdue(on), "open_minor": open_minor,
                "flat_minor": fee.flat_minor, "percent_ppm": fee.percent_ppm,
                "minimum_minor": fee.minimum_minor, "maximum_minor": fee.maximum_minor,
                "grace_days": fee.grace_days, "policy_version": policy.version_id,
            }  # fmt: skip
            due.append(FeeDue(invoice.id, invoice.number, number, on, amount, explanation))
    return due
