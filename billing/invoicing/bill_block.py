"""One block of a bill run: some accounts, one transaction, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from billing.config import BillingSettings
from billing.domain.catalogue import Account
from billing.domain.invoicing import InvoiceDraft, next_turn
from billing.domain.rating.parts import Step
from billing.domain.usage_lines import UsageAnswers
from billing.domain.usage_parts import ClosedSpan
from billing.invoicing.draft_invoice import (
    DraftPlan,
    Record,
    finish_draft,
    load_credited,
    load_record,
    plan_draft,
)
from billing.invoicing.finalise import Issued, finalise, use_credit
from billing.invoicing.line_text import draft_digest
from billing.invoicing.tax_outside import NO_RULES, OutsideTaxes
from billing.ports import UsageClaim, UsageSource
from billing.rating.record_moved import record_moved
from billing.store import account_rows, draft_rows, subscription_rows
from billing.store.draft_rows import OpenDraft
from billing.taxes.tax_books import TaxBooks
from core.periods import local_date
from core.refusal import granted
from core.work import Work

LastTurn = Callable[[datetime, Account], date]
"""The last turn of an account whose invoice may be issued at an instant."""


@dataclass(slots=True)
class BilledBlock:
    """What became of a block. ``drafted``: new drafts by account; ``changed``: who of them was approved.

    A draft that was approved and would say something else now is not issued: the new one waits instead.
    """

    issued: list[Issued] = field(default_factory=list)
    drafted: dict[str, str] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)


@dataclass(slots=True)
class BlockTask:
    """How a block is billed, the same for all of a run.

    ``approved``: by account the open draft that a person said yes to; such an account is billed for that
    draft's cycle alone. ``run_id`` None: each draft's own.
    """

    usage: UsageSource
    settings: BillingSettings
    last_turn: LastTurn
    books: TaxBooks
    run_id: str | None = None
    outside: OutsideTaxes | None = None
    approved: Mapping[str, OpenDraft] = field(default_factory=dict)

    def waits(self, account: Account) -> bool:
        """Whether the account's invoice is a draft first."""
        return account.id not in self.approved and self.settings.waits_for_approval(account.entity_id)


async def bill_block(work: Work, task: BlockTask, account_ids: Sequence[str]) -> BilledBlock:
    """Invoice every due cycle of the accounts; those billed by another run meanwhile are passed over.

    Where invoices wait for approval one draft is written for each account, and its cycle stays the next.
    Raises ``Refused`` when the usage of one of them cannot be closed, or the engine outside has no taxes for
    it; ``TaxesUnasked`` when it has to be asked first.
    """
    locked = await account_rows.lock_accounts(work.connection, account_ids)
    due = {
        one.id: one
        for one in locked
        if one.next_cycle_on is not None and one.next_cycle_on <= task.last_turn(work.now, one)
    }
    if not due:
        return BilledBlock()
    today = max(local_date(work.now, one.time_zone) for one in due.values())
    record = await load_record(work.connection, due.values(), task.settings, today, task.books)
    if task.outside is not None:
        record.book = NO_RULES
    block = _Block(work, task, record, due)
    await block.draft()
    return await block.settle()


