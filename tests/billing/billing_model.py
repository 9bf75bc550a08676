"""Billing again, much simpler and from the rules alone: day by day, with fractions, and nothing is stored twice.

The machine in ``test_billing_machine`` does the same to it and to the real use cases and compares.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from fractions import Fraction
from math import floor

GB = 10**9
ONE_DAY = timedelta(days=1)
TERMS = timedelta(days=14)
LADDER = ((3, "reminded"), (10, "restricted"), (15, "suspended"))
RANK = {"clear": 0, "reminded": 1, "restricted": 2, "suspended": 3}


def half_up(amount: Fraction) -> int:
    """The nearest whole number, a half away from nothing."""
    return floor(amount + Fraction(1, 2)) if amount >= 0 else -floor(-amount + Fraction(1, 2))


def month_day(year: int, month: int, day: int) -> date:
    """That day, or the last one of a shorter month."""
    year, month = year + (month - 1) // 12, (month - 1) % 12 + 1
    last = (date(year + month // 12, month % 12 + 1, 1) - ONE_DAY).day
    return date(year, month, min(day, last))


def cycle_of(day: date, anchor_day: int) -> tuple[date, date]:
    """The billing month with ``day`` in it, its end exclusive."""
    start = month_day(day.year, day.month, anchor_day)
    if start > day:
        start = month_day(day.year, day.month - 1, anchor_day)
        return start, month_day(day.year, day.month, anchor_day)
    return start, month_day(day.year, day.month + 1, anchor_day)


@dataclass(frozen=True)
class Plan:
    """A price a month and what it includes; beyond that 0.50 per GB."""

    version_id: str
    price_minor: int
    included_gb: int


@dataclass
class Change:
    """One dated change; ``id`` is what it is withdrawn by."""

    id: str
    on: date
    kind: str
    plan: Plan | None = None
    quantity: int | None = None


@dataclass
class Bill:
    """An invoice or credit note as it was issued; ``paid`` are ``(day, amount)``, taken back as negative."""

    id: str
    number: str
    due_on: date
    total_minor: int
    paid: list[tuple[date, int]] = field(default_factory=list)

    @property
    def open_minor(self) -> int:
        return max(self.total_minor, 0) - sum(amount for _, amount in self.paid)

    def days_late(self, today: date) -> int:
        """Days since it was due at whose end it was not paid."""
        late, day = 0, self.due_on
        while day < today:
            late += sum(amount for on, amount in self.paid if on <= day) < self.total_minor
            day += ONE_DAY
        return late


@dataclass
class Money:
    """A payment or the credit of an invoice: what of it is free, and what it gave to which bill."""

    id: str
    order: tuple[object, str]
    free_minor: int
    gave: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Given:
    """A line of a credit note: what it is for, of which days, and how much came back."""

    kind: str
    version_id: str
    start: date
    end: date
    amount: int

    def nearness(self, other: Given) -> tuple[bool, int, bool]:
        """Which of others stands first for what this one took: of its own days, then of those that followed."""
        days = (other.start - self.start).days
        return days < 0, abs(days), other.kind != self.kind


@dataclass
class Customer:
    """One account with one subscription.

    ``months``: what stands charged by the first day of each; ``given``: the lines of credit notes.
    """

    id: str
    service_id: str
    anchor_day: int
    subscription_id: str
    changes: list[Change]
    used: list[tuple[date, int]] = field(default_factory=list)
    bills: list[Bill] = field(default_factory=list)
    money: list[Money] = field(default_factory=list)
    billed_through: date | None = None
    months: dict[date, int] = field(default_factory=dict)
    usage_minor: int = 0
    given: list[Given] = field(default_factory=list)
    balance_minor: int = 0
    stage: str = "clear"

    # The subscription, a day at a time

    def state_on(self, day: date) -> tuple[Plan, int, bool] | None:
        """``(plan, how many, paused)``, None while it does not run."""
        if any(one.kind == "end" and one.on <= day for one in self.changes):
            return None
        plan, quantity, paused = None, 1, False
        for one in sorted((one for one in self.changes if one.on <= day), key=lambda one: one.on):
            plan = one.plan or plan
            quantity = one.quantity or quantity
            paused = one.kind == "pause" or (paused and one.kind != "resume")
        return None if plan is None else (plan, quantity, paused)

    @property
    def starts_on(self) -> date:
        return self.changes[0].on

    def days(self, start: date, end: date) -> Iterator[date]:
        day = max(start, self.starts_on)
        while day < end:
            yield day
            day += ONE_DAY

    def owed_through(self, end: date) -> dict[date, int]:
        """By month the price of every day before ``end``: what is paid by the end of it less by its beginning."""
        owed: dict[date, int] = {}
        for day in self.days(self.starts_on, end):
            state = self.state_on(day)
            if state is None or state[2]:
                continue
            first, last = cycle_of(day, self.anchor_day)
            price, of_days = state[0].price_minor * state[1], (last - first).days
            upto = (day - first).days
            today = half_up(Fraction(price * (upto + 1), of_days)) - half_up(Fraction(price * upto, of_days))
            owed[first] = owed.get(first, 0) + today
        return owed

    def usage_through(self, turn: date) -> Iterator[tuple[date, date, int]]:
        """What all usage costs whose month or plan has ended by ``turn``, as the terms are known now."""
        for start, end, plan in self._parts(turn):
            first, last = cycle_of(start, self.anchor_day)
            of_days, octets = (last - first).days, plan.included_gb * GB
            included = half_up(Fraction(octets * (end - first).days, of_days))
            included -= half_up(Fraction(octets * (start - first).days, of_days))
            used = sum(gigabytes for day, gigabytes in self.used if start <= day < end) * GB
            yield start, end, half_up(Fraction(max(0, used - included) * 50, GB))

    def invoice(self, turn: date, end: date) -> None:
        """The invoice of the month up to ``end``: what is owed is charged, and nothing is given back twice.

        What was credited stays charged; of usage, as far as the days of it cost less now.
        """
        self.months = self.owed_through(end)
        usage = list(self.usage_through(turn))
        left = [cost for _, _, cost in usage]
        self.usage_minor = sum(cost for _, _, cost in usage)
        credited: dict[date, int] = {}
        for one in self.given_back():
            if one.kind == "recurring":
                credited[one.start] = credited.get(one.start, 0) + one.amount
                continue
            rest = one.amount
            for place, (start, until, _) in enumerate(usage):
                if start < one.end and until > one.start:
                    covered = min(rest, left[place])
                    left[place] -= covered
                    rest -= covered
            self.usage_minor += rest
        for month, amount in credited.items():
            self.months[month] = max(self.months.get(month, 0), amount)

    def given_back(self) -> list[Given]:
        """What notes gave, less what they took because they credited something that gave before."""
        sums: dict[tuple[date, str, str], Given] = {}
        for one in self.given:
            key = (one.start, one.kind, one.version_id)
            before = sums.get(key, replace(one, amount=0))
            sums[key] = replace(one, end=max(one.end, before.end), amount=one.amount + before.amount)
        gave = [one for _, one in sorted(sums.items()) if one.amount > 0]
        for _, took in sorted(sums.items()):
            more = max(0, -took.amount)
            for one in sorted(gave, key=took.nearness):
                part = min(more, one.amount)
                more -= part
                gave[gave.index(one)] = replace(one, amount=one.amount - part)
        return [one for one in gave if one.amount]

    def _parts(self, turn: date) -> Iterator[tuple[date, date, Plan]]:
        """Days before ``turn`` of one month over which nothing changed."""
        start: date | None = None
        kept: tuple[Plan, int, bool] | None = None
        for day in self.days(self.starts_on, turn + ONE_DAY):
            state = self.state_on(day) if day < turn else None
            turned = state != kept or cycle_of(day, self.anchor_day)[0] == day
            if start is not None and kept is not None and turned:
                yield start, day, kept[0]
                start = None
            if start is None and state is not None:
                start, kept = day, state

    def turns_to(self, today: date) -> Iterator[tuple[date, date]]:
        """The months that have begun by ``today`` and were not invoiced yet."""
        first, end = cycle_of(self.billed_through or self.starts_on, self.anchor_day)
        while first <= today:
            yield first, end
            first, end = cycle_of(end, self.anchor_day)

    # Money

    def bill_of(self, bill_id: str) -> Bill:
        return next(one for one in self.bills if one.id == bill_id)

    def settle(self, today: date, first: str | None = None) -> bool:
        """Free money pays what is open, the oldest debt first; whether any did."""
        paid = False
        claims = sorted(self.bills, key=lambda one: (one.id != first, one.due_on, one.number))
        for money in sorted(self.money, key=lambda one: one.order):
            for bill in claims:
                amount = min(money.free_minor, bill.open_minor)
                if amount > 0:
                    money.free_minor -= amount
                    money.gave[bill.id] = money.gave.get(bill.id, 0) + amount
                    bill.paid.append((today, amount))
                    paid = True
        return paid

    def take_back(self, money: Money, amount_minor: int, today: date) -> None:
        """A chargeback: free money goes first, then what pays the youngest debt."""
        part = min(amount_minor, money.free_minor)
        money.free_minor -= part
        amount_minor -= part
        for bill in sorted(self.bills, key=lambda one: (one.due_on, one.number), reverse=True):
            part = min(amount_minor, money.gave.get(bill.id, 0))
            if part:
                money.gave[bill.id] -= part
                bill.paid.append((today, -part))
                amount_minor -= part

    # Dunning

    def wanted(self, today: date) -> str:
        """Where the ladder would have it."""
        late = [one.days_late(today) for one in self.bills if one.open_minor > 0]
        return max(
            (name for days, name in LADDER if days <= max(late, default=0)), key=RANK.get, default="clear"
        )

    def relieve(self, today: date) -> None:
        """Money came in."""
        wanted = self.wanted(today)
        if RANK[wanted] < RANK[self.stage]:
            self.stage = wanted

    def dun(self, today: date) -> None:
        """The day's decision: nobody is cut at a weekend, nobody is chased on vacation."""
        wanted = self.wanted(today)
        if RANK[wanted] <= RANK[self.stage]:
            self.stage = wanted
            return
        state = self.state_on(today)
        if state is not None and state[2]:
            return
        if today.weekday() >= 5 and RANK[wanted] > RANK["reminded"]:
            wanted = "reminded"
        if RANK[wanted] > RANK[self.stage]:
            self.stage = wanted
