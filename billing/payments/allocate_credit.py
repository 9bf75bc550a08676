"""Use an account's unallocated money for its open invoices, by the account's rule."""

from __future__ import annotations

from collections.abc import Sequence

from billing.domain.allocation import Allocated, OpenInvoice, allocate_by_rule, allocate_oldest_first
from billing.domain.catalogue import Account
from billing.domain.ledger import Booking, allocation_entry
from billing.payments.recover_written_off import keep_status, recover_written_off
from billing.store import dunning_rows, invoice_rows, ledger_rows, payment_rows
from core.periods import local_date
from core.work import Work


async def allocate_credit(work: Work, account: Account, *, first: Sequence[str] = ()) -> list[Allocated]:
    """Allocate what there is, to the invoices ``first`` (ids) before all others.

    The account must be locked by this transaction. What an operator keeps in hand is left alone.
    """
    credit = (await payment_rows.credits_of(work.connection, [account.id])).get(account.id, [])
    if not credit:
        return []
    claims = await open_claims(work, account.id)
    rule = await payment_rows.rule_of(work.connection, account.id)
    allocated = allocate_by_rule(rule, credit, claims, first)
    await record_allocations(work, account, allocated)
    rest = sum(one.unallocated_minor for one in credit) - sum(one.amount_minor for one in allocated)
    if rest > 0 and await recover_written_off(work, account, rest):
        allocated += await _pay_recovered(work, account)
    return allocated


async def _pay_recovered(work: Work, account: Account) -> list[Allocated]:
    """What was given up is owed again: the rest of the credit is for it."""
    credit = (await payment_rows.credits_of(work.connection, [account.id])).get(account.id, [])
    allocated = allocate_oldest_first(credit, await open_claims(work, account.id))
    await record_allocations(work, account, allocated)
    await keep_status(work, account)
    return allocated


async def open_claims(work: Work, account_id: str) -> list[OpenInvoice]:
    """What the account's invoices still ask for."""
    waiting = (await dunning_rows.open_invoices(work.connection, [account_id]))[account_id]
    return [OpenInvoice(one.id, one.number, one.due_on, one.open_minor) for one in waiting]


async def record_allocations(
    work: Work, account: Account, allocated: Sequence[Allocated], sources: Sequence[str | None] = ()
) -> None:
    """Write the rows, the ledger entries and the new rests; a negative amount takes an allocation back.

    ``sources``: for each, the order it follows; none for what the rule decides.
    """
    named = list(sources) + [None] * (len(allocated) - len(sources))
    rows = [
        {
            "id": work.ids.new("alc"), "payment_id": one.payment_id, "invoice_id": one.invoice_id,
            "amount_minor": one.amount_minor, "at": work.now, "source": source,
        }
        for one, source in zip(allocated, named, strict=True)
    ]  # fmt: skip
    booking = Booking(
        account.id, local_date(work.now, account.time_zone), account.currency, account.entity_id
    )
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
