"""Buy a top-up for somebody who waits: what it frees is told in the same transaction."""

from __future__ import annotations

from billing.config import BillingSettings
from billing.ports import WatchedUsage
from billing.rating.buy_top_up import TopUpReceipt, buy_top_up
from billing.rating.watch_quota import look_at_accounts
from billing.store import subscription_rows
from core.refusal import Refusal
from core.work import Work


async def top_up_now(
    work: Work,
    usage: WatchedUsage,
    *,
    subscription_id: str,
    code: str,
    source: str,
    how: str = "operator",
    settings: BillingSettings | None = None,
) -> TopUpReceipt | Refusal:
    """``buy_top_up``, and a look at the account's caps at once; the worker would come in a minute."""
    receipt = await buy_top_up(work, subscription_id=subscription_id, code=code, source=source, how=how)
    if isinstance(receipt, Refusal) or receipt.outcome == "exists":
        return receipt
    subscription = await subscription_rows.find_subscription(work.connection, subscription_id)
    if subscription is not None:
        await look_at_accounts(work, usage, [subscription.account_id], settings)
    return receipt
