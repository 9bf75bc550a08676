"""Which money pays which invoice: the oldest due date first, and not a minor unit appears or is lost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, slots=True)
class OpenInvoice:
    """An invoice that still asks for money."""

    id: str
    number: str
    due_on: date
    open_minor: int


@dataclass(frozen=True, slots=True)
class Credit:
    """Money of the account that pays nothing yet."""

    payment_id: str
    unallocated_minor: int


@dataclass(frozen=True, slots=True)
class Allocated:
    """An amount of one payment given to one invoice."""

    payment_id: str
    invoice_id: str
    amount_minor: int


def allocate_oldest_first(credit: Iterable[Credit], invoices: Iterable[OpenInvoice]) -> list[Allocated]:
    """Give ``credit`` in its order to ``invoices`` by due date, then number."""
    claims = sorted(invoices, key=lambda invoice: (invoice.due_on, invoice.number))
    still_open = {claim.id: claim.open_minor for claim in claims}
    allocated = []
    for one in credit:
        left = one.unallocated_minor
        for claim in claims:
            amount = min(left, still_open[claim.id])
            if amount > 0:
                allocated.append(Allocated(one.payment_id, claim.id, amount))
                still_open[claim.id] -= amount
                left -= amount
    return allocated
