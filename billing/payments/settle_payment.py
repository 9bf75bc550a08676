"""Money that was in transit has arrived on an account of the house."""

from __future__ import annotations

from datetime import date

from billing.domain.ledger import Booking
from billing.domain.money_entries import settled_entry
from billing.store import account_rows, ledger_rows, money_out_rows, payment_rows
from core.periods import local_date
from core.refusal import Refusal
from core.work import Work

_TRANSIT = "in_transit:"


async def settle_payment(work: Work, *, payment_id: str, settled_on: date) -> bool | Refusal:
    """Move what was not taken back meanwhile from transit to cash; False when that was done before."""
    found = await payment_rows.find_payment(work.connection, payment_id)
    if found is None or found.landed_in is None or not found.landed_in.startswith(_TRANSIT):
        return Refusal("not_in_transit", f"payment {payment_id} is not in transit", "payment_id")
    account = await account_rows.lock_account(work.connection, found.account_id)
    if account is None:
        raise RuntimeError(f"payment {payment_id} has no account")
    gone = sum(row.amount_minor for row in await money_out_rows.reversals_of(work.connection, payment_id))
    left = found.amount_minor - gone
    row = {
        "payment_id": payment_id, "settled_on": settled_on, "amount_minor": left, "recorded_at": work.now
    }  # fmt: skip
    if not await payment_rows.insert_settlement(work.connection, row):
        return False
    if left:
        booking = Booking(
            account.id, local_date(work.now, account.time_zone), account.currency, account.entity_id
        )
        name = found.landed_in.removeprefix(_TRANSIT)
        entry = settled_entry(booking, payment_id, name, found.method, left)
        await ledger_rows.book(work.connection, work.now, work.ids, [entry])
    return True
