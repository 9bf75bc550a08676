"""Take a payment back, whole or in part: chargeback, bounced cheque, typing error. By new rows alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy.engine import Row

from billing.clock_doubt import find_clock_doubt
from billing.config import BillingSettings
from billing.domain.allocation import retract
from billing.domain.catalogue import Account
from billing.domain.ledger import CREDIT_METHOD, Booking
from billing.domain.money_entries import DEPOSIT_METHOD, cash, taken_back_entry
from billing.dunning.evaluate import StageChange, reconsider_dunning, relieve_dunning
from billing.facts import PaymentRestored, PaymentReversed
from billing.invoicing.add_charge import add_charge, withdraw_charge
from billing.payments.allocate_credit import allocate_credit, record_allocations
from billing.store import account_rows, charge_rows, ledger_rows, money_out_rows, payment_rows
from core.money import format_money
from core.periods import local_date
from core.refusal import answering, granted, refuse
from core.work import Work

KINDS = ("mistake", "nsf", "chargeback", "ach_return")
_FEE_WORDS = {
    "nsf": "Fee for a returned payment", "ach_return": "Fee for a returned payment",
    "chargeback": "Fee for a disputed payment", "mistake": "Fee for a reversed payment",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reversal:
    """What a reversal took and reopened: ``(invoice number, minor units)``.

    ``outcome`` is reversed, or exists when the same news came before. ``fee_charge_id``: the fee's charge.
    """

    payment_id: str
    reopened: tuple[tuple[str, int], ...]
    stage_change: StageChange | None
    reversal_id: str = ""
    amount_minor: int = 0
    outcome: str = "reversed"
    fee_charge_id: str | None = None


@answering
async def reverse_payment(
    work: Work,
    *,
    payment_id: str,
    reason: str,
    settings: BillingSettings | None = None,
    kind: str = "mistake",
    amount_minor: int | None = None,
    source: str | None = None,
    happened_on: date | None = None,
    fee_minor: int | None = None,
) -> Reversal:
    """Reverse ``amount_minor`` of the payment (None: all that is left of it). Its invoices are open again.

    Days on which the money was held do not count as overdue. Other credit of the account fills the gap first;
    then dunning is decided anew, at once. ``source``: the caller's id of the news (of a dispute, a return);
    the same again answers ``exists``. ``fee_minor`` (None: as the settings say for ``kind``) comes with the
    next invoice. Refused while the clock is doubted: the days on which the money was held would be wrong for
    good, and with them the ladder.
    """
    settings = settings or BillingSettings()
    reason = reason.strip()
    if not reason:
        refuse("reason_missing", "say why the payment is reversed", "reason")
    if kind not in KINDS:
        refuse("bad_kind", f"{kind!r} is not one of {', '.join(KINDS)}", "kind")
    if source is not None and not 1 <= len(source.strip()) <= 120:
        refuse("bad_source", "name the news in 1 to 120 characters", "source")
    account, found = await _lock(work, payment_id)
    known = None if source is None else await money_out_rows.reversal_of_source(work.connection, source)
    if known is not None:
        return _known_before(known, payment_id, amount_minor)
    _refuse_whole(found)
    doubt = await find_clock_doubt(work.connection, work.now, settings)
    if doubt is not None:
        granted(doubt)
    claims = await payment_rows.claims_of(work.connection, payment_id)
    held = found.unallocated_minor + sum(amount for _, amount in claims)
    amount = held if amount_minor is None else amount_minor
    if isinstance(amount, bool) or not 0 < amount <= held:
        message = (
            f"of this payment {format_money(held, account.currency)} is left to take back; what was refunded "
            "or is kept as a deposit must come back first"
        )
        refuse("bad_amount", message, "amount_minor")
    taken = retract(payment_id, amount, found.unallocated_minor, claims)
    today = local_date(work.now, account.time_zone)
    reversal_id = work.ids.new("rev")
    row: dict[str, Any] = {
        "id": reversal_id, "payment_id": payment_id, "kind": kind, "amount_minor": amount, "reason": reason,
        "source": source or f"hand:{reversal_id}", "undoes": None, "happened_on": happened_on or today,
        "recorded_at": work.now, "recorded_by": work.actor,
    }  # fmt: skip
    if not await money_out_rows.insert_reversal(work.connection, row):
        raise RuntimeError("a reversal is neither new nor there")
    await record_allocations(work, account, taken.undone)
    await payment_rows.use_elsewhere(work.connection, "reversal", reversal_id, {payment_id: amount}, work.now)
    if amount == held:
        await payment_rows.mark_reversed(work.connection, payment_id, work.now, reason)
    booking = Booking(account.id, today, account.currency, account.entity_id)
    lies_in = await where_it_lies(work, found)
    await ledger_rows.book(
        work.connection, work.now, work.ids,
        [taken_back_entry(booking, reversal_id, lies_in, amount, reason)],
    )  # fmt: skip
    fee = await _charge_fee(work, account, reversal_id, kind=kind, fee_minor=fee_minor, settings=settings)
    await allocate_credit(work, account)
    await work.publish(PaymentReversed(payment_id, account.id, amount))
    await work.audit(
        "billing.payment_reversed", account.id, payment=payment_id, reason=reason, kind=kind,
        amount=format_money(amount, account.currency),
    )  # fmt: skip
    change = await reconsider_dunning(work, account.id, clock_doubted=False)
    numbers = {claim.id: claim.number for claim, _ in claims}
    reopened = tuple((numbers[one.invoice_id], -one.amount_minor) for one in reversed(taken.undone))
    return Reversal(payment_id, reopened, change, reversal_id, amount, "reversed", fee)


@answering
async def win_dispute(work: Work, *, reversal_id: str, reason: str) -> Reversal:
    """The money of a reversal came back after all: it is credit again, and the fee is given back."""
    if not reason.strip():
        refuse("reason_missing", "say how the money came back", "reason")
    lost = await money_out_rows.find_reversal(work.connection, reversal_id)
    if lost is None or lost.kind == "won":
        refuse("unknown_reversal", f"there is no reversal {reversal_id}", "reversal_id")
    account, found = await _lock(work, lost.payment_id)
    today = local_date(work.now, account.time_zone)
    row: dict[str, Any] = {
        "id": work.ids.new("rev"), "payment_id": lost.payment_id, "kind": "won",
        "amount_minor": -lost.amount_minor, "reason": reason.strip(), "source": f"won:{reversal_id}",
        "undoes": reversal_id, "happened_on": today, "recorded_at": work.now, "recorded_by": work.actor,
    }  # fmt: skip
    if not await money_out_rows.insert_reversal(work.connection, row):
        return Reversal(lost.payment_id, (), None, reversal_id, lost.amount_minor, "exists")
    await payment_rows.use_elsewhere(
        work.connection, "reversal", row["id"], {lost.payment_id: -lost.amount_minor}, work.now
    )
    await payment_rows.mark_returned(work.connection, lost.payment_id)
    booking = Booking(account.id, today, account.currency, account.entity_id)
    lies_in = await where_it_lies(work, found)
    entry = taken_back_entry(booking, row["id"], lies_in, -lost.amount_minor, reason.strip())
    await ledger_rows.book(work.connection, work.now, work.ids, [entry])
    fee = await _give_fee_back(work, account, reversal_id)
    await allocate_credit(work, account)
    await work.publish(PaymentRestored(lost.payment_id, account.id, lost.amount_minor))
    await work.audit(
        "billing.dispute_won", account.id, payment=lost.payment_id, reason=reason.strip(),
        amount=format_money(lost.amount_minor, account.currency),
    )  # fmt: skip
    change = await relieve_dunning(work, account.id)
    return Reversal(lost.payment_id, (), change, row["id"], lost.amount_minor, "won", fee)


async def where_it_lies(work: Work, payment: Row[Any]) -> str:
    """The ledger account that the payment's money is in now: in transit until it is settled."""
    if payment.landed_in is None or await payment_rows.is_settled(work.connection, payment.id):
        return cash(payment.method)
    return str(payment.landed_in)


