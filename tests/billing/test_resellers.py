"""What resellers earn: by net invoiced or collected, by the month; each source once, and back at the rate it came."""

from __future__ import annotations

from datetime import date
from typing import Any

from billing_story import Town
from hypothesis import given
from hypothesis import strategies as st
from test_subscription_changes import act

from billing.accounts.commission import (
    CommissionDraft,
    PostedCommission,
    draft_commission,
    pay_commission,
    post_commission,
)
from billing.accounts.reseller import assign_account, change_terms, define_reseller, release_account
from billing.accounts.set_payer import set_payer
from billing.domain.commission import (
    ALLOCATION,
    Assignment,
    CommissionTerms,
    Source,
    earn,
    month_ends,
    share,
)
from billing.invoicing.credit_note import issue_credit_note
from billing.payments.refund import order_refund
from billing.payments.reverse_payment import reverse_payment
from billing.store import ledger_rows, reseller_rows
from core.refusal import Refusal, granted

TENTH = 100_000


async def shop(town: Town, **terms: Any) -> str:
    """A reseller who began in January."""
    granted(await act(town, define_reseller, reseller_id="shop", name="Ridge Shop"))
    granted(await act(town, change_terms, reseller_id="shop", valid_from=date(2026, 1, 1), **terms))
    return "shop"


async def draft(town: Town, until: str) -> CommissionDraft:
    async with town.workplace.reading() as connection:
        return granted(await draft_commission(connection, "shop", date.fromisoformat(until)))


async def post(town: Town, until: str) -> PostedCommission:
    until_on = date.fromisoformat(until)
    return granted(await act(town, post_commission, reseller_id="shop", until_on=until_on))


async def books(town: Town) -> dict[str, int]:
    async with town.workplace.reading() as connection:
        found = await ledger_rows.balances(connection)
    return {name: amount for name, _, amount in found if "commission" in name}


async def test_a_tenth_of_net_collected_and_back_by_chargeback_and_refund(town: Town) -> None:
    await shop(town, percent_ppm=TENTH)
    await town.tax(100_000)
    town.travel("2026-01-01")
    ann = await town.customer("Ann", "2026-01-01")
    await town.customer("Not his", "2026-01-01")
    granted(await act(town, assign_account, reseller_id="shop", account_id=ann))
    await town.bill()
    [first] = await town.invoices(ann)
    assert (first.net_minor, first.total_minor) == (3000, 3300)
    paid = await town.pay(ann, 3300)
    town.travel("2026-02-01")
    posted = await post(town, "2026-02-01")
    assert (posted.amount_minor, posted.number, posted.outcome) == (300, 1, "posted")
    again = await post(town, "2026-02-01")
    assert (again.id, again.outcome) == (posted.id, "exists")
    assert await books(town) == {"commission:shop": 300, "commission_payable:shop": -300}
    granted(await act(town, release_account, account_id=ann))
    await act(town, reverse_payment, payment_id=paid.payment_id, reason="stolen", kind="chargeback")
    town.travel("2026-03-01")
    back = await post(town, "2026-03-01")
    assert back.amount_minor == -300, "taken back though the account has left him"
    assert await books(town) == {"commission:shop": 0, "commission_payable:shop": 0}
    await town.prove_books()


async def test_money_given_back_after_a_credit_note_takes_commission_back(any_town: Town) -> None:
    town = any_town
    await shop(town, percent_ppm=TENTH)
    town.travel("2026-01-01")
    ann = await town.customer("Ann", "2026-01-01")
    granted(await act(town, assign_account, reseller_id="shop", account_id=ann))
    await town.bill()
    [first] = await town.invoices(ann)
    await town.pay(ann, first.total_minor)
    granted(
        await act(
            town, issue_credit_note, invoice=first.id, reason="no signal", source="t", amounts_minor={1: 1000}
        )
    )
    assert (await draft(town, "2026-02-01")).amount_minor == 300, "the credit will pay the next invoice"
    granted(
        await act(
            town,
            order_refund,
            account_id=ann,
            amount_minor=1000,
            method="cash",
            reason="asked",
            idempotency_key="r",
        )
    )
    town.travel("2026-02-01")
    assert (await post(town, "2026-02-01")).amount_minor == 200


async def test_net_invoiced_a_credit_note_gives_back_and_terms_change_by_day(town: Town) -> None:
    await shop(town, basis="invoiced", percent_ppm=2 * TENTH)
    town.travel("2026-01-01")
    ann = await town.customer("Ann", "2026-01-01")
    granted(await act(town, assign_account, reseller_id="shop", account_id=ann))
    await town.bill()
    [first] = await town.invoices(ann)
    town.travel("2026-02-01")
    await town.bill()
    assert (await post(town, "2026-02-01")).amount_minor == 600
    refused = await act(town, change_terms, reseller_id="shop", percent_ppm=1, valid_from=date(2026, 1, 5))
    assert refused.code == "day_is_posted"
    granted(
        await act(
            town,
            change_terms,
            reseller_id="shop",
            basis="invoiced",
            percent_ppm=TENTH,
            valid_from=date(2026, 2, 1),
        )
    )
    granted(await act(town, issue_credit_note, invoice=first.id, reason="no signal", source="t"))
    town.travel("2026-03-01")
    drafted = await draft(town, "2026-03-01")
    assert sorted(one.commission_minor for one in drafted.lines) == [-600, 300]


