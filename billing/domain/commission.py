"""What a reseller earns: a share of net charges or of money that came for them, or so much a month.

Each source (an invoice, an allocation of money, a refund of credit, a month of an account) earns once. What
takes money back earns the negative at the rate, and by the assignment, of the day on which it was earned: so
a credit note, a refund or a chargeback gives back exactly what its original gave.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from billing.domain.ledger import Booking, Entry, Posting

BASES = ("collected", "invoiced")
INVOICE, ALLOCATION, REFUND, MONTH = "invoice", "allocation", "refund", "month"
_BASIS_OF = {INVOICE: "invoiced", ALLOCATION: "collected", REFUND: "collected"}
_WHOLE_PPM = 1_000_000


@dataclass(frozen=True, slots=True)
class CommissionTerms:
    """From a day on: ``percent_ppm`` of what ``basis`` says, and ``flat_minor`` an account a month."""

    valid_from: date
    basis: str
    percent_ppm: int
    flat_minor: int


@dataclass(frozen=True, slots=True)
class Assignment:
    """An account is the reseller's from ``from_on`` on, before ``until_on`` (None: for good)."""

    account_id: str
    from_on: date
    until_on: date | None

    def covers(self, day: date) -> bool:
        """Whether it is on that day."""
        return self.from_on <= day and (self.until_on is None or day < self.until_on)


@dataclass(frozen=True, slots=True)
class Source:
    """Something that may earn. ``net_minor`` of an account without tax; negative takes back.

    ``happened_on`` decides the period in which it counts, ``earned_on`` the terms and the assignment.
    """

    kind: str
    source_id: str
    account_id: str
    happened_on: date
    earned_on: date
    net_minor: int

    @property
    def key(self) -> tuple[str, str, str]:
        """It earns once."""
        return self.kind, self.source_id, self.account_id


@dataclass(frozen=True, slots=True)
class CommissionLine:
    """What one source earns."""

    source: Source
    commission_minor: int


def share(amount_minor: int, part: int, whole: int) -> int:
    """``amount * part / whole`` rounded half away from zero: the negative of a share is the share of it."""
    if whole < 0:
        part, whole = -part, -whole
    product = amount_minor * part
    rounded = (2 * abs(product) + whole) // (2 * whole)
    return rounded if product >= 0 else -rounded


def terms_on(terms: Sequence[CommissionTerms], day: date) -> CommissionTerms | None:
    """Those in force; of two that begin on one day the later written."""
    found = None
    for one in terms:
        if one.valid_from <= day and (found is None or one.valid_from >= found.valid_from):
            found = one
    return found


def earn(
    sources: Iterable[Source], terms: Sequence[CommissionTerms], assignments: Iterable[Assignment]
) -> list[CommissionLine]:
    """What each source earns, in order of days; sources that earn nothing are left out."""
    by_account: dict[str, list[Assignment]] = {}
    for assignment in assignments:
        by_account.setdefault(assignment.account_id, []).append(assignment)
    lines = []
    for one in sorted(sources, key=lambda each: (each.happened_on, each.key)):
        in_force = terms_on(terms, one.earned_on)
        mine = by_account.get(one.account_id, ())
        if in_force is None or not any(each.covers(one.earned_on) for each in mine):
            continue
        if one.kind == MONTH:
            amount = in_force.flat_minor
        elif _BASIS_OF[one.kind] == in_force.basis:
            amount = share(one.net_minor, in_force.percent_ppm, _WHOLE_PPM)
        else:
            continue
        if amount:
            lines.append(CommissionLine(one, amount))
    return lines


def month_ends(from_on: date, until_on: date) -> list[date]:
    """The last days of the calendar months that end in ``[from_on, until_on)``."""
    found: list[date] = []
    first = from_on.replace(day=1)
    while True:
        first = (first + timedelta(days=32)).replace(day=1)
        last = first - timedelta(days=1)
        if last >= until_on:
            return found
        if last >= from_on:
            found.append(last)


def commission_entry(booking: Booking, statement_id: str, amount_minor: int) -> Entry:
    """A statement: what the reseller (``booking.account_id``) earned is an expense, and owed to him."""
    return _entry(
        "commission", statement_id, booking, f"Commission of {booking.account_id}",
        Posting(f"commission:{booking.account_id}", None, amount_minor),
        Posting(f"commission_payable:{booking.account_id}", None, -amount_minor),
    )  # fmt: skip


def payout_entry(booking: Booking, payout_id: str, method: str, amount_minor: int) -> Entry:
    """Commission paid out to the reseller (``booking.account_id``)."""
    return _entry(
        "commission_paid", payout_id, booking, f"Commission paid to {booking.account_id}",
        Posting(f"commission_payable:{booking.account_id}", None, amount_minor),
        Posting(f"cash:{method}", None, -amount_minor),
    )  # fmt: skip


def _entry(kind: str, source_id: str, booking: Booking, words: str, *postings: Posting) -> Entry:
    return Entry(kind, source_id, booking.booked_on, words, booking.currency, postings, booking.entity_id)
