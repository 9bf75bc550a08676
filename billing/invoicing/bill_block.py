"""One block of a bill run: some accounts, one transaction, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from billing.config import BillingSettings
from billing.domain.catalogue import Account, Subscription
from billing.domain.invoicing import InvoiceDraft, MeasuredUsage, next_turn
from billing.domain.ledger import CREDIT_METHOD, Booking, Entry, credit_entry, invoice_entry
from billing.dunning.evaluate import relieve_dunning
from billing.facts import InvoiceFinalised
from billing.invoicing.draft_invoice import Measure, Record, draft_invoice, load_record
from billing.payments.allocate_credit import allocate_credit
from billing.ports import UsageSource
from billing.store import account_rows, invoice_rows, ledger_rows, number_rows, payment_rows
from core.periods import Period, cycle_containing, local_date
from core.work import Work

LastTurn = Callable[[datetime, str], date]
"""``(now, time zone)`` to the last local day whose cycle may open."""


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
        return Booking(account.id, self.draft.issued_on, account.currency)


async def bill_block(
    work: Work,
    usage: UsageSource,
    *,
    settings: BillingSettings,
    run_id: str,
    account_ids: Sequence[str],
    last_turn: LastTurn,
) -> list[Issued]:
    """Invoice every due cycle of the accounts; those billed by another run meanwhile are passed over."""
    locked = await account_rows.lock_accounts(work.connection, account_ids)
    due = {
        one.id: one
        for one in locked
        if one.next_cycle_on is not None and one.next_cycle_on <= last_turn(work.now, one.time_zone)
    }
    record = await load_record(work.connection, due.values(), settings)
    measure = _closing(work, usage)
    drafter = _Drafter(work.now, record, measure, settings.correction_cycles)
    drafts: list[InvoiceDraft] = []
    turns: list[tuple[str, date | None]] = []
    for account in due.values():
        drafted, turn = await drafter.draft_due(account, last_turn(work.now, account.time_zone))
        drafts += drafted
        turns.append((account.id, turn))
    issued = await _finalise(work, drafts, settings, run_id)
    await account_rows.set_next_cycles(work.connection, turns)
    await invoice_rows.count_invoices(work.connection, run_id, len(issued))
    await _use_credit(work, due, issued)
    return issued


def _closing(work: Work, usage: UsageSource) -> Measure:
    async def close(
        account: Account, subscription: Subscription, part: Period, cycle: Period
    ) -> MeasuredUsage:
        from_at, until_at = part.instants(account.time_zone)
        claim = f"bill:{subscription.id}:{part.start}"
        closed = await usage.close(work, subscription.service_id, from_at, until_at, claim)
        return MeasuredUsage(
            part, cycle, closed.close_id, closed.octets_in, closed.octets_out, closed.records, closed.digest
        )

    return close


@dataclass(frozen=True, slots=True)
class _Drafter:
    """Drafts what is due from the block's record."""

    now: datetime
    record: Record
    measure: Measure
    reach: int

    async def draft_due(self, account: Account, limit: date) -> tuple[list[InvoiceDraft], date | None]:
        """The drafts of every cycle turned by ``limit``, in order, and the first day of the one after."""
        drafts: list[InvoiceDraft] = []
        issued_on = local_date(self.now, account.time_zone)
        turn = account.next_cycle_on
        while turn is not None and turn <= limit:
            cycle = cycle_containing(turn, account.anchor_day)
            draft = await draft_invoice(
                account, cycle, self.record, self.measure, issued_on=issued_on, reach=self.reach
            )
            drafts += [draft] if draft is not None else []
            turn = next_turn(self.record.subscriptions[account.id], cycle)
        return drafts, turn


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
    return invoice_entry(
        issued.booking, issued.id, issued.number, draft.revenue(), draft.tax_by_jurisdiction()
    )


def _invoice_row(work: Work, issued: Issued, run_id: str) -> dict[str, Any]:
    draft = issued.draft
    total = draft.total_minor
    return {
        "id": issued.id, "number": issued.number, "account_id": draft.account.id,
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
            row = {
                "id": work.ids.new("lin"), "invoice_id": one.id, "position": position, "kind": line.kind,
                "description": line.description, "quantity": line.quantity,
                "amount_minor": line.amount_minor, "quoted_minor": line.amount_minor,
                "revenue": None if line.kind == "tax" else "usage" if line.kind == "usage" else "recurring",
                "deferred": False, "charged_for": line.period.start, "subscription_id": line.subscription_id,
                "period_start": line.period.start, "period_end": line.period.end,
                "explanation": line.explanation,
            }  # fmt: skip
            lines.append(row)
            if line.charge is not None:
                measured = line.charge.measured
                charges.append({
                    "id": work.ids.new("rch"), "subscription_id": line.subscription_id,
                    "plan_version_id": line.charge.plan_version_id, "period_start": measured.part.start,
                    "period_end": measured.part.end, "usage_close_id": measured.close_id,
                    "octets_in": measured.octets_in, "octets_out": measured.octets_out,
                    "amount_minor": line.amount_minor, "explanation": line.charge.explanation,
                    "invoice_line_id": row["id"],
                })  # fmt: skip
    return lines, charges


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
