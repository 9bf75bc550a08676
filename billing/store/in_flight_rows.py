"""Who has a debit under way: ordered, not yet settled, not come back."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import and_, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.store.tables import ach_batch, ach_entry

_AT_ONCE = 500


async def accounts_with_debit_in_flight(
    connection: AsyncConnection, account_ids: Collection[str]
) -> set[str]:
    """Those of the accounts with an ACH debit that was approved or sent and has not settled or come back."""
    wanted = sorted(account_ids)
    found: set[str] = set()
    for start in range(0, len(wanted), _AT_ONCE):
        query = (
            select(ach_entry.c.account_id)
            .join(ach_batch, ach_batch.c.id == ach_entry.c.batch_id)
            .where(
                ach_entry.c.account_id.in_(wanted[start : start + _AT_ONCE]),
                ach_entry.c.kind == "debit",
                or_(
                    ach_entry.c.state == "in_flight",
                    and_(ach_entry.c.state == "drafted", ach_batch.c.state == "approved"),
                ),
            )
        )
        found |= {row.account_id for row in await connection.execute(query)}
    return found
