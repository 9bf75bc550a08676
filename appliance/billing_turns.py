"""When accounts' billing cycles turn, for those who count along with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.store.tables import account

_AT_ONCE = 500


async def billing_turns(
    connection: AsyncConnection, account_ids: Sequence[str]
) -> Mapping[str, tuple[int, str]]:
    """Anchor day and time zone by account."""
    wanted = list(dict.fromkeys(account_ids))
    found: dict[str, tuple[int, str]] = {}
    for start in range(0, len(wanted), _AT_ONCE):
        statement = select(account.c.id, account.c.anchor_day, account.c.time_zone)
        rows = await connection.execute(statement.where(account.c.id.in_(wanted[start : start + _AT_ONCE])))
        found |= {row.id: (int(row.anchor_day), str(row.time_zone)) for row in rows}
    return found
