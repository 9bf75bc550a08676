"""Double entry: which ledger accounts each event moves. Debit positive, credit negative, an entry sums to 0.

The chart so far: ``receivable`` and ``customer_credit`` (both kept per account), ``revenue:recurring``,
``revenue:usage``, ``tax:<jurisdiction>``, ``cash:<method>``. ``receivable`` is always the sum of what is open
on invoices, ``customer_credit`` the money that pays nothing yet.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

RECEIVABLE = "receivable"
CUSTOMER_CREDIT = "customer_credit"
CREDIT_METHOD = "credit"  # a payment made of a negative invoice, not of money


@dataclass(frozen=True, slots=True)
class Posting:
    """One side of an entry. ``account_id``: whose receivable or credit it is, None for the house's own."""

    ledger_account: str
    account_id: str | None
    amount_minor: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A balanced, immutable booking; unique by its source."""

    source_kind: str
    source_id: str
    booked_on: date
    description: str
    currency: str
    postings: tuple[Posting, ...]

    def __post_init__(self) -> None:
        total = sum(posting.amount_minor for posting in self.postings)
        if total != 0:
            raise ValueError(f"entry {self.source_kind} {self.source_id} is out of balance by {total}")


@dataclass(frozen=True, slots=True)
class Booking:
    """What every entry needs to be told: whose it is, when it was booked, in which currency."""

    account_id: str
    booked_on: date
    currency: str


def _without_zeros(postings: Iterable[Posting]) -> tuple[Posting, ...]:
    return tuple(posting for posting in postings if posting.amount_minor != 0)


def invoice_entry(
    booking: Booking, invoice_id: str, number: str, revenue: dict[str, int], taxes: dict[str, int]
) -> Entry:
    """An invoice: the account owes, revenue is earned by kind, tax is payable by jurisdiction."""
    total = sum(revenue.values()) + sum(taxes.values())
    postings = [Posting(RECEIVABLE, booking.account_id, total)]
    postings += [Posting(f"revenue:{kind}", None, -amount) for kind, amount in sorted(revenue.items())]
    postings += [Posting(f"tax:{place}", None, -amount) for place, amount in sorted(taxes.items())]
    return Entry(
        "invoice", invoice_id, booking.booked_on, f"Invoice {number}", booking.currency,
        _without_zeros(postings),
    )  # fmt: skip


def payment_entry(booking: Booking, payment_id: str, method: str, amount_minor: int) -> Entry:
    """Money received: cash rises, and it is the customer's credit until it is allocated."""
    postings = (
        Posting(f"cash:{method}", None, amount_minor),
        Posting(CUSTOMER_CREDIT, booking.account_id, -amount_minor),
    )
    return Entry("payment", payment_id, booking.booked_on, f"Payment, {method}", booking.currency, postings)


def credit_entry(booking: Booking, payment_id: str, number: str, amount_minor: int) -> Entry:
    """A negative invoice becomes credit: what it took off the receivable is at the customer's disposal."""
    postings = (
        Posting(RECEIVABLE, booking.account_id, amount_minor),
        Posting(CUSTOMER_CREDIT, booking.account_id, -amount_minor),
    )
    return Entry(
        "payment", payment_id, booking.booked_on, f"Credit of invoice {number}", booking.currency, postings
    )


def allocation_entry(booking: Booking, allocation_id: str, amount_minor: int) -> Entry:
    """Credit pays an invoice (a negative amount takes it back)."""
    postings = (
        Posting(CUSTOMER_CREDIT, booking.account_id, amount_minor),
        Posting(RECEIVABLE, booking.account_id, -amount_minor),
    )
    return Entry("allocation", allocation_id, booking.booked_on, "Allocation", booking.currency, postings)


def reversal_entry(booking: Booking, payment_id: str, method: str, amount_minor: int, reason: str) -> Entry:
    """The money is gone again: cash and the customer's credit both fall. Allocations are undone before."""
    postings = (
        Posting(f"cash:{method}", None, -amount_minor),
        Posting(CUSTOMER_CREDIT, booking.account_id, amount_minor),
    )
    return Entry(
        "reversal", payment_id, booking.booked_on, f"Payment reversed: {reason}", booking.currency, postings
    )
