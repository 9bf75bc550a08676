"""Whole lives against a simple model: whatever is done in whatever order, money comes out as the model says.

Accounts, plans, changes and pauses, usage, payments, refunds, chargebacks, credit notes, dunning and time go
through the real use cases on SQLite. After every step the books prove themselves and agree with the model
(``billing_model``) to the minor unit; what a run issues is replayed octet for octet, and all of it at the end.
"""

from __future__ import annotations

import asyncio
import functools
import os
import shutil
import tempfile
from collections.abc import Coroutine
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from billing_model import TERMS, Bill, Change, Customer, Given, Money, Plan, cycle_of, half_up
from billing_story import DENVER, GB, Town, new_database
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select

from billing.config import BillingSettings
from billing.invoicing.credit_note import CREDIT_NOTE, issue_credit_note
from billing.invoicing.replay import replay_invoices
from billing.ledger.verify import account_balance
from billing.payments.refund import end_refund, order_refund
from billing.payments.reverse_payment import reverse_payment
from billing.store.tables import invoice, invoice_line, payment
from billing.subscriptions import change_subscription as change
from billing.subscriptions.turn_subscriptions import turn_subscriptions
from core.clock import FakeClock
from core.database import Database, sqlite_url
from core.ids import SeededIds
from core.periods import local_date
from core.refusal import Refusal, granted
from core.work import Workplace

SOAK = os.environ.get("HILLTOP_SOAK") == "1"
TAX_PPM = 100_000
WHO = st.integers(0, 2)
NEAR = st.integers(-20, 25)


@functools.cache
def _empty() -> Path:
    path = Path(tempfile.mkdtemp()) / "empty.sqlite"

    async def make() -> None:
        await (await new_database(path)).close()

    asyncio.run(make())
    return path


