"""Make a batch's ACH file, once: the same octets ever after, and each debit a payment in transit."""

from __future__ import annotations

import hashlib
import string
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Row

from billing.clock_doubt import find_clock_doubt
from billing.config import BillingSettings
from billing.domain.ach import PRENOTE_DAYS, Order, earliest_effective, file_of
from billing.domain.banking_days import add_banking_days
from billing.domain.money_entries import in_transit
from billing.domain.nacha import write_nacha
from billing.payments.ach.define_originator import read_originator
from billing.payments.ach.keep_bank_account import NUMBER_PURPOSE
from billing.payments.receive_payment import receive_payment
from billing.store import account_rows, ach_rows, dunning_rows, number_rows
from core.periods import zone
from core.refusal import Refused, answering, granted, refuse
from core.secrets import Sealer, Secret
from core.work import Work

FILE_PURPOSE = "billing.ach_file"
_TRACES = "ach_trace"
_MODIFIERS = string.ascii_uppercase + string.digits


@dataclass(frozen=True, slots=True)
class MadeFile:
    """The file for the bank. ``outcome`` is made, or exists when it was made before."""

    name: str
    content: bytes
    sha256: str
    outcome: str


@answering
async def make_ach_file(
    work: Work, sealer: Sealer, *, batch_id: str, settings: BillingSettings | None = None
) -> MadeFile:
    """The file of an approved batch. What was paid meanwhile is left out; a day that passed is moved on."""
    batch = await ach_rows.lock_batch(work.connection, batch_id)
    if batch is None:
        refuse("unknown_batch", f"there is no batch {batch_id}", "batch_id")
    if batch.state == "sent":
        content = sealer.open(batch.file_sealed, FILE_PURPOSE).reveal().encode("ascii")
        return MadeFile(batch.file_name, content, batch.file_sha256, "exists")
    if batch.state != "approved":
        refuse("not_approved", f"the batch is {batch.state}; it must be approved first", "batch_id")
    doubt = await find_clock_doubt(work.connection, work.now, settings or BillingSettings())
    if doubt is not None:
        raise Refused(doubt)
    row = await ach_rows.find_originator(work.connection, batch.originator_id)
    if row is None:
        raise RuntimeError(f"batch {batch_id} has no originator")
    originator = read_originator(row.profile)
    made_at = work.now.astimezone(zone(originator.time_zone)).replace(tzinfo=None)
    today = made_at.date()
    effective_on = max(batch.effective_on, earliest_effective(today, same_day=batch.same_day))
    entries = await _still_owed(work, batch_id)
    if not entries:
        refuse("nothing_left", "everything in it was paid meanwhile; cancel the batch", "batch_id")
    used = await ach_rows.modifiers_used(work.connection, row.id, today)
    modifier = next((one for one in _MODIFIERS if one not in used), None)
    if modifier is None:
        refuse("too_many_files", "36 files were made today; the next can be made tomorrow", "batch_id")
    numbers = await number_rows.take_numbers(work.connection, _TRACES, "", len(entries))
    file, traces = file_of(
        originator, [_order(sealer, one, amount) for one, amount in entries], effective_on, made_at,
        modifier=modifier, first_trace=int(numbers[0]), same_day=batch.same_day,
    )  # fmt: skip
    content = write_nacha(file)
    settles_on = add_banking_days(effective_on, originator.settle_days)
    made = MadeFile(
        f"ach-{today:%Y%m%d}-{modifier}.txt", content, hashlib.sha256(content).hexdigest(), "made"
    )
    await ach_rows.change_batch(
        work.connection, batch_id, state="sent", sent_at=work.now, sent_by=work.actor,
        effective_on=effective_on, settles_on=settles_on, file_name=made.name, file_made_on=today,
        file_modifier=modifier, file_sha256=made.sha256,
        file_sealed=sealer.seal(Secret(content.decode("ascii")), FILE_PURPOSE),
    )  # fmt: skip
    for entry, amount in entries:
        await _send(work, entry, amount, traces[entry.id])
    prenoted = [entry.bank_account_id for entry, _ in entries if entry.kind == "prenote"]
    usable = add_banking_days(effective_on, PRENOTE_DAYS)
    await ach_rows.set_usable_from(work.connection, dict.fromkeys(prenoted, usable))
    await work.audit(
        "billing.ach_file_made", batch_id, file=made.name, sha256=made.sha256, entries=len(entries),
        effective_on=str(effective_on),
    )  # fmt: skip
    return made


async def _still_owed(work: Work, batch_id: str) -> list[tuple[Row[Any], int]]:
    """The entries with what they are to debit now; what is owed no more is taken out."""
    entries = [one for one in await ach_rows.entries_of(work.connection, batch_id) if one.state == "drafted"]
    kept = []
    ids = sorted({one.account_id for one in entries})
    for start in range(0, len(ids), 500):
        await account_rows.lock_accounts(work.connection, ids[start : start + 500])
    unpaid = await dunning_rows.open_invoices(work.connection, ids)
    for one in entries:
        asks = {claim.id: claim.open_minor for claim in unpaid[one.account_id]}
        amount = min(one.amount_minor, sum(asks.get(invoice_id, 0) for invoice_id in one.invoices))
        if one.bank_account_ended_at is not None or (one.kind == "debit" and amount == 0):
            await ach_rows.set_entry(work.connection, one.id, state="removed")
        else:
            kept.append((one, amount))
    return kept


def _order(sealer: Sealer, entry: Row[Any], amount: int) -> Order:
    number = sealer.open(entry.number_sealed, NUMBER_PURPOSE).reveal()
    return Order(
        entry.id, entry.sec_code, entry.kind, entry.account_type, entry.routing_number, number, amount,
        entry.account_number, entry.holder_name,
    )  # fmt: skip


async def _send(work: Work, entry: Row[Any], amount: int, trace: str) -> None:
    if entry.kind == "prenote":
        await ach_rows.set_entry(work.connection, entry.id, state="settled", trace_number=trace)
        return
    receipt = granted(
        await receive_payment(
            work, account_id=entry.account_id, amount_minor=amount, currency="USD", method="ach",
            idempotency_key=f"ach:{entry.id}", reference=trace, landed_in=in_transit("ach"),
            first=entry.invoices,
        )
    )  # fmt: skip
    await ach_rows.set_entry(
        work.connection, entry.id, state="in_flight", trace_number=trace, amount_minor=amount,
        payment_id=receipt.payment_id,
    )  # fmt: skip
