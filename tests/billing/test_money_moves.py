"""Money that moves after it came: by hand, back to the customer, back to the bank, kept as a deposit."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from datetime import date
from typing import Any

import pytest
from billing_story import Town
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from billing.config import BillingSettings
from billing.domain.allocation import (
    AllocationRule,
    Credit,
    OpenInvoice,
    allocate_by_rule,
    retract,
)
from billing.ledger.verify import account_balance, trial_balance
from billing.payments.allocate_by_hand import (
    allocate_by_hand,
    let_rule_decide,
    move_allocation,
    set_allocation_rule,
    take_back_allocation,
)
from billing.payments.deposits import release_deposit, take_deposit
from billing.payments.receive_payment import receive_payment
from billing.payments.refund import end_refund, order_refund
from billing.payments.reverse_payment import reverse_payment, win_dispute
from billing.payments.settle_payment import settle_payment
from billing.store import money_out_rows
from billing.store.tables import charge, credit_use, payment
from core.refusal import Refusal, granted
from core.work import Work

FEES = BillingSettings(returned_payment_fees={"nsf": {"USD": 2500}, "chargeback": {"USD": 1500}})
_day = st.integers(1, 28).map(lambda day: date(2026, 3, day))
_claims = st.lists(st.tuples(_day, st.integers(1, 10_000)), max_size=6).map(
    lambda rows: [OpenInvoice(f"i{n}", f"INV-{n}", due, amount) for n, (due, amount) in enumerate(rows)]
)
_money = st.lists(st.integers(1, 10_000), max_size=5).map(
    lambda rows: [Credit(f"p{n}", amount) for n, amount in enumerate(rows)]
)


@given(
    rule=st.sampled_from(AllocationRule),
    money=_money,
    claims=_claims,
    named=st.lists(st.sampled_from(["i0", "i3", "i9"])),
)
def test_every_rule_conserves_and_never_gives_more_than_is_asked(rule, money, claims, named):
    given_out = allocate_by_rule(rule, money, claims, named)
    assert given_out == allocate_by_rule(
        rule, money, list(reversed(claims)), named
    )  # order of reading does not matter
    assert all(one.amount_minor > 0 for one in given_out)
    whole = sum(one.amount_minor for one in given_out)
    assert whole == min(sum(c.unallocated_minor for c in money), sum(c.open_minor for c in claims))
    for claim in claims:
        assert sum(one.amount_minor for one in given_out if one.invoice_id == claim.id) <= claim.open_minor
    for one in money:
        assert (
            sum(a.amount_minor for a in given_out if a.payment_id == one.payment_id) <= one.unallocated_minor
        )


@given(money=_money, claims=_claims)
def test_taking_back_and_allocating_again_is_the_identity(money, claims):
    for rule in AllocationRule:
        first = allocate_by_rule(rule, money[:1], claims)
        for one in money[:1]:
            paid = [(next(c for c in claims if c.id == a.invoice_id), a.amount_minor) for a in first]
            rest = one.unallocated_minor - sum(amount for _, amount in paid)
            back = retract(one.payment_id, one.unallocated_minor, rest, paid)
            assert back.from_credit_minor == rest
            again = allocate_by_rule(rule, [one], claims)
            assert again == first


def test_the_rules_by_example():
    claims = [
        OpenInvoice("a", "INV-1", date(2026, 1, 1), 300), OpenInvoice("b", "INV-2", date(2026, 2, 1), 500),
        OpenInvoice("c", "INV-3", date(2026, 3, 1), 100),
    ]  # fmt: skip
    pay = [Credit("p", 450)]

    def told(rule: AllocationRule, first: tuple[str, ...] = ()) -> dict[str, int]:
        return {one.invoice_id: one.amount_minor for one in allocate_by_rule(rule, pay, claims, first)}

    assert told(AllocationRule.OLDEST) == {"a": 300, "b": 150}
    assert told(AllocationRule.NEWEST) == {"c": 100, "b": 350}
    assert told(AllocationRule.LARGEST) == {"b": 450}
    assert told(AllocationRule.SMALLEST) == {"c": 100, "a": 300, "b": 50}
    assert told(AllocationRule.PROPORTIONAL) == {"a": 150, "b": 250, "c": 50}
    assert told(AllocationRule.OLDEST, ("c", "b")) == {"c": 100, "b": 350}
    assert told(AllocationRule.PROPORTIONAL, ("c",)) == {"c": 100, "a": 131, "b": 219}


def test_a_part_taken_back_comes_off_what_is_due_last():
    old, new = OpenInvoice("a", "1", date(2026, 1, 1), 0), OpenInvoice("b", "2", date(2026, 2, 1), 0)
    back = retract("p", 120, 20, [(old, 50), (new, 70)])
    assert back.from_credit_minor == 20
    assert [(one.invoice_id, one.amount_minor) for one in back.undone] == [("b", -70), ("a", -30)]
    with pytest.raises(ValueError, match="holds 140"):
        retract("p", 141, 20, [(old, 50), (new, 70)])


async def _do(town: Town, act: Callable[..., Awaitable[Any]], **terms: Any) -> Any:
    """One use case in a transaction that is rolled back when it refuses."""
    outcomes: list[Any] = []

    async def run(work: Work) -> Any:
        outcomes.append(await act(work, **terms))
        return granted(outcomes[0])

    try:
        await town.workplace.carry_out("operator:test", run)
    except Exception:
        if not isinstance(outcomes[0], Refusal):
            raise
    return outcomes[0]


async def _two_invoices(town: Town) -> tuple[str, str, str]:
    """An account with two unpaid invoices of 30.00."""
    town.travel("2026-03-01")
    account_id = await town.customer("Ann", "2026-03-01")
    await town.bill()
    town.travel("2026-04-01")
    await town.bill()
    first, second = await town.invoices(account_id)
    return account_id, first.number, second.number


async def _open(town: Town, account_id: str) -> list[int]:
    return [one.open_minor for one in await town.invoices(account_id)]


async def _ledger(town: Town) -> dict[str, int]:
    async with town.workplace.reading() as connection:
        return {name: amount for name, _, amount in await trial_balance(connection)}


async def test_by_hand_give_take_back_move_and_let_the_rule_decide(any_town: Town) -> None:
    town = any_town
    ann, first, second = await _two_invoices(town)
    paid = await town.pay(ann, 4000, by_hand=True)
    assert await _open(town, ann) == [3000, 3000]
    given_one = await _do(
        town, allocate_by_hand, payment_id=paid.payment_id, invoice=second, amount_minor=2500, key="k1"
    )
    assert (given_one.outcome, given_one.amount_minor) == ("done", 2500)
    again = await _do(
        town, allocate_by_hand, payment_id=paid.payment_id, invoice=second, amount_minor=2500, key="k1"
    )
    assert (again.outcome, await _open(town, ann)) == ("exists", [3000, 500])
    moved = await _do(
        town, move_allocation, payment_id=paid.payment_id, from_invoice=second, to_invoice=first, reason="wrong one",
        amount_minor=1000, key="k2",
    )  # fmt: skip
    assert (moved.amount_minor, await _open(town, ann)) == (1000, [2000, 1500])
    back = await _do(
        town, take_back_allocation, payment_id=paid.payment_id, invoice=first, reason="again", key="k3"
    )
    assert (back.amount_minor, await _open(town, ann)) == (1000, [3000, 1500])
    await town.pay(ann, 100)  # the rule does not touch what is kept in hand
    assert await _open(town, ann) == [2900, 1500]
    await town.prove_books()
    done = await _do(town, let_rule_decide, payment_id=paid.payment_id)
    assert (done.amount_minor, await _open(town, ann)) == (2500, [400, 1500])
    await town.prove_books()


@pytest.mark.parametrize(
    ("act", "terms", "code"),
    [
        (allocate_by_hand, {"invoice": "INV-999999"}, "unknown_invoice"),
        (allocate_by_hand, {"invoice": "1", "amount_minor": 4001}, "bad_amount"),
        (allocate_by_hand, {"invoice": "1", "amount_minor": 0}, "bad_amount"),
        (allocate_by_hand, {"invoice": "1", "key": " "}, "bad_key"),
        (take_back_allocation, {"invoice": "1", "reason": "x"}, "nothing_given"),
        (take_back_allocation, {"invoice": "1", "reason": " "}, "reason_missing"),
        (move_allocation, {"from_invoice": "1", "to_invoice": "2", "reason": "x"}, "nothing_given"),
    ],
)
async def test_what_cannot_be_allocated_is_refused(
    town: Town, act: Any, terms: dict[str, Any], code: str
) -> None:
    ann, first, second = await _two_invoices(town)
    paid = await town.pay(ann, 4000, by_hand=True)
    names = {"1": first, "2": second}
    real = {key: names.get(value, value) if isinstance(value, str) else value for key, value in terms.items()}
    outcome = await _do(town, act, payment_id=paid.payment_id, **real)
    assert isinstance(outcome, Refusal)
    assert outcome.code == code


async def test_the_rule_of_account_class_and_house_in_that_order(town: Town) -> None:
    ann, *_ = await _two_invoices(town)
    assert await _do(town, set_allocation_rule, scope="house", rule="newest") == "newest"
    await town.pay(ann, 100)
    assert await _open(town, ann) == [3000, 2900]
    await _do(town, set_allocation_rule, scope="class", scope_id="standard", rule="oldest")
    await town.pay(ann, 100)
    assert await _open(town, ann) == [2900, 2900]
    await _do(town, set_allocation_rule, scope="account", scope_id=ann, rule="proportional")
    await town.pay(ann, 100)
    assert await _open(town, ann) == [2850, 2850]
    await _do(town, set_allocation_rule, scope="account", scope_id=ann, rule=None)
    await town.pay(ann, 50)
    assert await _open(town, ann) == [2800, 2850]
    for terms in (
        {"scope": "world"},
        {"scope": "account", "scope_id": "x"},
        {"scope": "house", "scope_id": "x"},
    ):
        assert isinstance(await _do(town, set_allocation_rule, **{"rule": "oldest", **terms}), Refusal)
    assert isinstance(await _do(town, set_allocation_rule, scope="house", rule="luck"), Refusal)


async def test_named_invoices_are_paid_first(town: Town) -> None:
    ann, _, second = await _two_invoices(town)
    rows = await town.invoices(ann)
    await town.pay(ann, 3100, first=[next(one.id for one in rows if one.number == second)])
    assert await _open(town, ann) == [2900, 0]


async def test_a_part_charged_back_weeks_later_with_fee_and_the_dispute_won(any_town: Town) -> None:
    town = any_town
    ann, _, _ = await _two_invoices(town)
    paid = await town.pay(ann, 7000)
    assert await _open(town, ann) == [0, 0]
    town.travel("2026-05-15")
    lost = await _do(
        town, reverse_payment, payment_id=paid.payment_id, reason="disputed", kind="chargeback", amount_minor=2000,
        source="dp_1", settings=FEES,
    )  # fmt: skip
    assert lost.reopened and lost.amount_minor == 2000
    assert await _open(town, ann) == [0, 1000]
    assert await town.stage(ann) == "clear"  # the days on which the money was held do not count
    again = await _do(
        town, reverse_payment, payment_id=paid.payment_id, reason="disputed", kind="chargeback", amount_minor=2000,
        source="dp_1", settings=FEES,
    )  # fmt: skip
    assert (again.outcome, again.reversal_id) == ("exists", lost.reversal_id)
    other = await _do(
        town, reverse_payment, payment_id=paid.payment_id, reason="x", amount_minor=1, source="dp_1"
    )
    assert isinstance(other, Refusal) and other.code == "differs"
    async with town.workplace.reading() as connection:
        [fee] = list(await connection.execute(select(charge)))
        assert (fee.quoted_minor, fee.source) == (1500, f"nsf:{lost.reversal_id}")
    await town.prove_books()
    won = await _do(town, win_dispute, reversal_id=lost.reversal_id, reason="the bank decided for us")
    assert (won.outcome, await _open(town, ann)) == ("won", [0, 0])
    assert (await _do(town, win_dispute, reversal_id=lost.reversal_id, reason="twice")).outcome == "exists"
    async with town.workplace.reading() as connection:
        [fee] = list(await connection.execute(select(charge)))
        assert fee.withdrawn_at is not None
    ledger = await _ledger(town)
    assert ledger["cash:transfer"] == 7000
    assert await town.facts("billing.payment_restored")
    await town.prove_books()


async def test_two_partial_chargebacks_then_no_more_than_there_is(town: Town) -> None:
    ann, _, _ = await _two_invoices(town)
    paid = await town.pay(ann, 6000)
    for number, amount in (("1", 2500), ("2", 3500)):
        done = await _do(
            town, reverse_payment, payment_id=paid.payment_id, reason="disputed", kind="chargeback", amount_minor=amount,
            source=f"dp_{number}",
        )  # fmt: skip
        assert done.outcome == "reversed"
    assert await _open(town, ann) == [3000, 3000]
    more = await _do(town, reverse_payment, payment_id=paid.payment_id, reason="disputed", source="dp_3")
    assert more.code == "already_reversed"
    await town.prove_books()


async def test_a_bounced_cheque_counts_no_day_on_which_the_money_was_held(town: Town) -> None:
    town.travel("2026-03-01")
    ann = await town.customer("Ann", "2026-03-01")
    await town.bill()  # due on the 15th
    paid = await town.pay(ann, 3000, method="cheque", reference="No 1044")
    town.travel("2026-04-20")
    back = await _do(
        town, reverse_payment, payment_id=paid.payment_id, reason="no funds", kind="nsf", source="slip 7 line 2",
        settings=FEES, fee_minor=0,
    )  # fmt: skip
    assert back.fee_charge_id is None
    assert await town.stage(ann) == "clear"
    town.travel("2026-04-23")
    await town.dun()
    assert await town.stage(ann) == "reminded"  # three days since it came back, not thirty-nine


async def test_a_refund_of_credit_is_due_paid_or_failed_and_never_more_than_there_is(any_town: Town) -> None:
    town = any_town
    ann = await town.account("Ann")
    one, two = await town.pay(ann, 1000), await town.pay(ann, 500)
    terms: dict[str, Any] = {
        "account_id": ann,
        "amount_minor": 1200,
        "method": "cheque",
        "reason": "moved away",
        "idempotency_key": "r1",
    }
    ordered = await _do(town, order_refund, **terms)
    assert ordered.outcome == "ordered"
    assert (await _do(town, order_refund, **terms)).outcome == "exists"
    assert (await _do(town, order_refund, **{**terms, "amount_minor": 1})).code == "differs"
    assert (await _do(town, order_refund, **{**terms, "idempotency_key": "r2"})).code == "not_enough"
    ledger = await _ledger(town)
    assert (ledger["customer_credit"], ledger["refunds_due"], ledger["cash:transfer"]) == (-300, -1200, 1500)
    [fact] = await town.facts("billing.refund_ordered")
    assert (fact["method"], fact["amount_minor"], fact["payment_id"]) == ("cheque", 1200, None)
    await town.prove_books()
    paid = await _do(town, end_refund, refund_id=ordered.refund_id, outcome="paid", reference="cheque 77")
    assert paid.outcome == "paid"
    assert (await _do(town, end_refund, refund_id=ordered.refund_id, outcome="paid")).outcome == "exists"
    late = await _do(town, end_refund, refund_id=ordered.refund_id, outcome="failed", told="lost")
    assert late.code == "already_ended"
    ledger = await _ledger(town)
    assert (ledger["refunds_due"], ledger["cash:cheque"]) == (0, -1200)
    rest = await _do(
        town, order_refund, account_id=ann, amount_minor=300, method="transfer", reason="rest", idempotency_key="r3",
        payment_id=two.payment_id,
    )  # fmt: skip
    failed = await _do(town, end_refund, refund_id=rest.refund_id, outcome="failed", told="account closed")
    assert failed.outcome == "failed"
    async with town.workplace.reading() as connection:
        assert await account_balance(connection, ann) == -300
    await town.prove_books()
    reversed_one = await _do(town, reverse_payment, payment_id=one.payment_id, reason="x")
    assert reversed_one.code == "bad_amount"  # all of it was refunded


async def test_a_failed_refund_pays_what_is_open_meanwhile(town: Town) -> None:
    town.travel("2026-03-01")
    ann = await town.customer("Ann", "2026-03-01")
    paid = await town.pay(ann, 3000)
    ordered = await _do(
        town, order_refund, account_id=ann, amount_minor=3000, method="gateway", reason="asked", idempotency_key="r",
        payment_id=paid.payment_id,
    )  # fmt: skip
    await town.bill()
    assert await _open(town, ann) == [3000]
    town.travel("2026-04-02")
    await town.dun()
    assert await town.stage(ann) == "suspended"
    await _do(town, end_refund, refund_id=ordered.refund_id, outcome="failed", told="card expired")
    assert await _open(town, ann) == [0]
    assert await town.stage(ann) == "clear"
    await town.prove_books()


async def test_money_in_transit_cannot_be_refunded_and_settles_once(any_town: Town) -> None:
    town = any_town
    ann = await town.account("Ann")
    paid = await town.pay(ann, 1000, method="ach", landed_in="in_transit:ach")
    terms: dict[str, Any] = {"account_id": ann, "amount_minor": 400, "method": "cash", "reason": "x"}
    early = await _do(town, order_refund, idempotency_key="r1", **terms)
    assert "in transit" in early.message
    back = await _do(
        town, reverse_payment, payment_id=paid.payment_id, reason="R01", amount_minor=100, kind="ach_return"
    )
    assert (await _ledger(town))["in_transit:ach"] == 900
    assert await _do(town, settle_payment, payment_id=paid.payment_id, settled_on=date(2026, 3, 13)) is True
    assert await _do(town, settle_payment, payment_id=paid.payment_id, settled_on=date(2026, 3, 14)) is False
    ledger = await _ledger(town)
    assert (ledger["in_transit:ach"], ledger["cash:ach"]) == (0, 900)
    await _do(
        town, reverse_payment, payment_id=paid.payment_id, reason="R10", amount_minor=200, kind="ach_return"
    )
    assert (await _ledger(town))["cash:ach"] == 700
    assert (await _do(town, order_refund, idempotency_key="r2", **terms)).outcome == "ordered"
    assert back.outcome == "reversed"
    await town.prove_books()


async def test_a_deposit_is_kept_and_given_back_to_invoices_or_to_the_customer(any_town: Town) -> None:
    town = any_town
    town.travel("2026-03-01")
    ann = await town.customer("Ann", "2026-03-01")
    await town.bill()
    await town.pay(ann, 5000, by_hand=True)
    taken = await _do(
        town, take_deposit, account_id=ann, amount_minor=5000, reason="security", idempotency_key="d1"
    )
    assert taken.outcome == "taken"
    assert (await _do(town, take_deposit, account_id=ann, amount_minor=5000, reason="security", idempotency_key="d1")).outcome == "exists"  # fmt: skip
    assert (await _do(town, take_deposit, account_id=ann, amount_minor=1, reason="more", idempotency_key="d2")).code == "not_enough"  # fmt: skip
    assert (await _ledger(town))["deposits"] == -5000
    assert await _open(town, ann) == [3000]  # a deposit pays no invoice by itself
    used = await _do(
        town,
        release_deposit,
        deposit_id=taken.deposit_id,
        reason="end",
        idempotency_key="x1",
        amount_minor=3500,
    )
    assert (used.outcome, await _open(town, ann)) == ("released", [0])
    same = await _do(town, release_deposit, deposit_id=taken.deposit_id, reason="end", idempotency_key="x1")
    assert same.outcome == "exists"
    too_much = await _do(
        town,
        release_deposit,
        deposit_id=taken.deposit_id,
        reason="end",
        idempotency_key="x2",
        amount_minor=1501,
    )
    assert too_much.code == "bad_amount"
    home = await _do(
        town,
        release_deposit,
        deposit_id=taken.deposit_id,
        reason="end",
        idempotency_key="x3",
        refund_by="cheque",
    )
    assert home.refund.amount_minor == 1500
    async with town.workplace.reading() as connection:
        [held] = await money_out_rows.deposits_of(connection, ann)
        assert held.held_minor == 0
    ledger = await _ledger(town)
    assert (ledger["deposits"], ledger["refunds_due"], ledger["customer_credit"]) == (0, -1500, -500)
    await town.prove_books()
    not_money = await _do(town, reverse_payment, payment_id=used.payment_id, reason="x")
    assert not_money.code == "not_money"


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_is_done_in_whatever_order_the_books_are_right(town: Town, seed: int) -> None:
    """A walk through every movement; what is refused changes nothing, the rest is proved after each walk."""
    import random

    dice = random.Random(seed)
    ann, first, second = await _two_invoices(town)
    payments: list[str] = []
    refunds: list[str] = []
    deposits: list[str] = []
    keys = itertools.count()
    done = 0
    for _ in range(30):
        what, amount = (
            dice.choice(["pay", "reverse", "refund", "end", "deposit", "release", "take", "move", "win"]),
            dice.randint(1, 3000),
        )
        key = f"w{next(keys)}"
        pay = dice.choice(payments) if payments else ""
        if what == "pay" or not payments:
            paid = await town.pay(ann, amount, by_hand=dice.random() < 0.4)
            payments.append(paid.payment_id)
            continue
        orders: dict[str, tuple[Callable[..., Awaitable[Any]], dict[str, Any]]] = {
            "reverse": (reverse_payment, {"payment_id": pay, "amount_minor": amount, "source": key}),
            "refund": (
                order_refund, {"account_id": ann, "amount_minor": amount, "method": "cash", "idempotency_key": key}
            ),
            "end": (end_refund, {"refund_id": dice.choice(refunds or ["-"]), "outcome": dice.choice(["paid", "failed"])}),
            "deposit": (take_deposit, {"account_id": ann, "amount_minor": amount, "idempotency_key": key}),
            "release": (release_deposit, {"deposit_id": dice.choice(deposits or ["-"]), "idempotency_key": key}),
            "take": (take_back_allocation, {"payment_id": pay, "invoice": dice.choice([first, second]), "key": key}),
            "move": (move_allocation, {"payment_id": pay, "from_invoice": first, "to_invoice": second, "key": key}),
            "win": (win_dispute, {"reversal_id": await _some_reversal(town, pay)}),
        }  # fmt: skip
        act, terms = orders[what]
        outcome = await _do(town, act, **terms, **({"told": "x"} if what == "end" else {"reason": "x"}))
        if isinstance(outcome, Refusal):
            continue
        done += 1
        if what == "refund":
            refunds.append(outcome.refund_id)
        elif what == "deposit":
            deposits.append(outcome.deposit_id)
    assert done > 3
    await town.prove_books()
    async with town.workplace.reading() as connection:
        for row in await connection.execute(select(payment)):
            used = await connection.scalar(
                select(func.coalesce(func.sum(credit_use.c.amount_minor), 0)).where(
                    credit_use.c.payment_id == row.id
                )
            )
            assert 0 <= row.unallocated_minor <= row.amount_minor - used


async def _some_reversal(town: Town, payment_id: str) -> str:
    async with town.workplace.reading() as connection:
        rows = [one for one in await money_out_rows.reversals_of(connection, payment_id) if one.kind != "won"]
    return rows[0].id if rows else "-"


async def test_a_cheque_keeps_its_number(town: Town) -> None:
    ann = await town.account("Ann")
    async with town.workplace.work("operator:test") as work:
        bad = await receive_payment(
            work,
            account_id=ann,
            amount_minor=1,
            currency="USD",
            method="cheque",
            idempotency_key="k",
            reference="a\nb",
        )
    assert isinstance(bad, Refusal) and bad.field == "reference"
