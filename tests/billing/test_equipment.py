"""Equipment by date: rented while it is out, charged when it never comes back; the deposit goes the same way home."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from billing_story import Town
from hypothesis import given
from hypothesis import strategies as st
from test_replay import replayed
from test_subscription_changes import act, amounts, offer, sold

from billing.catalogue.define_plan import define_offer
from billing.config import BillingSettings
from billing.domain.equipment import idle_spans, without
from billing.ledger.verify import trial_balance
from billing.payments.deposits import take_deposit
from billing.store import money_out_rows
from billing.store.tables import payment, refund
from billing.subscriptions import change_subscription as change
from billing.subscriptions.lend_equipment import lend_equipment, return_equipment
from billing.subscriptions.settle_ends import settle_ends
from billing.subscriptions.subscribe import subscribe
from core.periods import Period
from core.refusal import Refusal, granted

ROUTER = {"code": "router", "kind": "rental", "name": "Router", "price_minor": 310, "tax_class": "gear"}
DEPOSIT = {"code": "deposit", "kind": "deposit", "name": "Deposit", "price_minor": 5000}


async def rented(town: Town, *items: dict[str, Any], quantity: int = 1) -> tuple[str, str, str]:
    """Ann has a line, and beside it an add-on that is a router's rental."""
    ann, sub = await sold(town)
    extra = await offer(town, *(items or (ROUTER,)))
    addon = granted(
        await act(
            town, subscribe, account_id=ann, service_id=None, plan_version_id=extra, parent_id=sub,
            starts_on=date(2026, 3, 1), quantity=quantity,
        )
    )  # fmt: skip
    return ann, sub, addon


async def lend(town: Town, subscription: str, serial: str = "SN-1", **more: Any) -> Any:
    asked = {"name": "Router", "value_minor": 8000, "lent_on": date(2026, 3, 1), **more}
    return await act(town, lend_equipment, subscription_id=subscription, serial=serial, **asked)


async def give_back(town: Town, loan: str, day: str | None = None) -> Any:
    returned_on = None if day is None else date.fromisoformat(day)
    return await act(town, return_equipment, loan_id=loan, returned_on=returned_on)


async def settle(town: Town, **settings: Any) -> int:
    return await settle_ends(town.workplace, BillingSettings(**settings))


async def held(town: Town, account: str) -> list[int]:
    async with town.workplace.reading() as connection:
        return [one.held_minor for one in await money_out_rows.deposits_of(connection, account)]


async def balance(town: Town, ledger_account: str) -> int:
    async with town.workplace.reading() as connection:
        return sum(one[2] for one in await trial_balance(connection) if one[0] == ledger_account)


async def test_an_addon_that_is_only_rental_ends_when_it_comes_back(town: Town) -> None:
    _, _, addon = await rented(town)
    loan = granted(await lend(town, addon))
    assert granted(await lend(town, addon)).outcome == "exists"
    await town.bill()
    town.travel("2026-03-21")
    back = granted(await give_back(town, loan.loan_id))
    assert (back.follows, granted(await give_back(town, loan.loan_id)).outcome) == (
        "subscription_ends",
        "exists",
    )
    town.travel("2026-04-01")
    await town.bill()
    found = [one for one in amounts(await town.lines("INV-000002")) if one[1] == "router"]
    assert found == [("adjustment", "router", -110)]  # 11 of 31 days
    assert all(one.is_same for one in await replayed(town))
    await town.prove_books()


async def test_one_of_three_comes_back_and_two_are_rented_on(town: Town) -> None:
    _, _, addon = await rented(town, quantity=3)
    loans = [granted(await lend(town, addon, f"SN-{number}")).loan_id for number in range(3)]
    await town.bill()
    town.travel("2026-03-20")
    assert granted(await give_back(town, loans[1], "2026-03-17")).follows == "one_less"
    town.travel("2026-04-01")
    await town.bill()
    found = [one for one in amounts(await town.lines("INV-000002")) if one[1] == "router"]
    assert found == [("adjustment", "router", -150), ("rental", "router", 620)]


async def test_a_rental_within_a_plan_rests_and_goes_on_with_the_next_router(town: Town) -> None:
    ann = await town.account()
    async with town.workplace.work("operator:test") as work:
        items = [{"code": "recurring", "kind": "recurring", "name": "Home", "price_minor": 3000}, ROUTER]
        home = granted(
            await define_offer(
                work, code="homer", name="Home", currency="USD", items=items, service_profile_id="pro_1"
            )
        )
    sub = await town.subscription(ann, home, "2026-03-01")
    loan = granted(await lend(town, sub))
    await town.bill()
    town.travel("2026-03-22")
    assert granted(await give_back(town, loan.loan_id, "2026-03-21")).follows == "rental_stops"
    town.travel("2026-04-01")
    await town.bill()
    assert amounts(await town.lines("INV-000002")) == [
        ("recurring", "recurring", 3000), ("adjustment", "router", -110),
    ]  # fmt: skip
    town.travel("2026-04-16")
    granted(await lend(town, sub, "SN-2", lent_on=None))
    town.travel("2026-05-01")
    await town.bill()
    found = [one for one in amounts(await town.lines("INV-000003")) if one[1] == "router"]
    assert found == [("rental", "router", 155), ("rental", "router", 310)]  # 15 of 30 days, then May
    assert all(one.is_same for one in await replayed(town))
    await town.prove_books()


