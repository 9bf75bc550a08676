"""Double entry: which ledger accounts each event moves. Debit positive, credit negative, an entry sums to 0.

The accounts are those of `billing.domain.chart`. ``receivable`` is always the sum of what is open on
invoices, ``customer_credit`` the money that pays nothing yet, ``deferred:<name>`` what was billed in advance
and is not earned yet (see `billing.domain.recognition`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from billing.domain.recognition import RevenueKey
from core.periods import Period

RECEIVABLE = "receivable"
CUSTOMER_CREDIT = "customer_credit"
DEPOSITS = "deposits"
BAD_DEBT = "bad_debt"
BAD_DEBT_RECOVERED = "bad_debt_recovered"
FEES = "fees"
"""The revenue name of late, reconnect, returned-payment and early-termination fees."""
DEPOSIT = "deposit"
"""The revenue name of a line that is no revenue: security to be given back."""
CREDIT_METHOD = "credit"  # a payment made of a negative invoice, not of money
RECOGNITION = "recognition"
"""The source kind of entries that turn deferred into earned revenue."""


@dataclass(frozen=True, slots=True)
class Posting:
    """One side of an entry. ``account_id``: whose receivable or credit it is, None for the house's own."""

    ledger_account: str
    account_id: str | None
    amount_minor: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A balanced, immutable booking; unique by its source. ``entity_id``: the legal entity, None: the house.

    Raises ``ValueError`` when the postings do not sum to zero.
    """

    source_kind: str
    source_id: str
    booked_on: date
    description: str
    currency: str
    postings: tuple[Posting, ...]
    entity_id: str | None = None

    def __post_init__(self) -> None:
        total = sum(posting.amount_minor for posting in self.postings)
        if total != 0:
            raise ValueError(f"entry {self.source_kind} {self.source_id} is out of balance by {total}")


@dataclass(frozen=True, slots=True)
class Booking:
    """What every entry needs to be told: whose it is, when it was booked, in which currency, by whom."""

    account_id: str
    booked_on: date
    currency: str
    entity_id: str | None = None


@dataclass(frozen=True, slots=True)
class BilledPart:
    """A part of an invoice without its tax, in minor units; what is given back is negative.

    ``revenue``: the name under which it is (or will be) earned, ``deposit`` for security. ``deferred``: it is
    earned day by day over ``period``, else at once.
    """

    revenue: str
    amount_minor: int
    period: Period | None = None
    deferred: bool = False

    @property
    def ledger_account(self) -> str:
        """Where its credit goes."""
        if self.revenue == DEPOSIT:
            return DEPOSITS
        return f"{'deferred' if self.deferred and self.period is not None else 'revenue'}:{self.revenue}"


def _without_zeros(postings: Iterable[Posting]) -> tuple[Posting, ...]:
    return tuple(posting for posting in postings if posting.amount_minor != 0)


def _summed(amounts: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    sums: dict[str, int] = {}
    for name, amount in amounts:
        sums[name] = sums.get(name, 0) + amount
    return sorted(sums.items())


def _entry(kind: str, source_id: str, booking: Booking, words: str, postings: Iterable[Posting]) -> Entry:
    return Entry(
        kind, source_id, booking.booked_on, words, booking.currency, _without_zeros(postings),
        booking.entity_id,
    )  # fmt: skip


def _billed(
    booking: Booking, parts: Mapping[str, int] | Sequence[BilledPart], taxes: Mapping[str, int]
) -> list[Posting]:
    if isinstance(parts, Mapping):
        parts = [BilledPart(name, amount) for name, amount in parts.items()]
    sides = _summed((part.ledger_account, part.amount_minor) for part in parts)
    total = sum(amount for _, amount in sides) + sum(taxes.values())
    owner = booking.account_id
    return [
        Posting(RECEIVABLE, owner, total),
        *(Posting(name, owner if name == DEPOSITS else None, -amount) for name, amount in sides),
        *(Posting(f"tax:{place}", None, -amount) for place, amount in sorted(taxes.items())),
    ]


def invoice_entry(
    booking: Booking, invoice_id: str, number: str, parts: Mapping[str, int] | Sequence[BilledPart],
    taxes: Mapping[str, int],
) -> Entry:  # fmt: skip
    """An invoice: the account owes; revenue is earned or deferred by name, tax is payable by jurisdiction.

    A mapping for ``parts`` is revenue by name that is earned at once.
    """
    return _entry("invoice", invoice_id, booking, f"Invoice {number}", _billed(booking, parts, taxes))


def credit_note_entry(
    booking: Booking, note_id: str, number: str, parts: Sequence[BilledPart], taxes: Mapping[str, int]
) -> Entry:
    """A credit note, amounts as they stand on it: what is given back is negative, of tax as well."""
    return _entry("invoice", note_id, booking, f"Credit note {number}", _billed(booking, parts, taxes))


def write_off_entry(
    booking: Booking, write_off_id: str, number: str, amount_minor: int,
    taxes: Mapping[str, int] | None = None,
) -> Entry:  # fmt: skip
    """What is open on an invoice is given up. ``taxes``: how much of it the authority gives back."""
    relief = sorted((taxes or {}).items())
    postings = [
        Posting(BAD_DEBT, None, amount_minor - sum(amount for _, amount in relief)),
        *(Posting(f"tax:{place}", None, amount) for place, amount in relief),
        Posting(RECEIVABLE, booking.account_id, -amount_minor),
    ]
    return _entry("write_off", write_off_id, booking, f"Write-off of invoice {number}", postings)


def recovery_entry(booking: Booking, recovery_id: str, number: str, amount_minor: int) -> Entry:
    """Money for an invoice that was written off: so much of it is owed again, to be paid by an allocation."""
    postings = [
        Posting(RECEIVABLE, booking.account_id, amount_minor),
        Posting(BAD_DEBT_RECOVERED, None, -amount_minor),
    ]
    return _entry("recovery", recovery_id, booking, f"Recovery of invoice {number}", postings)


def payment_entry(booking: Booking, payment_id: str, method: str, amount_minor: int) -> Entry:
    """Money received: cash rises, and it is the customer's credit until it is allocated."""
    postings = (
        Posting(f"cash:{method}", None, amount_minor),
        Posting(CUSTOMER_CREDIT, booking.account_id, -amount_minor),
    )
    return _entry("payment", payment_id, booking, f"Payment, {method}", postings)


