"""Promotions: coupons redeemed, ended and capped; what they take off, on the invoice and in replay; referrals."""

from __future__ import annotations

import asyncio
from datetime import date, timedelta
from typing import Any

import pytest
from billing_story import Town
from hypothesis import given
from hypothesis import strategies as st
from test_replay import replayed
from test_subscription_changes import act, amounts, offer, sold

from billing.catalogue.define_promotion import define_promotion, withdraw_promotion
from billing.domain.catalogue import Account, PlanVersion, Subscription
from billing.domain.items import Item
from billing.domain.owed import Promotion, View, decide_owed
from billing.domain.phases import Phase
from billing.payments.reverse_payment import reverse_payment
from billing.store.promotion_rows import uses
from billing.store.tables import charge
from billing.subscriptions import change_subscription as change
from billing.subscriptions.credit_referrals import credit_referrals
from billing.subscriptions.redeem_promotion import end_promotion, redeem_promotion
from billing.subscriptions.subscribe import subscribe
from core.periods import Period
from core.refusal import Refusal, granted

HALF = {"code": "HALF", "name": "Half price", "percent_ppm": 500_000}


async def promote(town: Town, **terms: Any) -> str:
    granted(await act(town, define_promotion, **{**HALF, **terms}))
    return str(terms.get("code", "HALF"))


async def redeem(town: Town, account: str, code: str = "HALF", **more: Any) -> Any:
    return await act(town, redeem_promotion, code=code, account_id=account, **more)


async def gifts(town: Town, number: str) -> list[tuple[str, int]]:
    return [
        (one.kind, one.quoted_minor) for one in await town.lines(number) if "promo:" in (one.item_code or "")
    ]


async def bills(town: Town, *months: str) -> list[list[tuple[str, int]]]:
    found = []
    for month in months:
        if month != "03":  # the town's clock begins in March
            town.travel(f"2026-{month}-01")
        [number] = (await town.bill()).numbers
        found.append(await gifts(town, number))
    return found


@pytest.mark.parametrize(
    ("terms", "taken"),
    [
        ({"periods": 2}, [-1500, -1500, 0]),
        ({"months": 1}, [-1500, 0, 0]),
        ({"months": None}, [-1500, -1500, -1500]),
        ({"percent_ppm": None, "amount_minor": 700, "currency": "USD", "periods": 2}, [-700, -700, 0]),
        ({"percent_ppm": None, "amount_minor": 9900, "currency": "USD", "periods": 1}, [-3000, 0, 0]),
        ({"percent_ppm": 1_000_000, "periods": 1}, [-3000, 0, 0]),
    ],
)
async def test_it_reduces_as_many_periods_as_it_says(
    town: Town, terms: dict[str, Any], taken: list[int]
) -> None:
    await town.tax(100_000)
    ann, _ = await sold(town)
    await promote(town, **terms)
    granted(await redeem(town, ann, " half "))
    found = await bills(town, "03", "04", "05")
    assert [sum(minor for _, minor in lines) for lines in found] == taken
    invoice = (await town.invoices())[0]
    assert invoice.net_minor == 3000 + taken[0]
    assert invoice.tax_minor == invoice.net_minor // 10
    [line] = [one for one in await town.lines(invoice.number) if one.kind == "discount"]
    assert (line.description, line.explanation["promotion"], line.explanation["base_minor"]) == (
        "Half price", "HALF", 3000,
    )  # fmt: skip
    assert [one.differences for one in await replayed(town)] == [()] * len(await town.invoices())
    await town.prove_books()


async def test_what_is_invoiced_stays_unless_the_day_is_said(town: Town) -> None:
    ann, _ = await sold(town)
    bob, _ = await sold(town)
    await town.bill()
    await promote(town, periods=1)
    town.travel("2026-03-20")
    assert granted(await redeem(town, ann)).from_on == date(2026, 4, 1)
    assert granted(await redeem(town, bob, from_on=date(2026, 3, 10))).from_on == date(2026, 3, 10)
    town.travel("2026-04-01")
    await town.bill()
    found = {one.account_id: one for one in (await town.invoices())[2:]}
    [now] = [one for one in await town.lines(found[ann].number) if one.kind == "discount"]
    [late] = [one for one in await town.lines(found[bob].number) if one.kind == "discount"]
    assert (now.charged_for, now.quoted_minor) == (date(2026, 4, 1), -1500)
    assert (late.charged_for, late.quoted_minor) == (date(2026, 3, 1), -1500)
    assert [one.differences for one in await replayed(town)] == [()] * 4


