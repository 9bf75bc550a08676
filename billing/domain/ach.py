"""Debits by ACH before they are a file: who originates, whose account, which amount."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date, datetime
from typing import Any

from billing.domain.banking_days import add_banking_days, banking_day_from, is_banking_day
from billing.domain.nacha import (
    ACCOUNT_TYPES,
    SEC_CODES,
    TRANSACTION_CODES,
    AchFile,
    Batch,
    Entry,
    FileHead,
    ascii_text,
    routing_number_fault,
)
from core.periods import zone
from core.refusal import Refusal

PRENOTE_DAYS = 3
"""Banking days after the settlement of a prenote before which no debit may follow (Nacha rules, 2.6.2)."""
CURRENCY = "USD"


@dataclass(frozen=True, slots=True)
class Originator:
    """What the bank told when ACH was agreed. ``settle_days``: banking days until money counts."""

    destination: str  # routing number of the bank that takes the file
    destination_name: str
    origin: str  # ten characters: the company's identification, or a routing number behind a blank
    origin_name: str
    company_name: str
    company_id: str
    odfi: str  # first eight digits of the originating bank's routing number
    description: str = "INTERNET"
    discretionary: str = ""
    settle_days: int = 3
    time_zone: str = "America/New_York"


_WIDTHS = {
    "destination_name": 23, "origin_name": 23, "company_name": 16, "company_id": 10, "description": 10,
    "discretionary": 20,
}  # fmt: skip


def check_originator(given: Mapping[str, Any]) -> Originator | Refusal:
    """The originator, or a refusal that names the field."""
    unknown = sorted(set(given) - {one.name for one in fields(Originator)})
    if unknown:
        return Refusal("unknown_field", f"there is no field {unknown[0]}", unknown[0])
    try:
        one = Originator(**given)
    except TypeError:
        return Refusal("field_missing", "an originator needs all that the bank told", "profile")
    faults = (*_text_faults(one), *_number_faults(one))
    return next((Refusal(f"bad_{name}", words, name) for name, words in faults if words), one)


def _text_faults(one: Originator) -> Iterator[tuple[str, str | None]]:
    for name, width in _WIDTHS.items():
        text = getattr(one, name).strip()
        good = ascii_text(text, width) == text.upper() and (text or name == "discretionary")
        yield name, None if good else f"use 1 to {width} characters of plain ASCII"


def _number_faults(one: Originator) -> Iterator[tuple[str, str | None]]:
    yield "destination", routing_number_fault(one.destination)
    good = re.fullmatch(r"[A-Za-z0-9 ]{9,10}", one.origin)
    yield "origin", None if good else "the bank gave ten characters, or nine digits"
    good = re.fullmatch(r"[0-9]{8}", one.odfi)
    yield "odfi", None if good else "it is the first eight digits of the bank's routing number"
    yield "settle_days", None if 0 <= one.settle_days <= 30 else "money counts after 0 to 30 banking days"
    try:
        zone(one.time_zone)
    except ValueError as trouble:
        yield "time_zone", str(trouble)


def originator_as_json(one: Originator) -> dict[str, Any]:
    """The form it is kept in."""
    return asdict(one)


def refuse_bank_account(
    holder_name: str, account_type: str, routing_number: str, account_number: str, sec_code: str
) -> Refusal | None:
    """What is wrong with a customer's bank account, or None. The number itself is never repeated."""
    if not 1 <= len(holder_name.strip()) <= 80 or not ascii_text(holder_name, 22):
        return Refusal("bad_holder", "give the name on the account in plain letters", "holder_name")
    if account_type not in ACCOUNT_TYPES:
        return Refusal("bad_type", f"{account_type!r} is not checking or savings", "account_type")
    if (fault := routing_number_fault(routing_number)) is not None:
        return Refusal("bad_routing", fault, "routing_number")
    if not re.fullmatch(r"[0-9A-Za-z-]{4,17}", account_number):
        return Refusal(
            "bad_number", "an account number has 4 to 17 digits, letters or hyphens", "account_number"
        )
    if sec_code not in SEC_CODES:
        return Refusal("bad_sec", f"{sec_code!r} is not one of {', '.join(SEC_CODES)}", "sec_code")
    return None


def earliest_effective(today: date, *, same_day: bool) -> date:
    """The first day on which entries handed in ``today`` can settle."""
    if same_day and is_banking_day(today):
        return today
    return add_banking_days(today, 1) if is_banking_day(today) else banking_day_from(today)


@dataclass(frozen=True, slots=True)
class Order:
    """One entry to be written. The number is open here and nowhere else."""

    entry_id: str
    sec_code: str
    kind: str  # debit, prenote
    account_type: str
    routing_number: str
    account_number: str
    amount_minor: int
    identification: str
    name: str


def file_of(
    originator: Originator, orders: Sequence[Order], effective_on: date, made_at: datetime, *,
    modifier: str, first_trace: int, same_day: bool,
) -> tuple[AchFile, dict[str, str]]:  # fmt: skip
    """The file for ``orders`` and the trace number of each, a batch for each entry class.

    ``made_at`` is local to the originator. Same-day entries carry SD and the hour in the descriptive date.
    """
    traces: dict[str, str] = {}
    batches: list[Batch] = []
    for sec_code in SEC_CODES:
        mine = [one for one in orders if one.sec_code == sec_code]
        if not mine:
            continue
        entries = []
        for one in mine:
            trace = originator.odfi + f"{(first_trace + len(traces) - 1) % 9_999_999 + 1:07d}"
            traces[one.entry_id] = trace
            entries.append(_entry(one, trace))
        batches.append(
            Batch(
                ascii_text(originator.company_name, 16), originator.company_id, sec_code,
                ascii_text(originator.description, 10), effective_on, originator.odfi, len(batches) + 1,
                tuple(entries), "SD1700" if same_day else "", ascii_text(originator.discretionary, 20),
            )
        )  # fmt: skip
    head = FileHead(
        originator.destination, ascii_text(originator.destination_name, 23), originator.origin,
        ascii_text(originator.origin_name, 23), made_at, modifier,
    )  # fmt: skip
    return AchFile(head, tuple(batches)), traces


def _entry(one: Order, trace: str) -> Entry:
    return Entry(
        TRANSACTION_CODES[one.account_type, one.kind], one.routing_number, one.account_number,
        one.amount_minor, ascii_text(one.identification, 15), ascii_text(one.name, 22), trace,
        "R" if one.sec_code == "WEB" else "",
    )  # fmt: skip
