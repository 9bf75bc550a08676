"""What if: real usage of past periods priced under another plan. Nothing is written."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.catalogue import PlanVersion
from billing.domain.items import PERIODIC, Item
from billing.domain.proration import prorate_parts
from billing.domain.rating.balance import Lot
from billing.domain.rating.calendar import Calendar
from billing.domain.rating.parts import PartToRate, bucket_of, rate_parts
from billing.domain.rating.rate import Usage
from billing.domain.rating.slices import cut_slices
from billing.ports import UsageSlices
from billing.rating.public_holidays import with_holidays
from billing.store import bucket_rows, plan_rows, what_if_rows
from billing.store.what_if_rows import RatedPart

AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Compared:
    """What a subscription would have paid, in minor units net of tax as priced; ``parts``: rated periods."""

    account_id: str
    account_number: str
    account_name: str
    subscription_id: str
    currency: str
    parts: int
    octets: int
    before_minor: int
    after_minor: int

    @property
    def more_minor(self) -> int:
        """What it would pay more; negative: less."""
        return self.after_minor - self.before_minor


async def what_if(
    connection: AsyncConnection,
    usage: UsageSlices,
    proposed: PlanVersion,
    *,
    from_on: date,
    to_on: date,
    of_plans: Sequence[str] = (),
) -> list[Compared]:
    """Price every rated period that lies in ``[from_on, to_on)`` under ``proposed``, and as it is sold now.

    Both by the same arithmetic: periodic items by the days of the part, usage items by what was closed, month
    after month. Both begin with what was rolled over and topped up by then. Only
    subscriptions of the plans ``of_plans`` (codes; all if empty) that pay in the plan's currency. Those who
    would pay more come first.
    """
    versions = await plan_rows.plan_versions(connection)
    parts = await what_if_rows.rated_parts(connection, from_on, to_on)
    wanted = [
        one
        for one in parts
        if versions[one.plan_version_id].currency == proposed.currency
        and (not of_plans or versions[one.plan_version_id].code in of_plans)
    ]
    used = await _measure(connection, usage, wanted, proposed, versions)
    lots = await _lots(connection, wanted, versions, from_on)
    now = [versions[one.plan_version_id] for one in wanted]
    # Pure arithmetic over a quarter of everybody: whoever serves others meanwhile goes on serving.
    before = await asyncio.to_thread(_rate, wanted, used, now, lots)
    after = await asyncio.to_thread(_rate, wanted, used, [proposed] * len(wanted), lots)
    totals: dict[str, Compared] = {}
    for one, octets, old, new in zip(wanted, used, before, after, strict=True):
        present = versions[one.plan_version_id]
        so_far = totals.get(one.subscription_id)
        totals[one.subscription_id] = Compared(
            one.account_id, one.account_number, one.account_name, one.subscription_id, proposed.currency,
            (so_far.parts if so_far else 0) + 1,
            (so_far.octets if so_far else 0) + octets.octets_in + octets.octets_out,
            (so_far.before_minor if so_far else 0) + _periodic(present, one) + old,
            (so_far.after_minor if so_far else 0) + _periodic(proposed, one) + new,
        )  # fmt: skip
    return sorted(totals.values(), key=lambda one: (-one.more_minor, one.account_number))


def _asks_when(version: PlanVersion) -> bool:
    return any(item.usage is not None and item.usage.needs_slices for item in version.items)


async def _measure(
    connection: AsyncConnection,
    usage: UsageSlices,
    wanted: Sequence[RatedPart],
    proposed: PlanVersion,
    versions: Mapping[str, PlanVersion],
) -> list[Usage]:
    """The usage of each part, put together from its closes; with slices where one of the plans asks."""
    found: list[Usage] = []
    for start in range(0, len(wanted), AT_ONCE):
        some = wanted[start : start + AT_ONCE]
        detailed = [
            _asks_when(proposed)
            or _asks_when(versions[one.plan_version_id])
            or any(close.span.start < one.part.start or close.span.end > one.part.end for close in one.closes)
            for one in some
        ]
        asked = {
            close.close_id: None
            for one, is_detailed in zip(some, detailed, strict=True)
            if is_detailed
            for close in one.closes
        }
        slices = await usage.slices_of_closes(connection, list(asked)) if asked else {}
        for one, is_detailed in zip(some, detailed, strict=True):
            if not is_detailed:
                sums = (sum(close.octets_in for close in one.closes), sum(c.octets_out for c in one.closes))
                found.append(Usage(*sums))
                continue
            borders = one.part.instants(one.time_zone)
            cut = [piece for close in one.closes for piece in cut_slices(slices[close.close_id], *borders)]
            found.append(Usage(sum(piece[2] for piece in cut), sum(piece[3] for piece in cut), cut))
    return found


async def _lots(
    connection: AsyncConnection,
    wanted: Sequence[RatedPart],
    versions: Mapping[str, PlanVersion],
    from_on: date,
) -> dict[str, dict[str, Lot]]:
    """What each subscription's buckets held beside the allowance when the first part began, and top-ups."""
    buckets: dict[str, set[str]] = {}
    for one in wanted:
        for item in versions[one.plan_version_id].items:
            if item.usage is not None:
                name = bucket_of(item.usage, one.account_id, one.payer_id, one.subscription_id, item.code)
                buckets.setdefault(name, set()).add(one.subscription_id)
    held = await bucket_rows.balances(connection, sorted(buckets), from_on) if buckets else {}
    found: dict[str, dict[str, Lot]] = {}
    for name, balance in held.items():
        for subscription_id in buckets[name]:
            for lot in balance.lots_before(from_on):
                found.setdefault(subscription_id, {})[lot.source] = lot
    return found


