"""Charges through gateways: never twice, never lost, whatever the line, the order of news or a crash does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from random import Random
from typing import Any

import pytest
from billing_story import PowerCut, Town
from gateway_lab import BANK, LOST, NAMES, POOR, POOR_BANK, VISA
from gateway_till import DEBT, Till, till
from hypothesis import given
from hypothesis import strategies as st

from billing.domain.gateway_charges import ChargeState, advance
from billing.payments.gateways.keep_gateway import keep_gateway
from billing.payments.gateways.saved_methods import choose_default, remove_method
from billing.payments.refund import order_refund
from billing.store.tables import (
    gateway,
    gateway_charge,
    gateway_charge_step,
    gateway_event,
    payment,
    payment_method,
    refund_outcome,
)
from core.refusal import Refusal, granted
from core.secrets import Sealer, Secret
from core.store.tables import audit, health_issue
from lab.gateway_world import Mishap


@pytest.fixture(params=NAMES)
async def shop(request: pytest.FixtureRequest, town: Town, sealer: Sealer) -> AsyncIterator[Till]:
    async with till(town, request.param, sealer) as found:
        yield found


@given(st.permutations(list(ChargeState) * 2))
def test_news_in_any_order_and_twice_lead_to_the_same_end(told: list[ChargeState]) -> None:
    now = ChargeState.BEGUN
    for one in told:
        now = one if advance(now, one) else now
    assert now is ChargeState.CHARGED_BACK


async def test_a_charge_pays_what_is_open(shop: Till) -> None:
    account = await shop.debtor()
    charge, state = await shop.charge(account)
    assert state is ChargeState.SUCCEEDED and not await shop.in_flight(account)
    assert await shop.steps(charge) == ["begun", "sent", "succeeded"]
    assert await shop.send(charge) is ChargeState.SUCCEEDED  # pressed twice
    assert await shop.turn(days=1) == 0
    await shop.paid_once()


@pytest.mark.parametrize(("number", "kind"), [(POOR, "soft"), (LOST, "hard")])
async def test_a_decline_is_no_payment_and_says_why(shop: Till, number: str, kind: str) -> None:
    account = await shop.debtor(number)
    charge, state = await shop.charge(account)
    (row,) = await shop.rows(gateway_charge)
    assert (state, row.decline_kind, bool(row.decline_code), bool(row.said)) == (
        ChargeState.FAILED,
        kind,
        True,
        True,
    )
    assert (await shop.payments(), await shop.open_minor(), await shop.in_flight(account)) == (
        [],
        DEBT,
        False,
    )
    assert await shop.turn(days=1) == 0, charge


@pytest.mark.parametrize("wire", ["drop_after", "error_after"])
async def test_a_lost_answer_defers_dunning_until_the_look_up_finds_the_payment(
    shop: Till, wire: str
) -> None:
    account = await shop.debtor()
    shop.other.sandbox.world.mishaps = [Mishap(wire)]
    charge, state = await shop.charge(account)
    assert state is ChargeState.UNKNOWN and await shop.in_flight(account)
    again = await shop.begin(account)
    assert isinstance(again, Refusal) and again.code == "in_flight"
    assert await shop.turn() == 0, "not at once"
    assert await shop.turn(minutes=2) == 1
    assert await shop.state(charge) == "succeeded" and not await shop.in_flight(account)
    await shop.paid_once()


async def test_a_charge_that_never_arrived_is_given_up_and_may_be_tried_anew(shop: Till) -> None:
    account = await shop.debtor()
    shop.other.sandbox.world.mishaps = [Mishap("drop_before")]
    charge, _ = await shop.charge(account)
    for _ in range(5):
        await shop.turn(minutes=4)
        if await shop.state(charge) == "abandoned":
            break
    assert await shop.state(charge) == "abandoned" and not await shop.in_flight(account)
    await shop.charge(account)
    await shop.paid_once()


async def test_a_busy_gateway_is_asked_again_with_the_same_charge(shop: Till) -> None:
    account = await shop.debtor()
    shop.other.sandbox.world.mishaps = [Mishap("busy")]
    charge, state = await shop.charge(account)
    assert state is ChargeState.BEGUN and await shop.in_flight(account)
    assert await shop.turn(minutes=1) == 1
    assert await shop.state(charge) == "succeeded"
    await shop.paid_once()


async def test_keys_that_are_not_taken_are_a_health_issue_and_no_decline(shop: Till) -> None:
    account = await shop.debtor()
    login = shop.other.access.login
    url = shop.other.access.base_url
    for key, state, issues in (("wrong", "abandoned", 1), (shop.other.access.key.reveal(), "succeeded", 0)):
        async with shop.town.workplace.work("operator:test") as work:
            assert await keep_gateway(
                work, shop.sealer, name=shop.other.name, login=login, key=Secret(key), base_url=url
            ) is None  # fmt: skip
        charge, _ = await shop.charge(account)
        assert await shop.state(charge) == state
        assert len(await shop.rows(health_issue, health_issue.c.closed_at.is_(None))) == issues
    await shop.paid_once()


# Crashes.


class _Cut:
    """A driver whose machine loses power at a point of the charge."""

    def __init__(self, real: Any, moment: str) -> None:
        self._real, self._moment = real, moment

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    async def charge(self, order: Any) -> Any:
        if self._moment == "before":
            raise PowerCut
        await self._real.charge(order)
        raise PowerCut


@pytest.mark.parametrize("moment", ["begun", "before", "after"])
async def test_power_fails_at_any_point_and_the_next_start_neither_loses_nor_doubles(
    shop: Till, moment: str
) -> None:
    account = await shop.debtor()
    charge = granted(await shop.begin(account))
    if moment != "begun":
        real = await shop.gateways.of(shop.other.name)
        changed_at, _ = shop.gateways._opened[shop.other.name]
        shop.gateways._opened[shop.other.name] = (changed_at, _Cut(real, moment))  # type: ignore[assignment]
        with pytest.raises(PowerCut):
            await shop.send(charge)
        shop.gateways._opened[shop.other.name] = (changed_at, real)
        assert await shop.state(charge) == "sent"
    assert await shop.in_flight(account)
    for _ in range(6):
        await shop.turn(minutes=5)
    assert await shop.state(charge) == ("abandoned" if moment == "before" else "succeeded")
    if moment == "before":
        assert shop.other.charges() == []
        await shop.charge(account)
    await shop.paid_once()


async def test_two_workers_at_once_send_a_charge_once(any_town: Town, sealer: Sealer) -> None:
    async with till(any_town, "stripe", sealer) as shop:
        account = await shop.debtor()
        charge = granted(await shop.begin(account))
        await asyncio.gather(*(shop.keeper.turn() for _ in range(4)), shop.send(charge))
        asked = [one for one in shop.other.sandbox.world.asked if one == "POST /v1/payment_intents"]
        assert len(asked) == 1
        await shop.paid_once()


# Webhooks.


async def test_webhooks_twice_and_out_of_order_change_nothing(shop: Till) -> None:
    account = await shop.debtor()
    await shop.charge(account)
    told = await shop.deliver(copies=3, order="reversed")
    assert told.count("again") == len(told) * 2 // 3
    await shop.turn()
    await shop.paid_once()
    assert {row.outcome for row in await shop.rows(gateway_event)} <= {"no news", "does not concern us"}


async def test_a_webhook_brings_the_answer_that_got_lost(shop: Till) -> None:
    account = await shop.debtor()
    shop.other.sandbox.world.mishaps = [Mishap("drop_after")]
    charge, _ = await shop.charge(account)
    await shop.deliver(copies=2)
    await shop.turn()
    assert await shop.state(charge) == "succeeded"
    await shop.paid_once()


async def _meanwhile(shop: Till, act: Callable[[], Awaitable[Any]]) -> None:
    """``act`` after the charge was made and before its answer leaves."""
    world = shop.other.sandbox.world
    for _ in range(500):
        if any("payment_intent.succeeded" in hook.kind or "authcapture" in hook.kind for hook in world.hooks):
            break
        await asyncio.sleep(0.01)
    await act()
    world.gate.set()


async def test_a_webhook_comes_before_the_answer(shop: Till) -> None:
    account = await shop.debtor()
    shop.other.sandbox.world.mishaps = [Mishap("gate")]

    async def hooks_first() -> None:
        await shop.deliver()
        await shop.turn()
        assert await shop.payments() == [DEBT]

    (charge, _), _ = await asyncio.gather(shop.charge(account), _meanwhile(shop, hooks_first))
    assert (await shop.steps(charge)).count("succeeded") == 1
    await shop.paid_once()


@pytest.mark.postgresql
@pytest.mark.parametrize("name", NAMES)
async def test_a_webhook_and_the_answer_at_the_same_moment(
    name: str, postgresql_workplace: Any, clock: Any, sealer: Sealer
) -> None:
    async with till(Town(postgresql_workplace, clock), name, sealer) as shop:
        account = await shop.debtor()
        shop.other.sandbox.world.mishaps = [Mishap("gate")]

        async def all_at_once() -> None:
            shop.other.sandbox.world.gate.set()
            hooks = list(shop.other.sandbox.world.hooks) * 3
            await asyncio.gather(*map(shop.take, hooks), shop.turn(), shop.turn())

        await asyncio.gather(shop.charge(account), _meanwhile(shop, all_at_once))
        await shop.turn()
        await shop.paid_once()


async def test_a_webhook_of_somebody_elses_charge_is_not_ours(shop: Till) -> None:
    account = await shop.debtor()
    customer = next(iter(getattr(shop.other.sandbox, "customers", None) or shop.other.sandbox.profiles))
    token = shop.other.sandbox.save_card(customer)
    shop.other.sandbox.world.hooks.clear()
    await (await shop.gateways.of(shop.other.name)).charge(shop.other.order(customer, token, "another shop"))
    await shop.deliver()
    await shop.turn()
    assert {row.outcome for row in await shop.rows(gateway_event)} <= {"not ours", "does not concern us"}
    assert (await shop.payments(), await shop.in_flight(account)) == ([], False)


# Bank debits and money that goes back.


async def test_a_bank_debit_defers_dunning_for_days_and_then_pays(shop: Till) -> None:
    account = await shop.debtor(BANK)
    charge, state = await shop.charge(account)
    assert state is ChargeState.IN_FLIGHT and await shop.in_flight(account)
    await shop.turn(days=2)
    assert (await shop.payments(), await shop.in_flight(account)) == ([], True)
    shop.other.sandbox.settle()
    await shop.turn(days=1)
    assert await shop.state(charge) == "succeeded" and not await shop.in_flight(account)
    await shop.paid_once()


async def test_a_bank_debit_fails_days_later(shop: Till) -> None:
    account = await shop.debtor(POOR_BANK)
    charge, _ = await shop.charge(account)
    shop.other.sandbox.settle()
    if shop.other.name == "stripe":
        await shop.deliver(order="reversed")
    await shop.turn(days=3)
    assert await shop.state(charge) == "failed" and not await shop.in_flight(account)
    assert (await shop.payments(), await shop.open_minor()) == ([], DEBT)


async def test_a_debit_that_was_paid_comes_back_weeks_later_without_a_webhook(
    town: Town, sealer: Sealer
) -> None:
    async with till(town, "authorizenet", sealer) as shop:
        account = await shop.debtor(BANK)
        charge, _ = await shop.charge(account)
        shop.other.sandbox.settle()
        await shop.turn(days=1)
        await shop.paid_once()
        (made,) = shop.other.charges()
        shop.other.sandbox.give_back(made["transId"], "R10", "Customer Advises Not Authorized")
        for _ in range(3):
            await shop.turn(days=10)
        assert (await shop.state(charge), await shop.payments(), await shop.open_minor()) == (
            "charged_back",
            [],
            DEBT,
        )
        assert await shop.turn(days=2) == 0, account
        await town.prove_books()


@pytest.mark.parametrize("order", ["as_made", "reversed"])
async def test_a_late_chargeback_takes_the_payment_back_and_a_won_dispute_brings_it_again(
    town: Town, sealer: Sealer, order: str
) -> None:
    async with till(town, "stripe", sealer) as shop:
        await shop.charge(await shop.debtor())
        await shop.deliver()
        town.travel("2026-04-20")
        (made,) = shop.other.charges()
        dispute = shop.other.sandbox.dispute(made["id"])
        if order == "as_made":
            await shop.deliver(copies=2)
            assert (await shop.payments(), await shop.open_minor()) == ([], DEBT)
            (issue,) = await shop.rows(health_issue)
            assert "disputes 30.00 USD" in issue.title and "evidence until 2026-04-29" in issue.title
        shop.other.sandbox.close_dispute(dispute, won=True)
        await shop.deliver(copies=2, order=order)
        await shop.turn(minutes=3)  # what came too early is taken up again
        assert (await shop.payments(), await shop.open_minor()) == ([DEBT], 0)
        assert not await shop.rows(health_issue, health_issue.c.closed_at.is_(None))
        await town.prove_books()


async def test_a_dispute_over_a_part_leaves_the_rest(town: Town, sealer: Sealer) -> None:
    async with till(town, "stripe", sealer) as shop:
        await shop.charge(await shop.debtor())
        (made,) = shop.other.charges()
        shop.other.sandbox.dispute(made["id"], amount=1000)
        await shop.deliver(copies=2)
        assert (sum(await shop.payments()), await shop.open_minor()) == (DEBT - 1000, 1000)
        await town.prove_books()


async def test_a_chargeback_waits_while_the_clock_is_doubted(town: Town, sealer: Sealer) -> None:
    async with till(town, "stripe", sealer) as shop:
        await shop.charge(await shop.debtor())
        await shop.deliver()
        (made,) = shop.other.charges()
        shop.other.sandbox.dispute(made["id"])
        right = town.clock.now()
        town.clock.step_to(right.replace(year=2024))
        assert "waits" in await shop.deliver()
        assert await shop.payments() == [DEBT]
        town.clock.step_to(right)
        await shop.turn(hours=7)
        assert await shop.payments() == []


async def _order_refund(shop: Till, account: str, amount: int, key: str = "r1") -> None:
    (paid,) = await shop.rows(payment)
    async with shop.town.workplace.work("operator:test") as work:
        granted(
            await order_refund(
                work, account_id=account, amount_minor=amount, method="gateway", reason="moved away",
                idempotency_key=key, payment_id=paid.id,
            )
        )  # fmt: skip


async def test_a_refund_goes_back_through_the_gateway_once(shop: Till) -> None:
    account = await shop.debtor()
    await shop.charge(account, DEBT + 1000)
    await _order_refund(shop, account, 400)
    shop.other.sandbox.settle()
    await shop.turn()
    await shop.deliver(copies=2)
    await shop.turn(minutes=20)
    (row,) = await shop.rows(refund_outcome)
    assert (row.outcome, bool(row.reference)) == ("paid", True)
    assert (await shop.open_minor(), await shop.payments()) == (0, [DEBT + 1000])
    await _order_refund(shop, account, 600, "r2")
    await shop.turn()
    assert [one.outcome for one in await shop.rows(refund_outcome)] == ["paid", "paid"]
    await shop.town.prove_books()


async def test_a_refund_that_bounces_days_later_is_told(town: Town, sealer: Sealer) -> None:
    async with till(town, "stripe", sealer) as shop:
        account = await shop.debtor()
        await shop.charge(account, DEBT + 1000)
        await _order_refund(shop, account, 400)
        await shop.turn()
        shop.other.sandbox.fail_refund(next(iter(shop.other.sandbox.refunds)))
        await shop.deliver(copies=2)
        (issue,) = await shop.rows(health_issue)
        assert "4.00 USD could not be paid out" in issue.title


async def test_a_refund_that_the_gateway_refuses_is_credit_again(town: Town, sealer: Sealer) -> None:
    async with till(town, "stripe", sealer) as shop:
        account = await shop.debtor()
        await shop.charge(account, DEBT + 1000)
        (made,) = shop.other.charges()
        made["amount_refunded"] = DEBT + 900
        await _order_refund(shop, account, 400)
        await shop.turn()
        (row,) = await shop.rows(refund_outcome)
        assert (row.outcome, "charge_already_refunded" in row.told) == ("failed", True)
        await town.prove_books()


# What is kept.


async def test_methods_are_tokens_sealed_and_nothing_else_remembers_them(shop: Till) -> None:
    account = await shop.debtor()
    await shop.charge(account)
    await shop.deliver()
    (card,) = await shop.rows(payment_method)
    token = shop.sealer.open(card.token_sealed, "payment_method.token").reveal()
    secrets = [
        token,
        shop.other.access.key.reveal(),
        shop.other.access.webhook_key.reveal(),
        "4242424242424242",
    ]
    tables = (gateway, payment_method, gateway_charge, gateway_charge_step, gateway_event, audit)
    kept = [str(row) for table in tables for row in await shop.rows(table)]
    assert not [one for one in kept for secret in secrets if secret in one and len(secret) > 6]
    assert (card.last4, card.is_default) == ("4242", True)


async def test_a_removed_card_is_gone_at_the_gateway_and_the_next_one_is_the_default(shop: Till) -> None:
    account = await shop.debtor()
    first = (await shop.rows(payment_method))[0].id
    second = await shop.save(account, POOR)
    assert [row.is_default for row in await shop.rows(payment_method)] == [True, False]
    async with shop.town.workplace.work("operator:test") as work:
        assert await choose_default(work, method_id=second) is None
    forget = {"method_id": second, "actor": "operator:test"}
    assert await remove_method(shop.town.workplace, shop.gateways, shop.sealer, **forget) is None
    again = await remove_method(shop.town.workplace, shop.gateways, shop.sealer, **forget)
    assert isinstance(again, Refusal) and again.code == "unknown_method"
    (left,) = [row for row in await shop.rows(payment_method) if row.removed_at is None]
    assert (left.id, left.is_default) == (first, True)
    refused = await shop.begin(account, method_id=second)
    assert isinstance(refused, Refusal) and refused.code == "no_method"
    await shop.charge(account)
    await shop.paid_once()


async def test_a_card_removed_at_the_gateway_is_removed_here(shop: Till) -> None:
    account = await shop.debtor()
    driver = await shop.gateways.of(shop.other.name)
    (card,) = await shop.rows(payment_method)
    token = shop.sealer.open(card.token_sealed, "payment_method.token")
    async with shop.town.workplace.reading() as connection:
        from billing.store.gateway_rows import customer_of

        customer = await customer_of(connection, shop.other.name, account)
    await driver.forget_method(str(customer), token)
    from billing.payments.gateways.saved_methods import sync_methods

    await sync_methods(
        shop.town.workplace, shop.gateways, shop.sealer, name=shop.other.name, account_id=account, actor="t"
    )
    (card,) = await shop.rows(payment_method)
    assert card.removed_at is not None


# The law.


class _Flaky(_Cut):
    """A driver whose machine loses power now and then."""

    def __init__(self, real: Any, dice: Random) -> None:
        super().__init__(real, "before")
        self._dice = dice

    async def charge(self, order: Any) -> Any:
        roll = self._dice.random()
        if roll < 0.15:
            raise PowerCut
        answer = await self._real.charge(order)
        if roll < 0.3:
            raise PowerCut
        return answer


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", NAMES)
async def test_whatever_happens_every_charge_that_the_gateway_made_is_one_payment(
    town: Town, sealer: Sealer, name: str, seed: int
) -> None:
    """Lost lines, errors, power cuts, webhooks twice, early, late, in any order: what came in is what was booked."""
    dice = Random(seed)
    wires = ["", "", "drop_before", "drop_after", "error_before", "error_after", "busy"]
    async with till(town, name, sealer) as shop:
        numbers = dice.sample([VISA, VISA, POOR, BANK, LOST], 4)
        accounts = []
        for place, number in enumerate(numbers):
            account = await town.account(f"Account {place}")
            await shop.save(account, number)
            accounts.append(account)
        real = await shop.gateways.of(name)
        row, _ = shop.gateways._opened[name]
        shop.gateways._opened[name] = (row, _Flaky(real, dice))  # type: ignore[assignment]
        seen: list[Any] = []
        for _ in range(30):
            shop.other.sandbox.world.mishaps = [Mishap(dice.choice(wires))]
            begun = await shop.begin(dice.choice(accounts), dice.randint(100, 9000))
            if not isinstance(begun, Refusal) and dice.random() < 0.8:
                with suppress(PowerCut):
                    await shop.send(begun)
            shop.other.sandbox.world.mishaps.clear()
            waiting = shop.other.sandbox.world.hooks
            seen += waiting
            for hook in dice.choices(seen, k=min(len(seen), 3)):
                await shop.take(hook)
            waiting.clear()
            if dice.random() < 0.2:
                shop.other.sandbox.settle()
            with suppress(PowerCut):
                await shop.turn(minutes=dice.choice([0, 1, 20]))
        shop.gateways._opened[name] = (row, real)
        shop.other.sandbox.settle()
        for _ in range(8):
            await shop.turn(hours=8)
        made = sorted(_amount(one) for one in shop.other.charges() if not _came_back(one))
        assert sorted(await shop.payments()) == made and len(made) > 5
        assert not [one for one in accounts if await shop.in_flight(one)]
        await town.prove_books()


def _amount(made: Any) -> int:
    return int(made["amount"]) if "amount" in made else int(made["authAmount"] * 100)


def _came_back(made: Any) -> bool:
    return made.get("transactionStatus") == "returnedItem"
