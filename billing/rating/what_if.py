"""What if: real usage of past periods priced under another plan. Nothing is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.catalogue import PlanVersion
from billing.domain.items import PERIODIC, Item
from billing.domain.proration import prorate_parts
from billing.domain.rating.calendar import Calendar
from billing.domain.rating.rate import Usage, rate_usage
from billing.domain.rating.slices import Slice
from billing.ports import UsageSlices
from billing.store import plan_rows, what_if_rows
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

    Both by the same arithmetic: periodic items by the days of the part, usage items by what was closed. Only
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
    totals: dict[str, Compared] = {}
    for start in range(0, len(wanted), AT_ONCE):
        some = wanted[start : start + AT_ONCE]
        timed = [
            one.close_id for one in some if _asks_when(proposed) or _asks_when(versions[one.plan_version_id])
        ]
        slices = await usage.slices_of_closes(connection, timed) if timed else {}
        for one in some:
            _add(totals, one, versions[one.plan_version_id], proposed, slices)
    return sorted(totals.values(), key=lambda one: (-one.more_minor, one.account_number))


def _asks_when(version: PlanVersion) -> bool:
    return any(item.usage is not None and item.usage.needs_slices for item in version.items)


def _add(
    totals: dict[str, Compared],
    one: RatedPart,
    present: PlanVersion,
    proposed: PlanVersion,
    slices: Mapping[str, Sequence[Slice]],
) -> None:
    so_far = totals.get(one.subscription_id)
    before, after = (_price(version, one, slices.get(one.close_id)) for version in (present, proposed))
    totals[one.subscription_id] = Compared(
        one.account_id, one.account_number, one.account_name, one.subscription_id, proposed.currency,
        (so_far.parts if so_far else 0) + 1,
        (so_far.octets if so_far else 0) + one.octets_in + one.octets_out,
        (so_far.before_minor if so_far else 0) + before,
        (so_far.after_minor if so_far else 0) + after,
    )  # fmt: skip


def _price(version: PlanVersion, one: RatedPart, slices: Sequence[Slice] | None) -> int:
    """What the version asks for the part: its share of periodic items, less discounts, and its usage."""
    total = 0
    periodic: dict[str, int] = {}
    for item in version.items:
        if item.kind in PERIODIC:
            periodic[item.code] = _share(version, item, one)
            total += periodic[item.code]
        elif item.usage is not None:
            calendar = Calendar(one.cycle, one.part, one.time_zone, one.anchor_day)
            total += rate_usage(
                item.usage, Usage(one.octets_in, one.octets_out, slices), calendar
            ).amount_minor
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
