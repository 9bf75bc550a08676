"""One block of a bill run: some accounts, one transaction, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime

from billing.config import BillingSettings
from billing.domain.catalogue import Account
from billing.domain.invoicing import InvoiceDraft, next_turn
from billing.domain.rating.parts import Step
from billing.domain.usage_lines import UsageAnswers
from billing.domain.usage_parts import ClosedSpan
from billing.invoicing.draft_invoice import DraftPlan, finish_draft, load_record, plan_draft
from billing.invoicing.finalise import Issued, finalise, use_credit
from billing.invoicing.tax_outside import NO_RULES, OutsideTaxes
from billing.ports import UsageClaim, UsageSource
from billing.rating.record_moved import record_moved
from billing.store import (
    account_rows,
    invoice_rows,
    subscription_rows,
)
from billing.taxes.tax_books import TaxBooks
from core.periods import local_date
from core.refusal import granted
from core.work import Work

LastTurn = Callable[[datetime, Account], date]
"""The last turn of an account whose invoice may be issued at an instant."""


async def bill_block(
    work: Work,
    usage: UsageSource,
    *,
    settings: BillingSettings,
    run_id: str,
    account_ids: Sequence[str],
    last_turn: LastTurn,
    books: TaxBooks,
    outside: OutsideTaxes | None = None,
) -> list[Issued]:
    """Invoice every due cycle of the accounts; those billed by another run meanwhile are passed over.

    Raises ``Refused`` when the usage of one of them cannot be closed, or the engine ``outside`` has no taxes
    for it; ``TaxesUnasked`` when it has to be asked first.
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
    if outside is not None:
        record.book = NO_RULES
    drafts: list[InvoiceDraft] = []
    moved: list[tuple[date, Mapping[Step, int]]] = []
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
        for plan, answers in zip(plans, await _close(work, usage, plans), strict=True):
            issued_on = local_date(work.now, plan.account.time_zone)
            draft = finish_draft(plan, answers, record, issued_on)
            drafts += [draft] if draft is not None else []
            moved.append((plan.cycle.start, plan.moved))
            turns[plan.account.id] = next_turn(plan.subscriptions, plan.cycle)
        waiting = [one for one in waiting if _is_due(turns[one.id], last_turn(work.now, one))]
    if outside is not None:
        drafts = outside.complete(drafts, record.exemptions)
    issued = await finalise(work, drafts, settings, run_id)
    await record_moved(work, moved)
    await account_rows.set_next_cycles(work.connection, list(turns.items()))
    await subscription_rows.mark_recalculated(work.connection, record.recalculated)
    await invoice_rows.count_invoices(work.connection, run_id, len(issued))
    await use_credit(work, due, issued)
    return issued


def _is_due(turn: date | None, limit: date) -> bool:
    return turn is not None and turn <= limit


async def _close(work: Work, usage: UsageSource, plans: Sequence[DraftPlan]) -> list[UsageAnswers]:
    """Close the usage that the drafts ask for, all at once, in their order."""
    gaps = [(plan, gap) for plan in plans for gap in plan.usage.gaps]
    claims = [
        UsageClaim(gap.subscription.service_id or "", *gap.span.instants(plan.account.time_zone), gap.claim)
        for plan, gap in gaps
    ]
    closed = iter([granted(one) for one in await usage.close_many(work, claims)])
    answers: list[list[ClosedSpan | None]] = []
    for plan in plans:
        spans: list[ClosedSpan | None] = []
        for gap in plan.usage.gaps:
            one = next(closed)
            spans.append(
                ClosedSpan(one.close_id, gap.span, one.octets_in, one.octets_out, one.records, one.digest)
            )
        answers.append(spans)
    cut = [
        close_id for plan, spans in zip(plans, answers, strict=True) for close_id in plan.closes_to_cut(spans)
    ]
    slices = await usage.slices_of_closes(work.connection, cut) if cut else {}
    return [UsageAnswers(spans, slices) for spans in answers]
