"""Draft the next invoice of an account from what is on record and its usage."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from datetime import date

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.config import BillingSettings
from billing.domain.catalogue import Account, PlanVersion, Subscription, TaxRate
from billing.domain.invoicing import (
    InvoicedPart,
    InvoiceDraft,
    LineDraft,
    MeasuredUsage,
    assemble_invoice,
    cycles_in_reach,
    draft_recurring,
    draft_usage,
    parts_to_rate,
)
from billing.store import invoice_rows, plan_rows, subscription_rows, tax_rows
from core.periods import Period, add_months

Measure = Callable[[Account, Subscription, Period, Period], Awaitable[MeasuredUsage | None]]
"""``(account, subscription, part, cycle)`` to usage; None leaves the usage line out."""


@dataclass(slots=True)
class Record:
    """What a block of accounts has on record; drafts add to it, so that missed cycles follow each other."""

    subscriptions: dict[str, list[Subscription]]
    plans: dict[str, PlanVersion]
    rates: list[TaxRate]
    invoiced: dict[str, list[InvoicedPart]] = field(default_factory=dict)
    rated: dict[str, set[date]] = field(default_factory=dict)

    def remember(self, draft: InvoiceDraft) -> None:
        """Count the draft's lines as invoiced and its usage as rated."""
        for line in draft.lines:
            if line.subscription_id is None:
                continue
            if line.charge is None:
                part = InvoicedPart(line.subscription_id, line.period.start, line.amount_minor)
                self.invoiced.setdefault(line.subscription_id, []).append(part)
            else:
                self.rated.setdefault(line.subscription_id, set()).add(line.period.start)


async def load_record(
    connection: AsyncConnection, accounts: Collection[Account], settings: BillingSettings
) -> Record:
    """Everything that drafting for these accounts needs, in a handful of queries."""
    by_account = await subscription_rows.subscriptions_of(connection, [one.id for one in accounts])
    subscriptions = [one for group in by_account.values() for one in group]
    turns = [one.next_cycle_on for one in accounts if one.next_cycle_on is not None]
    record = Record(
        by_account,
        await plan_rows.plan_versions(connection, {one.plan_version_id for one in subscriptions}),
        await tax_rows.tax_rates(connection),
    )
    if turns and subscriptions:
        since = add_months(min(turns), -settings.correction_cycles - 1, 1)
        ids = [one.id for one in subscriptions]
        record.invoiced = await invoice_rows.invoiced_parts(connection, ids, since)
        record.rated = await invoice_rows.rated_starts(connection, ids, since)
    return record


async def draft_invoice(
    account: Account, cycle: Period, record: Record, measure: Measure, *, issued_on: date, reach: int
) -> InvoiceDraft | None:
    """The invoice that opens ``cycle``: recurring charges, corrections, usage of what closed, tax."""
    lines: list[LineDraft] = []
    for subscription in record.subscriptions[account.id]:
        if subscription.starts_on >= cycle.end:
            continue
        plan = record.plans[subscription.plan_version_id]
        cycles = cycles_in_reach(subscription.starts_on, cycle, account.anchor_day, reach)
        invoiced = record.invoiced.get(subscription.id, [])
        lines += draft_recurring(subscription, plan, cycles, invoiced)
        for part, of_cycle in parts_to_rate(subscription, cycles, record.rated.get(subscription.id, ())):
            measured = await measure(account, subscription, part, of_cycle)
            if measured is not None:
                lines.append(draft_usage(subscription, plan, measured))
    draft = assemble_invoice(account, cycle, issued_on, lines, record.rates)
    if draft is not None:
        record.remember(draft)
    return draft
