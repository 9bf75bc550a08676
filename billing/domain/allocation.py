"""Which money pays which invoice, by the account's rule, and not a minor unit appears or is lost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from core.money import allocate as split_by_weights


class AllocationRule(StrEnum):
    """Whose turn it is when money does not pay everything."""

    OLDEST = "oldest"
    NEWEST = "newest"
    LARGEST = "largest"
    SMALLEST = "smallest"
    PROPORTIONAL = "proportional"


@dataclass(frozen=True, slots=True)
class OpenInvoice:
    """An invoice that still asks for money."""

    id: str
    number: str
    due_on: date
    open_minor: int


@dataclass(frozen=True, slots=True)
class Credit:
    """Money of the account that pays nothing yet. Deposits are none: they are a liability of their own."""

    payment_id: str
    unallocated_minor: int


@dataclass(frozen=True, slots=True)
class Allocated:
    """An amount of one payment given to one invoice; a negative amount takes it back."""

    payment_id: str
    invoice_id: str
    amount_minor: int


def allocate_oldest_first(credit: Iterable[Credit], invoices: Iterable[OpenInvoice]) -> list[Allocated]:
    """Give ``credit`` in its order to ``invoices`` by due date, then number."""
    return allocate_by_rule(AllocationRule.OLDEST, credit, invoices)


def allocate_by_rule(
    rule: AllocationRule,
    credit: Iterable[Credit],
    invoices: Iterable[OpenInvoice],
    first: Sequence[str] = (),
) -> list[Allocated]:
    """Give ``credit`` in its order to ``invoices``: first those named (ids, in that order), then by rule.

    Proportional gives each invoice its share of what all of them ask, by largest remainder.
    """
    claims = _in_turn(rule, invoices)
    named = [claim for claim_id in dict.fromkeys(first) for claim in claims if claim.id == claim_id]
    others = [claim for claim in claims if claim not in named]
    still_open = {claim.id: claim.open_minor for claim in claims if claim.open_minor > 0}
    allocated: list[Allocated] = []
    for one in credit:
        left = one.unallocated_minor
        shares = _one_after_another(left, named, still_open)
        left -= sum(amount for _, amount in shares)
        if rule is AllocationRule.PROPORTIONAL:
            shares += _by_share(left, others, still_open)
        else:
            shares += _one_after_another(left, others, still_open)
        for claim_id, amount in shares:
            still_open[claim_id] -= amount
            allocated.append(Allocated(one.payment_id, claim_id, amount))
    return allocated


def _in_turn(rule: AllocationRule, invoices: Iterable[OpenInvoice]) -> list[OpenInvoice]:
    oldest_first = sorted(invoices, key=lambda one: (one.due_on, one.number, one.id))
    if rule is AllocationRule.NEWEST:
        return sorted(oldest_first, key=lambda one: one.due_on, reverse=True)
    if rule is AllocationRule.LARGEST:
        return sorted(oldest_first, key=lambda one: -one.open_minor)
    if rule is AllocationRule.SMALLEST:
        return sorted(oldest_first, key=lambda one: one.open_minor)
    return oldest_first


def _one_after_another(
    amount_minor: int, claims: Sequence[OpenInvoice], still_open: dict[str, int]
) -> list[tuple[str, int]]:
    shares = []
    for claim in claims:
        part = min(amount_minor, still_open.get(claim.id, 0))
        if part > 0:
            shares.append((claim.id, part))
            amount_minor -= part
    return shares


def _by_share(
    amount_minor: int, claims: Sequence[OpenInvoice], still_open: dict[str, int]
) -> list[tuple[str, int]]:
    asking = [claim.id for claim in claims if still_open.get(claim.id, 0) > 0]
    weights = [still_open[one] for one in asking]
    amount_minor = min(amount_minor, sum(weights))
    if amount_minor <= 0:
        return []
    shares = zip(asking, split_by_weights(amount_minor, weights), strict=True)
    return [(claim_id, part) for claim_id, part in shares if part]


@dataclass(frozen=True, slots=True)
class Retraction:
    """Where money that leaves a payment is taken from."""

    from_credit_minor: int
    undone: tuple[Allocated, ...]  # negative amounts


def retract(
    payment_id: str, amount_minor: int, unallocated_minor: int, paid: Iterable[tuple[OpenInvoice, int]]
) -> Retraction:
    """Take ``amount_minor`` out of a payment: from what pays nothing, then off the invoices due last.

    ``paid``: each invoice with the amount it has of this payment. So the oldest debt stays paid longest.
    Raises ``ValueError`` when the payment does not hold so much.
    """
    from_credit = min(amount_minor, unallocated_minor)
    left = amount_minor - from_credit
    undone = []
    for claim, amount in sorted(paid, key=lambda one: (one[0].due_on, one[0].number), reverse=True):
        part = min(left, amount)
        if part > 0:
            undone.append(Allocated(payment_id, claim.id, -part))
            left -= part
    if left:
        raise ValueError(f"payment {payment_id} holds {amount_minor - left}, not {amount_minor}")
    return Retraction(from_credit, tuple(undone))
