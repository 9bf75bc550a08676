"""Automatic payment: begin what is due today, once for each invoice and try."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

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
_HOURS = timedelta(hours=12)


async def plan_autopay(workplace: Workplace, settings: BillingSettings) -> int:
    """Begin the charges of every account whose day has come; returns how many were begun.

    Nobody is charged by a clock that is doubted. Run twice, or by two at once, it begins each charge once.
    """
    now = workplace.clock.now()
    async with workplace.reading() as connection:
        if await find_clock_doubt(connection, now, settings) is not None:
            return 0
        wanted = [
            account_id
            for account_id in await _candidates(connection, now)
            if await _decide(connection, account_id, now, settings) is not None
        ]
    begun = 0
    for account_id in wanted:
        async with workplace.work(_ACTOR) as work:
            begun += await _begin(work, account_id, settings)
    return begun


async def _candidates(connection: AsyncConnection, now: datetime) -> list[str]:
    """Accounts with something open whose day has come, without those that were tried in these hours."""
    latest = (now + timedelta(days=1)).date()  # where it is tomorrow already
    today: dict[str, date] = {}
    found: dict[str, None] = {}
    for row in await autopay_rows.open_with_terms(connection, latest):
        if row.time_zone not in today:
            today[row.time_zone] = local_date(now, row.time_zone)
        if AutopayDay(row.day_rule, row.days).of(row.issued_on, row.due_on) <= today[row.time_zone]:
            found[row.account_id] = None
    lately = await autopay_rows.tried_since(connection, now - _HOURS) if found else set()
    return [one for one in found if one not in lately]


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is charged: ``amount_minor`` for ``invoice_id`` and those after it, for the nth time."""

    invoice_id: str
    amount_minor: int
    method_id: str | None
    number: int


async def _decide(
    connection: AsyncConnection, account_id: str, now: datetime, settings: BillingSettings
) -> _Plan | None:
    account = await account_rows.find_account(connection, account_id)
    row = await autopay_rows.find_autopay(connection, account_id)
    if account is None or row is None or not row.enabled:
        return None
    today = local_date(now, account.time_zone)
    due = await _due(connection, account, AutopayDay(row.day_rule, row.days), today)
    if not due:
        return None
    first = due[0]
    tries = await tries_of(connection, account.id, first.id, account.time_zone)
    if tries and tries[-1].on == today:
        return None  # once a day, also when it never reached the gateway
    on = next_try(today, tries, settings.autopay.retry_days)
    if on is None or on > today:
        return None
    number = len(await autopay_rows.tries_for(connection, first.id)) + 1
    return _Plan(first.id, sum(one.open_minor for one in due), row.method_id, number)


@dataclass(frozen=True, slots=True)
class AutopayOutlook:
    """An open invoice and automatic payment. ``tries`` were made; ``next_on`` None: no more by itself."""

    number: str
    open_minor: int
    currency: str
    tries: int
    next_on: date | None


async def autopay_outlook(
    connection: AsyncConnection, account_id: str, settings: BillingSettings
) -> list[AutopayOutlook]:
    """When each open invoice is tried first or next; nothing for an account that does not pay by itself.

    What is due is charged together, with the oldest of it: its tries are those of all.
    """
    account = await account_rows.find_account(connection, account_id)
    row = await autopay_rows.find_autopay(connection, account_id)
    if account is None or row is None or not row.enabled:
        return []
    day = AutopayDay(row.day_rule, row.days)
    found = []
    for one in await autopay_rows.open_invoices(connection, account_id):
        tries = await tries_of(connection, account_id, one.id, account.time_zone)
        first = day.of(one.issued_on, one.due_on)
        on = next_try(first, tries, settings.autopay.retry_days)
        found.append(AutopayOutlook(one.number, one.open_minor, account.currency, len(tries), on))
    return found


async def _begin(work: Work, account_id: str, settings: BillingSettings) -> int:
    """Decide once more with the account held: somebody may have paid meanwhile."""
    await account_rows.lock_account(work.connection, account_id)
    plan = await _decide(work.connection, account_id, work.now, settings)
    if plan is None:
        return 0
    outcome = await begin_charge(
        work, account_id=account_id, amount_minor=plan.amount_minor, cause="autopay",
        method_id=plan.method_id, source_key=f"autopay:{plan.invoice_id}:{plan.number}",
        invoice_id=plan.invoice_id,
    )  # fmt: skip
    return 0 if isinstance(outcome, Refusal) else 1


async def _due(connection: AsyncConnection, account: Account, day: AutopayDay, today: date) -> list[Any]:
    """Open invoices whose day of automatic payment has come, oldest due first."""
    rows = await autopay_rows.open_invoices(connection, account.id)
    return [one for one in rows if day.of(one.issued_on, one.due_on) <= today]