async def test_an_end_takes_back_from_its_day_on_and_replay_knows_when_it_was_said(town: Town) -> None:
    ann, sub = await sold(town)
    await promote(town)
    use = granted(await redeem(town, ann)).use_id
    assert await bills(town, "03", "04") == [[("discount", -1500)], [("discount", -1500)]]
    town.travel("2026-04-05")
    back = await act(town, end_promotion, use_id=use, reason="not his to have", ends_on=date(2026, 3, 15))
    assert granted(back) == date(2026, 3, 15)
    again = await act(town, end_promotion, use_id=use, reason="twice")
    assert isinstance(again, Refusal)
    assert again.code == "ended_before"
    assert await bills(town, "05") == [[("adjustment", 1500)]]  # April; March had begun before
    [line] = [one for one in await town.lines("INV-000003") if one.kind == "adjustment"]
    assert line.description == "HALF: corrected"
    assert [one.differences for one in await replayed(town)] == [()] * len(await town.invoices())
    granted(await act(town, change.end_subscription, subscription_id=sub, ends_on=date(2026, 5, 1)))
    await town.prove_books()


async def test_an_upgrade_in_the_middle_and_an_early_end_are_reduced_by_what_is_owed(town: Town) -> None:
    ann, sub = await sold(town)
    await promote(town, percent_ppm=None, amount_minor=1000, currency="USD")
    granted(await redeem(town, ann))
    await bills(town, "03")
    big = await town.plan(code="big", price_minor=6200)
    town.travel("2026-03-11")
    granted(await act(town, change.change_plan, subscription_id=sub, plan_version_id=big))
    [april] = await bills(town, "04")
    assert sum(minor for _, minor in april) == -1000  # April's; March keeps ten, however it is shared out
    town.travel("2026-04-02")
    granted(await act(town, change.end_subscription, subscription_id=sub, ends_on=date(2026, 4, 1)))
    [last] = await bills(town, "05")
    assert sum(minor for _, minor in last) == 1000
    assert [one.differences for one in await replayed(town)] == [()] * len(await town.invoices())
    await town.prove_books()


async def test_items_of_another_tax_are_reduced_apart_and_only_those_named(town: Town) -> None:
    await town.tax(100_000)
    ann, sub = await sold(town)
    extra = await offer(
        town,
        {"price_minor": 1000},
        {"code": "router", "kind": "rental", "name": "Router", "price_minor": 400, "tax_class": "gear"},
        {"code": "setup", "kind": "one_time", "name": "Setup", "price_minor": 5000},
    )  # fmt: skip
    await act(
        town, subscribe, account_id=ann, service_id=None, plan_version_id=extra, parent_id=sub,
        starts_on=date(2026, 3, 1),
    )  # fmt: skip
    await promote(town, plan_codes=["extra"], item_kinds=["recurring", "rental"])
    await promote(
        town, code="FREESETUP", percent_ppm=1_000_000, item_kinds=["one_time"], item_codes=["setup"]
    )
    granted(await redeem(town, ann))
    granted(await redeem(town, ann, "FREESETUP"))
    await town.bill()
    lines = [one for one in await town.lines("INV-000001") if "promo:" in (one.item_code or "")]
    assert [(one.item_code, one.quoted_minor, one.tax_class) for one in lines] == [
        ("promo:HALF/0", -500, "internet"), ("promo:HALF/1", -200, "gear"),
        ("promo:FREESETUP/2", -5000, "internet"),
    ]  # fmt: skip
    assert [one.deferred for one in lines] == [True, True, False]
    assert [one.differences for one in await replayed(town)] == [()] * len(await town.invoices())
    await town.prove_books()


