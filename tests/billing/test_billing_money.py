"""FIELD-NOTES, "Money": amounts, taxes, payments that come twice, half, too much or go back again."""

from __future__ import annotations

import asyncio
from datetime import date
from typing import Any

import pytest
from billing_story import GB, Town, utc
from sqlalchemy import delete, insert, select, text

from billing.ledger.check_ledger import check_ledger
from billing.ledger.verify import account_balance, trial_balance, verify_ledger
from billing.payments.receive_payment import receive_payment
from billing.payments.reverse_payment import Reversal, reverse_payment
from billing.store import tables
from billing.store.tables import allocation, payment
from core.refusal import Refusal, granted
from core.store.tables import health_issue
from core.work import Workplace


async def _reverse(town: Town, payment_id: str, reason: str = "chargeback") -> Reversal | Refusal:
    async with town.workplace.work("operator:test") as work:
        return await reverse_payment(work, payment_id=payment_id, reason=reason)


# Integer minor units; currencies with 0 or 3 decimals; the rounding rule recorded.


@pytest.mark.parametrize(
    ("currency", "price_minor", "per_gb_minor", "net_minor"),
    [("JPY", 5000, "10.5", 5000 + 525), ("KWD", 12_500, "62.5", 12_500 + 3125), ("USD", 3000, "0.1", 3005)],
)
async def test_currencies_with_no_two_or_three_decimals(
    town: Town, currency: str, price_minor: int, per_gb_minor: str, net_minor: int
) -> None:
    plan = await town.plan(
        currency=currency, price_minor=price_minor,
        overage_tiers=[{"up_to_octets": None, "minor_per_gb": per_gb_minor}],
    )  # fmt: skip
    ann = await town.account("Ann", currency=currency)
    await town.subscription(ann, plan, "2026-03-01")
    await town.bill()
    town.meters.use("svc_1", utc("2026-03-20T00:00"), 0, 150 * GB)
    town.travel("2026-04-01")
    await town.bill()
    assert (await town.invoices(ann))[1].net_minor == net_minor
    await town.prove_books()


@pytest.mark.parametrize(("metered", "octets"), [("sum", 8 * GB), ("down", 5 * GB), ("up", 3 * GB)])
async def test_a_plan_counts_down_up_or_both(town: Town, metered: str, octets: int) -> None:
    ann = await town.account()
    await town.subscription(ann, await town.plan(metered=metered), "2026-03-01")
    await town.bill()
    town.meters.use("svc_1", utc("2026-03-20T00:00"), 3 * GB, 5 * GB)  # in: from the subscriber
    town.travel("2026-04-01")
    await town.bill()
    [usage] = [line for line in await town.lines("INV-000002") if line.kind == "usage"]
    assert usage.explanation["used_octets"] == octets


# Tax by service address and date.


async def test_taxes_by_class_place_and_date_add_up(town: Town) -> None:
    await town.tax(50_000)  # New Mexico
    await town.tax(10_000, name="Federal fee", region=None)
    await town.tax(90_000, name="Colorado", region="CO")
    await town.tax(70_000, name="Voice tax", tax_class="voice")
    await town.tax(60_000, valid_from=date(2026, 4, 1))
    ann = await town.customer("Ann", "2026-03-01")
    await town.bill()
    town.travel("2026-04-01")
    await town.bill()
    taxes = [
        [(line.description, line.amount_minor) for line in await town.lines(number) if line.kind == "tax"]
        for number in ("INV-000001", "INV-000002")
    ]
    assert taxes == [
        [("Federal fee 1 %", 30), ("Gross receipts tax 5 %", 150)],
        [("Federal fee 1 %", 30), ("Gross receipts tax 6 %", 180)],
    ]
    async with town.workplace.reading() as connection:
        balances = {name: amount for name, _, amount in await trial_balance(connection)}
    assert balances == {"receivable": 6390, "deferred:recurring": -6000, "tax:US": -60, "tax:US-NM": -330}
    assert [one.tax_minor for one in await town.invoices(ann)] == [180, 210]


