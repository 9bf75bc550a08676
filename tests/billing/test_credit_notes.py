"""Credit notes: what was charged comes back with its tax, never more than that, and never twice."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from billing_story import Town
from sqlalchemy import update

from billing.catalogue.define_plan import define_offer
from billing.invoicing.credit_note import CreditNote, creditable_lines, issue_credit_note
from billing.ledger.verify import account_balance
from billing.store.tables import invoice_line, subscription
from billing.taxes.define_rule import define_tax_rule
from billing.taxes.read_rule import read_rule
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


OF_TODAY = ("effect", "rate", "parts", "tax_rule")


async def rule(town: Town, name: str, **terms: str) -> None:
    law = {"country": "US", "region": "NM", "classes": "internet", "name": name, **terms}
    async with town.workplace.work("operator:test") as work:
        granted(await define_tax_rule(work, granted(read_rule(law))))


async def taxes(town: Town, number: str) -> list[tuple[str, int, int, str | None]]:
    """Name, base and amount of each tax and surcharge, with what fixed ones count."""
    return [
        (why["name"], why["base_minor"], one.amount_minor, why.get("units"))
        for one in await town.lines(number)
        if (why := one.explanation)["model"] == "tax"
    ]


async def test_every_tax_comes_back_in_parts_to_the_cent_and_says_what_it_is(town: Town) -> None:
    await rule(town, "Regulatory", effect="surcharge", percent="3.3", kinds="recurring", share="64.9")
    await rule(town, "Gross receipts", percent="7.625", on_top_of="Regulatory")
    await rule(town, "Line fee", method="per_line", amount="1.51", currency="USD", kinds="recurring")
    ann = await town.customer("Ann", "2026-03-01")
    await town.bill()
    charged = await taxes(town, "INV-000001")
    assert charged == [
        ("Line fee", 3000, 151, "1"), ("Regulatory", 3000, 64, None), ("Gross receipts", 3064, 234, None),
    ]  # fmt: skip
    back: dict[str, tuple[int, int]] = {}
    for number in range(1, 9):
        amounts = {1: 333} if number < 8 else None
        note = granted(await credit(town, source=f"ticket:{number}", amounts_minor=amounts))
        assert note.number == f"CN-{number:06d}"
        for name, base, amount, _ in await taxes(town, note.number):
            bases, amounts_back = back.get(name, (0, 0))
            back[name] = bases + base, amounts_back + amount
    assert back == {name: (-base, -amount) for name, base, amount, _ in charged}
    assert await balance(town, ann) == 0
    assert await taxes(town, "CN-000001") == [
        ("Line fee", -333, -17, "0"), ("Regulatory", -333, -7, None), ("Gross receipts", -340, -26, None),
    ]  # fmt: skip
    assert (await taxes(town, "CN-000008"))[0][3] == "-1"
    [why] = [one for one in await town.lines("CN-000001") if one.description.startswith("Gross receipts")]
    original = [one for one in await town.lines("INV-000001") if one.description == why.description]
    told = {"jurisdiction", "rate", "tax_rule", "rounding", "on_top_of", "tax_class"}
    assert [{name: one.explanation[name] for name in told} for one in original] == [
        {name: why.explanation[name] for name in told}
    ]
    await town.prove_books()


async def test_a_service_that_moved_brings_back_the_tax_of_the_place_where_it_was(town: Town) -> None:
    await rule(town, "County tax", county="Taos", percent="2")
    await rule(town, "County tax", county="Otero", percent="5")
    ann = await town.account()
    sub = await town.subscription(ann, await town.plan(), "2026-03-01")
    async with town.workplace.work("operator:test") as work:
        await work.connection.execute(update(subscription).values(county="Taos"))
    await town.bill()
    async with town.workplace.work("operator:test") as work:
        await work.connection.execute(
            update(subscription).where(subscription.c.id == sub).values(county="Otero")
        )
    assert granted(await credit(town)).total_minor == -3060
    assert await balance(town, ann) == 0


async def test_what_was_charged_before_taxes_had_parts_comes_back_whole(town: Town) -> None:
    """Invoices of earlier versions say of which lines a tax was asked and not how much of each."""
    await town.tax(76_250)
    ann = await town.account()
    await town.subscription(ann, await town.plan(), "2026-03-01")
    await town.subscription(ann, await town.plan(code="more", price_minor=1111), "2026-03-01")
    await town.bill()
    async with town.workplace.work("operator:test") as work:
        for line in await town.lines("INV-000001"):
            why = {key: value for key, value in line.explanation.items() if key not in OF_TODAY}
            await work.connection.execute(
                update(invoice_line).where(invoice_line.c.id == line.id).values(explanation=why)
            )
    granted(await credit(town, amounts_minor={1: 1234}))
    granted(await credit(town, source="ticket:2"))
    assert await balance(town, ann) == 0
    await town.prove_books()
