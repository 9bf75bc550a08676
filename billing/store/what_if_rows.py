"""Rated usage of past periods with what pricing it again needs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.store.tables import account, rated_charge, subscription
from core.periods import Period


@dataclass(frozen=True, slots=True)
class RatedPart:
    """One rated part of a subscription's usage; ``cycle`` is the whole period it is a part of."""

    subscription_id: str
    account_id: str
    account_number: str
    account_name: str
    time_zone: str
    anchor_day: int
    starts_on: date
    plan_version_id: str
    part: Period
    cycle: Period
    close_id: str
    octets_in: int
    octets_out: int


async def rated_parts(connection: AsyncConnection, from_on: date, to_on: date) -> list[RatedPart]:
    """Rated parts that lie in ``[from_on, to_on)``, one for each subscription and part."""
    rated = rated_charge.c
    query = (
        select(
            rated.subscription_id, account.c.id, account.c.number, account.c.name, account.c.time_zone,
            account.c.anchor_day, subscription.c.starts_on, rated.plan_version_id, rated.period_start,
            rated.period_end, rated.explanation, rated.usage_close_id, rated.octets_in, rated.octets_out,
        )
        .join(subscription, subscription.c.id == rated.subscription_id)
        .join(account, account.c.id == subscription.c.account_id)
        .where(rated.period_start >= from_on, rated.period_end <= to_on)
        .order_by(rated.subscription_id, rated.period_start, rated.item_code)
    )  # fmt: skip
    found: list[RatedPart] = []
    for row in await connection.execute(query):
        if found and (found[-1].subscription_id, found[-1].part.start) == (row[0], row[8]):
            continue  # a second usage item of the same plan: the plan is priced whole
        first, last = row[10]["cycle"]
        cycle = Period(date.fromisoformat(first), date.fromisoformat(last))
        found.append(RatedPart(*row[:8], Period(row[8], row[9]), cycle, *row[11:]))
    return found
