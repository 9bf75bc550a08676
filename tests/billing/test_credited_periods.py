"""What a credit note gave back is not given back again: items beside each other, discounts, others who pay."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from billing_story import GB, Town
from hypothesis import given
from hypothesis import strategies as st

from billing.accounts.set_payer import set_payer
from billing.catalogue.define_plan import define_offer
from billing.config import BillingSettings
from billing.documents.invoice_view import invoice_view
from billing.documents.printed import print_invoice
from billing.domain.catalogue import PlanVersion
from billing.domain.credited import Charged, Credited, Standing, StandingCharges, hold_credited
from billing.domain.invoicing import LineDraft
from billing.domain.items import Item
from billing.invoicing.credit_note import CreditNote, creditable_lines, issue_credit_note
from billing.invoicing.explain import explain_line, format_explanation
from billing.invoicing.preview_invoice import preview_invoice
from billing.invoicing.replay import replay_invoices
from billing.ledger.verify import account_balance
from billing.store import invoice_rows
from billing.subscriptions import change_subscription as change
from core.periods import Period
from core.refusal import Refusal, Refused, granted

MARCH = date(2026, 3, 1)
DISCOUNT = {"code": "off", "kind": "discount", "name": "Off", "discount": {"percent_ppm": 200_000}}


async def act(town: Town, what: Callable[..., Any], **asked: Any) -> Any:
    town.clock.advance(timedelta(minutes=1))
    async with town.workplace.work("operator:test") as work:
        return granted(await what(work, **asked))


async def plan(town: Town, code: str, prices: dict[str, int], *others: dict[str, Any]) -> str:
    items = [
        {"code": each, "kind": "recurring", "name": each.title(), "price_minor": price}
        for each, price in prices.items()
    ]
    return str(
        await act(
            town, define_offer, code=code, name=code.title(), currency="USD", service_profile_id="pro_1",
            items=[*items, *others],
        )
    )  # fmt: skip


async def credit(
    town: Town, source: str, invoice: str = "INV-000001", amounts: dict[int, int] | None = None
) -> CreditNote | Refusal:
    town.clock.advance(timedelta(minutes=1))
    async with town.workplace.work("operator:test") as work:
        return await issue_credit_note(
            work, invoice=invoice, reason="it did not work", source=source, amounts_minor=amounts,
            settings=town.settings,
        )  # fmt: skip


async def balance(town: Town, account_id: str) -> int:
    """After all has been replayed and the books are proved."""
    await town.prove_books()
    async with town.workplace.reading() as connection:
        async for one in replay_invoices(connection, town.meters, MARCH, date(2027, 1, 1), town.settings):
            assert one.is_same, one.differences
        return await account_balance(connection, account_id)


async def bill(town: Town, day: str) -> None:
    town.travel(day)
    await town.bill()


async def test_an_item_that_was_credited_and_is_gone_leaves_the_others_paid(town: Town) -> None:
    ann = await town.account()
    both = await plan(town, "both", {"base": 3000, "voice": 1000})
    base = await plan(town, "base", {"base": 3000})
    sub = await town.subscription(ann, both, MARCH)
    await town.bill()
    granted(await credit(town, "voice", amounts={2: 1000}))
    await act(town, change.change_plan, subscription_id=sub, plan_version_id=base, effective_on=MARCH)
    await bill(town, "2026-04-01")
    assert await balance(town, ann) == 6000


async def test_an_upgrade_to_a_plan_of_other_items_costs_the_difference_however_often_it_moves(
    town: Town,
) -> None:
    ann = await town.account()
    old, new = await plan(town, "old", {"slow": 3100}), await plan(town, "new", {"fast": 6200})
    sub = await town.subscription(ann, old, MARCH)
    await town.bill()
    granted(await credit(town, "all"))
    for day, owed in ((11, 2100), (1, 3100)):
        on = date(2026, 3, day)
        await act(town, change.change_plan, subscription_id=sub, plan_version_id=new, effective_on=on)
        await bill(town, "2026-04-01" if day == 11 else "2026-05-01")
        assert await balance(town, ann) - 6200 * (1 if day == 11 else 2) == owed
    await act(town, change.end_subscription, subscription_id=sub, ends_on=MARCH)
    await bill(town, "2026-06-01")
    assert await balance(town, ann) == 0


async def test_what_the_upgrade_cost_is_all_that_can_be_credited_of_it(town: Town) -> None:
    ann = await town.account()
    old, new = await plan(town, "old", {"slow": 3100}), await plan(town, "new", {"fast": 6200})
    sub = await town.subscription(ann, old, MARCH)
    await town.bill()
    granted(await credit(town, "all"))
    await act(
        town, change.change_plan, subscription_id=sub, plan_version_id=new, effective_on=date(2026, 3, 11)
    )
    await bill(town, "2026-04-01")
    lines = await town.lines("INV-000002")
    [upgraded] = [one.position for one in lines if one.item_code == "fast" and one.charged_for == MARCH]
    refusal = await credit(town, "too much", "INV-000002", {upgraded: 2101})
    assert isinstance(refusal, Refusal)
    assert refusal.code == "too_much"
    granted(await credit(town, "the rest", "INV-000002", {upgraded: 2100}))
    await act(town, change.end_subscription, subscription_id=sub, ends_on=MARCH)
    await bill(town, "2026-05-01")
    assert await balance(town, ann) == 0


@pytest.mark.parametrize("amounts", [None, {1: 2400}, {1: 1000}])
async def test_a_discounted_month_comes_back_once(town: Town, amounts: dict[int, int] | None) -> None:
    ann = await town.account()
    sub = await town.subscription(ann, await plan(town, "cheap", {"base": 3000}, DISCOUNT), MARCH)
    await town.bill()
    granted(await credit(town, "some", amounts=amounts))
    await act(town, change.end_subscription, subscription_id=sub, ends_on=MARCH)
    await bill(town, "2026-04-01")
    assert await balance(town, ann) == 0
    assert isinstance(await credit(town, "again"), Refusal)


async def test_a_discounted_month_that_was_cut_is_credited_no_further_than_it_stands(town: Town) -> None:
    ann = await town.account()
    sub = await town.subscription(ann, await plan(town, "cheap", {"base": 3100}, DISCOUNT), MARCH)
    await town.bill()
    await act(town, change.end_subscription, subscription_id=sub, ends_on=date(2026, 3, 11))
    await bill(town, "2026-04-01")
    assert await balance(town, ann) == 800
    assert granted(await credit(town, "all")).total_minor == -800
    assert isinstance(await credit(town, "again"), Refusal)
    assert await balance(town, ann) == 0


async def test_an_invoice_that_only_gave_back_has_nothing_to_credit(town: Town) -> None:
    """To undo it would be a credit note that charges; what it undid is undone by the change behind it."""
    ann = await town.account()
    sub = await town.subscription(ann, await town.plan(), MARCH)
    await town.bill()
    await act(town, change.end_subscription, subscription_id=sub, ends_on=MARCH)
    await bill(town, "2026-04-01")
    for amounts in (None, {1: -3000}):
        assert isinstance(await credit(town, "undo", "INV-000002", amounts), Refusal)
    assert await balance(town, ann) == 0


async def test_a_line_says_what_was_given_back_before(town: Town) -> None:
    ann = await town.account()
    sub = await town.subscription(ann, await town.plan(), MARCH)
    await town.bill()
    granted(await credit(town, "one", amounts={1: 1000}))
    granted(await credit(town, "two", amounts={1: 500}))
    await act(town, change.end_subscription, subscription_id=sub, ends_on=MARCH)
    async with town.workplace.reading() as connection:
        draft = await preview_invoice(connection, town.meters, ann, town.clock.now(), town.settings)
    assert draft is not None
    assert granted(draft).total_minor == -1500
    await bill(town, "2026-04-01")
    async with town.workplace.reading() as connection:
        told = granted(await explain_line(connection, town.meters, "INV-000002", 1))
        view = granted(await invoice_view(connection, "INV-000002", town.settings, town.meters))
    assert "given back before  15.00 USD by CN-000001, CN-000002" in format_explanation(told)
    [line] = [one for one in print_invoice(view)["lines"] if one["description"].endswith("days not used")]
    assert line["details"] == ["$15.00 less, given back before by CN-000001, CN-000002"]
    assert await balance(town, ann) == 0


async def test_whoever_pays_for_another_gets_it_back_once(any_town: Town) -> None:
    town = any_town
    boss, ann = await town.account("Boss"), await town.account("Ann")
    await act(town, set_payer, account_id=ann, payer_id=boss)
    sub = await town.subscription(ann, await town.plan(), MARCH)
    await town.subscription(boss, await town.plan(code="boss", price_minor=5000), MARCH)
    await town.bill()
    lines = await town.lines("INV-000001")
    [of_ann] = [one.position for one in lines if one.subscription_id == sub and one.kind == "recurring"]
    granted(await credit(town, "ann", amounts={of_ann: 3000}))
    await act(town, set_payer, account_id=ann, payer_id=None)
    await act(town, change.end_subscription, subscription_id=sub, ends_on=MARCH)
    await bill(town, "2026-04-01")
    assert await balance(town, ann) == 0
    assert await balance(town, boss) == 10_000


async def test_usage_that_was_closed_late_is_shown_though_nothing_comes_back(town: Town) -> None:
    """The plan changes within a credited part of a month; what each part costs now is held against it."""
    ann = await town.account()
    sub = await town.subscription(ann, await town.plan(), MARCH)
    await town.bill()
    town.travel("2026-03-05")
    town.meters.use("svc_1", town.clock.now(), 131 * GB, 0)
    await bill(town, "2026-04-01")
    [used] = [one.position for one in await town.lines("INV-000002") if one.kind == "usage"]
    granted(await credit(town, "usage", "INV-000002", {used: 1000}))
    await act(town, change.change_plan, subscription_id=sub, effective_on=date(2026, 3, 4),
              plan_version_id=await town.plan(code="much", allowance_octets=400 * GB))  # fmt: skip
    await bill(town, "2026-05-01")
    async with town.workplace.reading() as connection:
        [bill_two] = [one for one in await town.invoices() if one.number == "INV-000002"]
        left = {one.position: one.left_minor for one in await creditable_lines(connection, bill_two.id)}
    assert used not in left
    assert await balance(town, ann) == 3 * 3000 + 1550 - 1550  # 10.00 by the note, the rest by the invoice


async def test_an_ordinary_run_asks_for_no_credits(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """Discounts take something off, and missed months follow each other; nothing of it comes back."""
    asked: list[object] = []
    of_old = invoice_rows.credited_parts

    async def credited_parts(connection: Any, subscription_ids: Any, as_of: Any = None) -> Any:
        asked.append(subscription_ids)
        return await of_old(connection, subscription_ids, as_of)

    monkeypatch.setattr(invoice_rows, "credited_parts", credited_parts)
    ann = await town.account()
    sub = await town.subscription(ann, await plan(town, "cheap", {"base": 3000}, DISCOUNT), MARCH)
    await town.customer("Bob", "2026-03-01")
    await town.bill()
    await act(town, change.change_quantity, subscription_id=sub, quantity=2, effective_on=date(2026, 5, 1))
    await bill(town, "2026-06-02")
    assert asked == []
    await act(town, change.end_subscription, subscription_id=sub, ends_on=date(2026, 6, 2))
    await bill(town, "2026-07-01")
    assert asked == [[sub]]


# The laws


class Life:
    """Sells, uses, changes, bills and credits by dice."""

    def __init__(self, town: Town, dice: random.Random) -> None:
        self.town, self.dice = town, dice
        self.ann = self.sub = ""
        self.plans: list[str] = []

    async def begin(self) -> None:
        week = {
            "code": "week",
            "kind": "recurring",
            "name": "W",
            "price_minor": 700,
            "period": {"unit": "week"},
        }
        router = {"code": "router", "kind": "rental", "name": "Router", "price_minor": 500}
        self.plans = [
            await plan(self.town, "two", {"base": 3000, "voice": 1000}, DISCOUNT),
            await plan(self.town, "other", {"fast": 6200}),
            await plan(self.town, "mixed", {"base": 2000}, router, week),
            await self.town.plan(code="metered"),
            await self.town.plan(code="tight", price_minor=1500, allowance_octets=20 * GB),
        ]
        self.ann = await self.town.account()
        self.sub = await self.town.subscription(self.ann, self.dice.choice(self.plans), MARCH, "svc_1")
        await self.town.bill()

    @property
    def today(self) -> date:
        return self.town.clock.now().date()

    async def step(self) -> None:
        step = self.dice.choice((self.credit, self.credit, self.change, self.change, self.month, self.end))
        with contextlib.suppress(Refused):
            await step(max(MARCH, self.today - timedelta(days=self.dice.randint(0, 40))))

    async def credit(self, on: date) -> None:
        bills = [one for one in await self.town.invoices(self.ann) if one.kind == "invoice"]
        chosen = self.dice.choice(bills).number
        line = self.dice.choice(await self.town.lines(chosen))
        some = {line.position: self.dice.choice((line.quoted_minor, line.quoted_minor // 2, 100))}
        source = f"{self.town.clock.now()}"
        await credit(self.town, source, chosen, self.dice.choice((None, some)))

    async def change(self, on: date) -> None:
        of = {"subscription_id": self.sub}
        what = self.dice.randint(1, 4)
        if what == 1:
            await act(self.town, change.change_quantity, **of, quantity=what, effective_on=on)
        elif what == 2:
            await act(
                self.town, change.pause_subscription, **of, from_on=on, resume_on=on + timedelta(days=9)
            )
        else:
            chosen = self.dice.choice(self.plans)
            await act(self.town, change.change_plan, **of, plan_version_id=chosen, effective_on=on)

    async def month(self, on: date) -> None:
        octets = self.dice.randint(0, 300) * GB
        self.town.meters.use("svc_1", self.town.clock.now(), octets, 0)
        await bill(self.town, str(self.today + timedelta(days=self.dice.choice((10, 31)))))

    async def end(self, on: date) -> None:
        await act(self.town, change.end_subscription, subscription_id=self.sub, ends_on=on)
        if self.dice.random() < 0.5:
            await self.month(on)
        await self.withdraw_ends()

    async def withdraw_ends(self) -> None:
        standing = await act(self.town, change.find_standing, subscription_id=self.sub)
        for one in standing.changes:
            if one.kind == "end":
                with contextlib.suppress(Refused):  # it is withdrawn already
                    await act(
                        self.town, change.withdraw_change, subscription_id=self.sub, change_id=one.id, reason="no",
                    )  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
async def test_whatever_was_credited_what_never_ran_costs_nothing(town: Town, seed: int) -> None:
    """Nobody paid; so when the line turns out to have ended with its first day, nothing is owed either way."""
    town.settings = BillingSettings(clock_leap_days=3_650, correction_cycles=24)
    life = Life(town, random.Random(seed))
    await life.begin()
    for _ in range(12):
        await life.step()
        assert await balance(town, life.ann) >= 0
    await act(town, change.end_subscription, subscription_id=life.sub, ends_on=MARCH)
    await bill(town, str(life.today + timedelta(days=40)))
    assert await balance(town, life.ann) == 0


VERSIONS = {
    "v1": PlanVersion("v1", "one", "One", 1, "USD", (Item("base", "recurring", "B"), Item("voice", "recurring", "V"))),
    "v2": PlanVersion("v2", "two", "Two", 1, "USD", (Item("base", "recurring", "B"), Item("fast", "recurring", "F"))),
}  # fmt: skip
KEYS = [(version.id, item.code, MARCH) for version in VERSIONS.values() for item in version.items]
DAYS = Period(MARCH, date(2026, 4, 1))
STEP = st.tuples(st.sampled_from(("owe", "credit")), st.lists(st.integers(0, 40), min_size=4, max_size=4))


@given(st.lists(STEP, min_size=2, max_size=8))
def test_nobody_gets_back_more_than_he_was_charged_and_pays_no_more_than_he_owes(
    steps: list[tuple[str, list[int]]],
) -> None:
    charged = dict.fromkeys(KEYS, 0)
    credited = dict.fromkeys(KEYS, 0)
    for what, amounts in steps:
        if what == "credit":
            standing = [Standing(*key, DAYS, charged[key] - credited[key]) for key in KEYS]
            charges = StandingCharges(standing, VERSIONS)
            for key, amount in zip(KEYS, amounts, strict=True):
                credited[key] += charges.creditable(key, amount)
            continue
        lines = []
        for key, owed in zip(KEYS, amounts, strict=True):
            line = _line(key, owed - charged[key]) if owed != charged[key] else None
            lines.append(Charged(key, None, charged[key], line))
        before = [0 if one.line is None else one.line.quoted_minor for one in lines]
        hold_credited(lines, [Credited(*key, DAYS, amount, ("CN-1",)) for key, amount in credited.items() if amount], VERSIONS)  # fmt: skip
        for one, amount in zip(lines, before, strict=True):
            if one.line is not None:
                assert amount <= one.line.quoted_minor <= max(amount, 0)
                charged[one.key] += one.line.quoted_minor
        net = sum(charged.values()) - sum(credited.values())
        assert max(0, sum(amounts) - sum(credited.values())) <= net <= sum(amounts)
        assert _again(charged, amounts, credited) == charged
    assert sum(charged.values()) >= sum(credited.values())


def _line(key: tuple[str, str, date], amount: int) -> LineDraft:
    return LineDraft("adjustment", "", None, amount, DAYS, {}, quoted_minor=amount)


def _again(charged: dict[Any, int], owed: list[int], credited: dict[Any, int]) -> dict[Any, int]:
    """What is charged when the same is looked at once more."""
    lines = [
        Charged(
            key, None, charged[key], _line(key, amount - charged[key]) if amount != charged[key] else None
        )
        for key, amount in zip(KEYS, owed, strict=True)
    ]
    hold_credited(lines, [Credited(*key, DAYS, amount, ("CN-1",)) for key, amount in credited.items() if amount], VERSIONS)  # fmt: skip
    return {one.key: one.owed_minor for one in lines}