def credit_entry(booking: Booking, payment_id: str, number: str, amount_minor: int) -> Entry:
    """A negative invoice becomes credit: what it took off the receivable is at the customer's disposal."""
    postings = (
        Posting(RECEIVABLE, booking.account_id, amount_minor),
        Posting(CUSTOMER_CREDIT, booking.account_id, -amount_minor),
    )
    return _entry("payment", payment_id, booking, f"Credit of invoice {number}", postings)


def allocation_entry(booking: Booking, allocation_id: str, amount_minor: int) -> Entry:
    """Credit pays an invoice (a negative amount takes it back)."""
    postings = (
        Posting(CUSTOMER_CREDIT, booking.account_id, amount_minor),
        Posting(RECEIVABLE, booking.account_id, -amount_minor),
    )
    return _entry("allocation", allocation_id, booking, "Allocation", postings)


def reversal_entry(booking: Booking, payment_id: str, method: str, amount_minor: int, reason: str) -> Entry:
    """The money is gone again: cash and the customer's credit both fall. Allocations are undone before."""
    postings = (
        Posting(f"cash:{method}", None, -amount_minor),
        Posting(CUSTOMER_CREDIT, booking.account_id, amount_minor),
    )
    return _entry("reversal", payment_id, booking, f"Payment reversed: {reason}", postings)


def recognition_entry(source_id: str, through: date, key: RevenueKey, amount_minor: int) -> Entry:
    """Deferred revenue is earned through that day (a negative amount takes some back)."""
    postings = (
        Posting(f"deferred:{key.revenue}", None, amount_minor),
        Posting(f"revenue:{key.revenue}", None, -amount_minor),
    )
    words = f"Revenue of {key.revenue} earned through {through}"
    return Entry(
        RECOGNITION, source_id, through, words, key.currency, _without_zeros(postings), key.entity_id
    )


@dataclass(frozen=True, slots=True)
class BookedEntry:
    """An entry as it stands in the books. ``recorded_us``: microseconds since 1970 (UTC).

    ``happened_on``: the day it belongs to when that was closed and it was booked later. ``supplement``: how
    often its day was closed before it was booked, 0 but for days that were reopened.
    """

    id: str
    booked_on: str
    happened_on: str | None
    supplement: int
    source_kind: str
    source_id: str
    description: str
    entity_id: str | None
    recorded_us: int


_encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode


def entry_digest(entry: BookedEntry, postings: Iterable[tuple[str, str | None, str, int]]) -> str:
    """SHA-256 over everything an entry says, in hexadecimal.

    Over one JSON array (RFC 8259, no blanks, all but ASCII escaped): the fields of ``BookedEntry`` in order,
    dates as ISO 8601, then an array of postings in order, each ``[ledger account, account, currency,
    amount]``.
    """
    told = [
        entry.id, entry.booked_on, entry.happened_on, entry.supplement, entry.source_kind, entry.source_id,
        entry.description, entry.entity_id, entry.recorded_us, [list(posting) for posting in postings],
    ]  # fmt: skip
    return hashlib.sha256(_encode(told).encode("ascii")).hexdigest()
