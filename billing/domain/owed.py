"""What a subscription owes for each period of each item; and which of it an invoice looks at.

An invoice that opens a cycle asks for the periods paid in advance that begin in it and those paid in arrears
that have ended by its first day. Where something changed since the last invoice it looks again at every
period from that day on: what was charged for them is taken off (``billing.domain.invoicing``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache

from billing.domain.cadence import Turns
from billing.domain.catalogue import Account, PlanVersion, Subscription, turns_on
from billing.domain.equipment import without
from billing.domain.items import ONCE, PERIODIC, Discount, Item
from billing.domain.phases import FOREVER, Phase
from billing.domain.proration import prorate_parts
from core.periods import Period

Key = tuple[str, str, date]
"""``(plan version id, item code, first day of the item's period)``: what is charged once."""


@dataclass(frozen=True, slots=True)
class Promotion:
    """A promotion that a subscription uses from one day to another (exclusive, None: for good).

    It reduces items of ``item_kinds`` on the plans and with the codes named (none named: all), a share of
    their price, or an amount for each period of the first of them and those like it. ``periods``: only so
    many of each item, counted from the one that ``from_on`` lies in.
    """

    code: str
    name: str
    percent_ppm: int | None
    amount_minor: int | None
    item_kinds: tuple[str, ...]
    from_on: date
    until_on: date | None
    item_codes: tuple[str, ...] = ()
    plan_codes: tuple[str, ...] = ()
    periods: int | None = None

    def concerns(self, version: PlanVersion, item: Item) -> bool:
        """Whether it reduces that item."""
        return (
            item.kind in self.item_kinds
            and (not self.item_codes or item.code in self.item_codes)
            and (not self.plan_codes or version.code in self.plan_codes)
        )

    def reduces(self, version: PlanVersion, item: Item) -> bool:
        """Whether it takes something off that item: an amount is given once, not for each of unlike items."""
        if not self.concerns(version, item) or self.amount_minor is None:
            return self.concerns(version, item)
        first = next(other for other in version.items if self.concerns(version, other))
        return _likeness(first) == _likeness(item)

    def concerns_any(self, version: PlanVersion) -> bool:
        """Whether it reduces any item of the version."""
        return any(self.concerns(version, item) for item in version.items)

    def off(self, base_minor: int, given_minor: int = 0) -> int:
        """What it takes off the price of one period, of which it gave ``given_minor`` already."""
        if self.percent_ppm is not None:
            return (2 * base_minor * self.percent_ppm + 1_000_000) // 2_000_000
        return min((self.amount_minor or 0) - given_minor, base_minor)


_PRICED = (*ONCE, *PERIODIC)
PROMOTION = "promo:"
"""How the item code of a line begins that a promotion made: ``promo:WELCOME/0``."""


def promotion_code(code: str, version: PlanVersion, item: Item) -> str:
    """The item code of what a promotion takes off ``item``: with the number of the first item of its like.

    Items that turn, are taxed and are earned alike are reduced together, others apart.
    """
    like = next(number for number, other in enumerate(version.items) if _likeness(other) == _likeness(item))
    return f"{PROMOTION}{code}/{like}"


def promoted_item(code: str, version: PlanVersion) -> tuple[str, Item] | None:
    """The promotion's own code and the item that it reduced; None: no promotion made that line."""
    if not code.startswith(PROMOTION):
        return None
    name, _, number = code.removeprefix(PROMOTION).rpartition("/")
    return name, version.items[int(number)]


def discount_code(item: Item, version: PlanVersion, reduced: Item) -> str:
    """The item code of what the discount ``item`` takes off ``reduced``: its own for the first it is for.

    What turns otherwise, in a rhythm of its own or in arrears, is reduced apart under ``CODE/n``, n being
    the number of the first item of that rhythm: else two periods that only begin alike would be one.
    """
    numbers = [number for number, other in enumerate(version.items) if _is_for(item.discount, other)]
    like = next(number for number in numbers if _rhythm(version.items[number]) == _rhythm(reduced))
    return item.code if like == numbers[0] else f"{item.code}/{like}"


def discounted_item(code: str, version: PlanVersion) -> tuple[Item, Item] | None:
    """The discount and the first item that a line of that code reduced; None: no discount made it."""
    name, _, number = code.partition("/")
    item = version.item(name)
    if item is None or item.discount is None:
        return None
    if number:
        return item, version.items[int(number)]
    return item, next((other for other in version.items if _is_for(item.discount, other)), item)


def takes_off(version: PlanVersion, code: str) -> bool:
    """Whether lines of that code take something off others: a discount's or a promotion's."""
    return promoted_item(code, version) is not None or discounted_item(code, version) is not None


def _is_for(discount: Discount | None, item: Item) -> bool:
    if discount is None:
        return False
    return item.code in discount.of if discount.of else item.kind in PERIODIC


def _rhythm(item: Item) -> tuple[object, ...]:
    return item.kind in ONCE, item.cadence, item.advance


def _likeness(item: Item) -> tuple[object, ...]:
    return (
        item.kind in ONCE, item.kind in _PRICED, item.cadence, item.advance, item.tax_class,
        item.tax_included, item.revenue,
    )  # fmt: skip


@dataclass(slots=True)
class Owed:
    """One item over one of its periods; ``parts`` are the days of it, with how many.

    ``base_minor``: what a discount or promotion takes its share of. ``whole``: what the price is for; longer
    than ``period`` where a change of the billing day cut that.
    """

    version: PlanVersion
    item: Item
    period: Period
    parts: list[tuple[Period, int]]
    amount_minor: int
    code: str
    base_minor: int = 0
    promotion: Promotion | None = None
    reduces: Item | None = None
    whole: Period = field(kw_only=True)

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

    def horizon(self, item: Item, turns: Turns) -> date:
        """Periods of the item that begin before this day are settled."""
        if item.kind in ONCE:
            return min(self.opening.start, self.changed_from or date.max)
        day = self.opening.start if item.advance else turns.containing(self.before).start
        if self.changed_from is None:
            return day
        return min(day, turns.containing(self.changed_from).start)  # a week may begin before and hold it


def turns_of(account: Account, subscription: Subscription, item: Item) -> Turns:
    """The calendar of the item's periods for this subscription.

    A period of the item's own keeps the billing day of the day on which the subscription began.
    """
    turns = subscription.turns or account.turns
    if item.cadence is None:
        return turns
    day = next((era.anchor_day for era in turns.former if subscription.starts_on < era.until), None)
    return turns_on(item.cadence, subscription.starts_on, turns.anchor_day if day is None else day)


def decide_owed(  # noqa: PLR0917 - what is owed depends on all of these, each of another kind
    account: Account,
    subscription: Subscription,
    phases: Sequence[Phase],
    versions: Mapping[str, PlanVersion],
    view: View,
    promotions: Iterable[Promotion] = (),
    idle: Sequence[Period] = (),
) -> list[Owed]:
    """Everything but usage that is owed for the periods in view, in the order of the items.

    ``idle``: days on which rented equipment was not at the customer's.
    """
    reckoning = _Reckoning(account, subscription, phases, view, idle)
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
        self,
        account: Account,
        subscription: Subscription,
        phases: Sequence[Phase],
        view: View,
        idle: Sequence[Period],
    ) -> None:
        self._account = account
        self._subscription = subscription
        self._phases = phases
        self._view = view
        self._idle = idle
        self._end = phases[-1].end if phases else FOREVER
        self._found: dict[Key, Owed] = {}

    def add_periods(self, phase: Phase, version: PlanVersion, item: Item) -> None:
        """The days of ``phase`` in every period of the item that is in view."""
        view = self._view
        turns = turns_of(self._account, self._subscription, item)
        horizon = view.horizon(item, turns)
        start = max(horizon, phase.start)
        until = view.opening.end if item.advance else view.opening.start
        for period in turns.between(start, min(phase.end, until)):
            if item.advance:
                if period.start < horizon:
                    continue
            elif min(period.end, self._end) > view.opening.start:
                continue
            part = phase.within(period)
            if part is None:
                continue
            days = without(part, self._idle) if item.kind == "rental" and self._idle else [part]
            if not days:
                continue
            parts = [(each, phase.quantity) for each in days]
            key = (version.id, item.code, period.start)
            standing = self._found.get(key)
            if standing is None:
                whole = turns.whole(period)
                self._found[key] = Owed(version, item, period, parts, 0, item.code, whole=whole)
            else:
                standing.parts += parts

    def add_once(self, phase: Phase, version: PlanVersion, item: Item) -> None:
        """What is charged when the subscription, or the plan, begins."""
        day = phase.start
        if day < self._view.horizon(item, self._subscription.turns or self._account.turns):
            return
        if phase is not self._phases[0]:
            before = self._phases[self._phases.index(phase) - 1]
            if not item.on_change or before.plan_version_id == phase.plan_version_id:
                return
        period = Period(day, day)
        amount = item.price_minor * phase.quantity
        one = Owed(version, item, period, [(period, phase.quantity)], amount, item.code, whole=period)
        self._found[one.key] = one

    def owed(self, promotions: Iterable[Promotion]) -> list[Owed]:
        """The periods with their prices, then what is taken off them."""
        owed = list(self._found.values())
        for one in owed:
            if one.item.kind in PERIODIC:
                one.amount_minor = prorate_parts(
                    one.item.price_minor, one.parts, one.whole, one.item.proration, self._account.currency
                )
        reduced = owed + self._discounts(owed)
        return reduced + self._promoted(owed, reduced, promotions)

    def _discounts(self, owed: Sequence[Owed]) -> list[Owed]:
        given: dict[Key, Owed] = {}
        for one in owed:
            for item in one.version.items:
                if item.discount is not None and self._reduces(item, one):
                    _give(given, one, item, discount_code(item, one.version, one.item))
        for gift in given.values():
            if gift.item.discount is not None:
                gift.amount_minor = -gift.item.discount.off(gift.base_minor)
        return list(given.values())

    def _reduces(self, item: Item, one: Owed) -> bool:
        discount = item.discount
        if discount is None or not _is_for(discount, one.item):
            return False
        if discount.amount_minor is not None and discount_code(item, one.version, one.item) != item.code:
            return False  # an amount is given once, not for each rhythm
        if discount.periods is None:
            return True
        turns = turns_of(self._account, self._subscription, one.item)
        end = _end_of(turns, self._subscription.starts_on, discount.periods)
        return one.period.start < end

    def _promoted(
        self, owed: Sequence[Owed], reduced: Iterable[Owed], promotions: Iterable[Promotion]
    ) -> list[Owed]:
        """What promotions take off, each by its own: together no more than there is to pay for a period."""
        left: dict[tuple[object, ...], int] = {}
        for one in reduced:
            place = _place(one)
            left[place] = left.get(place, 0) + one.amount_minor
        gifts: list[Owed] = []
        for promotion in promotions:
            given: dict[Key, Owed] = {}
            for one in owed:
                if one.amount_minor and self._reaches(promotion, one):
                    _give(given, one, one.item, promotion_code(promotion.code, one.version, one.item))
            before: dict[Period, int] = {}  # an amount is given once a period, whatever changed within it
            for gift in given.values():
                place = _place(gift)
                off = promotion.off(gift.base_minor, before.get(gift.period, 0))
                off = max(0, min(off, left[place]))
                before[gift.period] = before.get(gift.period, 0) + off
                left[place] -= off
                gift.promotion, gift.amount_minor = promotion, -off
            gifts += [gift for gift in given.values() if gift.amount_minor]
        return gifts

    def _reaches(self, promotion: Promotion, one: Owed) -> bool:
        if not promotion.reduces(one.version, one.item):
            return False
        if not (one.period.end > promotion.from_on or one.period.start == promotion.from_on):
            return False
        if promotion.until_on is not None and one.period.start >= promotion.until_on:
            return False
        if promotion.periods is None:
            return True
        turns = turns_of(self._account, self._subscription, one.item)
        return one.period.start < _end_of(turns, promotion.from_on, promotion.periods)


@lru_cache(maxsize=4096)
def _end_of(turns: Turns, first_day: date, periods: int) -> date:
    period = turns.containing(first_day)
    for _ in range(periods - 1):
        period = turns.after(period)
    return period.end


def _place(one: Owed) -> tuple[object, ...]:
    """What is paid together: of one version and rhythm, for one period."""
    return one.version.id, _rhythm(one.reduces or one.item), one.period


def _give(given: dict[Key, Owed], one: Owed, item: Item, code: str) -> None:
    key = (one.version.id, code, one.period.start)
    standing = given.get(key)
    if standing is None:
        given[key] = Owed(
            one.version,
            item,
            one.period,
            one.parts,
            0,
            code,
            one.amount_minor,
            reduces=one.item,
            whole=one.whole,
        )
    else:
        standing.base_minor += one.amount_minor
