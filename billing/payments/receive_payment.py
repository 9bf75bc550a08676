"""Receive a payment: recorded once, allocated by rule, and felt by dunning in the same transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from billing.domain.catalogue import Account
from billing.domain.ledger import Booking
from billing.domain.money_entries import cash, landed_entry
from billing.dunning.evaluate import StageChange, relieve_dunning
from billing.facts import PaymentReceived
from billing.payments.allocate_credit import allocate_credit
from billing.store import account_rows, ledger_rows, payment_rows, quota_rows
from core.money import format_money
from core.periods import local_date
from core.refusal import Refusal
from core.work import Work

METHODS = ("cash", "cheque", "transfer", "card")
"""What an operator records."""
BY_FILE = ("ach",)
"""What a file to or from a bank records."""


@dataclass(frozen=True, slots=True)
class PaymentReceipt:
    """What became of a payment. ``outcome`` is received, or exists when the key was recorded before."""

    payment_id: str
    outcome: str
    amount_minor: int
    currency: str
    allocations: tuple[tuple[str, int], ...]  # (invoice number, minor units)
    unallocated_minor: int
    stage_change: StageChange | None = None


async def receive_payment(
    work: Work,
    *,
    account_id: str,
    amount_minor: int,
    currency: str,
    method: str,
    idempotency_key: str,
    received_on: date | None = None,
    note: str | None = None,
    reference: str | None = None,
    landed_in: str | None = None,
    first: Sequence[str] = (),
    by_hand: bool = False,
) -> PaymentReceipt | Refusal:
    """Record money received; ``idempotency_key`` is the caller's own id of it.

    The same key with the same content answers ``exists`` and changes nothing; with another content it is
    refused with the field that differs. What no invoice needs stays as credit for the next ones. Refusals in
    this order: amount, key, method, account, currency, day, differing content.

    ``reference``: cheque number, bank reference. ``landed_in``: the ledger account when it is not the cash of
    its method (in_transit:ach). ``first``: ids of invoices that are paid before the account's rule is asked.
    ``by_hand``: it pays nothing until an operator allocates it, or keeps it as a deposit.
    """
    refusal = _refuse_form(amount_minor, idempotency_key, method, reference)
    if refusal:
        return refusal
    account = await account_rows.lock_account(work.connection, account_id)
    if account is None:
        return Refusal("unknown_account", f"there is no account {account_id}", "account_id")
    refusal = _refuse_terms(work, account, currency, received_on)
    if refusal:
        return refusal
    values = {
        "id": work.ids.new("pay"), "account_id": account_id, "idempotency_key": idempotency_key.strip(),
        "method": method, "amount_minor": amount_minor, "currency": currency,
        "received_on": received_on or local_date(work.now, account.time_zone), "received_at": work.now,
        "recorded_by": work.actor, "note": note, "unallocated_minor": amount_minor, "reversed_at": None,
        "reversal_reason": None, "reference": reference, "landed_in": landed_in, "by_hand": by_hand,
    }  # fmt: skip
    if not await payment_rows.insert_payment(work.connection, values):
        return await _recorded_before(work, values, received_on)
    return await _book(work, account, values, first)


def _refuse_form(
    amount_minor: int, idempotency_key: str, method: str, reference: str | None
) -> Refusal | None:
    if isinstance(amount_minor, bool) or not 0 < amount_minor < 10**15:
        return Refusal("bad_amount", "a payment must be more than nothing, in minor units", "amount_minor")
    if not idempotency_key.strip() or len(idempotency_key) > 120:
        return Refusal("bad_key", "give the payment an id of yours, 1 to 120 characters", "idempotency_key")
    if reference is not None and not (1 <= len(reference) <= 140 and reference.isprintable()):
        return Refusal("bad_reference", "a reference is one line of 1 to 140 characters", "reference")
    if method not in METHODS + BY_FILE:
        return Refusal("bad_method", f"{method!r} is not one of {', '.join(METHODS)}", "method")
    return None


def _refuse_terms(work: Work, account: Account, currency: str, received_on: date | None) -> Refusal | None:
    if currency != account.currency:
        message = f"account {account.number} pays in {account.currency}, not {currency}"
        return Refusal("wrong_currency", message, "currency")
    if received_on is not None and received_on > local_date(work.now, account.time_zone):
        message = f"{received_on} has not come yet; record the payment on its day"
        return Refusal("received_in_future", message, "received_on")
    return None


async def _recorded_before(
    work: Work, values: dict[str, Any], received_on: date | None
) -> PaymentReceipt | Refusal:
    recorded = await payment_rows.payment_with_key(work.connection, values["idempotency_key"])
    if recorded is None:
        raise RuntimeError("a payment is neither new nor there")
    compared = ["account_id", "amount_minor", "currency", "method"]
    compared += ["received_on"] if received_on is not None else []
    for field in compared:
        if getattr(recorded, field) != values[field]:
            message = (
                f"payment {values['idempotency_key']} is recorded with {field} {getattr(recorded, field)}, "
                f"not {values[field]}; use another key for another payment"
            )
            return Refusal("differs", message, field)
    allocated = await payment_rows.allocated_of(work.connection, recorded.id)
    return PaymentReceipt(
        recorded.id, "exists", recorded.amount_minor, recorded.currency,
        tuple((number, amount) for _, number, amount in allocated), recorded.unallocated_minor,
    )  # fmt: skip


async def _book(work: Work, account: Account, values: dict[str, Any], first: Sequence[str]) -> PaymentReceipt:
    payment_id, amount, currency = values["id"], values["amount_minor"], account.currency
    booking = Booking(account.id, local_date(work.now, account.time_zone), currency, account.entity_id)
    lands_in = values["landed_in"] or cash(values["method"])
    entry = landed_entry(booking, payment_id, lands_in, values["method"], amount)
    await ledger_rows.book(work.connection, work.now, work.ids, [entry])
    await allocate_credit(work, account, first=first)
    await work.publish(PaymentReceived(payment_id, account.id, amount))
    await work.audit(
        "billing.payment_received", account.id, payment=payment_id, amount=format_money(amount, currency)
    )
    change = await relieve_dunning(work, account.id)
    await quota_rows.look_again_at_capped(work.connection, account.id, work.now)
    allocated = await payment_rows.allocated_of(work.connection, payment_id)
    used = sum(part for _, _, part in allocated)
    return PaymentReceipt(
        payment_id, "received", amount, currency,
        tuple((number, part) for _, number, part in allocated), amount - used, change,
    )  # fmt: skip
