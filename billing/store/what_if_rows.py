"""Rated usage of past periods with what pricing it again needs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.usage_parts import ClosedSpan, parse_closed
from billing.store.tables import account, invoice_line, rated_charge, subscription
from core.periods import Period


@dataclass(frozen=True, slots=True)
class RatedPart:
    """One rated part of a subscription's usage; ``cycle`` is the whole period it is a part of.

    ``closes`` share days with it.
    """

    subscription_id: str
    account_id: str
    payer_id: str
    account_number: str
    account_name: str
    time_zone: str
    anchor_day: int
    starts_on: date
    plan_version_id: str
    part: Period
    cycle: Period
    closes: tuple[ClosedSpan, ...]


async def rated_parts(connection: AsyncConnection, from_on: date, to_on: date) -> list[RatedPart]:
    """Rated parts that lie in ``[from_on, to_on)``; each day of a subscription is in one of them.

    Of parts that were rated again the newest rating has the day.
    """
    rated = rated_charge.c
    query = (
        select(
            rated.subscription_id, account.c.id, func.coalesce(account.c.payer_account_id, account.c.id),
            account.c.number, account.c.name, account.c.time_zone, account.c.anchor_day,
            subscription.c.starts_on, rated.plan_version_id, rated.period_start, rated.period_end,
            invoice_line.c.explanation, rated.usage_close_id, rated.octets_in, rated.octets_out, rated.closes,
        )
        .join(invoice_line, invoice_line.c.id == rated.invoice_line_id)
        .join(subscription, subscription.c.id == rated.subscription_id)
        .join(account, account.c.id == subscription.c.account_id)
        .where(rated.period_start >= from_on, rated.period_end <= to_on)
        .order_by(rated.subscription_id, rated.id)
    )  # fmt: skip
    found: dict[str, list[RatedPart]] = {}
    for row in await connection.execute(query):
        named: list[Any] = list(row[:9])
        start, end, why, close_id, octets_in, octets_out, closes = row[9:]
        part = Period(start, end)
        standing = [left for one in found.get(named[0], ()) for left in _beside(one, part)]
        if closes is None:
            closes = [ClosedSpan(close_id, part, octets_in, octets_out).as_json()]
        if closes:  # none: the part is owed no longer
            fields = [*named, part, _cycle(why), tuple(parse_closed(one) for one in closes)]
            standing.append(RatedPart(*fields))
        found[named[0]] = standing
    return [one for some in found.values() for one in sorted(some, key=lambda part: part.part.start)]


def _beside(one: RatedPart, other: Period) -> Iterable[RatedPart]:
    """The days of a part that another one has not."""
    for start, end in ((one.part.start, other.start), (other.end, one.part.end)):
        start, end = max(start, one.part.start), min(end, one.part.end)  # noqa: PLW2901
        if start < end:
            left = Period(start, end)
            shared = tuple(close for close in one.closes if close.span.intersect(left) is not None)
            yield replace(one, part=left, closes=shared)


def _cycle(why: dict[str, Any]) -> Period:
    first, last = (why.get("owed") or why)["cycle"]
    return Period(date.fromisoformat(first), date.fromisoformat(last))
