"""Invoice what waits to be charged once, between the cycles: a router sold over the counter, a visit."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from billing.clock_doubt import refuse_impossible_clock
from billing.config import BillingSettings
from billing.domain.catalogue import Account
from billing.domain.invoicing import CHARGES, InvoiceDraft
from billing.domain.usage_lines import UsageAnswers
from billing.invoicing.draft_invoice import finish_draft, load_record, plan_charges
from billing.invoicing.finalise import Issued, finalise, use_credit
from billing.invoicing.tax_outside import NO_RULES, OutsideTaxes, TaxesUnasked
from billing.store import account_rows
from billing.subscriptions.next_cycle import payer_of
from billing.taxes.engine import TaxEngine
from billing.taxes.tax_books import TaxBooks
from core.money import format_money
from core.periods import Period, local_date
from core.refusal import Refusal
from core.work import Work, Workplace


async def invoice_now(
    workplace: Workplace,
    *,
    account_id: str,
    actor: str,
    settings: BillingSettings | None = None,
    engine: TaxEngine | None = None,
) -> Issued | Refusal:
    """An invoice of the one-off charges that wait, on the account's today; what recurs keeps its cycle.

    With nothing waiting it is refused, so that asking twice issues one. ``engine`` is asked for the taxes
    instead of our rules, while nothing is locked.
    """
    settings = settings or BillingSettings()
    outside = None if engine is None else OutsideTaxes(engine)

    async def act(work: Work) -> Issued | Refusal:
        return await _issue(work, account_id, settings, outside)

    while True:
        try:
            return await workplace.carry_out(actor, act)
        except TaxesUnasked as unasked:
            await unasked.ask()


async def _issue(
    work: Work, account_id: str, settings: BillingSettings, outside: OutsideTaxes | None
) -> Issued | Refusal:
    impossible = refuse_impossible_clock(work.now)
    if impossible is not None:
        return impossible
    account = await account_rows.lock_account(work.connection, account_id)
    if account is None:
        return Refusal("unknown_account", f"there is no account {account_id}", "account_id")
    draft = await _draft(work, await payer_of(work, account), settings, outside)
    if draft is None:
        return Refusal("nothing_waits", "no one-off charge waits for an invoice", "account_id")
    [issued] = await finalise(work, [draft], settings)
    await use_credit(work, {draft.account.id: draft.account}, [issued])
    await work.audit(
        "billing.charges_invoiced", draft.account.id, number=issued.number,
        amount=format_money(draft.total_minor, draft.account.currency),
    )  # fmt: skip
    return issued


async def _draft(
    work: Work, payer: Account, settings: BillingSettings, outside: OutsideTaxes | None
) -> InvoiceDraft | None:
    today = local_date(work.now, payer.time_zone)
    record = await load_record(work.connection, [payer], settings, today, TaxBooks())
    if outside is not None:
        record.book = NO_RULES
    plan = plan_charges(payer, Period(today, today + timedelta(days=1)), record)
    draft = finish_draft(plan, UsageAnswers((), {}), record, today)
    if draft is None:
        return None
    draft = replace(draft, kind=CHARGES)
    if outside is None:
        return draft
    [taxed] = outside.complete([draft], record.exemptions)
    return taxed