async def test_a_tax_rate_cannot_be_set_into_a_past_that_has_one(town: Town) -> None:
    await town.tax(50_000, valid_from=date(2026, 4, 1))
    with pytest.raises(Exception, match="has a rate from 2026-04-01 already"):
        await town.tax(60_000, valid_from=date(2026, 3, 1))


# Partial payments, overpayments, payments that match nothing.


async def test_a_partial_payment_leaves_the_rest_open(any_town: Town) -> None:
    town = any_town
    ann = await town.customer("Ann", "2026-03-01")
    await town.bill()
    receipt = await town.pay(ann, 1000)
    assert receipt.allocations == (("INV-000001", 1000),)
    [invoice] = await town.invoices(ann)
    assert (invoice.open_minor, invoice.status) == (2000, "finalised")
    async with town.workplace.reading() as connection:
        assert await account_balance(connection, ann) == 2000
    await town.prove_books()


async def test_the_oldest_invoice_is_paid_first(town: Town) -> None:
    ann = await town.customer("Ann", "2026-03-01")
    town.travel("2026-04-01")
    await town.bill()
    receipt = await town.pay(ann, 3500)
    assert receipt.allocations == (("INV-000001", 3000), ("INV-000002", 500))


async def test_an_overpayment_stays_as_credit_and_pays_the_next_invoice(any_town: Town) -> None:
    town = any_town
    ann = await town.customer("Ann", "2026-03-01")
    await town.bill()
    receipt = await town.pay(ann, 7500)
    assert receipt.unallocated_minor == 4500
    async with town.workplace.reading() as connection:
        assert await account_balance(connection, ann) == -4500
    for turn in ("2026-04-01", "2026-05-01"):
        town.travel(turn)
        await town.bill()
    assert [one.open_minor for one in await town.invoices(ann)] == [0, 0, 1500]
    await town.prove_books()


async def test_a_payment_before_the_first_invoice_waits_for_it(town: Town) -> None:
    ann = await town.customer("Ann", "2026-03-01")
    assert (await town.pay(ann, 3000)).unallocated_minor == 3000
    await town.bill()
    assert (await town.invoices(ann))[0].status == "paid"


@pytest.mark.parametrize(
    ("form", "code", "field"),
    [
        ({"amount_minor": 0}, "bad_amount", "amount_minor"),
        ({"amount_minor": -5}, "bad_amount", "amount_minor"),
        ({"account_id": "acc_nobody"}, "unknown_account", "account_id"),
        ({"currency": "EUR"}, "wrong_currency", "currency"),
        ({"method": "barter"}, "bad_method", "method"),
        ({"idempotency_key": " "}, "bad_key", "idempotency_key"),
        ({"received_on": date(2026, 3, 11)}, "received_in_future", "received_on"),
    ],
)
async def test_a_payment_that_matches_nothing_is_refused_by_field(
    town: Town, form: dict[str, Any], code: str, field: str
) -> None:
    account_id = await town.customer("Ann")
    refused = await town.try_pay(**{"account_id": account_id, "amount_minor": 100, **form})
    assert isinstance(refused, Refusal)
    assert (refused.code, refused.field) == (code, field)
    assert await town.facts("billing.payment_received") == []
    await town.prove_books()


async def test_refusals_come_in_their_documented_order(town: Town) -> None:
    refused = await town.try_pay("acc_nobody", 0, currency="EUR", method="barter", idempotency_key="")
    assert isinstance(refused, Refusal)
    assert refused.code == "bad_amount"


# The same bank file or webhook twice or out of order.


