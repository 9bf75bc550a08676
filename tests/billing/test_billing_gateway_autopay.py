"""Hosted pages and automatic payment: what the customer does, and what happens on its day by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date, timedelta

import pytest
from billing_story import Town
from gateway_lab import BANK, LOST, NAMES, POOR, VISA
from gateway_till import DEBT, Till, till
from hypothesis import given
from hypothesis import strategies as st

from billing.domain.gateway_charges import AutopayDay, ChargeState, DeclineKind, Try, next_try
from billing.payments.gateways.set_autopay import set_autopay
from billing.store.tables import autopay, gateway_charge, hosted_page, payment
from core.refusal import Refusal, granted
from core.secrets import Sealer
from lab.gateway_world import Mishap

DUE = date(2026, 3, 20)
SOFT, HARD = DeclineKind.SOFT, DeclineKind.HARD


@pytest.fixture(params=NAMES)
async def shop(request: pytest.FixtureRequest, town: Town, sealer: Sealer) -> AsyncIterator[Till]:
    async with till(town, request.param, sealer) as found:
        yield found


@pytest.fixture
async def one_shop(town: Town, sealer: Sealer) -> AsyncIterator[Till]:
    async with till(town, "stripe", sealer) as found:
        yield found


@pytest.mark.parametrize(
    ("rule", "days", "first"),
    [("after_issue", 0, "2026-03-10"), ("after_issue", 3, "2026-03-13"), ("before_due", 0, "2026-03-20"),
     ("before_due", 2, "2026-03-18"), ("before_due", 60, "2026-03-10")],
)  # fmt: skip
def test_the_day_of_the_first_try(rule: str, days: int, first: str) -> None:
    assert AutopayDay(rule, days).of(date(2026, 3, 10), DUE) == date.fromisoformat(first)


@given(st.lists(st.tuples(st.sampled_from(ChargeState), st.sampled_from(DeclineKind)), max_size=6))
def test_nothing_is_tried_beside_a_charge_under_way_or_after_a_hard_decline(
    ended: list[tuple[ChargeState, DeclineKind]],
) -> None:
    tries = [Try(DUE + timedelta(days=n), state, kind) for n, (state, kind) in enumerate(ended)]
    following = next_try(DUE, tries, [1, 3, 5])
    failed = [one for one in tries if one.state is ChargeState.FAILED]
    other = [one for one in tries if not one.state.is_over or one.state is ChargeState.SUCCEEDED]
    if other or len(failed) > 3 or (failed and failed[-1].decline is HARD):
        assert following is None
    else:
        assert following == (failed[0].on + timedelta(days=[0, 1, 3, 5][len(failed)]) if failed else DUE)


# Pages.


async def test_a_customer_pays_an_invoice_at_the_page_and_comes_back(shop: Till) -> None:
    account = await shop.debtor()
    (invoice,) = await shop.town.invoices()
    page = granted(await shop.open_page(account, "pay", invoice_id=invoice.id))
    assert not await shop.in_flight(account), "to open a page is no payment"
    assert await shop.settle_pages() == [False]
    shop.other.sandbox.type_card(page.reference or page.fields["token"], POOR)
    assert await shop.settle_pages() == [False], "he may try another card"
    shop.other.sandbox.type_card(page.reference or page.fields["token"], VISA)
    if shop.other.name == "authorizenet":
        await shop.turn(minutes=2)
    else:
        assert await shop.settle_pages() == [True]
    await shop.deliver(copies=2, order="reversed")
    await shop.turn(minutes=1)
    await shop.paid_once()
    (charge,) = await shop.rows(gateway_charge)
    assert (charge.cause, charge.state, charge.invoice_id) == ("customer", "succeeded", invoice.id)
    refused = await shop.open_page(account, "pay", invoice_id=invoice.id)
    assert isinstance(refused, Refusal) and refused.code == "nothing_open"


async def test_the_webhook_alone_tells_of_a_payment_at_the_page(shop: Till) -> None:
    account = await shop.debtor()
    (invoice,) = await shop.town.invoices()
    page = granted(await shop.open_page(account, "pay", invoice_id=invoice.id))
    shop.other.sandbox.type_card(page.reference or page.fields["token"])
    await shop.deliver(copies=2)
    await shop.turn()
    await shop.paid_once()
    assert [row.state for row in await shop.rows(hosted_page)] == ["done", "done"]


async def test_a_bank_debit_typed_at_the_page_takes_days_and_may_come_back(shop: Till) -> None:
    account = await shop.debtor()
    (invoice,) = await shop.town.invoices()
    page = granted(await shop.open_page(account, "pay", invoice_id=invoice.id))
    shop.other.sandbox.type_card(page.reference or page.fields["token"], BANK)
    await shop.deliver()
    await shop.turn()
    assert (await shop.payments(), await shop.in_flight(account)) == ([], True)
    shop.other.sandbox.settle()
    await shop.turn(days=1)
    await shop.paid_once()
    assert [row.method for row in await shop.rows(payment)] == ["ach"]
    if shop.other.name == "authorizenet":
        (made,) = shop.other.charges()
        shop.other.sandbox.give_back(made["transId"], "R10", "Customer Advises Not Authorized")
        await shop.turn(days=2)
        assert (await shop.payments(), await shop.open_minor()) == ([], DEBT)


async def test_a_page_that_nobody_uses_ends(one_shop: Till) -> None:
    account = await one_shop.debtor()
    await one_shop.turn(minutes=1)
    granted(await one_shop.open_page(account, "save"))
    for _ in range(6):
        await one_shop.turn(hours=6)
    assert [row.state for row in await one_shop.rows(hosted_page)] == ["done", "expired"]
    assert await one_shop.turn(days=1) == 0


async def test_pages_cannot_be_opened_without_end(one_shop: Till) -> None:
    account = await one_shop.debtor()
    outcomes = [await one_shop.open_page(account, "save") for _ in range(11)]
    assert isinstance(outcomes[-1], Refusal) and outcomes[-1].code == "too_many"


async def test_a_customer_saves_a_card_and_asks_for_automatic_payment(shop: Till) -> None:
    account = await shop.town.account()
    page = granted(await shop.open_page(account, "save", autopay=True))
    shop.other.sandbox.type_card(page.reference or page.fields["token"])
    await shop.deliver(copies=2, order="reversed")
    await shop.turn()
    (terms,) = await shop.rows(autopay)
    assert (terms.enabled, bool(terms.method_id)) == (True, True)


# Automatic payment.


async def test_automatic_payment_pays_on_its_day_once(shop: Till) -> None:
    account = await shop.debtor()
    await shop.autopay(account, day_rule="before_due", days=2)
    (invoice,) = await shop.town.invoices()
    day = invoice.due_on - timedelta(days=2)
    assert await shop.autopay_day(str(day - timedelta(days=1))) == 0
    assert await shop.autopay_day(str(day)) == 1
    assert await shop.autopay_day(str(day + timedelta(days=1))) == 0
    await shop.paid_once()


async def test_a_soft_decline_is_tried_again_on_its_days_and_then_left(one_shop: Till) -> None:
    shop = one_shop
    account = await shop.debtor(POOR)
    await shop.autopay(account, day_rule="after_issue", days=0)
    tried = [day for day in range(10, 31) if await shop.autopay_day(f"2026-03-{day}", 20)]
    assert tried == [10, 11, 13, 15]
    facts = await shop.town.facts("billing.autopay_failed")
    assert [one["next_try_on"] for one in facts] == ["2026-03-11", "2026-03-13", "2026-03-15", None]
    assert {(one["account_id"], one["amount_minor"], one["decline"]) for one in facts} == {
        (account, DEBT, "soft")
    }


async def test_a_hard_decline_ends_it_until_there_is_another_card(one_shop: Till) -> None:
    shop = one_shop
    account = await shop.debtor(LOST)
    await shop.autopay(account, day_rule="after_issue", days=0)
    assert [await shop.autopay_day(f"2026-03-{day}") for day in (11, 12, 14)] == [1, 0, 0]
    (fact,) = await shop.town.facts("billing.autopay_failed")
    assert (fact["decline"], fact["next_try_on"]) == ("hard", None)
    other = await shop.save(account, VISA)
    assert await shop.autopay_day("2026-03-15") == 0, "the lost card is still the default"
    await shop.autopay(account, method_id=other)
    assert await shop.autopay_day("2026-03-16") == 1
    await shop.paid_once()


async def test_what_never_reached_the_gateway_is_tried_again_the_next_day(one_shop: Till) -> None:
    shop = one_shop
    account = await shop.debtor()
    await shop.autopay(account, day_rule="after_issue", days=0)
    shop.other.sandbox.world.mishaps = [Mishap("drop_before")]
    assert await shop.autopay_day("2026-03-11") == 1
    for _ in range(6):
        await shop.turn(minutes=6)
    assert [row.state for row in await shop.rows(gateway_charge)] == ["abandoned"]
    assert await shop.autopay_day("2026-03-12") == 1
    await shop.paid_once()


async def test_automatic_payment_waits_for_a_payment_under_way_and_takes_what_is_left(one_shop: Till) -> None:
    shop = one_shop
    account = await shop.debtor()
    await shop.autopay(account, day_rule="after_issue", days=0)
    await shop.town.pay(account, 1000)
    shop.other.sandbox.world.mishaps = [Mishap("drop_after")]
    await shop.charge(account, 500)
    assert await shop.autopay_day("2026-03-10", 12) == 0
    await shop.turn(minutes=2)
    assert await shop.autopay_day("2026-03-11") == 1
    assert (await shop.payments(), await shop.open_minor()) == ([1000, 500, 1500], 0)


async def test_nobody_is_charged_by_a_doubted_clock_or_when_it_is_off(one_shop: Till) -> None:
    shop = one_shop
    account = await shop.debtor()
    await shop.autopay(account, day_rule="after_issue", days=0)
    right = shop.town.clock.now()
    shop.town.clock.step_to(right + timedelta(days=200))
    assert await shop.autopay_day("2026-10-01") == 0
    shop.town.clock.step_to(right)
    async with shop.town.workplace.work("operator:test") as work:
        assert await set_autopay(work, account_id=account, enabled=False, settings=shop.settings) is None
    assert await shop.autopay_day("2026-03-12") == 0


async def test_what_cannot_be_is_refused_by_name(one_shop: Till) -> None:
    shop = one_shop
    account = await shop.town.account()
    wrong = [({"method_id": "pmt_0"}, "method_id"), ({}, "method_id"), ({"days": 61}, "days")]
    for terms, field in [*wrong, ({"day_rule": "when I like"}, "day_rule")]:
        async with shop.town.workplace.work("operator:test") as work:
            refused = await set_autopay(
                work, account_id=account, enabled=True, settings=shop.settings, **terms
            )  # type: ignore[arg-type]
        assert isinstance(refused, Refusal) and refused.field == field
