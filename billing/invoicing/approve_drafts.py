"""Drafts become invoices when a person says yes, keep their account back when he says no.

A draft is not issued as it stands: the account is drafted again, and only what says the same octet for octet
is given a number. When facts have changed since, the new draft waits instead and nothing is issued.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from billing.clock_doubt import ClockDoubted, check_clock, stand_by_clock
from billing.config import BillingSettings
from billing.invoicing.bill_block import BlockTask, bill_block
from billing.invoicing.bill_run import Parked, RunProgress, Watch, in_words, last_turn
from billing.invoicing.tax_outside import OutsideTaxes, TaxesUnasked
from billing.ports import UsageSource
from billing.store import account_rows, draft_rows, invoice_rows, parked_rows
from billing.store.draft_rows import APPROVED, REJECTED, REPLACED, WAITING, OpenDraft
from billing.taxes.set_engine import TaxEngineLocked, asked_tax_engine
from billing.taxes.tax_books import TaxBooks
from core.refusal import Refusal
from core.secrets import Sealer
from core.work import Work, Workplace

_LONGEST_REASON = 300


@dataclass(frozen=True, slots=True)
class Approved:
    """What came of an approval. ``changed``: accounts whose new draft waits, for it would say something else.

    ``gone``: accounts that owe nothing for that cycle any more. ``failed``: they cannot be billed, with the
    reason; their drafts wait on. ``already``: drafts that had been approved before.
    """

    numbers: tuple[str, ...] = ()
    totals_minor: dict[str, int] = field(default_factory=dict)
    changed: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    failed: tuple[Parked, ...] = ()
    already: int = 0


async def approve_draft(
    workplace: Workplace,
    usage: UsageSource,
    draft_id: str,
    *,
    actor: str,
    settings: BillingSettings | None = None,
    sealer: Sealer | None = None,
) -> Approved | Refusal:
    """Issue the invoice of one draft; approving it again changes nothing."""
    async with workplace.reading() as connection:
        found = await draft_rows.find_draft(connection, draft_id)
    refusal = _refuse(draft_id, None if found is None else found.state)
    if refusal is not None:
        return refusal
    if found is None or found.state == APPROVED:
        return Approved(already=1)
    waiting = [(found.id, found.account_id)]
    return await _approve(workplace, usage, waiting, actor=actor, settings=settings, sealer=sealer)


async def approve_drafts(
    workplace: Workplace,
    usage: UsageSource,
    *,
    seen_until: datetime,
    actor: str,
    entity_id: str | None = None,
    settings: BillingSettings | None = None,
    sealer: Sealer | None = None,
    watch: Watch | None = None,
) -> Approved | Refusal:
    """Issue all that waits and was drafted by ``seen_until``, block by block; killed, it goes on later.

    ``entity_id``: of that legal entity alone; an empty text means the house.
    """
    async with workplace.reading() as connection:
        waiting = await draft_rows.waiting_drafts(connection, seen_until=seen_until, entity_id=entity_id)
    return await _approve(
        workplace, usage, waiting, actor=actor, settings=settings, sealer=sealer, watch=watch
    )


async def reject_draft(work: Work, *, draft_id: str, reason: str) -> Refusal | None:
    """The draft must not become an invoice: its account is passed over until it is drafted again."""
    reason = reason.strip()
    if not 0 < len(reason) <= _LONGEST_REASON:
        return Refusal("reason_missing", f"say why, in 1 to {_LONGEST_REASON} characters", "reason")
    found = await draft_rows.find_draft(work.connection, draft_id)
    if found is not None and found.state == REJECTED and found.reason == reason:
        return None
    if found is None or found.state != WAITING:
        return _refuse(draft_id, None if found is None else found.state) or Refusal(
            "draft_decided", "it was approved already; credit its invoice instead", "draft_id"
        )
    await account_rows.lock_account(work.connection, found.account_id)
    if not await draft_rows.decide_if(
        work.connection, draft_id, WAITING, REJECTED, at=work.now, by=work.actor, reason=reason
    ):
        return Refusal("draft_decided", "somebody else has just decided it", "draft_id")
    await work.audit("billing.draft_rejected", found.account_id, draft=draft_id, reason=reason)
    return None


async def draft_again(work: Work, *, draft_id: str | None = None) -> list[str] | Refusal:
    """Let go of an open draft, or of every rejected one: the next run drafts anew. Returns the accounts."""
    if draft_id is None:
        found = await draft_rows.rejected_drafts(work.connection)
    else:
        row = await draft_rows.find_draft(work.connection, draft_id)
        if row is None or row.state not in draft_rows.OPEN:
            return _refuse(draft_id, None if row is None else row.state) or Refusal(
                "draft_decided", "it was approved already", "draft_id"
            )
        found = [(row.id, row.account_id)]
    await account_rows.lock_accounts(work.connection, [account_id for _, account_id in found])
    still = await draft_rows.open_drafts(work.connection, [account_id for _, account_id in found])
    mine = {one for one, _ in found}
    found = [(one.id, account_id) for account_id, one in still.items() if one.id in mine]
    await draft_rows.decide(
        work.connection, [one for one, _ in found], REPLACED, at=work.now, by=work.actor,
        reason="to be drafted again",
    )  # fmt: skip
    for one, account_id in found:
        await work.audit("billing.draft_again", account_id, draft=one)
    return [account_id for _, account_id in found]


def _refuse(draft_id: str, state: str | None) -> Refusal | None:
    if state is None:
        return Refusal("unknown_draft", f"there is no draft {draft_id[:40]}; list them first", "draft_id")
    if state == REJECTED:
        return Refusal("draft_rejected", "it was rejected; have it drafted again first", "draft_id")
    if state == REPLACED:
        return Refusal(
            "draft_replaced", "it is out of date; look at the draft that took its place", "draft_id"
        )
    return None


async def _approve(
    workplace: Workplace,
    usage: UsageSource,
    waiting: Sequence[tuple[str, str]],
    *,
    actor: str,
    settings: BillingSettings | None,
    sealer: Sealer | None,
    watch: Watch | None = None,
) -> Approved | Refusal:
    settings = settings or BillingSettings()
    doubt = await check_clock(workplace, settings, actor)
    if doubt is not None:
        return doubt
    try:
        async with asked_tax_engine(workplace, sealer) as engine:
            outside = None if engine is None else OutsideTaxes(engine)
            task = BlockTask(usage, settings, last_turn(settings), TaxBooks(), outside=outside)
            approval = _Approval(workplace, task, actor, waiting, watch=watch)
            for start in range(0, len(waiting), settings.block_size):
                await approval.block([one for _, one in waiting[start : start + settings.block_size]])
            return approval.outcome()
    except ClockDoubted as doubted:
        return doubted.refusal
    except TaxEngineLocked as locked:
        return locked.refusal


class _Approval:
    """Approved accounts on their way to invoices, a transaction for each block."""

    def __init__(
        self,
        workplace: Workplace,
        task: BlockTask,
        actor: str,
        waiting: Sequence[tuple[str, str]],
        *,
        watch: Watch | None,
    ) -> None:
        self._workplace = workplace
        self._task = task
        self._actor = actor
        self._draft_ids = {draft_id for draft_id, _ in waiting}
        self._accounts = len(waiting)
        self._watch = watch or (lambda progress: None)
        self._done = 0
        self._numbers: list[str] = []
        self._totals: dict[str, int] = {}
        self._changed: list[str] = []
        self._gone: list[str] = []
        self._failed: list[Parked] = []

    async def block(self, account_ids: Sequence[str]) -> None:
        """One transaction; if it fails, its accounts are tried one by one."""
        try:
            async with self._workplace.work(self._actor) as work:
                await stand_by_clock(work, self._task.settings)
                done = await self._issue(work, account_ids)
        except TaxesUnasked as unasked:
            await unasked.ask()
            await self.block(account_ids)
            return
        except (*invoice_rows.DATABASE_TROUBLE, ClockDoubted):
            raise
        except Exception as trouble:  # noqa: BLE001 - whatever an account does wrong, the others go on
            if len(account_ids) > 1:
                for account_id in account_ids:
                    await self.block([account_id])
                return
            self._failed.append(Parked(account_ids[0], in_words(account_ids[0], trouble)))
            return
        numbers, totals, changed, gone = done
        self._numbers += numbers
        for currency, amount in totals:
            self._totals[currency] = self._totals.get(currency, 0) + amount
        self._changed += changed
        self._gone += gone
        self._done += len(account_ids)
        self._watch(RunProgress(self._accounts, self._done, len(self._failed), len(self._numbers)))

    async def _issue(
        self, work: Work, account_ids: Sequence[str]
    ) -> tuple[list[str], list[tuple[str, int]], list[str], list[str]]:
        await account_rows.lock_accounts(work.connection, account_ids)
        known = await draft_rows.open_drafts(work.connection, account_ids)
        asked = {
            account_id: one
            for account_id, one in known.items()
            if one.id in self._draft_ids and one.state == WAITING
        }
        self._task.approved = asked
        block = await bill_block(work, self._task, sorted(asked))
        await parked_rows.release(work.connection, [one.draft.account.id for one in block.issued])
        by_run: dict[str, int] = {}
        for one in block.issued:
            run_id = asked[one.draft.account.id].run_id
            if run_id is not None:
                by_run[run_id] = by_run.get(run_id, 0) + 1
        for run_id, count in by_run.items():
            await invoice_rows.advance_run(work.connection, run_id, invoices=count)
        gone = await self._let_go(work, asked, {one.draft.account.id for one in block.issued}, block.changed)
        await self._audit(work, asked, len(block.issued), block.changed)
        totals = [(one.draft.account.currency, one.draft.total_minor) for one in block.issued]
        return [one.number for one in block.issued], totals, block.changed, gone

    async def _let_go(
        self, work: Work, asked: dict[str, OpenDraft], issued: Collection[str], changed: Collection[str]
    ) -> list[str]:
        """Accounts that owe nothing for the cycle any more."""
        gone = [
            one for one in asked.values() if one.account_id not in issued and one.account_id not in changed
        ]
        await draft_rows.decide(
            work.connection, [one.id for one in gone], REPLACED, at=work.now, by=work.actor,
            reason="nothing waits for approval any more",
        )  # fmt: skip
        return [one.account_id for one in gone]

    async def _audit(
        self, work: Work, asked: dict[str, OpenDraft], issued: int, changed: Collection[str]
    ) -> None:
        if len(asked) == 1:
            [one] = asked.values()
            await work.audit("billing.draft_approved", one.account_id, draft=one.id, issued=issued == 1)
        elif asked:
            await work.audit(
                "billing.drafts_approved", "drafts", asked=len(asked), issued=issued, changed=len(changed)
            )

    def outcome(self) -> Approved:
        """What came of it so far."""
        return Approved(
            tuple(self._numbers), self._totals, tuple(self._changed), tuple(self._gone), tuple(self._failed)
        )
