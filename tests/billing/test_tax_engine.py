"""The engine outside, over HTTP: its answers are checked, its code is idempotent, away means parked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date, timedelta

import pytest
from billing_story import Town
from tax_engine_sandbox import Sandbox, sandbox
from test_subscription_changes import offer

from billing.domain.invoicing import InvoiceDraft
from billing.domain.taxes.book import TaxBook
from billing.domain.taxes.decide import TaxableLine, TaxDecision
from billing.domain.taxes.place import Jurisdiction, Place
from billing.domain.taxes.rule import Exemption, Method, TaxRule
from billing.invoicing.bill_run import bill_run
from billing.invoicing.credit_note import issue_credit_note
from billing.invoicing.preview_invoice import preview_invoice
from billing.invoicing.replay import replay_invoices
from billing.store import tax_rows
from billing.taxes.engine import OwnRules, TaxDocument, TaxTrouble
from billing.taxes.http_engine import HttpTaxEngine
from billing.taxes.set_engine import leave_tax_engine, open_tax_engine, set_tax_engine, tax_engine_terms
from core.clock import FakeClock
from core.refusal import Refusal, granted
from core.secrets import Sealer, Secret

DAY = date(2026, 3, 1)


def _document(
    *amounts: int, code: str = "bill:acc_1:2026-03-01", country: str = "US", inclusive: bool = False,
    record: bool = True, exemptions: tuple[Exemption, ...] = (),
) -> TaxDocument:  # fmt: skip
    lines = [
        TaxableLine(position, amount, inclusive, "internet", "recurring", DAY, Place(country, "NM"))
        for position, amount in enumerate(amounts, start=1)
    ]
    return TaxDocument(code, "acc_1", "USD", DAY, lines, exemptions, record)


@pytest.fixture
async def engine() -> AsyncIterator[Sandbox]:
    async with sandbox() as running:
        yield running


@pytest.fixture
async def driver(engine: Sandbox, clock: FakeClock) -> AsyncIterator[HttpTaxEngine]:
    made = HttpTaxEngine(engine.url + "/", Secret(engine.token), clock, timeout_s=0.3)
    yield made
    await made.close()


async def _one(driver: HttpTaxEngine, document: TaxDocument) -> TaxDecision | TaxTrouble:
    return (await driver.taxes_of([document]))[document.code]


async def test_lines_go_out_and_taxes_come_back(driver: HttpTaxEngine) -> None:
    decided = await _one(driver, _document(4_900, -1_000))
    assert isinstance(decided, TaxDecision)
    assert [line.net_minor for line in decided.lines] == [4_900, -1_000]
    [tax] = decided.taxes
    assert (tax.amount_minor, tax.base_minor, tax.parts, tax.jurisdiction) == (
        390,
        3_900,
        (490, -100),
        "US-NM",
    )
    assert tax.description == "Tenth 10 %"
    assert tax.explanation()["tax_rule"] == "outside:bill:acc_1:2026-03-01:1"
    assert decided.by_ledger_account() == {"tax:US-NM": 390}


async def test_a_price_with_taxes_keeps_its_gross_and_a_certificate_reaches_the_engine(
    driver: HttpTaxEngine,
) -> None:
    decided = await _one(driver, _document(1_100, inclusive=True))
    assert isinstance(decided, TaxDecision)
    assert [(line.net_minor, line.gross_minor) for line in decided.lines] == [(1_000, 1_100)]
    exempt = await _one(driver, _document(1_100, exemptions=(Exemption("e", "acc_1", "NM-7", DAY),)))
    assert isinstance(exempt, TaxDecision)
    assert exempt.added_minor == 0


async def test_the_same_code_again_leaves_one_document_and_a_preview_none(
    driver: HttpTaxEngine, engine: Sandbox
) -> None:
    await _one(driver, _document(4_900, record=False))
    assert engine.kept == {}
    await _one(driver, _document(4_900))
    await _one(driver, _document(5_000))
    assert engine.kept == {"bill:acc_1:2026-03-01": [500]}


async def test_one_document_that_cannot_be_taxed_does_not_stop_the_others(driver: HttpTaxEngine) -> None:
    documents = [
        _document(100, code=str(number), country="ZZ" if number == 60 else "US") for number in range(120)
    ]
    answers = await driver.taxes_of(documents)
    assert answers["60"] == TaxTrouble("the tax engine refused: ZZ is no country")
    assert sum(isinstance(one, TaxDecision) for one in answers.values()) == 119


@pytest.mark.parametrize(
    ("mood", "reason"),
    [
        ("broken", "the tax engine is away: it answered HTTP 503"),
        ("slow", "the tax engine is away: no answer in time"),
        ("garbled", "the tax engine is away: "),
        ("greedy", "the tax engine's answer cannot be: line 1 of 100 became 101"),
        ("forgetful", "the tax engine gave no answer for this invoice"),
    ],
)
async def test_what_is_wrong_is_told_for_each_invoice(
    driver: HttpTaxEngine, engine: Sandbox, mood: str, reason: str
) -> None:
    engine.mood = mood
    told = await _one(driver, _document(100))
    assert isinstance(told, TaxTrouble)
    assert told.reason.startswith(reason)


async def test_an_engine_that_was_away_is_left_alone_for_a_while(
    driver: HttpTaxEngine, engine: Sandbox, clock: FakeClock
) -> None:
    engine.mood = "broken"
    answers = await driver.taxes_of([_document(100, code=str(number)) for number in range(500)])
    assert all(isinstance(one, TaxTrouble) for one in answers.values())
    assert engine.asked == 1
    engine.mood = "well"
    assert isinstance(await _one(driver, _document(100)), TaxTrouble)
    clock.advance(timedelta(seconds=31))
    assert isinstance(await _one(driver, _document(100)), TaxDecision)


async def test_the_engine_is_set_sealed_and_left(town: Town, engine: Sandbox, sealer: Sealer) -> None:
    async with town.workplace.work("operator:test") as work:
        for url in ("ftp://taxes.example", "http://taxes.example", "https://"):
            refused = await set_tax_engine(work, sealer, base_url=url, token=Secret("t"))
            assert isinstance(refused, Refusal)
            assert refused.field == "base_url"
        assert await open_tax_engine(work.connection, sealer, town.clock) is None
        assert isinstance(await leave_tax_engine(work), Refusal)
        await set_tax_engine(work, sealer, base_url="https://taxes.example/hilltop", token=Secret("first"))
        assert await set_tax_engine(work, sealer, base_url=engine.url, token=Secret(engine.token)) is None
        row = await tax_rows.engine(work.connection)
        assert row is not None
        assert engine.token not in row.token_sealed
        opened = await open_tax_engine(work.connection, sealer, town.clock)
        assert opened is not None
        assert isinstance(await _one(opened, _document(100)), TaxDecision)
        await opened.close()
        assert await leave_tax_engine(work) is None
        assert await open_tax_engine(work.connection, sealer, town.clock) is None
        terms = await tax_engine_terms(work.connection)
        assert terms is not None
        assert not terms.enabled


async def test_our_own_rules_answer_through_the_same_port() -> None:
    percent = TaxRule("p", "P", Jurisdiction("US"), DAY, rate_ppm=50_000)
    fee = TaxRule(
        "f", "F", Jurisdiction("CA"), DAY, method=Method.PER_LINE, unit_millionths=10**8, currency="CAD"
    )
    answers = await OwnRules(TaxBook([percent, fee])).taxes_of(
        [_document(100, code="a"), _document(100, code="b", country="CA")]
    )
    assert isinstance(answers["a"], TaxDecision)
    assert answers["a"].added_minor == 5
    assert answers["b"] == TaxTrouble(
        "F of CA is 1.00 CAD a line, but the invoice is in USD: define it in that currency too, or end it"
    )


async def test_a_run_asks_the_engine_and_parks_while_it_is_away(
    town: Town, engine: Sandbox, sealer: Sealer
) -> None:
    ann = await town.customer(starts_on="2026-04-01")
    await town.tax()  # our own rule is silent
    async with town.workplace.work("operator:test") as work:
        await set_tax_engine(work, sealer, base_url=engine.url, token=Secret(engine.token), timeout_s=1)
    town.travel("2026-04-01")
    refused = await bill_run(town.workplace, town.meters, settings=town.settings)
    assert isinstance(refused, Refusal)
    assert refused.code == "tax_engine_locked"
    engine.mood = "broken"
    away = await town.bill(sealer=sealer)
    assert [one.reason for one in away.parked] == ["the tax engine is away: it answered HTTP 503"]
    assert await town.invoices(ann) == []
    assert engine.asked == 1
    engine.mood = "well"
    town.clock.advance(timedelta(seconds=31))
    async with town.workplace.reading() as connection:
        asked = await open_tax_engine(connection, sealer, town.clock)
        draft = await preview_invoice(
            connection, town.meters, ann, town.clock.now(), town.settings, engine=asked
        )
        assert asked is not None
        await asked.close()
    assert isinstance(draft, InvoiceDraft)
    assert engine.kept == {}
    assert (await town.bill(sealer=sealer)).invoices == 1
    [bill] = await town.invoices(ann)
    assert (bill.tax_minor, bill.total_minor) == (draft.tax_minor, draft.total_minor)
    assert [
        (one.description, one.amount_minor) for one in await town.lines(bill.number) if one.kind == "tax"
    ] == [("Tenth 10 %", (bill.net_minor + 5) // 10)]
    assert list(engine.kept) == [f"bill:{ann}:{bill.cycle_start}"]
    await town.prove_books()


async def test_what_the_engine_said_is_replayed_and_credited_without_asking_again(
    town: Town, engine: Sandbox, sealer: Sealer
) -> None:
    version = await offer(town, {"price_minor": 3_333, "tax_included": True}, kind="plan")
    ann = await town.account()
    await town.subscription(ann, version, "2026-04-01")
    async with town.workplace.work("operator:test") as work:
        await set_tax_engine(work, sealer, base_url=engine.url, token=Secret(engine.token), timeout_s=1)
    town.travel("2026-04-01")
    assert (await town.bill(sealer=sealer)).invoices >= 1
    asked = engine.asked
    engine.mood = "broken"
    await town.tax()  # rules of today say nothing about what was billed
    bill = (await town.invoices(ann))[-1]
    assert bill.taxed_outside
    assert (bill.net_minor, bill.tax_minor, bill.total_minor) == (3_030, 303, 3_333)
    async with town.workplace.reading() as connection:
        days = date(2026, 1, 1), date(2026, 12, 31)
        replayed = [one async for one in replay_invoices(connection, town.meters, *days, town.settings)]
    assert [one.differences for one in replayed] == [()] * len(await town.invoices(ann))
    given_back = 0
    for number, amount in enumerate((1_111, 1_000, 1_222)):  # in three parts, to the minor unit
        async with town.workplace.work("operator:test") as work:
            note = granted(
                await issue_credit_note(
                    work, invoice=bill.number, reason="Outage", source=f"n{number}", amounts_minor={1: amount}
                )
            )
        assert note.total_minor == -amount
        given_back += sum(line.amount_minor for line in await town.lines(note.number) if line.kind == "tax")
    assert given_back == -303
    assert engine.asked == asked
    await town.prove_books()


async def test_one_account_without_taxes_does_not_hold_back_its_block_nor_is_anything_asked_twice(
    town: Town, engine: Sandbox, sealer: Sealer
) -> None:
    plan = await town.plan()
    people = [await town.account(f"P{number}", country="ZZ" if number == 3 else "US") for number in range(8)]
    for one in people:
        await town.subscription(one, plan, "2026-04-01")
    async with town.workplace.work("operator:test") as work:
        await set_tax_engine(work, sealer, base_url=engine.url, token=Secret(engine.token), timeout_s=1)
    town.travel("2026-04-01")
    outcome = await town.bill(sealer=sealer)
    assert (outcome.invoices, engine.asked) == (7, 1)
    assert [(one.account_id, one.reason) for one in outcome.parked] == [
        (people[3], "the tax engine refused: ZZ is no country")
    ]
