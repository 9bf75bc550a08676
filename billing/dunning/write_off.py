"""Give up a claim, by hand or at the ladder's end; what is paid after all is recovered."""

from __future__ import annotations

from typing import Any

from billing.domain.catalogue import Account
from billing.domain.ledger import Booking, write_off_entry
from billing.dunning.evaluate import relieve_dunning
from billing.facts import InvoiceWrittenOff
from billing.store import account_rows, invoice_rows, ledger_rows, write_off_rows
from core.money import format_money
from core.periods import local_date
from core.refusal import Refusal
from core.work import Work


async def write_off_invoice(work: Work, *, invoice: str, reason: str, forgive: bool = False) -> int | Refusal:
    """Give up what is open on an invoice (id or number) as a bad debt; returns how much.

    It no longer counts as overdue, and yet restores nobody: whoever was cut for it stays so until he pays,
    unless the debt is forgiven with ``forgive``. The same again is refused and changes nothing.
    """
    reason = reason.strip()
    if not reason or len(reason) > 500:
        return Refusal("reason_missing", "say in 1 to 500 characters why the claim is given up", "reason")
    found = await invoice_rows.find_invoice(work.connection, invoice)
    if found is None:
        return Refusal("unknown_invoice", f"there is no invoice {invoice}", "invoice")
    account = await account_rows.lock_account(work.connection, found.account_id)
    found = await invoice_rows.find_invoice(work.connection, found.id)  # now locked
    if account is None or found is None:
        raise RuntimeError(f"invoice {invoice} has no account")
    if found.status != "finalised" or found.open_minor <= 0:
        return Refusal("nothing_open", f"nothing is open on invoice {found.number}", "invoice")
    row = _row(work, account, found.id, found.open_minor, reason, forgiven=forgive)
    await write_off_rows.insert_write_offs(work.connection, [row])
    await write_off_rows.set_open(work.connection, found.id, 0, "written_off")
    entry = write_off_entry(_booking(work, account), row["id"], found.number, found.open_minor)
    await ledger_rows.book(work.connection, work.now, work.ids, [entry])
    await work.publish(InvoiceWrittenOff(found.id, account.id, found.number, found.open_minor))
    await work.audit(
        "billing.invoice_written_off", account.id, invoice=found.number, reason=reason, forgiven=forgive,
        amount=format_money(found.open_minor, account.currency),
    )  # fmt: skip
    await relieve_dunning(work, account.id, paid=False)
    return int(found.open_minor)


def _booking(work: Work, account: Account) -> Booking:
    return Booking(account.id, local_date(work.now, account.time_zone), account.currency, account.entity_id)


def _row(
    work: Work, account: Account, invoice_id: str, amount_minor: int, reason: str, *, forgiven: bool
) -> dict[str, Any]:
    return {
        "id": work.ids.new("wof"), "invoice_id": invoice_id, "account_id": account.id,
        "amount_minor": amount_minor, "forgiven": forgiven, "reason": reason,
        "on_date": local_date(work.now, account.time_zone), "recorded_at": work.now,
        "recorded_by": work.actor,
    }  # fmt: skip