class _Block:
    """Accounts of one transaction: first what they owe, then what becomes of it."""

    def __init__(self, work: Work, task: BlockTask, record: Record, due: dict[str, Account]) -> None:
        self._work = work
        self._task = task
        self._record = record
        self._due = due
        self._drafts: list[InvoiceDraft] = []
        self._moved: list[tuple[Account, date, Mapping[Step, int]]] = []
        self._turns: dict[str, date | None] = {one.id: one.next_cycle_on for one in due.values()}

    async def draft(self) -> None:
        """Each round drafts one cycle of each account, missed ones in order."""
        waiting = list(self._due.values())
        while waiting:
            waiting = await self._round(waiting)

    async def _round(self, waiting: Sequence[Account]) -> list[Account]:
        work, task, record = self._work, self._task, self._record
        plans = []
        for account in waiting:
            turn = self._turns[account.id]
            if turn is None:
                raise RuntimeError(f"account {account.id} is drafted without a turn")
            settled = local_date(work.now - task.settings.settling, account.time_zone)
            plans.append(plan_draft(account, account.cycle_containing(turn), record, settled))
        await load_credited(work.connection, record, plans)
        more = []
        for plan, answers in zip(plans, await _close(work, task.usage, plans), strict=True):
            account = plan.account
            issued_on = local_date(work.now, account.time_zone)
            draft = finish_draft(plan, answers, record, issued_on)
            self._moved.append((account, plan.cycle.start, plan.moved))
            waits = task.waits(account)
            if draft is not None:
                self._drafts.append(draft)
                if waits:
                    continue
            self._turns[account.id] = turn = next_turn(plan.subscriptions, plan.cycle)
            one_only = draft is not None and account.id in task.approved
            if not one_only and turn is not None and turn <= task.last_turn(work.now, account):
                more.append(account)
        return more

    async def settle(self) -> BilledBlock:
        """Issue what may be issued, and keep the rest as drafts."""
        work, task, drafts = self._work, self._task, self._drafts
        if task.outside is not None:
            drafts = task.outside.complete(drafts, self._record.exemptions)
        block = BilledBlock()
        known = await self._known_drafts()
        issue, keep = [], []
        for draft in drafts:
            account_id = draft.account.id
            approved = task.approved.get(account_id)
            if approved is not None and not _says(draft, approved):
                block.changed.append(account_id)
                self._turns[account_id] = draft.cycle.start
            if task.waits(draft.account) or account_id in block.changed:
                keep.append(draft)
            else:
                issue.append(draft)
        block.drafted = await self._keep(keep, known)
        block.issued = await finalise(work, issue, task.settings, self._run_of)
        await self._note_approved(block, known)
        kept_cycles = {(draft.account.id, draft.cycle.start) for draft in keep}
        await record_moved(
            work, [(cycle, steps) for one, cycle, steps in self._moved if (one.id, cycle) not in kept_cycles]
        )
        await account_rows.set_next_cycles(work.connection, list(self._turns.items()))
        kept = {one.id for draft in keep for one in self._record.subscriptions[draft.account.id]}
        seen = [one for one in self._record.recalculated if one not in kept]
        await subscription_rows.mark_recalculated(work.connection, seen)
        await use_credit(work, self._due, block.issued)
        return block

    def _run_of(self, draft: InvoiceDraft) -> str | None:
        approved = self._task.approved.get(draft.account.id)
        return self._task.run_id if approved is None else approved.run_id

    async def _known_drafts(self) -> dict[str, OpenDraft]:
        return await draft_rows.open_drafts(self._work.connection, self._due)

    async def _keep(self, keep: Sequence[InvoiceDraft], known: Mapping[str, OpenDraft]) -> dict[str, str]:
        """Write the drafts that are not on record as they are; those that they replace are closed."""
        rows = []
        replaced = []
        for draft in keep:
            before = known.get(draft.account.id)
            if before is not None:
                if _says(draft, before):
                    continue
                replaced.append(before.id)
            rows.append(_draft_row(self._work, draft, self._run_of(draft)))
        await draft_rows.decide(
            self._work.connection, replaced, draft_rows.REPLACED, at=self._work.now, by=self._work.actor,
            reason="what it would say has changed",
        )  # fmt: skip
        await draft_rows.insert_drafts(self._work.connection, rows)
        return {row["account_id"]: row["id"] for row in rows}

    async def _note_approved(self, block: BilledBlock, known: Mapping[str, OpenDraft]) -> None:
        """Drafts end with their accounts' invoices, or because there is nothing left to say."""
        work = self._work
        kept = {*block.changed, *block.drafted}
        over = [
            one
            for one in known.values()
            if one.account_id not in kept and self._turns.get(one.account_id) != one.cycle_start
        ]
        issued = {(one.draft.account.id, one.draft.cycle.start): one.id for one in block.issued}
        became = {
            one.id: issued[one.account_id, one.cycle_start]
            for one in over
            if one.account_id in self._task.approved and (one.account_id, one.cycle_start) in issued
        }
        await draft_rows.approve(work.connection, became, at=work.now, by=work.actor)
        await draft_rows.decide(
            work.connection, [one.id for one in over if one.id not in became], draft_rows.REPLACED,
            at=work.now, by=work.actor, reason="nothing waits for approval any more",
        )  # fmt: skip


def _says(draft: InvoiceDraft, before: OpenDraft) -> bool:
    return draft.cycle.start == before.cycle_start and draft_digest(draft) == before.digest


def _draft_row(work: Work, draft: InvoiceDraft, run_id: str | None) -> dict[str, Any]:
    account = draft.account
    lines = [
        {
            "kind": one.kind, "description": one.description, "quantity": one.quantity,
            "amount_minor": one.amount_minor,
        }
        for one in draft.lines
    ]  # fmt: skip
    return {
        "id": work.ids.new("dft"), "account_id": account.id, "run_id": run_id, "entity_id": account.entity_id,
        "cycle_start": draft.cycle.start, "cycle_end": draft.cycle.end, "currency": account.currency,
        "net_minor": draft.net_minor, "tax_minor": draft.tax_minor, "total_minor": draft.total_minor,
        "lines": lines, "digest": draft_digest(draft), "state": draft_rows.WAITING, "drafted_at": work.now,
    }  # fmt: skip


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
