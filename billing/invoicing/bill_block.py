"""One block of a bill run: some accounts, one transaction, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from billing.config import BillingSettings
from billing.domain.catalogue import Account
from billing.domain.invoicing import InvoiceDraft, LineDraft, MeasuredUsage, next_turn
from billing.domain.ledger import CREDIT_METHOD, BilledPart, Booking, Entry, credit_entry, invoice_entry
from billing.dunning.evaluate import relieve_dunning
from billing.facts import InvoiceFinalised
from billing.invoicing.draft_invoice import DraftPlan, finish_draft, load_record, plan_draft
from billing.payments.allocate_credit import allocate_credit
from billing.ports import UsageClaim, UsageSource
from billing.store import (
    account_rows,
    invoice_rows,
    ledger_rows,
    number_rows,
    payment_rows,
    subscription_rows,
)
from billing.taxes.tax_books import TaxBooks
from core.periods import local_date
from core.refusal import granted
from core.work import Work

LastTurn = Callable[[datetime, Account], date]
"""The last turn of an account whose invoice may be issued at an instant."""


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


async def bill_block(
    work: Work,
    usage: UsageSource,
    *,
    settings: BillingSettings,
    run_id: str,
    account_ids: Sequence[str],
    last_turn: LastTurn,
    books: TaxBooks,
) -> list[Issued]:
    """Invoice every due cycle of the accounts; those billed by another run meanwhile are passed over.

    Raises ``Refused`` when the usage of one of them cannot be closed.
    """
    locked = await account_rows.lock_accounts(work.connection, account_ids)
    due = {
        one.id: one
        for one in locked
        if one.next_cycle_on is not None and one.next_cycle_on <= last_turn(work.now, one)
    }
    if not due:
        return []
    today = max(local_date(work.now, one.time_zone) for one in due.values())
    record = await load_record(work.connection, due.values(), settings, today, books)
    drafts: list[InvoiceDraft] = []
    turns: dict[str, date | None] = {one.id: one.next_cycle_on for one in due.values()}
    waiting = list(due.values())
    while waiting:  # each round drafts one cycle of each account, missed ones in order
        plans = []
        for account in waiting:
            turn = turns[account.id]
            if turn is None:
                raise RuntimeError(f"account {account.id} is drafted without a turn")
            settled = local_date(work.now - settings.settling, account.time_zone)
            plans.append(plan_draft(account, account.cycle_containing(turn), record, settled))
        measured = iter(await _close(work, usage, plans))
        for plan in plans:
            answers = [next(measured) for _ in plan.asked]
            issued_on = local_date(work.now, plan.account.time_zone)
            draft = finish_draft(plan, answers, record, issued_on)
            drafts += [draft] if draft is not None else []
            turns[plan.account.id] = next_turn(plan.subscriptions, plan.cycle)
        waiting = [one for one in waiting if _is_due(turns[one.id], last_turn(work.now, one))]
    issued = await _finalise(work, drafts, settings, run_id)
    await account_rows.set_next_cycles(work.connection, list(turns.items()))
    await subscription_rows.mark_recalculated(work.connection, record.recalculated)
    await invoice_rows.count_invoices(work.connection, run_id, len(issued))
    await _use_credit(work, due, issued)
    return issued


def _is_due(turn: date | None, limit: date) -> bool:
    return turn is not None and turn <= limit


async def _close(work: Work, usage: UsageSource, plans: Sequence[DraftPlan]) -> list[MeasuredUsage]:
    """Close the usage that the drafts ask for, all at once, in their order."""
    asked = [(plan, one) for plan in plans for one in plan.asked]
    claims = [
        UsageClaim(
            one.subscription.service_id or "", *one.of.part.instants(plan.account.time_zone), one.claim
        )
        for plan, one in asked
    ]
    closes = [granted(one) for one in await usage.close_many(work, claims)]
    timed = [
        closed.close_id
        for (plan, one), closed in zip(asked, closes, strict=True)
        if one.of.needs_slices(plan.account)
    ]
    slices = await usage.slices_of_closes(work.connection, timed) if timed else {}
    return [
        MeasuredUsage(
            one.of.part, one.of.period, closed.close_id, closed.octets_in, closed.octets_out, closed.records,
            closed.digest, slices.get(closed.close_id),
        )
        for (_, one), closed in zip(asked, closes, strict=True)
    ]  # fmt: skip


async def _finalise(
    work: Work, drafts: Sequence[InvoiceDraft], settings: BillingSettings, run_id: str
) -> list[Issued]:
    """Number the drafts, write them, book them and tell the house."""
    numbers = await number_rows.take_numbers(
        work.connection, number_rows.INVOICE_SERIES, settings.invoice_prefix, len(drafts)
    )
    issued = [
        Issued(work.ids.new("inv"), number, draft) for number, draft in zip(numbers, drafts, strict=True)
    ]
    lines, charges = _line_rows(work, issued)
    await invoice_rows.insert_invoices(
        work.connection, [_invoice_row(work, one, run_id) for one in issued], lines, charges
    )
    await ledger_rows.book(work.connection, work.now, work.ids, [_entry(one) for one in issued])
    await work.publish(
        *(InvoiceFinalised(one.id, one.draft.account.id, one.number, one.draft.total_minor) for one in issued)
    )
    return issued


def _entry(issued: Issued) -> Entry:
    draft = issued.draft
    parts = [
        BilledPart(line.revenue, line.amount_minor, line.period, line.deferred)
        for line in draft.lines
        if line.revenue is not None
    ]
    return invoice_entry(issued.booking, issued.id, issued.number, parts, draft.tax_by_jurisdiction())


def _invoice_row(work: Work, issued: Issued, run_id: str) -> dict[str, Any]:
    draft = issued.draft
    total = draft.total_minor
    return {
        "id": issued.id, "number": issued.number, "kind": draft.kind, "account_id": draft.account.id,
        "entity_id": draft.account.entity_id, "corrects_id": None,
        "cycle_start": draft.cycle.start, "cycle_end": draft.cycle.end, "issued_on": draft.issued_on,
        "due_on": draft.due_on, "currency": draft.account.currency, "net_minor": draft.net_minor,
        "tax_minor": draft.tax_minor, "total_minor": total, "open_minor": max(total, 0),
        "status": "finalised" if total > 0 else "paid" if total == 0 else "credited",
        "bill_to": _bill_to(draft.account), "bill_run_id": run_id, "created_at": work.now,
    }  # fmt: skip


def _bill_to(account: Account) -> dict[str, Any]:
    fields = ("number", "name", "email", "street", "postal_code", "city", "region", "country")
    return {name: getattr(account, name) for name in fields}


def _line_rows(work: Work, issued: Sequence[Issued]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    lines: list[dict[str, Any]] = []
    charges: list[dict[str, Any]] = []
    for one in issued:
        for position, line in enumerate(one.draft.lines, start=1):
            row = _line_row(work, one.id, position, line)
            lines.append(row)
            if line.charge is not None:
                measured = line.charge.measured
                charges.append({
                    "id": work.ids.new("rch"), "subscription_id": line.subscription_id,
                    "plan_version_id": line.charge.plan_version_id, "item_code": line.charge.item_code,
                    "period_start": measured.part.start, "period_end": measured.part.end,
                    "usage_close_id": measured.close_id, "octets_in": measured.octets_in,
                    "octets_out": measured.octets_out, "amount_minor": line.quoted_minor,
                    "explanation": line.charge.explanation, "invoice_line_id": row["id"],
                })  # fmt: skip
    return lines, charges


def _line_row(work: Work, invoice_id: str, position: int, line: LineDraft) -> dict[str, Any]:
    return {
        "id": work.ids.new("lin"), "invoice_id": invoice_id, "position": position, "kind": line.kind,
        "description": line.description, "quantity": line.quantity, "amount_minor": line.amount_minor,
        "subscription_id": line.subscription_id, "plan_version_id": line.plan_version_id,
        "item_code": line.item_code, "charged_for": line.charged_for, "charge_id": line.charge_id,
        "quoted_minor": line.quoted_minor, "revenue": line.revenue, "deferred": line.deferred,
        "period_start": line.period.start, "period_end": line.period.end, "explanation": line.explanation,
    }  # fmt: skip


async def _use_credit(work: Work, accounts: dict[str, Account], issued: Sequence[Issued]) -> None:
    """Negative invoices become credit; what credit there is pays the new invoices and may relieve dunning."""
    for one in issued:
        if one.draft.total_minor < 0:
            await _turn_into_credit(work, one)
    credit = await payment_rows.credits_of(work.connection, [one.draft.account.id for one in issued])
    for account_id in sorted(credit):
        if await allocate_credit(work, accounts[account_id]):
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
