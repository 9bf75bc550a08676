"""What a change of a subscription would do to the next invoice, before it is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.config import BillingSettings
from billing.domain.catalogue import Account
from billing.domain.invoicing import InvoiceDraft
from billing.domain.phases import Change, fold_phases
from billing.invoicing.draft_invoice import Record, finish_draft, load_balances, load_record, plan_draft
from billing.invoicing.preview_invoice import measure_so_far
from billing.invoicing.tax_outside import NO_RULES, tax_outside
from billing.ports import LiveUsageSource
from billing.store import account_rows
from billing.subscriptions.change_subscription import Wanted, find_standing, prepare_change
from billing.taxes.engine import TaxEngine
from billing.taxes.tax_books import TaxBooks
from core.periods import local_date
from core.refusal import Refusal
from core.work import Work


@dataclass(frozen=True, slots=True)
class Consequence:
    """The next invoice as it would be without and with the change; None: there would be none."""

    without: InvoiceDraft | None
    with_change: InvoiceDraft | None

    @property
    def difference_minor(self) -> int:
        """What the next invoice would be more, with tax."""
        before = 0 if self.without is None else self.without.total_minor
        return (0 if self.with_change is None else self.with_change.total_minor) - before


async def preview_changes(
    work: Work,
    usage: LiveUsageSource,
    subscription_id: str,
    wanted: Sequence[Wanted],
    settings: BillingSettings | None = None,
    *,
    engine: TaxEngine | None = None,
) -> Consequence | Refusal:
    """Check the changes as if they were made, and draft the next invoice both ways; nothing is written.

    ``work`` only lends its transaction and instant. ``engine`` is asked for the taxes instead of our rules.
    """
    settings = settings or BillingSettings()
    found = await find_standing(work, subscription_id)
    if isinstance(found, Refusal):
        return found
    rows: list[Change] = []
    for one in wanted:
        row = await prepare_change(work, found, one)
        if isinstance(row, Refusal):
            return row
        found.changes.append(row)
        rows.append(row)
    payer = await account_rows.find_account(work.connection, found.account.payer_id)
    if payer is None:
        raise RuntimeError(f"account {found.account.id} has no payer")
    first = min(row.effective_on for row in rows)
    desk = _Desk(work.connection, usage, payer, work.now, settings, engine)
    without = await desk.draft()
    if isinstance(without, Refusal):
        return without
    changed = _Changed(subscription_id, found.changes, first)
    with_change = await desk.draft(changed)
    if isinstance(with_change, Refusal):
        return with_change
    return Consequence(without, with_change)


@dataclass(frozen=True, slots=True)
class _Changed:
    subscription_id: str
    changes: Sequence[Change]
    first: date

    def apply(self, record: Record) -> None:
        """The record as it will be when the changes are written."""
        record.phases[self.subscription_id] = fold_phases(self.changes)
        ends = [one.effective_on for one in self.changes if one.kind == "end"]
        for group in record.subscriptions.values():
            for index, one in enumerate(group):
                if one.id == self.subscription_id:
                    group[index] = replace(one, ends_on=min(ends, default=None))


@dataclass(frozen=True, slots=True)
class _Desk:
    connection: AsyncConnection
    usage: LiveUsageSource
    payer: Account
    now: datetime
    settings: BillingSettings
    engine: TaxEngine | None

    async def draft(self, changed: _Changed | None = None) -> InvoiceDraft | Refusal | None:
        """The payer's next invoice, as things are or as if they had changed."""
        payer, connection = self.payer, self.connection
        today = local_date(self.now, payer.time_zone)
        opening = payer.next_cycle_on or payer.cycle_containing(today).end
        account = replace(payer, next_cycle_on=opening)
        cycle = account.cycle_containing(opening)
        issued_on = max(today, cycle.start)
        back = None if changed is None else {changed.subscription_id: changed.first}
        record = await load_record(connection, [account], self.settings, issued_on, TaxBooks(), supposed=back)
        if changed is not None:
            changed.apply(record)
            await load_balances(connection, record)
        if self.engine is not None:
            record.book = NO_RULES
        plan = plan_draft(account, cycle, record, issued_on)
        answers = await measure_so_far(connection, self.usage, plan)
        draft = finish_draft(plan, answers, record, issued_on)
        if self.engine is None or draft is None:
            return draft
        return await tax_outside(self.engine, draft, record.exemptions)
