"""Debits that did not come back in time have settled: their money moves from transit to cash."""

from __future__ import annotations

from billing.clock_doubt import find_clock_doubt
from billing.config import BillingSettings
from billing.payments.settle_payment import settle_payment
from billing.store import account_rows, ach_rows
from core.periods import local_date
from core.refusal import Refusal, granted
from core.work import Workplace

_ZONE = "America/New_York"  # the day of the ACH network


async def settle_debits(
    workplace: Workplace, *, actor: str = "system:payments", settings: BillingSettings | None = None
) -> int | Refusal:
    """Settle every debit whose day has come; how many there were. Refused while the clock is doubted."""
    settings = settings or BillingSettings()
    settled = 0
    while True:
        async with workplace.work(actor) as work:
            doubt = await find_clock_doubt(work.connection, work.now, settings)
            if doubt is not None:
                return doubt
            today = local_date(work.now, _ZONE)
            waiting = await ach_rows.entries_to_settle(work.connection, today, settings.block_size)
            await account_rows.lock_accounts(work.connection, [one.account_id for one in waiting])
            for one in waiting:
                granted(await settle_payment(work, payment_id=one.payment_id, settled_on=one.settles_on))
                await ach_rows.set_entry(work.connection, one.id, state="settled")
        settled += len(waiting)
        if len(waiting) < settings.block_size:
            return settled
