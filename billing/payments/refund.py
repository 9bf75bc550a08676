"""Money back to the customer: ordered once, limited to what pays nothing, paid out or failed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Row

from billing.domain.catalogue import Account
from billing.domain.ledger import Booking
from billing.domain.money_entries import (
    cash,
    refund_failed_entry,
    refund_ordered_entry,
    refund_paid_entry,
)
from billing.dunning.evaluate import relieve_dunning
from billing.facts import RefundEnded, RefundOrdered
from billing.payments.allocate_credit import allocate_credit
from billing.store import account_rows, ledger_rows, money_out_rows, payment_rows
from core.money import format_money
from core.periods import local_date
from core.refusal import answering, refuse
from core.work import Work

METHODS = ("cash", "cheque", "transfer", "gateway")
"""``gateway``: the way the payment came, by whoever acts on the fact; the others are printed as due."""


@dataclass(frozen=True, slots=True)
class Refunded:
    """A refund. ``outcome``: ordered (it is due), paid, failed, or exists when its key was known."""

    refund_id: str
    outcome: str
    amount_minor: int
    currency: str


@answering
async def order_refund(
    work: Work, *, account_id: str, amount_minor: int, method: str, reason: str, idempotency_key: str,
    payment_id: str | None = None,
) -> Refunded:  # fmt: skip
    """Promise ``amount_minor`` back: of one payment's unallocated rest, or of all the account's credit.

    Money that is still in transit is not there yet. The same key with the same content answers ``exists``.
    """
    _refuse_form(amount_minor, method, reason, idempotency_key, payment_id)
    account = await account_rows.lock_account(work.connection, account_id)
    if account is None:
        refuse("unknown_account", f"there is no account {account_id}", "account_id")
    known = await money_out_rows.refund_with_key(work.connection, idempotency_key.strip())
    if known is not None:
        return _known_before(known, account_id, amount_minor, method, payment_id)
    parts = await _parts(work, account, amount_minor, payment_id)
    today = local_date(work.now, account.time_zone)
    values: dict[str, Any] = {
        "id": work.ids.new("rfd"), "idempotency_key": idempotency_key.strip(), "account_id": account_id,
        "payment_id": payment_id, "method": method, "amount_minor": amount_minor,
        "currency": account.currency, "reason": reason.strip(), "ordered_on": today, "recorded_at": work.now,
        "recorded_by": work.actor,
    }  # fmt: skip
    if not await money_out_rows.insert_refund(work.connection, values):
        raise RuntimeError("a refund is neither new nor there")
    await payment_rows.use_elsewhere(work.connection, "refund", values["id"], parts, work.now)
    booking = Booking(account_id, today, account.currency, account.entity_id)
    entry = refund_ordered_entry(booking, values["id"], amount_minor, reason.strip())
    await ledger_rows.book(work.connection, work.now, work.ids, [entry])
    await work.publish(
        RefundOrdered(values["id"], account_id, payment_id, method, amount_minor, account.currency)
    )
    await work.audit(
        "billing.refund_ordered", account_id, refund=values["id"], method=method,
        amount=format_money(amount_minor, account.currency), reason=reason.strip(), payment=payment_id,
    )  # fmt: skip
    return Refunded(values["id"], "ordered", amount_minor, account.currency)


@answering
async def end_refund(
    work: Work, *, refund_id: str, outcome: str, reference: str | None = None, told: str = "",
    ledger_account: str | None = None,
) -> Refunded:  # fmt: skip
    """A refund was ``paid`` (out of ``ledger_account``, else the cash of its method) or has ``failed``.

    A failed one is the customer's credit again. The same outcome twice answers ``exists``; another one after
    the first is refused.
    """
    if outcome not in {"paid", "failed"}:
        refuse("bad_outcome", f"{outcome!r} is neither paid nor failed", "outcome")
    if outcome == "failed" and not told.strip():
        refuse("reason_missing", "say why it could not be paid", "told")
    if reference is not None and len(reference) > 140:
        refuse("too_long", "a reference has at most 140 characters", "reference")
    found = await money_out_rows.find_refund(work.connection, refund_id)
    if found is None:
        refuse("unknown_refund", f"there is no refund {refund_id}", "refund_id")
    account = await account_rows.lock_account(work.connection, found.account_id)
    if account is None:
        raise RuntimeError(f"refund {refund_id} has no account")
    fresh = await money_out_rows.insert_refund_outcome(
        work.connection,
        {
            "refund_id": refund_id, "outcome": outcome, "reference": reference, "told": told.strip() or None,
            "recorded_at": work.now, "recorded_by": work.actor,
        },
    )  # fmt: skip
    if not fresh:
        found = await money_out_rows.find_refund(work.connection, refund_id)
        if found is None or found.outcome != outcome:
            refuse("already_ended", f"the refund is {found.outcome if found else 'gone'}", "outcome")
        return Refunded(refund_id, "exists", found.amount_minor, found.currency)
    booking = Booking(
        account.id, local_date(work.now, account.time_zone), account.currency, account.entity_id
    )
    if outcome == "paid":
        entry = refund_paid_entry(
            booking, refund_id, ledger_account or cash(found.method), found.amount_minor
        )
    else:
        entry = refund_failed_entry(booking, refund_id, found.amount_minor, told.strip())
    await ledger_rows.book(work.connection, work.now, work.ids, [entry])
    if outcome == "failed":
        parts = await payment_rows.used_for(work.connection, "refund", refund_id)
        back = {one: -amount for one, amount in parts.items()}
        await payment_rows.use_elsewhere(work.connection, "refund", refund_id, back, work.now)
        if await allocate_credit(work, account):
            await relieve_dunning(work, account.id, paid=False)
    await work.publish(RefundEnded(refund_id, account.id, outcome, found.amount_minor))
    await work.audit(
        f"billing.refund_{outcome}", account.id, refund=refund_id, reference=reference, told=told.strip()
    )
    return Refunded(refund_id, outcome, found.amount_minor, found.currency)


def _refuse_form(amount_minor: int, method: str, reason: str, key: str, payment_id: str | None) -> None:
    if isinstance(amount_minor, bool) or not 0 < amount_minor < 10**15:
        refuse("bad_amount", "a refund must be more than nothing, in minor units", "amount_minor")
    if method not in METHODS:
        refuse("bad_method", f"{method!r} is not one of {', '.join(METHODS)}", "method")
    if method == "gateway" and payment_id is None:
        refuse("payment_missing", "name the payment that came through the gateway", "payment_id")
    if not reason.strip() or len(reason) > 300:
        refuse("reason_missing", "say why, in 1 to 300 characters", "reason")
    if not 1 <= len(key.strip()) <= 120:
        refuse("bad_key", "give the refund an id of yours, 1 to 120 characters", "idempotency_key")


def _known_before(
    known: Row[Any], account_id: str, amount_minor: int, method: str, payment_id: str | None
) -> Refunded:
    said = {
        "account_id": account_id, "amount_minor": amount_minor, "method": method, "payment_id": payment_id
    }  # fmt: skip
    for field, value in said.items():
        if getattr(known, field) != value:
            message = f"a refund with this key has {field} {getattr(known, field)}, not {value}"
            refuse("differs", message, field)
    return Refunded(known.id, "exists", known.amount_minor, known.currency)


async def _parts(work: Work, account: Account, amount_minor: int, payment_id: str | None) -> dict[str, int]:
    """Which payments' rests the refund is made of, oldest first."""
    credit = await payment_rows.credits_of(work.connection, [account.id], by_hand_too=True)
    left, parts, waiting = amount_minor, {}, 0
    for one in credit.get(account.id, []):
        if payment_id not in {None, one.payment_id} or not left:
            continue
        payment = await payment_rows.find_payment(work.connection, one.payment_id)
        if payment is None:
            raise RuntimeError(f"credit of no payment {one.payment_id}")
        if payment.landed_in is not None and not await payment_rows.is_settled(work.connection, payment.id):
            waiting += one.unallocated_minor
            continue
        parts[one.payment_id] = min(left, one.unallocated_minor)
        left -= parts[one.payment_id]
    if left:
        there = format_money(amount_minor - left, account.currency)
        more = f"; {format_money(waiting, account.currency)} is still in transit" if waiting else ""
        whose = "the payment's rest" if payment_id else "the account's credit"
        message = f"{whose} is {there}{more}; take money off its invoices first, or refund less"
        refuse("not_enough", message, "amount_minor")
    return parts
