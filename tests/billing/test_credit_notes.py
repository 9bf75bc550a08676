"""Credit notes: what was charged comes back with its tax, never more than that, and never twice."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from billing_story import Town

from billing.catalogue.define_plan import define_offer
from billing.invoicing.credit_note import CreditNote, creditable_lines, issue_credit_note
from billing.ledger.verify import account_balance
from core.refusal import Refusal, granted


async def credit(town: Town, invoice: str = "INV-000001", **asked: Any) -> CreditNote | Refusal:
    order = {"invoice": invoice, "reason": "no service for a week", "source": "ticket:1", **asked}
    async with town.workplace.work("operator:test") as work:
        return await issue_credit_note(work, settings=town.settings, **order)


async def balance(town: Town, account_id: str) -> int:
    async with town.workplace.reading() as connection:
        return await account_balance(connection, account_id)


async def test_a_part_comes_back_with_its_tax_and_the_same_order_once(town: Town) -> None:
    await town.tax(100_000)
    ann = await town.customer("Ann", "2026-03-01")
    await town.bill()
    note = granted(await credit(town, amounts_minor={1: 700}))
    assert (note.number, note.total_minor, note.outcome) == ("CN-000001", -770, "issued")
    assert granted(await credit(town, amounts_minor={1: 700})).outcome == "exists"
    assert await balance(town, ann) == 3300 - 770
    assert [one.open_minor for one in await town.invoices() if one.kind == "invoice"] == [2530]
    await town.prove_books()


async def test_the_rest_comes_back_at_the_rate_of_its_day_and_pays_the_next_invoice(town: Town) -> None:
    await town.tax(100_000)
    await town.tax(200_000, valid_from=date(2026, 4, 1))
    ann = await town.customer("Ann", "2026-03-01")
    await town.bill()
    await town.pay(ann, 3300)
    granted(await credit(town, amounts_minor={1: 1000}))
    note = granted(await credit(town, source="ticket:2"))
    assert note.total_minor == -2200
    assert await balance(town, ann) == -3300
    town.travel("2026-04-01")
    await town.bill()
    assert await balance(town, ann) == 300  # 36.00 less 33.00; credited days are not charged again
    await town.prove_books()


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"amounts_minor": {1: 3001}}, "too_much"),
        ({"amounts_minor": {1: -5}}, "too_much"),
        ({"amounts_minor": {2: 10}}, "unknown_line"),
        ({"invoice": "INV-000009"}, "unknown_invoice"),
        ({"reason": " "}, "reason_missing"),
        ({"source": ""}, "bad_source"),
    ],
)
async def test_what_cannot_be_credited_is_named(town: Town, asked: dict[str, Any], code: str) -> None:
    await town.tax(100_000)
    await town.customer("Ann", "2026-03-01")
    await town.bill()
    refusal = await credit(town, **asked)
    assert isinstance(refusal, Refusal)
    assert refusal.code == code


async def test_nothing_is_left_after_the_whole_and_a_note_is_no_invoice(town: Town) -> None:
    await town.customer("Ann", "2026-03-01")
    await town.bill()
    granted(await credit(town))
    again = await credit(town, source="ticket:2")
    assert isinstance(again, Refusal)
    assert again.code == "nothing_left"
    of_note = await credit(town, invoice="CN-000001", source="ticket:3")
    assert isinstance(of_note, Refusal)
    assert of_note.code == "unknown_invoice"


async def test_what_a_discount_took_off_is_not_given_back_as_money(town: Town) -> None:
    ann = await town.account()
    async with town.workplace.work("operator:test") as work:
        cheap = granted(
            await define_offer(
                work, code="cheap", name="Cheap", currency="USD", service_profile_id="pro_1",
                items=[
                    {"code": "recurring", "kind": "recurring", "name": "Cheap", "price_minor": 3000},
                    {"code": "discount", "kind": "discount", "name": "Off",
                     "discount": {"percent_ppm": 200_000, "of": ["recurring"]}},
                ],
            )
        )  # fmt: skip
    await town.subscription(ann, cheap, "2026-03-01")
    await town.bill()
    for asked in ({1: 3000}, {1: 2401}, {2: -600}):  # the last would be a credit note that charges
        refusal = await credit(town, amounts_minor=asked)
        assert isinstance(refusal, Refusal)
        assert refusal.code == "too_much"
    granted(await credit(town, amounts_minor={1: 2300}))
    async with town.workplace.reading() as connection:
        [bill] = [one for one in await town.invoices() if one.kind == "invoice"]
        [line] = await creditable_lines(connection, bill.id)
    assert line.left_minor == 100
    assert granted(await credit(town, source="ticket:2")).total_minor == -100  # all that is left
    assert await balance(town, ann) == 0
    refusal = await credit(town, source="ticket:3", amounts_minor={1: 1})
    assert isinstance(refusal, Refusal)
    await town.prove_books()
