"""What the next invoice would say if the cycle turned now; nothing is written, no usage is frozen."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.config import BillingSettings
from billing.domain.catalogue import Account, Subscription
from billing.domain.invoicing import InvoiceDraft, MeasuredUsage
from billing.invoicing.draft_invoice import Measure, draft_invoice, load_record
from billing.ports import LiveUsageSource
from billing.store import account_rows
from core.periods import Period, cycle_containing, local_date
from core.refusal import Refusal

NOT_CLOSED = "preview"
"""Stands where a rated charge names its usage close: there is none yet."""


async def preview_invoice(
    connection: AsyncConnection,
    usage: LiveUsageSource,
    account_id: str,
    now: datetime,
    settings: BillingSettings | None = None,
) -> InvoiceDraft | Refusal | None:
    """The next invoice with the usage so far, or None when nothing is to be billed."""
    settings = settings or BillingSettings()
    account = await account_rows.find_account(connection, account_id)
    if account is None:
        return Refusal("unknown_account", f"there is no account {account_id}", "account_id")
    if account.next_cycle_on is None:
        return None
    record = await load_record(connection, [account], settings)
    cycle = cycle_containing(account.next_cycle_on, account.anchor_day)
    issued_on = max(local_date(now, account.time_zone), cycle.start)
    return await draft_invoice(
        account,
        cycle,
        record,
        _so_far(connection, usage),
        issued_on=issued_on,
        reach=settings.correction_cycles,
    )


def _so_far(connection: AsyncConnection, usage: LiveUsageSource) -> Measure:
    async def measure(
        account: Account, subscription: Subscription, part: Period, cycle: Period
    ) -> MeasuredUsage:
        from_at, until_at = part.instants(account.time_zone)
        octets_in, octets_out = await usage.between(connection, subscription.service_id, from_at, until_at)
        return MeasuredUsage(part, cycle, NOT_CLOSED, octets_in, octets_out, 0, "")

    return measure
