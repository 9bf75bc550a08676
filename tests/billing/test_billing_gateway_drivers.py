"""Our drivers against sandboxes that speak as the gateways do: the real Stripe library, and our own JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date, timedelta

import pytest
from gateway_lab import BANK, EXPIRED, LOST, NAMES, POOR, POOR_BANK, REFUSED, VISA, Counterpart, counterpart

from billing.domain.gateway_charges import ChargeState, DeclineKind
from billing.payments.gateways import authorizenet_driver, stripe_driver
from billing.payments.gateways.port import (
    BadSignatureError,
    GatewayBusyError,
    GatewayRefusedError,
    GatewaySilentError,
    PageWish,
    Refund,
)
from core.clock import FakeClock
from core.secrets import Secret
from lab.gateway_world import Mishap

S, F = ChargeState.SUCCEEDED, ChargeState.FAILED


@pytest.fixture(params=NAMES)
async def other(request: pytest.FixtureRequest, clock: FakeClock) -> AsyncIterator[Counterpart]:
    async with counterpart(request.param, clock) as found:
        yield found


async def test_keys_are_tried_and_wrong_ones_are_told_without_being_repeated(other: Counterpart) -> None:
    assert await other.driver().check()
    with pytest.raises(GatewayRefusedError) as trouble:
        await other.driver(key=Secret("sk_test_wrong")).check()
    assert "wrong" not in str(trouble.value)


async def test_a_customer_saves_a_card_at_the_gateways_own_page_and_we_get_a_token(
    other: Counterpart,
) -> None:
    driver = other.driver()
    customer = await driver.open_customer("acc_0000000001", "Ann", "ann@example.net")
    assert await driver.open_customer("acc_0000000001", "Ann", "ann@example.net") == customer
    assert await driver.methods_of(customer) == []
    page = await driver.open_page(PageWish("page1", customer, "save", "USD", "https://isp.example/back"))
    back = other.sandbox.type_card(page.reference or page.fields["token"], VISA)
    assert back == "https://isp.example/back"
    (card,) = await driver.methods_of(customer)
    assert (card.kind, card.brand, card.last4, card.expires_on) == (
        "card",
        "visa",
        "4242",
        date(2031, 12, 31),
    )
    await driver.forget_method(customer, card.token)
    await driver.forget_method(customer, card.token)
    assert await driver.methods_of(customer) == []


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (POOR, DeclineKind.SOFT),
        (REFUSED, DeclineKind.SOFT),
        (LOST, DeclineKind.HARD),
        (EXPIRED, DeclineKind.HARD),
    ],
)
async def test_a_decline_is_soft_or_hard(other: Counterpart, number: str, kind: DeclineKind) -> None:
    driver = other.driver()
    customer = await driver.open_customer("acc_1", "Ann", None)
    token = other.sandbox.save_card(customer, number)
    answer = await driver.charge(other.order(customer, token))
    assert answer.state is F and answer.decline is not None and answer.reference
    assert (answer.decline.kind, bool(answer.decline.code), bool(answer.decline.said)) == (kind, True, True)
    assert await driver.look_up(other.question(customer)) == answer


async def test_a_charge_is_found_by_our_key_and_by_its_id(other: Counterpart) -> None:
    driver = other.driver()
    customer = await driver.open_customer("acc_1", "Ann", None)
    token = other.sandbox.save_card(customer)
    answer = await driver.charge(other.order(customer, token))
    assert (answer.state, answer.amount_minor or 3000) == (S, 3000)
    for number in range(3):
        await driver.charge(other.order(customer, token, f"other{number}", amount_minor=500 + number))
    by_key = await driver.look_up(other.question(customer))
    assert by_key is not None and (by_key.state, by_key.reference) == (S, answer.reference)
    assert await driver.look_up(other.question(customer, "", answer.reference)) == by_key
    assert await driver.look_up(other.question(customer, "nobody")) is None


async def test_the_same_key_never_charges_twice(other: Counterpart) -> None:
    driver = other.driver()
    customer = await driver.open_customer("acc_1", "Ann", None)
    token = other.sandbox.save_card(customer)
    first = await driver.charge(other.order(customer, token))
    try:
        again = await driver.charge(other.order(customer, token))
    except GatewaySilentError:  # Authorize.net only says that it is a duplicate: it is looked up
        again = first
    assert again == first and len(other.charges()) == 1


@pytest.mark.parametrize("wire", ["drop", "error", "hang"])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_lost_answer_is_silence_and_the_look_up_knows_the_end(
    other: Counterpart, wire: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (stripe_driver, authorizenet_driver):
        monkeypatch.setattr(module, "LONGEST_CALL_S", 0.3)
    driver = other.driver()
    customer = await driver.open_customer("acc_1", "Ann", None)
    token = other.sandbox.save_card(customer)
    other.sandbox.world.mishaps = [Mishap(f"{wire}_{when}")]
    with pytest.raises(GatewaySilentError):
        await driver.charge(other.order(customer, token))
    found = await driver.look_up(other.question(customer))
    assert (found.state if found else None) == (S if when == "after" else None)
    assert len(other.charges()) == (1 if when == "after" else 0)


async def test_a_busy_gateway_has_not_charged(other: Counterpart) -> None:
    driver = other.driver()
    customer = await driver.open_customer("acc_1", "Ann", None)
    token = other.sandbox.save_card(customer)
    other.sandbox.world.mishaps = [Mishap("busy")]
    with pytest.raises(GatewayBusyError):
        await driver.charge(other.order(customer, token))
    assert other.charges() == []
    assert (await driver.charge(other.order(customer, token))).state is S


@pytest.mark.parametrize(("number", "end"), [(BANK, S), (POOR_BANK, F)])
async def test_a_bank_debit_is_in_flight_for_days(other: Counterpart, number: str, end: ChargeState) -> None:
    driver = other.driver()
    customer = await driver.open_customer("acc_1", "Ann", None)
    token = other.sandbox.save_card(customer, number)
    (account,) = await driver.methods_of(customer)
    assert (account.kind, account.last4, account.expires_on) == ("bank", number[-4:], None)
    answer = await driver.charge(other.order(customer, token, kind="bank"))
    assert answer.state is ChargeState.IN_FLIGHT
    other.sandbox.settle()
    found = await driver.look_up(other.question(customer, reference=answer.reference))
    ended = ChargeState.CHARGED_BACK if other.name == "authorizenet" and end is F else end
    assert found is not None and found.state is ended


async def test_money_goes_back_the_way_it_came(other: Counterpart) -> None:
    driver = other.driver()
    customer = await driver.open_customer("acc_1", "Ann", None)
    answer = await driver.charge(other.order(customer, other.sandbox.save_card(customer)))
    assert answer.reference
    part = Refund("ref1", answer.reference, 1000, "USD")
    if other.name == "authorizenet":
        with pytest.raises(GatewayBusyError, match="settled"):
            await driver.refund(part)
        other.sandbox.settle()
    assert await driver.refund(part) == await driver.refund(part), "the same key goes back once"
    with pytest.raises(GatewayRefusedError):
        await driver.refund(replace(part, key="ref2", reference="nobody"))


async def test_what_is_not_settled_is_voided_whole(clock: FakeClock) -> None:
    async with counterpart("authorizenet", clock) as other:
        driver = other.driver()
        customer = await driver.open_customer("acc_1", "Ann", None)
        answer = await driver.charge(other.order(customer, other.sandbox.save_card(customer)))
        whole = Refund("ref1", answer.reference or "", 3000, "USD")
        assert await driver.refund(whole) == await driver.refund(whole) == answer.reference
        found = await driver.look_up(other.question(customer))
        assert found is not None and found.state is F


async def test_a_webhook_is_read_only_when_the_gateway_signed_it_lately(
    other: Counterpart, clock: FakeClock
) -> None:
    driver = other.driver()
    customer = await driver.open_customer("acc_1", "Ann", None)
    token = other.sandbox.save_card(customer)
    await driver.charge(other.order(customer, token))
    saved, *_, charged = other.sandbox.world.hooks
    told = driver.read_event(charged.body, charged.headers, clock.now())
    assert (told.event_id, told.key, bool(told.reference)) == (charged.event_id, "key1", True)
    assert told.what == ("charge" if other.name == "stripe" else "look")
    methods = driver.read_event(saved.body, saved.headers, clock.now())
    assert (methods.what, methods.customer) == ("methods", customer)
    header = next(name for name in charged.headers if "ignature" in name)
    signature = charged.headers[header]
    forged = [
        (charged.body.replace(b"3000", b"9000").replace(b"30.0", b"90.0"), charged.headers),
        (charged.body, {**charged.headers, header: signature[:-1] + ("0" if signature[-1] != "0" else "1")}),
        (charged.body, {**charged.headers, header: ""}),
        (charged.body, {}),
        (b"", charged.headers),
    ]
    for body, headers in forged:
        with pytest.raises(BadSignatureError):
            driver.read_event(body, headers, clock.now())
    with pytest.raises(BadSignatureError):
        other.driver(webhook_key=None).read_event(charged.body, charged.headers, clock.now())


async def test_an_old_webhook_is_not_taken(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    async with counterpart("authorizenet", clock) as other:
        other.sandbox.save_card("1")
        (hook,) = other.sandbox.world.hooks
        with pytest.raises(BadSignatureError):
            other.driver().read_event(hook.body, hook.headers, clock.now() + timedelta(days=9))
    async with counterpart("stripe", clock) as other:
        monkeypatch.setattr("lab.gateway_stripe.time.time", lambda: 1_700_000_000)
        other.sandbox.save_card("cus_1")
        monkeypatch.undo()
        (hook,) = other.sandbox.world.hooks
        with pytest.raises(BadSignatureError):
            other.driver().read_event(hook.body, hook.headers, clock.now())


async def test_a_sandbox_contradicts_what_the_gateway_would_not_take(other: Counterpart) -> None:
    driver = other.driver()
    customer = await driver.open_customer("acc_1", "Ann", None)
    token = other.sandbox.save_card("somebody else" if other.name == "stripe" else "77")
    with pytest.raises(GatewayRefusedError):
        await driver.charge(other.order(customer, token))
    if other.name == "authorizenet":
        with pytest.raises(GatewayRefusedError, match="E00003"):
            await driver.charge(other.order(customer, token, "a key of more than twenty characters"))