class Billing(RuleBasedStateMachine):
    """The same done to the house and to the model."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.loop = asyncio.new_event_loop()
        shutil.copy(_empty(), self.folder / "x.sqlite")
        self.database = Database(sqlite_url(self.folder / "x.sqlite"))
        clock = FakeClock(datetime(2026, 1, 5, 13, tzinfo=UTC))
        self.town = Town(Workplace(self.database, clock, SeededIds()), clock)
        self.town.settings = BillingSettings(clock_leap_days=3_650)  # nothing may be billed for long
        self.people: list[Customer] = []
        self.keys = 0
        self.resumes: dict[str, Change] = {}  # by the pause that they were ordered with

    def teardown(self) -> None:
        try:
            self.do(self._replay(date(2025, 1, 1)))  # whatever was written since
        finally:
            self.do(self.database.close())
            self.loop.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    def do(self, what: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(what)

    def act(self, what: Any, **terms: Any) -> Any:
        self.town.clock.advance(timedelta(minutes=1))

        async def one() -> Any:
            async with self.town.workplace.work("operator:test") as work:
                return await what(work, **terms)

        return self.do(one())

    def rows(self, query: Any) -> list[Any]:
        async def read() -> list[Any]:
            async with self.town.workplace.reading() as connection:
                return list(await connection.execute(query))

        return list(self.do(read()))

    @property
    def today(self) -> date:
        return local_date(self.town.clock.now(), DENVER)

    def key(self) -> str:
        self.keys += 1
        return f"k{self.keys}"

    def person(self, which: int) -> Customer:
        return self.people[which % len(self.people)]

    # What happens

    @initialize()
    def begin(self) -> None:
        self.do(self.town.tax(TAX_PPM, valid_from=date(2025, 1, 1)))
        self.plans = [
            Plan(self.do(self.town.plan(code=code, price_minor=price, allowance_octets=included * GB)), price, included)
            for code, price, included in (("small", 3000, 100), ("big", 6199, 250), ("tiny", 7, 0))
        ]  # fmt: skip
        self.open(0, 1, 0)
        self.open(1, 31, -5)
        self.travel(1, 6)

    @precondition(lambda self: len(self.people) < 3)
    @rule(
        plan=st.integers(0, 2),
        anchor_day=st.sampled_from((1, 10, 15, 28, 29, 31)),
        starts=st.integers(-5, 20),
    )
    def open(self, plan: int, anchor_day: int, starts: int) -> None:
        on = self.today + timedelta(days=starts)
        account_id = self.do(self.town.account(f"Subscriber {len(self.people) + 1}", anchor_day=anchor_day))
        service = f"svc_{len(self.people) + 1}"
        chosen = self.plans[plan]
        sub = self.do(self.town.subscription(account_id, chosen.version_id, on, service))
        start = Change("start", on, "start", chosen)
        self.people.append(Customer(account_id, service, anchor_day, sub, [start]))

    def _changed(self, one: Customer, made: Any, *rows: Change) -> None:
        """What was refused changes nothing; else the model's change gets the id of the real one."""
        if isinstance(made, Refusal):
            return
        standing = granted(self.act(change.find_standing, subscription_id=one.subscription_id)).changes
        newest = sorted(standing, key=lambda row: (row.recorded_at, row.id))[-len(rows) :]
        for row in rows:
            [real] = [found for found in newest if found.kind == row.kind]
            row.id = real.id
            one.changes.append(row)

    @rule(who=WHO, plan=st.integers(0, 2), days=NEAR)
    def change_plan(self, who: int, plan: int, days: int) -> None:
        one, chosen, on = self.person(who), self.plans[plan], self.today + timedelta(days=days)
        made = self.act(
            change.change_plan, subscription_id=one.subscription_id, plan_version_id=chosen.version_id,
            effective_on=on,
        )  # fmt: skip
        self._changed(one, made, Change("", on, "plan", chosen))

    @rule(who=WHO, quantity=st.integers(1, 3), days=NEAR)
    def change_quantity(self, who: int, quantity: int, days: int) -> None:
        one, on = self.person(who), self.today + timedelta(days=days)
        made = self.act(
            change.change_quantity, subscription_id=one.subscription_id, quantity=quantity, effective_on=on
        )
        self._changed(one, made, Change("", on, "quantity", quantity=quantity))

    @rule(who=WHO, days=NEAR, length=st.integers(1, 45))
    def pause(self, who: int, days: int, length: int) -> None:
        one, on = self.person(who), self.today + timedelta(days=days)
        back = on + timedelta(days=length)
        made = self.act(
            change.pause_subscription, subscription_id=one.subscription_id, from_on=on, resume_on=back
        )
        pause, resume = Change("", on, "pause"), Change("", back, "resume")
        self._changed(one, made, pause, resume)
        self.resumes[pause.id] = resume

    @rule(who=WHO, days=NEAR, sure=st.integers(0, 5))
    def end(self, who: int, days: int, sure: int) -> None:
        if sure != 5:
            return  # else most lives would be short
        one, on = self.person(who), self.today + timedelta(days=days)
        made = self.act(change.end_subscription, subscription_id=one.subscription_id, ends_on=on)
        self._changed(one, made, Change("", on, "end"))

    @rule(who=WHO, which=st.integers(0, 9))
    def withdraw(self, who: int, which: int) -> None:
        one = self.person(who)
        row = one.changes[which % len(one.changes)]
        made = self.act(
            change.withdraw_change, subscription_id=one.subscription_id, change_id=row.id, reason="a mistake"
        )
        if isinstance(made, Refusal):
            return
        one.changes.remove(row)
        with_it = self.resumes.get(row.id) if row.kind == "pause" else None
        if with_it in one.changes:
            one.changes.remove(with_it)

    @rule(who=WHO, gigabytes=st.integers(1, 300))
    def use(self, who: int, gigabytes: int) -> None:
        one = self.person(who)
        self.town.meters.use(one.service_id, self.town.clock.now(), gigabytes * GB, 0)
        one.used.append((self.today, gigabytes))

    @rule(who=WHO, amount=st.integers(1, 9_000))
    def pay_something(self, who: int, amount: int) -> None:
        self._pay(self.person(who), amount)

    @rule(who=WHO, more=st.sampled_from((0, 0, 2_500)))
    def pay_all(self, who: int, more: int) -> None:
        one = self.person(who)
        self._pay(one, max(one.balance_minor, 1) + more)

    def _pay(self, one: Customer, amount: int) -> None:
        self.town.clock.advance(timedelta(minutes=1))
        paid = self.do(self.town.pay(one.id, amount))
        one.balance_minor -= amount
        one.money.append(Money(paid.payment_id, (self.town.clock.now(), paid.payment_id), amount))
        one.settle(self.today)
        one.relieve(self.today)

    def _payment(self, one: Customer, which: int) -> Money | None:
        paid = [money for money in one.money if not money.id.startswith("credit ")]
        return paid[which % len(paid)] if paid else None

    @rule(who=WHO, which=st.integers(0, 9), part=st.sampled_from((1.0, 1.0, 0.5)))
    def charge_back(self, who: int, which: int, part: float) -> None:
        one = self.person(who)
        money = self._payment(one, which)
        if money is None:
            return
        held = money.free_minor + sum(money.gave.values())
        amount = max(1, int(held * part))
        kind = ("chargeback", "nsf", "mistake")[which % 3]
        taken = self.act(
            reverse_payment, payment_id=money.id, reason="the bank took it back", kind=kind,
            amount_minor=amount, settings=self.town.settings, source=self.key(),
        )  # fmt: skip
        if held == 0:
            assert isinstance(taken, Refusal)
            return
        granted(taken)
        one.balance_minor += amount
        one.take_back(money, amount, self.today)
        one.settle(self.today)
        one.dun(self.today)

    @rule(who=WHO, which=st.integers(0, 9), amount=st.integers(1, 5_000), works=st.booleans())
    def refund(self, who: int, which: int, amount: int, works: bool) -> None:
        one = self.person(who)
        money = self._payment(one, which)
        if money is None:
            return
        if which < 8:
            amount = min(amount, max(1, money.free_minor))
        order = self.act(
            order_refund, account_id=one.id, amount_minor=amount, method="cash", reason="asked for",
            idempotency_key=self.key(), payment_id=money.id,
        )  # fmt: skip
        if amount > money.free_minor:
            assert isinstance(order, Refusal)
            return
        outcome = "paid" if works else "failed"
        granted(self.act(end_refund, refund_id=granted(order).refund_id, outcome=outcome, told="told"))
        if works:
            money.free_minor -= amount
            one.balance_minor += amount

    @rule(
        who=WHO,
        which=st.integers(0, 9),
        part=st.sampled_from((None, None, 1, 500, 1_400)),
        line=st.integers(1, 4),
    )
    def credit(self, who: int, which: int, part: int | None, line: int) -> None:
        one = self.person(who)
        if not one.bills:
            return
        bill = one.bills[which % len(one.bills)]
        note = self.act(
            issue_credit_note, invoice=bill.id, reason="no service", source=self.key(),
            amounts_minor=None if part is None else {line: part}, settings=self.town.settings,
        )  # fmt: skip
        if isinstance(note, Refusal):
            assert note.code in {"nothing_left", "too_much", "unknown_invoice", "unknown_line"}, note
            return
        self._issued(one, first=bill.id)
        lines = self.rows(select(invoice_line).where(invoice_line.c.invoice_id == granted(note).id))
        one.given += [
            Given(line.item_code, line.plan_version_id, line.charged_for, line.period_end, -line.quoted_minor)
            for line in lines
            if line.kind == "credit"
        ]
        self._nothing_comes_back_twice(one)

    @rule(
        who=WHO,
        part=st.sampled_from((None, 1_000)),
        days=st.integers(-45, 0),
        how=st.sampled_from(("end", "pause", "plan", "quantity")),
    )
    def credit_and_cut(self, who: int, part: int | None, days: int, how: str) -> None:
        """What was charged is credited, and then its days turn out to be fewer or cheaper."""
        self.credit(who, len(self.person(who).bills) - 1, part, 1)
        if how == "end":
            self.end(who, days, 5)
        elif how == "pause":
            self.pause(who, days, 20)
        elif how == "plan":
            self.change_plan(who, 2, days)
        else:
            self.change_quantity(who, 1, days)

    def _nothing_comes_back_twice(self, one: Customer) -> None:
        """Of no month, and of no usage, more than was charged."""
        back = {"usage": 0}
        for each in one.given_back():
            what = each.start if each.kind == "recurring" else "usage"
            back[what] = back.get(what, 0) + each.amount
        charged = {**one.months, "usage": one.usage_minor}
        assert all(amount <= charged[what] for what, amount in back.items()), (back, charged)

    def _issued(self, one: Customer, first: str | None = None) -> list[Any]:
        """Take over what was issued: totals are checked line by line here, and their sum by the days."""
        known = {bill.id for bill in one.bills}
        query = select(invoice).where(invoice.c.account_id == one.id).order_by(invoice.c.number)
        fresh = [row for row in self.rows(query) if row.id not in known]
        for row in fresh:
            lines = self.rows(select(invoice_line).where(invoice_line.c.invoice_id == row.id))
            net = sum(line.amount_minor for line in lines if line.kind != "tax")
            assert (
                row.total_minor == row.net_minor + row.tax_minor == sum(line.amount_minor for line in lines)
            )
            assert row.net_minor == net
            if row.kind == CREDIT_NOTE:
                self._taxes_come_back(row.corrects_id)
            else:
                assert abs(row.tax_minor * 10 - net) <= 5 * len(lines), (
                    "a tenth, each line rounded by half a unit"
                )
            due_on = row.issued_on if row.kind == CREDIT_NOTE else row.issued_on + TERMS
            assert (row.issued_on, row.due_on) == (self.today, due_on)
            one.bills.append(Bill(row.id, row.number, row.due_on, row.total_minor))
            one.balance_minor += row.total_minor
            if row.total_minor < 0:
                query = select(payment).where(payment.c.note == f"credit of invoice {row.number}")
                [kept] = self.rows(query)
                money = Money(f"credit {kept.id}", (self.town.clock.now(), kept.id), -row.total_minor)
                one.money.append(money)
        if fresh and one.settle(self.today, first):
            one.relieve(self.today)
        return fresh

    def _taxes_come_back(self, invoice_id: str) -> None:
        """Notes give back so much of each line's tax as of the line: all of it with all of the line."""
        credited: dict[int, int] = {}
        back = 0
        for line in self.rows(
            select(invoice_line).join(invoice, invoice.c.id == invoice_line.c.invoice_id)
            .where(invoice.c.corrects_id == invoice_id)
        ):  # fmt: skip
            if line.kind == "tax":
                back -= line.amount_minor
            else:
                at = line.explanation["line"]
                credited[at] = credited.get(at, 0) - line.quoted_minor
        lines = self.rows(select(invoice_line).where(invoice_line.c.invoice_id == invoice_id))
        quoted = {line.position: line.quoted_minor for line in lines}
        taxes = [line.explanation for line in lines if line.kind == "tax"]
        assert back == sum(
            half_up(Fraction(part * credited.get(at, 0), quoted[at]))
            for tax in taxes
            for at, part in zip(tax["lines"], tax["parts"], strict=True)
            if part
        )

    @rule(days=st.sampled_from((1, 2, 4, 8, 11, 14, 17, 23, 40)), hour=st.sampled_from((1, 6, 23)))
    def some_days(self, days: int, hour: int) -> None:
        self.travel(days, hour)

    def travel(self, days: int, hour: int) -> None:
        """Days pass; then subscriptions turn, the run bills what is due, and dunning looks at everybody.

        It catches up with the days first, for what the run gives back pays older debts today and not then.
        """
        self.town.travel(self.today + timedelta(days=days), hour)
        granted(self.do(turn_subscriptions(self.town.workplace, settings=self.town.settings)))
        self.do(self.town.dun())
        for one in self.people:
            one.dun(self.today)
        outcome = self.do(self.town.bill())
        assert outcome.parked == ()
        for one in self.people:
            for turn, end in one.turns_to(self.today):
                one.invoice(turn, end)
                one.billed_through = end
            self._issued(one)
            self._compare_totals(one)
        self.do(self.town.dun())
        for one in self.people:
            one.dun(self.today)
        assert self.do(self.town.bill()).numbers == ()
        self.do(self._replay(self.today))

    @rule(hour=st.sampled_from((1, 23)), gigabytes=st.sampled_from((0, 60, 180, 420)))
    def a_month(self, hour: int, gigabytes: int) -> None:
        for who in range(len(self.people)):
            self.use(who, gigabytes + who)
        self.travel(30, hour)

    def _compare_totals(self, one: Customer) -> None:
        line = invoice_line.c
        query = (
            select(line.item_code, line.charged_for, line.amount_minor)
            .join(invoice, invoice.c.id == line.invoice_id)
            .where(invoice.c.account_id == one.id, invoice.c.kind != CREDIT_NOTE, line.kind != "tax")
        )
        months: dict[date, int] = {}
        usage = 0
        for code, day, amount in self.rows(query):
            if code == "recurring":
                months[day] = months.get(day, 0) + amount
            else:
                usage += amount
        wanted = {day: amount for day, amount in one.months.items() if amount}
        assert {day: amount for day, amount in months.items() if amount} == wanted, one
        assert usage == one.usage_minor, one
        self._nothing_comes_back_twice(one)

    # What always holds

    @invariant()
    def the_books_prove_themselves(self) -> None:
        if self.people:
            self.do(self.town.prove_books())

    @invariant()
    def every_account_stands_as_the_model_says(self) -> None:
        invoices = {row.id: row for row in self.rows(select(invoice))}
        free = {row.id: row.unallocated_minor for row in self.rows(select(payment))}
        for one in self.people:
            for bill in one.bills:
                assert invoices[bill.id].open_minor == bill.open_minor, (bill, one)
            for money in one.money:
                assert free[money.id.removeprefix("credit ")] == money.free_minor, (money, one)
            opened = sum(bill.open_minor for bill in one.bills)
            credit = sum(money.free_minor for money in one.money)
            assert opened - credit == one.balance_minor
            assert opened == 0 or credit == 0
            assert self.do(self._balance(one)) == one.balance_minor
            assert self.do(self.town.stage(one.id)) == one.stage, one

    async def _balance(self, one: Customer) -> int:
        async with self.town.workplace.reading() as connection:
            return await account_balance(connection, one.id)

    @invariant()
    def numbers_have_no_gap(self) -> None:
        for prefix in ("INV-", "CN-"):
            numbers = [row.number for row in self.rows(select(invoice)) if row.number.startswith(prefix)]
            assert sorted(numbers) == [f"{prefix}{n:06d}" for n in range(1, len(numbers) + 1)]

    async def _replay(self, since: date) -> None:
        async with self.town.workplace.reading() as connection:
            issued = since, date(2099, 1, 1)
            async for one in replay_invoices(connection, self.town.meters, *issued, self.town.settings):
                assert one.is_same, (one.number, one.differences)


@pytest.mark.slow
def test_lives_come_out_as_the_model_says() -> None:
    run_state_machine_as_test(
        Billing,
        settings=settings(
            max_examples=600 if SOAK else 12,
            stateful_step_count=60 if SOAK else 25,
            deadline=None,
            derandomize=not SOAK,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )


def test_the_model_counts_months_as_everybody_does() -> None:
    assert cycle_of(date(2028, 2, 29), 31) == (date(2028, 2, 29), date(2028, 3, 31))
    assert cycle_of(date(2026, 2, 27), 31) == (date(2026, 1, 31), date(2026, 2, 28))
    assert cycle_of(date(2026, 1, 5), 10) == (date(2025, 12, 10), date(2026, 1, 10))