async def test_the_same_payment_twice_is_recorded_once(any_town: Town) -> None:
    town = any_town
    ann = await town.customer("Ann", "2026-03-01")
    await town.bill()
    first = await town.pay(ann, 1000, idempotency_key="bank-7")
    again = await town.pay(ann, 1000, idempotency_key="bank-7")
    assert (first.outcome, again.outcome) == ("received", "exists")
    assert (again.payment_id, again.allocations) == (first.payment_id, first.allocations)
    assert len(await town.facts("billing.payment_received")) == 1
    await town.prove_books()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"amount_minor": 1001}, "amount_minor"),
        ({"method": "cash"}, "method"),
        ({"received_on": date(2026, 3, 9)}, "received_on"),
    ],
)
async def test_the_same_key_with_another_content_is_refused_naming_the_field(
    town: Town, change: dict[str, Any], field: str
) -> None:
    ann = await town.customer("Ann")
    form: dict[str, Any] = {"account_id": ann, "amount_minor": 1000, "idempotency_key": "bank-7"}
    await town.pay(**form)
    refused = await town.try_pay(**{**form, **change})
    assert isinstance(refused, Refusal)
    assert (refused.code, refused.field) == ("differs", field)
    bob = await town.customer("Bob")
    refused = await town.try_pay(**{**form, "account_id": bob})
    assert isinstance(refused, Refusal)
    assert refused.field == "account_id"


async def test_the_same_webhook_many_times_at_once_is_one_payment(any_town: Town) -> None:
    town = any_town
    ann = await town.customer("Ann", "2026-03-01")
    await town.bill()
    receipts = await asyncio.gather(*(town.pay(ann, 1000, idempotency_key="hook") for _ in range(6)))
    assert sorted(one.outcome for one in receipts) == ["exists"] * 5 + ["received"]
    await town.prove_books()


# Chargebacks weeks later: reverse, evaluate again.


async def test_a_chargeback_weeks_later_reopens_the_invoice_by_new_rows(any_town: Town) -> None:
    town = any_town
    ann = await town.customer("Ann", "2026-03-01")
    await town.bill()  # due on 24 March
    paid = await town.pay(ann, 3000)
    town.travel("2026-04-20")
    reversal = granted(await _reverse(town, paid.payment_id))
    assert reversal.reopened == (("INV-000001", 3000),)
    [invoice] = await town.invoices(ann)
    assert (invoice.open_minor, invoice.status) == (3000, "finalised")
    async with town.workplace.reading() as connection:
        rows = list(await connection.execute(select(allocation.c.amount_minor).order_by(allocation.c.id)))
        recorded = (await connection.execute(select(payment))).one()
    assert [row.amount_minor for row in rows] == [3000, -3000]
    assert (recorded.amount_minor, recorded.reversal_reason) == (3000, "chargeback")
    await town.prove_books()
    refused = await _reverse(town, paid.payment_id)
    assert isinstance(refused, Refusal)
    assert refused.code == "already_reversed"


async def test_days_on_which_the_money_was_held_do_not_count_as_late(town: Town) -> None:
    ann = await town.customer("Ann", "2026-03-01")
    await town.bill()  # due on 24 March
    town.travel("2026-03-26")
    await town.dun()
    paid = await town.pay(ann, 3000)  # two days late
    town.travel("2026-04-20")
    reversal = granted(await _reverse(town, paid.payment_id))
    assert reversal.stage_change is None  # two days late again, not 27
    town.travel("2026-04-21")
    [change] = await town.dun()
    assert change.to_stage == "reminded"
    assert "unpaid for 3 days" in change.because
    town.travel("2026-05-04")
    await town.dun()
    assert await town.stage(ann) == "suspended"  # 15 days, counting from 24 March without the 25 held ones


async def test_other_credit_fills_the_gap_that_a_chargeback_tears(town: Town) -> None:
    ann = await town.customer("Ann", "2026-03-01")
    await town.bill()
    first = await town.pay(ann, 3000)
    await town.pay(ann, 2500)
    granted(await _reverse(town, first.payment_id))
    assert (await town.invoices(ann))[0].open_minor == 500
    await town.prove_books()