async def test_so_much_a_month_for_who_runs_on_its_last_day_and_a_parents_invoice(town: Town) -> None:
    await shop(town, basis="invoiced", percent_ppm=TENTH, flat_minor=200)
    town.travel("2026-01-10")
    parent, child = await town.customer("Parent", "2026-01-10"), await town.customer("Child", "2026-01-10")
    idle = await town.account("Idle")
    granted(await act(town, set_payer, account_id=child, payer_id=parent))
    for one in (child, idle):
        granted(await act(town, assign_account, reseller_id="shop", account_id=one))
    await town.bill()
    town.travel("2026-02-01")
    drafted = await draft(town, "2026-02-01")
    [line] = [one for one in await town.lines("INV-000001") if one.kind == "recurring" and one.amount_minor][
        :1
    ]
    assert [(one.source.account_id, one.commission_minor) for one in drafted.lines] == [
        (child, share(line.amount_minor, 1, 10)), (child, 200),
    ]  # fmt: skip


async def test_commission_is_paid_out_once_and_never_more_than_owed(town: Town) -> None:
    await shop(town, flat_minor=500)
    town.travel("2026-01-10")
    ann = await town.customer("Ann", "2026-01-10")
    granted(await act(town, assign_account, reseller_id="shop", account_id=ann))
    town.travel("2026-02-02")
    await post(town, "2026-02-01")
    order = {"reseller_id": "shop", "amount_minor": 500, "method": "transfer", "idempotency_key": "feb"}
    paid = granted(await act(town, pay_commission, **order))
    assert granted(await act(town, pay_commission, **order)) == paid
    for change, code in (
        ({"amount_minor": 400}, "key_differs"), ({"idempotency_key": "x"}, "bad_amount"),
        ({"method": "gold", "idempotency_key": "x"}, "bad_method"), ({"reseller_id": "no"}, "unknown_reseller"),
        ({"idempotency_key": " "}, "bad_key"),
    ):  # fmt: skip
        assert (await act(town, pay_commission, **order | change)).code == code
    assert await books(town) == {"commission:shop": 500, "commission_payable:shop": 0}
    async with town.workplace.reading() as connection:
        [row] = await reseller_rows.payouts_of(connection, "shop")
    assert row.amount_minor == 500
    await town.prove_books()


async def test_what_cannot_be_is_refused_by_field(town: Town) -> None:
    await shop(town)
    granted(await act(town, define_reseller, reseller_id="other", name="Other"))
    ann, euro = await town.account("Ann"), await town.account("Euro", currency="EUR")
    granted(await act(town, assign_account, reseller_id="shop", account_id=ann))
    cases: list[tuple[Any, dict[str, Any], str]] = [
        (define_reseller, {"reseller_id": "shop", "name": "x"}, "reseller_exists"),
        (define_reseller, {"reseller_id": "A b", "name": "x"}, "bad_reseller_id"),
        (define_reseller, {"reseller_id": "new", "name": "x", "entity_id": "no"}, "unknown_entity"),
        (change_terms, {"reseller_id": "shop", "basis": "hoped"}, "bad_basis"),
        (change_terms, {"reseller_id": "shop", "percent_ppm": 2_000_000}, "bad_percent"),
        (assign_account, {"reseller_id": "other", "account_id": ann}, "has_reseller"),
        (assign_account, {"reseller_id": "shop", "account_id": euro}, "other_books"),
        (release_account, {"account_id": euro}, "no_reseller"),
        (release_account, {"account_id": ann, "until_on": date(2020, 1, 1)}, "before_it_began"),
        (post_commission, {"reseller_id": "shop", "until_on": date(2030, 1, 1)}, "not_over"),
    ]
    for use_case, asked, code in cases:
        refused = await act(town, use_case, **asked)
        assert isinstance(refused, Refusal), code
        assert refused.code == code


@given(
    st.lists(st.integers(1, 10**7), min_size=1, max_size=6), st.integers(0, 10**6), st.integers(1, 28),
    st.permutations(range(6)),
)  # fmt: skip
def test_what_is_taken_back_gives_back_what_it_gave_in_any_order(
    amounts: list[int], ppm: int, day: int, order: list[int]
) -> None:
    earned = date(2026, 2, day)
    terms = [
        CommissionTerms(date(2026, 1, 1), "collected", ppm, 0),
        CommissionTerms(date(2026, 3, 1), "invoiced", 5, 0),
    ]
    assigned = [Assignment("a", date(2026, 2, 1), date(2026, 3, 1))]
    came = [Source(ALLOCATION, f"{n}", "a", earned, earned, one) for n, one in enumerate(amounts)]
    went = [Source(ALLOCATION, f"-{n}", "a", date(2026, 4, 1), earned, -one) for n, one in enumerate(amounts)]
    mixed = [one for _, one in sorted(zip(order * 2, came + went, strict=False), key=lambda pair: pair[0])]
    assert sum(one.commission_minor for one in earn(mixed, terms, assigned)) == 0
    assert earn(mixed, terms, assigned) == earn(came + went, terms, assigned)
    assert (
        earn([Source(ALLOCATION, "x", "a", date(2026, 3, 2), date(2026, 3, 2), 10**6)], terms, assigned) == []
    )


def test_months_end_where_they_end() -> None:
    ends = month_ends(date(2024, 1, 31), date(2024, 4, 1))
    assert [str(one) for one in ends] == ["2024-01-31", "2024-02-29", "2024-03-31"]
    assert month_ends(date(2026, 1, 5), date(2026, 1, 31)) == []
    assert (share(-5, 1, 2), share(5, 1, 2), share(5, -1, -2), share(5, 1, -2)) == (-3, 3, 3, -3)
