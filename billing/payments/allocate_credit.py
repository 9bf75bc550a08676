"""Use an account's unallocated money for its open invoices, oldest first."""

from __future__ import annotations

from billing.domain.allocation import Allocated, OpenInvoice, allocate_oldest_first
from billing.domain.catalogue import Account
from billing.domain.ledger import Booking, allocation_entry
from billing.store import dunning_rows, invoice_rows, ledger_rows, payment_rows
from core.periods import local_date
from core.work import Work


async def allocate_credit(work: Work, account: Account) -> list[Allocated]:
    """Allocate what there is; the account must be locked by this transaction."""
    credit = (await payment_rows.credits_of(work.connection, [account.id])).get(account.id, [])
    if not credit:
        return []
    waiting = (await dunning_rows.open_invoices(work.connection, [account.id]))[account.id]
    claims = [OpenInvoice(one.id, one.number, one.due_on, one.open_minor) for one in waiting]
    allocated = allocate_oldest_first(credit, claims)
    await record_allocations(work, account, allocated)
    return allocated


async def record_allocations(work: Work, account: Account, allocated: list[Allocated]) -> None:
    """Write the rows, the ledger entries and the new rests; a negative amount takes an allocation back."""
    rows = [
        {
            "id": work.ids.new("alc"), "payment_id": one.payment_id, "invoice_id": one.invoice_id,
            "amount_minor": one.amount_minor, "at": work.now,
        }
        for one in allocated
    ]  # fmt: skip
    booking = Booking(account.id, local_date(work.now, account.time_zone), account.currency)
    await payment_rows.insert_allocations(work.connection, rows)
    entries = [
        allocation_entry(booking, str(row["id"]), one.amount_minor)
        for row, one in zip(rows, allocated, strict=True)
    ]
    await ledger_rows.book(work.connection, work.now, work.ids, entries)
    paid: dict[str, int] = {}
    used: dict[str, int] = {}
    for one in allocated:
        paid[one.invoice_id] = paid.get(one.invoice_id, 0) + one.amount_minor
        used[one.payment_id] = used.get(one.payment_id, 0) + one.amount_minor
    await invoice_rows.change_open(work.connection, paid)
    await payment_rows.use_credit(work.connection, used)
