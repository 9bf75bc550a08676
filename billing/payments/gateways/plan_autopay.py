"""Automatic payment: begin what is due today, once for each invoice and try."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from billing.clock_doubt import find_clock_doubt
from billing.config import BillingSettings
from billing.domain.catalogue import Account
from billing.domain.gateway_charges import AutopayDay, next_try
from billing.payments.gateways.charge_method import begin_charge
from billing.payments.gateways.record_answer import tries_of
from billing.store import account_rows, autopay_rows
from core.periods import local_date
from core.refusal import Refusal
from core.work import Work, Workplace

_ACTOR = "system:autopay"


async def plan_autopay(workplace: Workplace, settings: BillingSettings) -> int:
    """Begin the charges of every account whose day has come; returns how many were begun.

    Nobody is charged by a clock that is doubted. Run twice, or by two at once, it begins each charge once.
    """
    now = workplace.clock.now()
    async with workplace.reading() as connection:
        if await find_clock_doubt(connection, now, settings) is not None:
            return 0
        latest = (now + timedelta(days=1)).date()  # where it is tomorrow already
        wanted = await autopay_rows.accounts_that_owe(connection, latest)
    begun = 0
    for account_id in wanted:
        async with workplace.work(_ACTOR) as work:
            begun += await _begin(work, account_id, settings)
    return begun


async def _begin(work: Work, account_id: str, settings: BillingSettings) -> int:
    account = await account_rows.lock_account(work.connection, account_id)
    row = await autopay_rows.find_autopay(work.connection, account_id)
    if account is None or row is None or not row.enabled:
        return 0
    today = local_date(work.now, account.time_zone)
    due = await _due(work, account, AutopayDay(row.day_rule, row.days), today)
    if not due:
        return 0
    first = due[0]
    tries = await tries_of(work, account.id, first.id, account.time_zone)
    if tries and tries[-1].on == today:
        return 0  # once a day, also when it never reached the gateway
    on = next_try(today, tries, settings.autopay.retry_days)
    if on is None or on > today:
        return 0
    before = await autopay_rows.tries_for(work.connection, first.id)
    outcome = await begin_charge(
        work, account_id=account_id, amount_minor=sum(one.open_minor for one in due), cause="autopay",
        method_id=row.method_id, source_key=f"autopay:{first.id}:{len(before) + 1}", invoice_id=first.id,
    )  # fmt: skip
    return 0 if isinstance(outcome, Refusal) else 1


async def _due(work: Work, account: Account, day: AutopayDay, today: date) -> list[Any]:
    """Open invoices whose day of automatic payment has come, oldest due first."""
    rows = await autopay_rows.open_invoices(work.connection, account.id)
    return [one for one in rows if day.of(one.issued_on, one.due_on) <= today]
