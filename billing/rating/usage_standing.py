"""What an account has used of what its plans include, and its top-ups: for screens and programs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.rating.balance import ROLLED
from billing.ports import WatchedUsage
from billing.rating.running_items import RunningBucket, RunningItem, measure_buckets, running_items
from billing.store import usage_item_rows


@dataclass(frozen=True, slots=True)
class OfferedTopUp:
    """One top-up that the plan offers. ``days`` None: until the cycle ends."""

    code: str
    name: str
    octets: int
    price_minor: int
    days: int | None
    portal: bool
    automatic: int


@dataclass(frozen=True, slots=True)
class LotLeft:
    """What is left beside the allowance: rolled over, or topped up (``kind``: rolled, top_up)."""

    kind: str
    octets: int
    opens_on: date
    closes_on: date


@dataclass(frozen=True, slots=True)
class UsageStanding:
    """One usage item of a running subscription in its open window.

    ``used_octets`` as it counts (direction, weights); of a shared bucket what all of it used.
    ``included_octets`` with what was rolled over and topped up; None: unlimited. ``percent`` of what is
    included, of the cap where everything is; None where there is neither.
    """

    subscription_id: str
    service_id: str
    item_code: str
    name: str
    currency: str
    metered: str
    bucket: str
    shares: int
    window_start: date
    window_end: date
    used_octets: int
    own_octets: int | None
    rolled_octets: int
    topped_octets: int
    included_octets: int | None
    percent: int | None
    cap_octets: int | None
    cap_effect: str | None
    is_capped: bool
    lots: list[LotLeft]
    offers: list[OfferedTopUp]


async def usage_standings(
    connection: AsyncConnection, usage: WatchedUsage, account_id: str, now: datetime
) -> list[UsageStanding]:
    """Every usage item of the account that runs today, in the order of its subscriptions."""
    families = await usage_item_rows.families_of(connection, [account_id])
    everyone = [one for family in families.values() for one in family] or [account_id]
    running = await running_items(connection, everyone, now)
    wanted = {one.bucket for one in running if one.account.id == account_id}
    shared = [one for one in running if one.bucket in wanted]
    found = []
    for bucket in await measure_buckets(connection, usage, shared, now):
        found += [_standing(bucket, one) for one in bucket.items if one.account.id == account_id]
    return found


def _standing(bucket: RunningBucket, item: RunningItem) -> UsageStanding:
    standing, terms = bucket.standing, item.terms
    base = standing.included if standing.included is not None else standing.cap_at(terms)
    return UsageStanding(
        subscription_id=item.subscription.id, service_id=item.service_id, item_code=item.item.code,
        name=item.version.name if item.item.code == "usage" else item.item.name,
        currency=item.account.currency, metered=terms.metered, bucket=bucket.bucket,
        shares=len(bucket.items), window_start=standing.window.start, window_end=standing.window.end,
        used_octets=standing.used, own_octets=standing.own, rolled_octets=standing.rolled_over,
        topped_octets=standing.topped_up, included_octets=standing.included,
        percent=None if base is None else standing.percent(terms), cap_octets=standing.cap_at(terms),
        cap_effect=None if terms.cap is None else terms.cap.effect, is_capped=standing.is_capped(terms),
        lots=[
            LotLeft(one.kind, one.amount, one.opens_on, one.closes_on)
            for one in sorted(bucket.lots, key=lambda lot: (lot.kind != ROLLED, lot.closes_on, lot.source))
            if one.closes_on > item.today
        ],
        offers=[
            OfferedTopUp(
                one.code, one.name, one.amount, one.price_minor, one.days, one.portal, one.automatic
            )
            for one in terms.top_ups
        ],
    )  # fmt: skip
