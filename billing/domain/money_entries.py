"""Entries of money that moves: landed, in transit, taken back, refunded, kept as deposit.

``in_transit:<name>`` is money on its way to a bank account of the house; ``refunds_due`` what was promised to
customers and is not paid out; ``deposits`` (kept per account) security that is theirs.
"""

from __future__ import annotations

from billing.domain.ledger import CUSTOMER_CREDIT, Booking, Entry, Posting

DEPOSITS = "deposits"
REFUNDS_DUE = "refunds_due"
DEPOSIT_METHOD = "deposit"
"""A payment made of a deposit that was released, not of new money."""


def cash(method: str) -> str:
    """The ledger account of money that has arrived."""
    return f"cash:{method}"


def in_transit(name: str) -> str:
    """The ledger account of money that a bank or gateway has announced."""
    return f"in_transit:{name}"


def landed_entry(
    booking: Booking, payment_id: str, ledger_account: str, method: str, amount_minor: int
) -> Entry:
    """Money received into ``ledger_account``; it is the customer's credit until it is allocated."""
    return _moved(
        "payment", payment_id, booking, f"Payment, {method}",
        Posting(ledger_account, None, amount_minor),
        Posting(CUSTOMER_CREDIT, booking.account_id, -amount_minor),
    )  # fmt: skip


def settled_entry(booking: Booking, payment_id: str, name: str, method: str, amount_minor: int) -> Entry:
    """Money in transit has arrived."""
    return _moved(
        "settlement", payment_id, booking, f"Settled, {method}",
        Posting(cash(method), None, amount_minor), Posting(in_transit(name), None, -amount_minor),
    )  # fmt: skip


def taken_back_entry(
    booking: Booking, reversal_id: str, ledger_account: str, amount_minor: int, reason: str
) -> Entry:
    """Money of a payment is gone again, from where it lay; negative: a dispute was won and it is back."""
    words = f"Payment reversed: {reason}" if amount_minor > 0 else f"Payment back again: {reason}"
    return _moved(
        "reversal", reversal_id, booking, words,
        Posting(ledger_account, None, -amount_minor),
        Posting(CUSTOMER_CREDIT, booking.account_id, amount_minor),
    )  # fmt: skip


def refund_ordered_entry(booking: Booking, refund_id: str, amount_minor: int, reason: str) -> Entry:
    """Credit of the customer becomes money owed to him."""
    return _moved(
        "refund", refund_id, booking, f"Refund: {reason}",
        Posting(CUSTOMER_CREDIT, booking.account_id, amount_minor),
        Posting(REFUNDS_DUE, booking.account_id, -amount_minor),
    )  # fmt: skip


def refund_paid_entry(booking: Booking, refund_id: str, ledger_account: str, amount_minor: int) -> Entry:
    """A refund left the house."""
    return _moved(
        "refund_paid", refund_id, booking, "Refund paid out",
        Posting(REFUNDS_DUE, booking.account_id, amount_minor), Posting(ledger_account, None, -amount_minor),
    )  # fmt: skip


def refund_failed_entry(booking: Booking, refund_id: str, amount_minor: int, reason: str) -> Entry:
    """A refund could not be paid out: it is the customer's credit again."""
    return _moved(
        "refund_failed", refund_id, booking, f"Refund not paid: {reason}",
        Posting(REFUNDS_DUE, booking.account_id, amount_minor),
        Posting(CUSTOMER_CREDIT, booking.account_id, -amount_minor),
    )  # fmt: skip


def deposit_taken_entry(booking: Booking, deposit_id: str, amount_minor: int) -> Entry:
    """Credit of the customer is kept as security."""
    return _moved(
        "deposit", deposit_id, booking, "Deposit taken",
        Posting(CUSTOMER_CREDIT, booking.account_id, amount_minor),
        Posting(DEPOSITS, booking.account_id, -amount_minor),
    )  # fmt: skip


def deposit_released_entry(booking: Booking, payment_id: str, amount_minor: int) -> Entry:
    """A deposit, or a part of it, is the customer's credit again."""
    return _moved(
        "payment", payment_id, booking, "Deposit released",
        Posting(DEPOSITS, booking.account_id, amount_minor),
        Posting(CUSTOMER_CREDIT, booking.account_id, -amount_minor),
    )  # fmt: skip


def _moved(kind: str, source_id: str, booking: Booking, words: str, *postings: Posting) -> Entry:
    return Entry(kind, source_id, booking.booked_on, words, booking.currency, postings, booking.entity_id)
