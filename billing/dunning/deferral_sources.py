"""What defers dunning just now without anybody having placed it: each source is asked about many accounts.

Another room adds its source to ``DEFERRAL_SOURCES``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.dunning_policy import Bar
from billing.store import dunning_rows, gateway_rows, in_flight_rows


class DeferralSource(Protocol):
    """Answers for accounts with their local today: the account's id to what defers it."""

    async def __call__(self, connection: AsyncConnection, today: Mapping[str, date]) -> Mapping[str, Bar]:
        """Accounts that nothing defers are left out."""


async def payments_in_flight(connection: AsyncConnection, today: Mapping[str, date]) -> Mapping[str, Bar]:
    """Money of which nobody knows yet whether it comes."""
    found = await gateway_rows.accounts_with_payment_in_flight(connection, list(today))
    found |= await in_flight_rows.accounts_with_debit_in_flight(connection, list(today))
    return dict.fromkeys(found, Bar("in_flight", "a payment is on its way"))


async def paused_accounts(connection: AsyncConnection, today: Mapping[str, date]) -> Mapping[str, Bar]:
    """Whoever is on vacation with every service is not chased."""
    found = await dunning_rows.paused_accounts(connection, dict(today))
    return dict.fromkeys(found, Bar("paused", "every service of the account is paused"))


DEFERRAL_SOURCES: list[DeferralSource] = [payments_in_flight, paused_accounts]


async def deferred_now(
    connection: AsyncConnection,
    today: Mapping[str, date],
    sources: Sequence[DeferralSource] | None = None,
) -> dict[str, Bar]:
    """What defers each account just now; the first source that says so gives the reason."""
    found: dict[str, Bar] = {}
    for source in DEFERRAL_SOURCES if sources is None else sources:
        for account_id, bar in (await source(connection, today)).items():
            found.setdefault(account_id, bar)
    return found
