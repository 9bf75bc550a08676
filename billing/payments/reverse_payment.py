"""Take a payment back: chargeback, bounced cheque, typing error. Everything is undone by new rows."""

from __future__ import annotations

from dataclasses import dataclass

from billing.clock_doubt import find_clock_doubt
from billing.config import BillingSettings
from billing.domain.allocation import Allocated
from billing.domain.ledger import CREDIT_METHOD, Booking, reversal_entry
from billing.dunning.evaluate import StageChange, reconsider_dunning
from billing.facts import PaymentReversed
from billing.payments.allocate_credit import allocate_credit, record_allocations
from billing.store import account_rows, ledger_rows, payment_rows
from core.periods import local_date
from core.refusal import Refusal
from core.work import Work


@dataclass(frozen=True, slots=True)
class Reversal:
    """What a reversal reopened: ``(invoice number, minor units)``."""

    payment_id: str
    reopened: tuple[tuple[str, int], ...]
    stage_change: StageChange | None


async def reverse_payment(
    work: Work, *, payment_id: str, reason: str, settings: BillingSettings | None = None
) -> Reversal | Refusal:
    """Reverse the payment whole. Its invoices are open again with their own due dates.

    Days on which the money was held do not count as overdue. Other credit of the account fills the gap first;
    then dunning is decided anew, at once. Refused while the clock is doubted: the days on which the money was
    held would be wrong for good, and with them the ladder.
    """
    reason = reason.strip()
    if not reason:
        return Refusal("reason_missing", "say why the payment is reversed", "reason")
    found = await payment_rows.find_payment(work.connection, payment_id)
    if found is None:
        return Refusal("unknown_payment", f"there is no payment {payment_id}", "payment_id")
    account = await account_rows.lock_account(work.connection, found.account_id)
    found = await payment_rows.find_payment(work.connection, payment_id)  # now locked
    if account is None or found is None:
        raise RuntimeError(f"payment {payment_id} has no account")
    if found.method == CREDIT_METHOD:
        return Refusal("not_money", "this is the credit of an invoice, not a payment", "payment_id")
    if found.reversed_at is not None:
        message = f"the payment was reversed before: {found.reversal_reason}"
        return Refusal("already_reversed", message, "payment_id")
    doubt = await find_clock_doubt(work.connection, work.now, settings or BillingSettings())
    if doubt is not None:
        return doubt
    allocated = await payment_rows.allocated_of(work.connection, payment_id)
    undone = [Allocated(payment_id, invoice_id, -amount) for invoice_id, _, amount in allocated]
    await record_allocations(work, account, undone)
    await payment_rows.mark_reversed(work.connection, payment_id, work.now, reason)
    booking = Booking(account.id, local_date(work.now, account.time_zone), account.currency)
    entry = reversal_entry(booking, payment_id, found.method, found.amount_minor, reason)
    await ledger_rows.book(work.connection, work.now, work.ids, [entry])
    await allocate_credit(work, account)
    await work.publish(PaymentReversed(payment_id, account.id, found.amount_minor))
    await work.audit("billing.payment_reversed", account.id, payment=payment_id, reason=reason)
    change = await reconsider_dunning(work, account.id, clock_doubted=False)
    reopened = tuple((number, amount) for _, number, amount in allocated)
    return Reversal(payment_id, reopened, change)
