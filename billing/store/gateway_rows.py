"""Payments through gateways in the database: methods, charges, pages, events, autopay."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.store.schema.gateways import IN_FLIGHT
from billing.store.tables import gateway_charge

_AT_ONCE = 500  # bounded number of parameters in one statement


async def accounts_with_payment_in_flight(
    connection: AsyncConnection, account_ids: Collection[str]
) -> set[str]:
    """Which of the accounts have a charge of which nobody knows yet whether money comes.

    That is one just begun, one whose answer got lost, and a bank debit that takes days. Dunning waits for it.
    """
    found: set[str] = set()
    wanted = list(dict.fromkeys(account_ids))
    for start in range(0, len(wanted), _AT_ONCE):
        query = (
            select(gateway_charge.c.account_id)
            .where(gateway_charge.c.state.in_(IN_FLIGHT))
            .where(gateway_charge.c.account_id.in_(wanted[start : start + _AT_ONCE]))
            .distinct()
        )
        found |= {row.account_id for row in await connection.execute(query)}
    return found
