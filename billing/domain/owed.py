"""What a subscription owes for each period of each item; and which of it an invoice looks at.

An invoice that opens a cycle asks for the periods paid in advance that begin in it and those paid in arrears
that have ended by its first day. Where something changed since the last invoice it looks again at every
period from that day on: what was charged for them is taken off (``billing.domain.invoicing``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

from billing.domain.cadence import Cadence
from billing.domain.catalogue import Account, PlanVersion, Subscription
from billing.domain.items import ONCE, PERIODIC, Discount, Item
from billing.domain.phases import FOREVER, Phase
from billing.domain.proration import prorate_parts
from core.periods import Period

Key = tuple[str, str, date]
"""``(plan version id, item code, first day of the item's period)``: what is charged once."""


@dataclass(frozen=True, slots=True)
class Promotion:
    """A promotion that a subscription uses from one day to another (exclusive, None: for good)."""

    code: str
    name: str
    percent_ppm: int | None
    amount_minor: int | None
    item_kinds: tuple[str, ...]
    from_on: date
    until_on: date | None

    def off(self, base_minor: int) -> int:
        """What it takes off the price of one period."""
        if self.percent_ppm is not None:
            return (2 * base_minor * self.percent_ppm + 1_000_000) // 2_000_000
        return min(self.amount_minor or 0, base_minor)


@dataclass(slots=True)
class Owed:
    """One item over one of its periods; ``parts`` are the days of it, with how many.

    ``base_minor``: what a discount or promotion takes its share of.
    """

    version: PlanVersion
    item: Item
    period: Period
    parts: list[tuple[Period, int]]
    amount_minor: int
    code: str
    base_minor: int = 0
    promotion: Promotion | None = None

    @property
    def key(self) -> Key:
        return self.version.id, self.code, self.period.start

    @property
    def quantity(self) -> int:
        """How many at the end."""
        return self.parts[-1][1]

    @property
    def part(self) -> Period:
        """From the first to the last day that it is owed for."""
        return Period(self.parts[0][0].start, self.parts[-1][0].end)


@dataclass(frozen=True, slots=True)
class View:
    """What an invoice looks at: it opens ``opening``; the one before opened a cycle on ``before``.

    ``changed_from``: the earliest day that changed since; None: nothing did.
    """

    opening: Period
    before: date
    changed_from: date | None

    def horizon(self, item: Item, cadence: Cadence, origin: date, anchor_day: int) -> date:
        """Periods of the item that begin before this day are settled."""
        day = self.opening.start if item.advance or item.kind in ONCE else self.before
        if self.changed_from is None or self.changed_from >= day:
            if item.advance or item.kind in ONCE:
                return day
            return cadence.containing(day, origin, anchor_day).start
        if item.kind in ONCE:
            return self.changed_from
        return cadence.containing(self.changed_from, origin, anchor_day).start


def cadence_of(account: Account, subscription: Subscription, item: Item) -> tuple[Cadence, date]:
    """How often the item turns for this subscription, and from which day it is counted."""
    if item.cadence is None:
        return account.cadence, account.cycle_origin
    return item.cadence, subscription.starts_on


def decide_owed(  # noqa: PLR0917 - what is owed depends on all of these, each of another kind
    account: Account,
    subscription: Subscription,
    phases: Sequence[Phase],
    versions: Mapping[str, PlanVersion],
    view: View,
    promotions: Iterable[Promotion] = (),
) -> list[Owed]:
    """Everything but usage that is owed for the periods in view, in the order of the items."""
    reckoning = _Reckoning(account, subscription, phases, view)
    for phase in phases:
        if phase.start >= view.opening.end:
            break
        version = versions[phase.plan_version_id]
        for item in version.items:
            if item.kind in PERIODIC:
                if not phase.paused or item.while_paused:
                    reckoning.add_periods(phase, version, item)
            elif item.kind in ONCE:
                reckoning.add_once(phase, version, item)
    return reckoning.owed(promotions)


class _Reckoning:
    """Collects the parts of each item's periods over the phases, then prices them."""

    def __init__(
        self, account: Account, subscription: Subscription, phases: Sequence[Phase], view: View
    ) -> None:
        self._account = account
        self._subscription = subscription
        self._phases = phases
        self._view = view
        self._end = phases[-1].end if phases else FOREVER
        self._found: dict[Key, Owed] = {}

    def add_periods(self, phase: Phase, version: PlanVersion, item: Item) -> None:
        """The days of ``phase`` in every period of the item that is in view."""
        view, anchor_day = self._view, self._account.anchor_day
        cadence, origin = cadence_of(self._account, self._subscription, item)
        horizon = view.horizon(item, cadence, origin, anchor_day)
        start = max(horizon, phase.start)
        until = view.opening.end if item.advance else view.opening.start
        for period in cadence.between(start, min(phase.end, until), origin, anchor_day):
            if item.advance:
                if period.start < horizon:
                    continue
            elif min(period.end, self._end) > view.opening.start:
                continue
            part = phase.within(period)
            if part is None:
                continue
            key = (version.id, item.code, period.start)
            standing = self._found.get(key)
            if standing is None:
                self._found[key] = Owed(version, item, period, [(part, phase.quantity)], 0, item.code)
            else:
                standing.parts.append((part, phase.quantity))

    def add_once(self, phase: Phase, version: PlanVersion, item: Item) -> None:
        """What is charged when the subscription, or the plan, begins."""
        account, day = self._account, phase.start
        if day < self._view.horizon(item, account.cadence, account.cycle_origin, account.anchor_day):
            return
        if phase is not self._phases[0]:
            before = self._phases[self._phases.index(phase) - 1]
            if not item.on_change or before.plan_version_id == phase.plan_version_id:
                return
        period = Period(day, day)
        amount = item.price_minor * phase.quantity
        one = Owed(version, item, period, [(period, phase.quantity)], amount, item.code)
        self._found[one.key] = one

    def owed(self, promotions: Iterable[Promotion]) -> list[Owed]:
        """The periods with their prices, then what is taken off them."""
        owed = list(self._found.values())
        for one in owed:
            if one.item.kind in PERIODIC:
                one.amount_minor = prorate_parts(
                    one.item.price_minor, one.parts, one.period, one.item.proration, self._account.currency
                )
        return owed + self._discounts(owed) + _promoted(owed, promotions)

    def _discounts(self, owed: Sequence[Owed]) -> list[Owed]:
        given: dict[Key, Owed] = {}
        for one in owed:
            for item in one.version.items:
                if item.discount is not None and self._reduces(item.discount, one):
                    _give(given, one, item, item.code)
        for gift in given.values():
            if gift.item.discount is not None:
                gift.amount_minor = -gift.item.discount.off(gift.base_minor)
        return list(given.values())

    def _reduces(self, discount: Discount, one: Owed) -> bool:
        if one.item.code not in discount.of if discount.of else one.item.kind not in PERIODIC:
            return False
        if discount.periods is None:
            return True
        cadence, origin = cadence_of(self._account, self._subscription, one.item)
        first = self._subscription.starts_on
        end = _end_of(cadence, first, origin, self._account.anchor_day, discount.periods)
        return one.period.start < end


@lru_cache(maxsize=4096)
def _end_of(cadence: Cadence, first_day: date, origin: date, anchor_day: int, periods: int) -> date:
    period = cadence.containing(first_day, origin, anchor_day)
    for _ in range(periods - 1):
        period = cadence.after(period, origin, anchor_day)
    return period.end


def _promoted(owed: Sequence[Owed], promotions: Iterable[Promotion]) -> list[Owed]:
    gifts: list[Owed] = []
    for promotion in promotions:
        given: dict[Key, Owed] = {}
        for one in owed:
            begun = one.period.end > promotion.from_on or one.period.start == promotion.from_on
            running = promotion.until_on is None or one.period.start < promotion.until_on
            if one.item.kind in promotion.item_kinds and begun and running and one.amount_minor:
                _give(given, one, one.item, f"promo:{promotion.code}"[:40])
        for gift in given.values():
            gift.promotion = promotion
            gift.amount_minor = -promotion.off(gift.base_minor)
        gifts += given.values()
    return gifts


def _give(given: dict[Key, Owed], one: Owed, item: Item, code: str) -> None:
    key = (one.version.id, code, one.period.start)
    standing = given.get(key)
    if standing is None:
        given[key] = Owed(one.version, item, one.period, one.parts, 0, code, one.amount_minor)
    else:
        standing.base_minor += one.amount_minor
