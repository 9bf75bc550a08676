"""Finalise drafts: number, write and book them, and use what credit there is, in the caller's transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from billing.config import BillingSettings
from billing.domain.catalogue import Account
from billing.domain.invoicing import CREDIT_NOTE, InvoiceDraft, LineDraft
from billing.domain.ledger import (
    CREDIT_METHOD,
    BilledPart,
    Booking,
    Entry,
    credit_entry,
    credit_note_entry,
    invoice_entry,
)
from billing.dunning.evaluate import relieve_dunning
from billing.facts import InvoiceFinalised
from billing.invoicing.line_text import bill_to
from billing.payments.allocate_credit import allocate_credit
from billing.store import entity_rows, invoice_rows, ledger_rows, number_rows, payment_rows
from core.work import Work


@dataclass(frozen=True, slots=True)
class Issued:
    """A finalised invoice of this block."""

    id: str
    number: str
    draft: InvoiceDraft

    @property
    def booking(self) -> Booking:
        """Under whom, when and in which currency it is booked."""
        account = self.draft.account
        return Booking(account.id, self.draft.issued_on, account.currency, account.entity_id)


async def finalise(
    work: Work,
    drafts: Sequence[InvoiceDraft],
    settings: BillingSettings,
    run_of: Callable[[InvoiceDraft], str | None] = lambda draft: None,
) -> list[Issued]:
    """Number the drafts, write them, book them and tell the house. ``run_of``: a draft's bill run."""
    issued = await _number(work, drafts, settings)
    lines, charges = _line_rows(work, issued)
    await invoice_rows.insert_invoices(
        work.connection, [_invoice_row(work, one, run_of(one.draft)) for one in issued], lines, charges
    )
    await ledger_rows.book(work.connection, work.now, work.ids, [_entry(one) for one in issued])
    await work.publish(
        *(InvoiceFinalised(one.id, one.draft.account.id, one.number, one.draft.total_minor) for one in issued)
    )
    return issued


async def _number(work: Work, drafts: Sequence[InvoiceDraft], settings: BillingSettings) -> list[Issued]:
    """Each draft with the next number of its own series, in their order."""
    given: dict[str, Iterator[str]] = {}
    entities = {one.account.entity_id for one in drafts} - {None}
    prefixes = await _prefixes(work) if entities else {}
    for series, count in Counter(series_of(draft) for draft in drafts).items():
        house = settings.credit_note_prefix if series.startswith(CREDIT_NOTE) else settings.invoice_prefix
        prefix = prefixes[series] if ":" in series else house
        given[series] = iter(await number_rows.take_numbers(work.connection, series, prefix, count))
    return [Issued(work.ids.new("inv"), next(given[series_of(draft)]), draft) for draft in drafts]


async def _prefixes(work: Work) -> dict[str, str]:
    """The prefix of each legal entity's two series."""
    found: dict[str, str] = {}
    for one in await entity_rows.list_entities(work.connection):
        found[f"{number_rows.INVOICE_SERIES}:{one.id}"] = one.invoice_prefix
        found[f"{number_rows.CREDIT_NOTE_SERIES}:{one.id}"] = one.credit_note_prefix
    return found


def series_of(draft: InvoiceDraft) -> str:
    """Invoices and credit notes are numbered apart, and each legal entity has its own series."""
    kind = number_rows.CREDIT_NOTE_SERIES if draft.kind == CREDIT_NOTE else number_rows.INVOICE_SERIES
    return kind if draft.account.entity_id is None else f"{kind}:{draft.account.entity_id}"


def _entry(issued: Issued) -> Entry:
    draft = issued.draft
    parts = [
        BilledPart(line.revenue, line.amount_minor, line.period, line.deferred)
        for line in draft.lines
        if line.revenue is not None
    ]
    make = credit_note_entry if draft.kind == CREDIT_NOTE else invoice_entry
    return make(issued.booking, issued.id, issued.number, parts, draft.tax_by_jurisdiction())


