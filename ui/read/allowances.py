"""Top-ups and the trail of alerts and caps, for the subscriber's page and programs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.store import bucket_rows, quota_rows


@dataclass(frozen=True, slots=True)
class TopUpRow:
    """One top-up that was bought; ``how``: operator, portal, automatic."""

    id: str
    subscription_id: str
    name: str
    octets: int
    price_minor: int
    how: str
    bought_at: datetime
    bought_by: str
    closes_on: date


@dataclass(frozen=True, slots=True)
class QuotaEventRow:
    """One step: an alert (``threshold`` per cent), a cap reached (``effect``) or no longer reached."""

    kind: str
    threshold: int
    used: int
    included: int | None
    effect: str | None
    at: datetime


async def top_ups_of(connection: AsyncConnection, account_id: str, limit: int = 12) -> list[TopUpRow]:
    """The newest top-ups of an account, newest first."""
    return [
        TopUpRow(
            row.id, row.subscription_id, row.name, row.amount, row.price_minor, row.how, row.bought_at,
            row.bought_by, row.closes_on,
        )
        for row in await bucket_rows.top_ups_of_account(connection, account_id, limit)
    ]  # fmt: skip


async def quota_events_of(
    connection: AsyncConnection, account_id: str, limit: int = 12
) -> list[QuotaEventRow]:
    """The newest alerts and caps of an account, newest first."""
    return [
        QuotaEventRow(row.kind, row.threshold, row.used, row.included, row.effect, row.at)
        for row in await quota_rows.events_of_account(connection, account_id, limit)
    ]