async def test_who_may_redeem_is_said_with_the_remedy(town: Town) -> None:
    ann, _ = await sold(town)
    bob, _ = await sold(town)
    euro = await town.account(currency="EUR", name="Eve")
    await promote(town, max_uses=1)
    await promote(town, code="NEW", new_only=True)
    await promote(town, code="LATER", redeem_from=date(2026, 5, 1))
    await promote(town, code="PAST", redeem_until=date(2026, 3, 2))
    await promote(town, code="OTHER", plan_codes=["home"], item_codes=["router"])
    await promote(town, code="TEN", percent_ppm=None, amount_minor=1000, currency="USD")
    await promote(town, code="GONE")
    granted(await act(town, withdraw_promotion, code="GONE", reason="sold out"))
    first = granted(await redeem(town, ann))
    assert (first.outcome, granted(await redeem(town, ann)).outcome) == ("redeemed", "exists")
    town.travel("2026-04-15")
    cases = [
        (bob, "HALF", "used_up"), (ann, "NEW", "not_new"), (ann, "LATER", "not_yet"),
        (ann, "PAST", "too_late"), (ann, "OTHER", "not_for_plan"), (ann, "GONE", "unknown_promotion"),
        (ann, "NOPE", "unknown_promotion"), (euro, "TEN", "wrong_currency"),
    ]  # fmt: skip
    for account, code, refusal in cases:
        answer = await redeem(town, account, code)
        assert isinstance(answer, Refusal)
        assert (answer.code, answer.field) == (refusal, "code")
    other = await redeem(town, ann, subscription_id="sub_other")
    assert isinstance(other, Refusal)
    assert other.code == "used_before"
    async with town.workplace.reading() as connection:
        assert [one.account_id for one in await uses(connection, code="HALF")] == [ann]
    assert (await act(town, define_promotion, **HALF)).code == "code_taken"
    for wrong, field in (
        ({"code": "a b"}, "code"), ({"percent_ppm": 0}, "percent_ppm"), ({"amount_minor": 5}, "amount_minor"),
        ({"item_kinds": ["usage"]}, "item_kinds"), ({"plan_codes": ["nope"]}, "plan_codes"),
        ({"months": 1, "periods": 1}, "periods"), ({"percent_ppm": None}, "percent_ppm"),
        ({"referral_minor": 500}, "currency"),
    ):  # fmt: skip
        refused = await act(town, define_promotion, **{**HALF, "code": "FRESH", **wrong})
        assert isinstance(refused, Refusal)
        assert refused.field == field


async def test_a_referral_is_credited_to_both_once_the_first_invoice_is_paid(any_town: Town) -> None:
    town = any_town
    ann, _ = await sold(town)
    bob, _ = await sold(town)
    await promote(
        town, code="FRIEND", percent_ppm=None, referral_minor=2000, referred_minor=1000, currency="USD"
    )
    alone = await redeem(town, bob, "FRIEND")
    assert isinstance(alone, Refusal)
    assert alone.field == "referred_by"
    own = await redeem(town, bob, "FRIEND", referred_by=bob)
    assert isinstance(own, Refusal)
    assert own.code == "own_referrer"
    granted(await redeem(town, bob, "FRIEND", referred_by=ann))
    await town.bill()
    assert await credit_referrals(town.workplace, town.settings) == 0
    await town.pay(bob, 1000)
    assert await credit_referrals(town.workplace, town.settings) == 0
    await town.pay(bob, 2000)
    assert await credit_referrals(town.workplace, town.settings) == 1
    assert await credit_referrals(town.workplace, town.settings) == 0
    async with town.workplace.reading() as connection:
        found = {(row.account_id, row.quoted_minor) for row in await connection.execute(charge.select())}
    assert found == {(ann, -2000), (bob, -1000)}
    town.travel("2026-04-01")
    await town.bill()
    totals = {one.account_id: one.total_minor for one in (await town.invoices())[2:]}
    assert totals == {ann: 1000, bob: 2000}
    assert ("credit", "referral", -2000) in amounts(await town.lines("INV-000003"))
    assert all(one.is_same for one in await replayed(town))
    await town.prove_books()