def _invoice_row(work: Work, issued: Issued, run_id: str | None) -> dict[str, Any]:
    draft = issued.draft
    total = draft.total_minor
    return {
        "id": issued.id, "number": issued.number, "kind": draft.kind, "account_id": draft.account.id,
        "entity_id": draft.account.entity_id, "corrects_id": draft.corrects_id,
        "cycle_start": draft.cycle.start, "cycle_end": draft.cycle.end, "issued_on": draft.issued_on,
        "due_on": draft.due_on, "currency": draft.account.currency, "net_minor": draft.net_minor,
        "tax_minor": draft.tax_minor, "total_minor": total, "open_minor": max(total, 0),
        "status": "finalised" if total > 0 else "paid" if total == 0 else "credited",
        "bill_to": bill_to(draft.account), "bill_run_id": run_id, "created_at": work.now,
        "taxed_outside": draft.taxed_outside,
    }  # fmt: skip


def _line_rows(work: Work, issued: Sequence[Issued]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    lines: list[dict[str, Any]] = []
    charges: list[dict[str, Any]] = []
    for one in issued:
        for position, line in enumerate(one.draft.lines, start=1):
            row = _line_row(work, one.id, position, line)
            lines.append(row)
            if line.charge is not None:
                charge = line.charge
                charges.append({
                    "id": work.ids.new("rch"), "subscription_id": line.subscription_id,
                    "plan_version_id": line.plan_version_id, "item_code": line.item_code,
                    "period_start": charge.part.start, "period_end": charge.part.end,
                    "usage_close_id": charge.close_id, "octets_in": charge.octets_in,
                    "octets_out": charge.octets_out, "amount_minor": line.quoted_minor,
                    "invoice_line_id": row["id"], "closes": charge.closes,
                })  # fmt: skip
    return lines, charges


def _line_row(work: Work, invoice_id: str, position: int, line: LineDraft) -> dict[str, Any]:
    return {
        "id": work.ids.new("lin"), "invoice_id": invoice_id, "position": position, "kind": line.kind,
        "description": line.description, "quantity": line.quantity, "amount_minor": line.amount_minor,
        "subscription_id": line.subscription_id, "plan_version_id": line.plan_version_id,
        "item_code": line.item_code, "charged_for": line.charged_for, "charge_id": line.charge_id,
        "quoted_minor": line.quoted_minor, "tax_class": line.tax_class, "tax_included": line.tax_included,
        "tax_date": line.tax_date, "revenue": line.revenue, "deferred": line.deferred,
        "period_start": line.period.start, "period_end": line.period.end, "explanation": line.explanation,
    }  # fmt: skip


async def use_credit(work: Work, accounts: Mapping[str, Account], issued: Sequence[Issued]) -> None:
    """Negative invoices become credit; what credit there is pays what is open and may relieve dunning.

    The credit of a credit note is for the invoice that it corrects, as far as that is open.
    """
    for one in issued:
        if one.draft.total_minor < 0:
            await _turn_into_credit(work, one)
    credit = await payment_rows.credits_of(work.connection, [one.draft.account.id for one in issued])
    for account_id in sorted(credit):
        first = [one.draft.corrects_id for one in issued if one.draft.account.id == account_id]
        if await allocate_credit(work, accounts[account_id], first=[one for one in first if one is not None]):
            await relieve_dunning(work, account_id)


async def _turn_into_credit(work: Work, issued: Issued) -> None:
    payment_id = work.ids.new("pay")
    amount = -issued.draft.total_minor
    await payment_rows.insert_payment(
        work.connection,
        {
            "id": payment_id, "account_id": issued.draft.account.id,
            "idempotency_key": f"{CREDIT_METHOD}:{issued.id}", "method": CREDIT_METHOD,
            "amount_minor": amount, "currency": issued.draft.account.currency,
            "received_on": issued.draft.issued_on, "received_at": work.now, "recorded_by": work.actor,
            "note": f"credit of invoice {issued.number}", "unallocated_minor": amount, "reversed_at": None,
            "reversal_reason": None,
        },
    )  # fmt: skip
    entry = credit_entry(issued.booking, payment_id, issued.number, amount)
    await ledger_rows.book(work.connection, work.now, work.ids, [entry])
