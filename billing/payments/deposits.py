"""Deposits: credit of a customer kept as security, and given back to his invoices or to him."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from billing.domain.ledger import Booking
from billing.domain.money_entries import DEPOSIT_METHOD, deposit_released_entry, deposit_taken_entry
from billing.dunning.evaluate import StageChange, relieve_dunning
from billing.payments.allocate_credit import allocate_credit
from billing.payments.refund import Refunded, order_refund
from billing.store import account_rows, ledger_rows, money_out_rows, payment_rows, subscription_rows
from core.money import format_money
from core.periods import local_date
from core.refusal import answering, granted, refuse
from core.work import Work


@dataclass(frozen=True, slots=True)
class Deposit:
    """A deposit taken. ``outcome`` is taken, or exists when its key was known."""

    deposit_id: str
    outcome: str
    amount_minor: int


@dataclass(frozen=True, slots=True)
class Release:
    """A deposit given back: the payment it became. ``outcome`` is released, or exists."""

    payment_id: str
    outcome: str
    amount_minor: int
    stage_change: StageChange | None = None
    refund: Refunded | None = None


@answering
async def take_deposit(
    work: Work, *, account_id: str, amount_minor: int, reason: str, idempotency_key: str,
    subscription_id: str | None = None,
) -> Deposit:  # fmt: skip
    """Keep ``amount_minor`` of the account's unallocated money as security; no rule allocates it any more.

    Record the payment first (kept in hand when invoices are open). The same key again answers ``exists``.
    """
    if isinstance(amount_minor, bool) or not 0 < amount_minor < 10**15:
        refuse("bad_amount", "a deposit must be more than nothing, in minor units", "amount_minor")
    if not reason.strip() or len(reason) > 300:
        refuse("reason_missing", "say what the deposit is for", "reason")
    if not 1 <= len(idempotency_key.strip()) <= 120:
        refuse("bad_key", "give the deposit an id of yours, 1 to 120 characters", "idempotency_key")
    account = await account_rows.lock_account(work.connection, account_id)
    if account is None:
        refuse("unknown_account", f"there is no account {account_id}", "account_id")
    known = await money_out_rows.deposit_with_key(work.connection, idempotency_key.strip())
    if known is not None:
        if (known.account_id, known.amount_minor) != (account_id, amount_minor):
            refuse("differs", "a deposit with this key has another amount or account", "idempotency_key")
        return Deposit(known.id, "exists", known.amount_minor)
    if subscription_id is not None:
        owned = await subscription_rows.find_subscription(work.connection, subscription_id)
        if owned is None or owned.account_id != account_id:
            message = f"account {account.number} has no subscription {subscription_id}"
            refuse("unknown_subscription", message, "subscription_id")
    credit = await payment_rows.credits_of(work.connection, [account_id], by_hand_too=True)
    parts, left = {}, amount_minor
    for one in credit.get(account_id, []):
        if left:
            parts[one.payment_id] = min(left, one.unallocated_minor)
            left -= parts[one.payment_id]
    if left:
        there = format_money(amount_minor - left, account.currency)
        message = f"the account has {there} that pays nothing; record the payment of the deposit first"
        refuse("not_enough", message, "amount_minor")
    today = local_date(work.now, account.time_zone)
    values: dict[str, Any] = {
        "id": work.ids.new("dep"), "idempotency_key": idempotency_key.strip(), "account_id": account_id,
        "subscription_id": subscription_id, "amount_minor": amount_minor, "currency": account.currency,
        "reason": reason.strip(), "taken_on": today, "recorded_at": work.now, "recorded_by": work.actor,
    }  # fmt: skip
    if not await money_out_rows.insert_deposit(work.connection, values):
        raise RuntimeError("a deposit is neither new nor there")
    await payment_rows.use_elsewhere(work.connection, "deposit", values["id"], parts, work.now)
    booking = Booking(account_id, today, account.currency, account.entity_id)
    await ledger_rows.book(
        work.connection, work.now, work.ids, [deposit_taken_entry(booking, values["id"], amount_minor)]
    )
    await work.audit(
        "billing.deposit_taken", account_id, deposit=values["id"], reason=reason.strip(),
        amount=format_money(amount_minor, account.currency),
    )  # fmt: skip
    return Deposit(values["id"], "taken", amount_minor)


@answering
async def release_deposit(
    work: Work, *, deposit_id: str, reason: str, idempotency_key: str, amount_minor: int | None = None,
    refund_by: str | None = None,
) -> Release:  # fmt: skip
    """Give back ``amount_minor`` (None: all that is held) of a deposit or of an invoice's paid deposit line.

    It pays the account's invoices by its rule; with ``refund_by`` (cash, cheque, transfer) it is refunded.
    """
    if not reason.strip():
        refuse("reason_missing", "say why the deposit is given back", "reason")
    key = f"{DEPOSIT_METHOD}:{idempotency_key.strip()}"
    if not idempotency_key.strip() or len(key) > 100:
        refuse("bad_key", "give the release an id of yours, 1 to 90 characters", "idempotency_key")
    owner = await money_out_rows.deposit_owner(work.connection, deposit_id)
    account = None if owner is None else await account_rows.lock_account(work.connection, owner)
    if account is None:
        refuse("unknown_deposit", f"there is no deposit {deposit_id}", "deposit_id")
    known = await payment_rows.payment_with_key(work.connection, key)
    if known is not None:
        made_of = await money_out_rows.release_of(work.connection, known.id)
        if (
            made_of is None
            or made_of.deposit_id != deposit_id
            or amount_minor not in {None, known.amount_minor}
        ):
            refuse("differs", "another release was recorded with this key", "idempotency_key")
        return Release(known.id, "exists", known.amount_minor)
    every = await money_out_rows.deposits_of(work.connection, account.id)
    held = next((one.held_minor for one in every if one.id == deposit_id), 0)
    amount = held if amount_minor is None else amount_minor
    if isinstance(amount, bool) or not 0 < amount <= held:
        message = f"of this deposit {format_money(held, account.currency)} is held"
        refuse("bad_amount", message, "amount_minor")
    today = local_date(work.now, account.time_zone)
    payment_id = work.ids.new("pay")
    await payment_rows.insert_payment(
        work.connection,
        {
            "id": payment_id, "account_id": account.id, "idempotency_key": key, "method": DEPOSIT_METHOD,
            "amount_minor": amount, "currency": account.currency, "received_on": today,
            "received_at": work.now, "recorded_by": work.actor, "note": reason.strip(),
            "unallocated_minor": amount, "reversed_at": None, "reversal_reason": None,
            "by_hand": refund_by is not None,
        },
    )  # fmt: skip
    await money_out_rows.insert_release(
        work.connection,
        {
            "payment_id": payment_id, "deposit_id": deposit_id, "amount_minor": amount,
            "reason": reason.strip(), "recorded_at": work.now, "recorded_by": work.actor,
        },
    )  # fmt: skip
    booking = Booking(account.id, today, account.currency, account.entity_id)
    await ledger_rows.book(
        work.connection, work.now, work.ids, [deposit_released_entry(booking, payment_id, amount)]
    )
    await work.audit(
        "billing.deposit_released", account.id, deposit=deposit_id, reason=reason.strip(),
        amount=format_money(amount, account.currency), refund_by=refund_by,
    )  # fmt: skip
    if refund_by is not None:
        back = granted(await order_refund(
            work, account_id=account.id, amount_minor=amount, method=refund_by, reason=reason,
            idempotency_key=key, payment_id=payment_id,
        ))  # fmt: skip
        return Release(payment_id, "released", amount, None, back)
    await allocate_credit(work, account)
    return Release(payment_id, "released", amount, await relieve_dunning(work, account.id))