async def test_a_referral_is_taken_back_with_its_payment_and_given_again_with_the_next(
    any_town: Town,
) -> None:
    town = any_town
    ann, _ = await sold(town)
    bob, _ = await sold(town)
    await promote(town, code="FRIEND", percent_ppm=None, referral_minor=2000, currency="USD")
    granted(await redeem(town, bob, "FRIEND", referred_by=ann))
    await town.bill()
    paid = await town.pay(bob, 3000)
    assert await credit_referrals(town.workplace, town.settings) == 1
    taken = {"payment_id": paid.payment_id, "reason": "chargeback", "kind": "chargeback", "source": "cb-1"}
    granted(await act(town, reverse_payment, **taken))
    for _ in range(2):
        await credit_referrals(town.workplace, town.settings)
    assert await _referred(town) == [(ann, -2000), (ann, 2000)]
    await town.pay(bob, 3000)
    for _ in range(2):
        await credit_referrals(town.workplace, town.settings)
    assert await _referred(town) == [(ann, -2000), (ann, 2000), (ann, -2000)]
    town.travel("2026-04-01")
    await town.bill()
    assert {one.account_id: one.total_minor for one in (await town.invoices())[2:]}[ann] == 1000
    await town.prove_books()


async def _referred(town: Town) -> list[tuple[str, int]]:
    async with town.workplace.reading() as connection:
        rows = await connection.execute(charge.select().order_by(charge.c.id))
        return [(row.account_id, row.quoted_minor) for row in rows]


async def test_the_last_one_is_given_once_however_many_ask_at_once(any_town: Town) -> None:
    town = any_town
    asking = [(await sold(town))[0] for _ in range(6)]
    await promote(town, max_uses=2)

    async def ask(account: str) -> str:
        answer = await town.workplace.carry_out(
            "operator:test", lambda work: redeem_promotion(work, code="HALF", account_id=account)
        )
        return answer.code if isinstance(answer, Refusal) else answer.outcome

    found = await asyncio.gather(*(ask(account) for account in asking * 2))
    assert sorted(set(found)) == ["exists", "redeemed", "used_up"]
    assert found.count("redeemed") == 2
    async with town.workplace.reading() as connection:
        assert len(await uses(connection, code="HALF")) == 2


_ACCOUNT = Account(
    "a", "A-1", "Ann", None, None, None, None, None, None, "US", "USD", "UTC", 1, 14, "p", None, None
)  # fmt: skip
_VERSION = PlanVersion(
    "v", "home", "Home", 1, "USD",
    (
        Item("recurring", "recurring", "Home", 3000),
        Item("router", "rental", "Router", 500, tax_class="gear"),
    ),
)  # fmt: skip


@given(
    st.lists(
        st.tuples(
            st.one_of(st.integers(1, 1_000_000), st.none()), st.integers(1, 5000), st.integers(0, 90),
            st.one_of(st.none(), st.integers(1, 4)),
        ),
        max_size=4,
    ),
    st.integers(0, 60),
)  # fmt: skip
def test_promotions_together_never_take_more_than_there_is_to_pay(
    terms: list[tuple[int | None, int, int, int | None]], starts: int
) -> None:
    first = date(2026, 1, 1) + timedelta(days=starts)
    promotions = [
        Promotion(
            f"P{number}", "P", percent, None if percent else minor, ("recurring", "rental"),
            first + timedelta(days=later), None, periods=periods,
        )
        for number, (percent, minor, later, periods) in enumerate(terms)
    ]  # fmt: skip
    subscription = Subscription("s", "a", None, "v", first, None)
    phases = (Phase(first, date.max, "v", 1, False),)
    view = View(Period(date(2026, 6, 1), date(2026, 7, 1)), date(2026, 5, 1), first)
    owed = decide_owed(_ACCOUNT, subscription, phases, {"v": _VERSION}, view, promotions)
    assert len({one.key for one in owed}) == len(owed)
    for period in {one.period for one in owed}:
        assert sum(one.amount_minor for one in owed if one.period == period) >= 0
    for promotion in promotions:
        reduced = {one.period for one in owed if one.promotion == promotion}
        assert promotion.periods is None or len(reduced) <= promotion.periods
        if promotion.amount_minor is not None:
            for period in reduced:
                taken = [
                    one.amount_minor for one in owed if one.promotion == promotion and one.period == period
                ]
                assert -sum(taken) <= promotion.amount_minor
