"""Have invoices look again at what an account's subscriptions owe, from a day on."""

from __future__ import annotations

from datetime import date

from billing.store import subscription_rows
from core.work import Work


async def look_again(work: Work, account_id: str, from_on: date, reason: str) -> None:
    """The next invoice, whoever pays it, brings what was charged since ``from_on`` up to what is owed.

    A row of its own on each subscription says so, so that the invoice can be drafted again as it was.
    """
    found = await subscription_rows.subscriptions_of(work.connection, [account_id])
    for one in found[account_id]:
        if one.ends_on is not None and one.ends_on <= from_on:
            continue
        day = max(one.starts_on, from_on)
        await subscription_rows.insert_change(
            work.connection,
            {
                "id": work.ids.new("sch"), "subscription_id": one.id, "effective_on": day, "kind": "again",
                "plan_version_id": None, "quantity": None, "withdraws_id": None, "reason": reason,
                "recorded_at": work.now, "recorded_by": work.actor,
            },
        )  # fmt: skip
        await subscription_rows.update_subscription(
            work.connection, one.id, {"recalculate_from": min(day, one.recalculate_from or day)}
        )