def _rate(
    wanted: Sequence[RatedPart],
    used: Sequence[Usage],
    versions: Sequence[PlanVersion],
    lots: Mapping[str, Mapping[str, Lot]],
) -> list[int]:
    """What the usage of each part costs, minor units: month after month, with lots and shared buckets."""
    parts: list[PartToRate] = []
    places: list[int] = []
    for place, (one, usage, version) in enumerate(zip(wanted, used, versions, strict=True)):
        for item in version.items:
            if item.usage is not None:
                plain = Calendar(one.cycle, one.part, one.time_zone, one.anchor_day)
                parts.append(
                    PartToRate(
                        one.account_id, one.payer_id, one.subscription_id, item.code, item.usage,
                        with_holidays(plain, item.usage), usage,
                    )
                )  # fmt: skip
                places.append(place)
    held: dict[str, dict[str, Lot]] = {}
    for part in parts:
        if part.subscription_id in lots:
            held.setdefault(part.bucket, {}).update(lots[part.subscription_id])
    rated = rate_parts(parts, {bucket: list(some.values()) for bucket, some in held.items()}).rated
    amounts = [0] * len(wanted)
    for place, priced in zip(places, rated, strict=True):
        amounts[place] += priced.amount_minor
    return amounts


def _periodic(version: PlanVersion, one: RatedPart) -> int:
    """What the version asks for the days of the part but for usage: periodic items, less discounts."""
    periodic = {item.code: _share(version, item, one) for item in version.items if item.kind in PERIODIC}
    total = sum(periodic.values())
    for item in version.items:
        if item.discount is not None and item.discount.periods is None:
            of = item.discount.of or tuple(periodic)
            total -= item.discount.off(sum(amount for code, amount in periodic.items() if code in of))
    return total


def _share(version: PlanVersion, item: Item, one: RatedPart) -> int:
    """The item's price for the part; of a longer or shorter period by the days that both have."""
    if item.cadence is None:
        return prorate_parts(item.price_minor, [(one.part, 1)], one.cycle, item.proration, version.currency)
    total = 0
    for period in item.cadence.between(one.part.start, one.part.end, one.starts_on, one.anchor_day):
        shared = period.intersect(one.part)
        if shared is not None:
            total += prorate_parts(item.price_minor, [(shared, 1)], period, "actual_days", version.currency)
    return total
