"""Usage items that run today, and where their buckets stand by usage so far."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.catalogue import Account, PlanVersion, Subscription
from billing.domain.items import Item
from billing.domain.owed import turns_of
from billing.domain.phases import fold_phases, phase_on
from billing.domain.rating.balance import Lot
from billing.domain.rating.calendar import Calendar
from billing.domain.rating.parts import bucket_of
from billing.domain.rating.quota import Standing, measure_standing
from billing.domain.rating.rate import Member, Usage
from billing.domain.rating.terms import UsageTerms
from billing.ports import WatchedUsage
from billing.rating.public_holidays import with_holidays
from billing.store import account_rows, bucket_rows, plan_rows, subscription_rows, usage_item_rows
from core.periods import Period, local_date


@dataclass(frozen=True, slots=True)
class RunningItem:
    """A usage item of a subscription today. ``part``: the days of ``period`` on this plan version."""

    account: Account
    subscription: Subscription
    version: PlanVersion
    item: Item
    terms: UsageTerms
    service_id: str
    period: Period
    part: Period
    today: date

    @property
    def bucket(self) -> str:
        """What it draws on."""
        account = self.account
        return bucket_of(self.terms, account.id, account.payer_id, self.subscription.id, self.item.code)

    @property
    def calendar(self) -> Calendar:
        """Its period in the account's zone."""
        plain = Calendar(self.period, self.part, self.account.time_zone, self.account.anchor_day)
        return with_holidays(plain, self.terms)

    @property
    def key(self) -> str:
        """Its name among the members of the bucket."""
        return f"{self.subscription.id}:{self.item.code}:{self.part.start}"


@dataclass(frozen=True, slots=True)
class RunningBucket:
    """The items that draw on one bucket today, with its lots and how far they have come."""

    bucket: str
    items: tuple[RunningItem, ...]
    lots: tuple[Lot, ...]
    standing: Standing


async def running_items(
    connection: AsyncConnection, account_ids: Collection[str], now: datetime
) -> list[RunningItem]:
    """The usage items of the accounts' running subscriptions, metered in octets, by subscription."""
    accounts = await account_rows.accounts_by_id(connection, account_ids)
    by_account = await subscription_rows.subscriptions_of(connection, list(accounts))
    subscriptions = [one for group in by_account.values() for one in group if one.service_id is not None]
    changes = await subscription_rows.changes_of(connection, [one.id for one in subscriptions])
    versions = await plan_rows.plan_versions(connection)
    found: list[RunningItem] = []
    for one in subscriptions:
        account = accounts[one.account_id]
        today = local_date(now, account.time_zone)
        phase = phase_on(fold_phases(changes.get(one.id, ())), today)
        if phase is None or phase.paused:
            continue
        version = versions[phase.plan_version_id]
        for item in version.items:
            if item.usage is None or item.usage.unit.of != "octets":
                continue
            turns = turns_of(account, one, item)
            period = turns.containing(today)
            part = phase.within(period)
            if part is not None and one.service_id is not None:
                found.append(
                    RunningItem(
                        account,
                        one,
                        version,
                        item,
                        item.usage,
                        one.service_id,
                        turns.whole(period),
                        part,
                        today,
                    )
                )
    return found


def by_bucket(items: Sequence[RunningItem]) -> dict[str, list[RunningItem]]:
    """Items that draw on the same bucket together."""
    buckets: dict[str, list[RunningItem]] = {}
    for one in items:
        buckets.setdefault(one.bucket, []).append(one)
    return buckets


async def measure_buckets(
    connection: AsyncConnection, usage: WatchedUsage, items: Sequence[RunningItem], now: datetime
) -> list[RunningBucket]:
    """Where each bucket of ``items`` stands, by usage so far: totals of all services in a few queries.

    Usage of an item counts from the first day of its part; what was rolled over arrives when the period
    before is billed.
    """
    buckets = by_bucket(items)
    lots = await bucket_rows.lots_of(connection, list(buckets))
    used = await _usage_of(connection, usage, items, now)
    found = []
    for bucket, members in buckets.items():
        first = members[0]
        ordered = [Member(one.key, one.terms, one.part, used[one.key]) for one in members]
        mine = lots.get(bucket, [])
        standing = measure_standing(ordered, first.calendar, mine, first.today)
        found.append(RunningBucket(bucket, tuple(members), tuple(mine), standing))
    return found


async def _usage_of(
    connection: AsyncConnection, usage: WatchedUsage, items: Sequence[RunningItem], now: datetime
) -> dict[str, Usage]:
    plain: list[RunningItem] = []
    timed: list[RunningItem] = []
    for one in items:
        (timed if one.terms.needs_slices_in(one.calendar) else plain).append(one)
    totals = await usage.between_many(
        connection,
        [(one.service_id, *one.part.instants(one.account.time_zone)) for one in plain],
    )
    found = {one.key: Usage(*total) for one, total in zip(plain, totals, strict=True)}
    for one in timed:
        from_at, until_at = one.part.instants(one.account.time_zone)
        slices = await usage.slices_between(connection, one.service_id, from_at, until_at)
        found[one.key] = Usage(sum(part[2] for part in slices), sum(part[3] for part in slices), slices)
    return found


async def subscription_of_service(
    connection: AsyncConnection, service_id: str, code: str, now: datetime
) -> str | None:
    """The running subscription of the service whose plan offers the top-up ``code``; None without one."""
    accounts = await usage_item_rows.accounts_of_service(connection, service_id)
    for one in await running_items(connection, accounts, now):
        if one.service_id == service_id and one.terms.top_up(code) is not None:
            return one.subscription.id
    return None