async def test_the_credit_of_an_invoice_is_no_money_and_cannot_be_reversed(town: Town) -> None:
    from billing.set_up import end_subscription

    ann = await town.account()
    subscription_id = await town.subscription(ann, await town.plan(), "2026-03-01")
    await town.bill()
    await town.pay(ann, 3000)
    async with town.workplace.work("operator:test") as work:
        granted(await end_subscription(work, subscription_id=subscription_id, ends_on=date(2026, 3, 11)))
    town.travel("2026-04-01")
    await town.bill()
    async with town.workplace.reading() as connection:
        credit = (await connection.execute(select(payment).where(payment.c.method == "credit"))).one()
        balances = {name: amount for name, _, amount in await trial_balance(connection)}
    assert (credit.amount_minor, credit.unallocated_minor) == (2032, 2032)
    assert balances == {
        "cash:transfer": 3000, "customer_credit": -2032, "receivable": 0, "deferred:recurring": -968,
    }  # fmt: skip
    refused = await _reverse(town, credit.id)
    assert isinstance(refused, Refusal)
    assert refused.code == "not_money"


# The proof itself must be able to fail.


@pytest.mark.parametrize(
    ("damage", "check"),
    [
        ("UPDATE billing_posting SET amount_minor = amount_minor + 1 WHERE seq = 1", "entry_balances"),
        ("UPDATE billing_invoice SET open_minor = open_minor - 1", "invoice_adds_up"),
        (
            "UPDATE billing_invoice_line SET amount_minor = amount_minor + 1 WHERE position = 1",
            "invoice_adds_up",
        ),
        ("UPDATE billing_payment SET unallocated_minor = unallocated_minor + 1", "payment_allocated"),
        ("UPDATE billing_invoice SET number = 'INV-000099' WHERE number = 'INV-000001'", "numbers_gapless"),
        ("UPDATE billing_ledger_entry SET source_id = 'x' WHERE source_kind = 'payment'", "source_booked"),
        (
            "UPDATE billing_posting SET account_id = NULL WHERE ledger_account = 'receivable'",
            "receivable_is_open",
        ),
        (
            "UPDATE billing_posting SET ledger_account = 'lost' WHERE ledger_account = 'customer_credit'",
            "credit_is_unallocated",
        ),
    ],
)
async def test_verify_ledger_finds(town: Town, damage: str, check: str) -> None:
    ann = await town.customer("Ann", "2026-03-01")
    await town.customer("Bob", "2026-03-01")
    await town.bill()
    await town.pay(ann, 4000)
    await town.prove_books()
    async with town.workplace.work("operator:test") as work:
        await work.connection.execute(text(damage))
    async with town.workplace.reading() as connection:
        faults = await verify_ledger(connection)
    assert check in {fault.check for fault in faults}, faults


async def test_a_failed_payment_leaves_nothing_half_done(town: Town) -> None:
    ann = await town.customer("Ann", "2026-03-01")
    await town.bill()
    with pytest.raises(RuntimeError):
        async with town.workplace.work("operator:test") as work:
            await receive_payment(
                work, account_id=ann, amount_minor=100, currency="USD", method="cash", idempotency_key="k"
            )
            raise RuntimeError("the lights went out")
    assert (await town.invoices(ann))[0].open_minor == 3000
    assert (await town.pay(ann, 100, idempotency_key="k", method="cash")).outcome == "received"


async def test_a_ledger_that_contradicts_itself_is_a_critical_issue_until_it_is_mended(
    workplace: Workplace,
) -> None:
    async with workplace.work("test") as work:
        await work.connection.execute(
            insert(tables.ledger_entry).values(
                id="led_1", booked_on=date(2026, 3, 10), source_kind="invoice", source_id="inv_1",
                description="half an entry", recorded_at=work.now,
            )
        )  # fmt: skip
        await work.connection.execute(
            insert(tables.posting).values(
                entry_id="led_1", ledger_account="receivable", currency="USD", amount_minor=5
            )
        )
    assert await check_ledger(workplace) > 0
    async with workplace.reading() as connection:
        (issue,) = (await connection.execute(select(health_issue))).all()
    assert (issue.severity, issue.closed_at) == ("critical", None)
    async with workplace.work("test") as work:
        await work.connection.execute(delete(tables.posting))
        await work.connection.execute(delete(tables.ledger_entry))
    assert await check_ledger(workplace) == 0
    async with workplace.reading() as connection:
        (issue,) = (await connection.execute(select(health_issue))).all()
    assert issue.closed_at is not None
