"""Money for claims that were given up: so much of them is owed again, and paid at once."""

from __future__ import annotations

from billing.domain.catalogue import Account
from billing.domain.ledger import Booking, recovery_entry
from billing.facts import InvoiceWrittenOff
from billing.store import ledger_rows, write_off_rows
from core.periods import local_date
from core.work import Work


async def recover_written_off(work: Work, account: Account, credit_minor: int) -> int:
    """Reopen written-off invoices, the oldest first, as far as the credit reaches; returns how far it did.

    The account is locked by this transaction. Forgiven debts are let be.
    """
    rows, entries, facts = [], [], []
    left = credit_minor
    today = local_date(work.now, account.time_zone)
    for one in await write_off_rows.still_given_up(work.connection, account.id):
        amount = min(left, int(one.amount_minor))
        if amount <= 0 or one.forgiven:
            continue
        left -= amount
        recovery_id = work.ids.new("rcv")
        rows.append({
            "id": recovery_id, "invoice_id": one.id, "account_id": account.id, "amount_minor": -amount,
            "forgiven": False, "reason": "paid after all", "on_date": today, "recorded_at": work.now,
            "recorded_by": work.actor,
        })  # fmt: skip
        booking = Booking(account.id, today, account.currency, account.entity_id)
        entries.append(recovery_entry(booking, recovery_id, one.number, amount))
        facts.append(InvoiceWrittenOff(one.id, account.id, one.number, -amount))
        await write_off_rows.set_open(work.connection, one.id, one.open_minor + amount, "finalised")
    await write_off_rows.insert_write_offs(work.connection, rows)
    await ledger_rows.book(work.connection, work.now, work.ids, entries)
    await work.publish(*facts)
    return credit_minor - left


async def keep_status(work: Work, account: Account) -> None:
    """An invoice on which nothing is open is not paid while a part of it is given up."""
    given_up = await write_off_rows.still_given_up(work.connection, account.id)
    await write_off_rows.mark_written_off(work.connection, [one.id for one in given_up])