async def _lock(work: Work, payment_id: str) -> tuple[Account, Row[Any]]:
    found = await payment_rows.find_payment(work.connection, payment_id)
    if found is None:
        refuse("unknown_payment", f"there is no payment {payment_id}", "payment_id")
    account = await account_rows.lock_account(work.connection, found.account_id)
    found = await payment_rows.find_payment(work.connection, payment_id)  # now locked
    if account is None or found is None:
        raise RuntimeError(f"payment {payment_id} has no account")
    return account, found


def _refuse_whole(found: Row[Any]) -> None:
    if found.method == CREDIT_METHOD:
        refuse("not_money", "this is the credit of an invoice, not a payment", "payment_id")
    if found.method == DEPOSIT_METHOD:
        refuse("not_money", "this is a deposit that was released, not a payment", "payment_id")
    if found.reversed_at is not None:
        message = f"the payment was reversed before: {found.reversal_reason}"
        refuse("already_reversed", message, "payment_id")


def _known_before(known: Row[Any], payment_id: str, amount_minor: int | None) -> Reversal:
    if known.payment_id != payment_id or amount_minor not in {None, known.amount_minor}:
        message = (
            f"this news was recorded for payment {known.payment_id} with {known.amount_minor} minor units"
        )
        refuse("differs", message, "source")
    return Reversal(known.payment_id, (), None, known.id, known.amount_minor, "exists")


async def _charge_fee(
    work: Work,
    account: Account,
    reversal_id: str,
    *,
    kind: str,
    fee_minor: int | None,
    settings: BillingSettings,
) -> str | None:
    fee = settings.returned_payment_fee(kind, account.currency) if fee_minor is None else fee_minor
    if fee < 0:
        refuse("bad_fee", "a fee is nothing or more", "fee_minor")
    if fee == 0:
        return None
    return granted(await add_charge(
        work, account_id=account.id, kind="nsf_fee", description=_FEE_WORDS[kind], amount_minor=fee,
        tax_class=settings.fee_tax_class, revenue="fees", source=f"nsf:{reversal_id}",
        explanation={"reversal": reversal_id, "kind": kind},
    ))  # fmt: skip


async def _give_fee_back(work: Work, account: Account, reversal_id: str) -> str | None:
    charge = await charge_rows.charge_of_source(work.connection, f"nsf:{reversal_id}")
    if charge is None or charge.withdrawn_at is not None:
        return None
    if not await charge_rows.is_billed(work.connection, charge.id):
        granted(await withdraw_charge(work, charge_id=charge.id, reason="the dispute was won"))
        return None
    return granted(await add_charge(
        work, account_id=account.id, kind="nsf_fee", description="Fee given back: the dispute was won",
        amount_minor=-charge.quoted_minor, tax_class=charge.tax_class, revenue="fees",
        source=f"nsf_back:{reversal_id}", explanation={"reversal": reversal_id},
    ))  # fmt: skip