async def test_the_deposit_waits_for_the_last_invoice_and_the_router_and_pays_what_is_open(
    town: Town,
) -> None:
    ann, sub, addon = await rented(town, ROUTER, DEPOSIT)
    loan = granted(await lend(town, addon))
    await town.bill()
    assert await balance(town, "deposits") == -5000
    assert await held(town, ann) == []  # nothing is held until it is paid
    await town.pay(ann, (await town.invoices())[0].total_minor)
    assert await held(town, ann) == [5000]
    town.travel("2026-04-01")
    await town.bill()
    town.travel("2026-04-11")
    granted(await act(town, change.end_subscription, subscription_id=sub))
    assert await settle(town) == 0  # the last invoice is still to come
    town.travel("2026-05-01")
    await town.bill()
    assert await settle(town) == 0  # the router is out
    granted(await give_back(town, loan.loan_id))
    town.travel("2026-05-02")
    await town.bill()
    assert await settle(town) == 1
    assert await settle(town) == 0
    assert await held(town, ann) == [0]
    assert {one.status for one in await town.invoices() if one.total_minor > 0} == {"paid"}
    assert await balance(town, "deposits") == 0
    assert [one.differences for one in await replayed(town)] == [()] * len(await town.invoices())
    await town.prove_books()


async def test_what_is_left_is_refunded_once_when_nothing_else_runs(any_town: Town) -> None:
    town = any_town
    ann, sub = await sold(town)
    await town.bill()
    await town.pay(ann, 3000 + 9000)
    granted(
        await act(
            town, take_deposit, account_id=ann, amount_minor=9000, reason="new here",
            idempotency_key="d-1", subscription_id=sub,
        )
    )  # fmt: skip
    town.travel("2026-03-31")
    granted(await act(town, change.end_subscription, subscription_id=sub, ends_on=date(2026, 4, 1)))
    town.travel("2026-04-01")
    assert await settle(town, deposit_refund_by="cheque") == 0
    await town.bill()
    assert await settle(town, release_deposits=False) == 0
    for _ in range(2):
        await settle(town, deposit_refund_by="cheque")
    async with town.workplace.reading() as connection:
        [back] = list(await connection.execute(refund.select()))
        releases = [one for one in await connection.execute(payment.select()) if one.method == "deposit"]
    assert (back.amount_minor, back.method, len(releases)) == (9000, "cheque", 1)
    await town.prove_books()


async def test_what_never_comes_back_is_charged_and_credited_when_it_does(any_town: Town) -> None:
    town = any_town
    ann, sub, addon = await rented(town)
    loan = granted(await lend(town, addon))
    town.travel("2026-04-01")
    await town.bill()
    granted(await act(town, change.end_subscription, subscription_id=sub, ends_on=date(2026, 4, 1)))
    town.travel("2026-04-30")
    assert await settle(town) == 0
    town.travel("2026-05-01")
    assert await settle(town) == 1
    assert await settle(town) == 0
    await town.bill()
    last = (await town.invoices(ann))[-1]
    assert ("charge", "equipment", 8000) in amounts(await town.lines(last.number))
    assert granted(await give_back(town, loan.loan_id)).follows == "none"
    town.travel("2026-06-01")
    await town.bill()
    last = (await town.invoices(ann))[-1]
    assert amounts(await town.lines(last.number)) == [("credit", "equipment", -8000)]
    await town.prove_books()


async def test_what_cannot_be_is_refused_with_the_remedy(town: Town) -> None:
    _, sub, addon = await rented(town)
    loan = granted(await lend(town, addon))
    elsewhere = await lend(town, sub)
    assert isinstance(elsewhere, Refusal)
    assert (elsewhere.code, elsewhere.field) == ("out_elsewhere", "serial")
    for wrong, field in (
        ({"serial": " "}, "serial"), ({"name": "a\nb"}, "name"), ({"value_minor": -1}, "value_minor"),
        ({"lent_on": date(2026, 2, 1)}, "lent_on"), ({"lent_on": date(2027, 1, 1)}, "lent_on"),
    ):  # fmt: skip
        refused = await lend(town, addon, **{"serial": "SN-9", **wrong})
        assert isinstance(refused, Refusal)
        assert refused.field == field
    assert (await give_back(town, "loan_none")).code == "unknown_loan"
    assert (await give_back(town, loan.loan_id, "2026-02-01")).field == "returned_on"
    granted(await give_back(town, loan.loan_id, "2026-03-05"))
    assert (await give_back(town, loan.loan_id, "2026-03-06")).code == "returned_before"


_DAYS = st.integers(0, 400).map(lambda days: date(2026, 1, 1) + timedelta(days=days))


@given(
    st.lists(st.tuples(_DAYS, st.one_of(st.none(), st.integers(0, 60))), max_size=5),
    _DAYS,
    st.integers(1, 90),
)
def test_each_day_is_rented_or_idle_and_never_both(
    lent: list[tuple[date, int | None]], start: date, length: int
) -> None:
    loans = [(on, None if days is None else on + timedelta(days=days)) for on, days in lent]
    part = Period(start, start + timedelta(days=length))
    left = without(part, idle_spans(loans))
    rented_days = {one.start + timedelta(days=n) for one in left for n in range(one.days)}
    first = min((on for on, _ in loans), default=date.max)
    for number in range(part.days):
        day = part.start + timedelta(days=number)
        out = any(on <= day and (back is None or day < back) for on, back in loans)
        assert (day in rented_days) == (out or day < first)
