"""What the next invoice would say if the cycle turned now; nothing is written, no usage is frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.config import BillingSettings
from billing.domain.catalogue import Account
from billing.domain.invoicing import InvoiceDraft
from billing.domain.taxes.rule import Exemption
from billing.domain.usage_lines import UsageAnswers
from billing.domain.usage_parts import ClosedSpan
from billing.invoicing.draft_invoice import DraftPlan, finish_draft, load_credited, load_record, plan_draft
from billing.invoicing.tax_outside import NO_RULES, tax_outside
from billing.ports import LiveUsageSource
from billing.store import account_rows
from billing.taxes.engine import TaxEngine
from billing.taxes.tax_books import TaxBooks
from core.periods import local_date
from core.refusal import Refusal

NOT_CLOSED = "preview"
"""Stands where a rated charge names its usage close: there is none yet."""


async def preview_invoice(
    connection: AsyncConnection,
    usage: LiveUsageSource,
    account_id: str,
    now: datetime,
    settings: BillingSettings | None = None,
    *,
    engine: TaxEngine | None = None,
) -> InvoiceDraft | Refusal | None:
    """The next invoice with the usage so far, or None when nothing is to be billed.

    ``engine``: who is asked for the taxes instead of our own rules, without being told to keep the answer.
    """
    account = await account_rows.find_account(connection, account_id)
    if account is None:
        return Refusal("unknown_account", f"there is no account {account_id}", "account_id")
    draft, exemptions = await draft_next(
        connection, usage, account, now, settings or BillingSettings(), outside=engine is not None
    )
    if engine is None or draft is None:
        return draft
    return await tax_outside(engine, draft, exemptions)


async def draft_next(
    connection: AsyncConnection,
    usage: LiveUsageSource,
    account: Account,
    now: datetime,
    settings: BillingSettings,
    *,
    outside: bool,
    at_least: date | None = None,
) -> tuple[InvoiceDraft | None, Mapping[str, list[Exemption]]]:
    """The next invoice and who is exempt from what; ``outside``: without taxes, another is asked for them.

    ``at_least``: of the cycle with that day, if earlier ones come before it; nothing to bill is then no
    reason to look no further.
    """
    today = local_date(now, account.time_zone)
    turn = account.next_cycle_on
    if turn is None and at_least is None:
        return None, {}
    turn = turn or account.cycle_containing(today).end
    if at_least is not None:
        turn = max(turn, account.cycle_containing(at_least).start)
    account = replace(account, next_cycle_on=turn)
    cycle = account.cycle_containing(turn)
    issued_on = max(today, cycle.start)
    record = await load_record(connection, [account], settings, issued_on, TaxBooks())
    if outside:
        record.book = NO_RULES
    plan = plan_draft(account, cycle, record, issued_on)
    await load_credited(connection, record, [plan])
    return finish_draft(
        plan, await measure_so_far(connection, usage, plan), record, issued_on
    ), record.exemptions


async def measure_so_far(
    connection: AsyncConnection, usage: LiveUsageSource, plan: DraftPlan
) -> UsageAnswers:
    """The usage that a draft asks for as it stands now; nothing is closed."""
    zone = plan.account.time_zone
    spans: list[ClosedSpan | None] = []
    places = {}
    for gap in plan.usage.gaps:
        close_id, service_id = f"{NOT_CLOSED}:{gap.claim}", gap.subscription.service_id or ""
        octets = await usage.between(connection, service_id, *gap.span.instants(zone))
        spans.append(ClosedSpan(close_id, gap.span, *octets, 0, ""))
        places[close_id] = gap
    wanted = plan.closes_to_cut(spans)
    frozen = [one for one in wanted if one not in places]
    slices = dict(await usage.slices_of_closes(connection, frozen)) if frozen else {}
    for close_id in wanted:
        if close_id in places:
            gap = places[close_id]
            service_id = gap.subscription.service_id or ""
            slices[close_id] = await usage.slices_between(connection, service_id, *gap.span.instants(zone))
    return UsageAnswers(spans, slices)
