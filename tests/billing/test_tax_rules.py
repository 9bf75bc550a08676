"""Rules and certificates on record: insert-only, read as of an instant, refused by field."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import date, timedelta

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.script import ScriptDirectory
from billing_story import Town

from appliance.migrate import alembic_config, upgrade
from billing.domain.taxes.decide import TaxDecision
from billing.domain.taxes.place import Place
from billing.domain.taxes.rule import TaxRule
from billing.store import tax_rows
from billing.taxes.define_rule import define_tax_rule, end_tax_rule, withdraw_tax_rule
from billing.taxes.grant_exemption import grant_exemption, withdraw_exemption
from billing.taxes.read_rule import read_rule
from billing.taxes.tax_books import TaxBooks
from billing.taxes.try_address import TaxQuestion, try_address
from core.database import Database
from core.refusal import Refusal, granted

NEW_MEXICO = {"name": "Sales tax", "country": "US", "region": "NM", "classes": "internet", "percent": "5"}


async def _define(town: Town, **texts: str) -> str | Refusal:
    async with town.workplace.work("operator:test") as work:
        return await define_tax_rule(work, granted(read_rule({**NEW_MEXICO, **texts})))


async def _standing(town: Town) -> list[tuple[str, str | None, int]]:
    async with town.workplace.reading() as connection:
        rules = await tax_rows.tax_rules(connection)
    return sorted(
        (str(one.valid_from), one.valid_until and str(one.valid_until), one.rate_ppm) for one in rules
    )


async def _tax(town: Town, on: str, **terms: object) -> int:
    question = TaxQuestion(Place("US", "NM"), date.fromisoformat(on), 10_000, "USD", **terms)  # type: ignore[arg-type]
    async with town.workplace.reading() as connection:
        decision = granted(await try_address(connection, question))
    assert isinstance(decision, TaxDecision)
    return decision.added_minor


async def test_a_new_rate_ends_the_one_before_and_a_passing_one_lets_it_go_on(town: Town) -> None:
    await _define(town, valid_from="2020-01-01")
    await _define(town, valid_from="2026-03-01", percent="6")
    await _define(town, valid_from="2026-07-01", valid_until="2027-01-01", percent="4")
    assert await _standing(town) == [
        ("2020-01-01", "2026-03-01", 50_000),
        ("2026-03-01", "2026-07-01", 60_000),
        ("2026-07-01", "2027-01-01", 40_000),
        ("2027-01-01", None, 60_000),
    ]
    assert [await _tax(town, on) for on in ("2026-02-28", "2026-03-01", "2026-12-31", "2027-01-01")] == [
        500, 600, 400, 600,
    ]  # fmt: skip


async def test_a_draft_as_of_an_earlier_instant_reads_what_was_known_then(town: Town) -> None:
    rule_id = granted(await _define(town, valid_from="2020-01-01"))
    known_first = town.clock.now()
    town.clock.advance(timedelta(days=1))
    await _define(town, valid_from="2026-01-01", percent="6")
    known_second = town.clock.now()
    town.clock.advance(timedelta(days=1))
    async with town.workplace.work("operator:test") as work:
        newest = next(one for one in await tax_rows.tax_rules(work.connection) if one.rate_ppm == 60_000)
        assert await withdraw_tax_rule(work, rule_id=newest.id, reason="the bill was never signed") is None
    assert await _tax(town, "2026-06-01", as_of=known_first) == 500
    assert await _tax(town, "2026-06-01", as_of=known_second) == 600
    assert await _tax(town, "2026-06-01") == 0
    assert await _tax(town, "2026-06-01", as_of=known_first - timedelta(seconds=1)) == 0
    async with town.workplace.reading() as connection:
        history = await tax_rows.history_of_rules(connection, "US", "Sales tax")
    assert [(one.id == rule_id, one.withdrawn_at is not None) for one in history] == [
        (True, True), (False, False), (False, True),
    ]  # fmt: skip


async def test_ending_a_rule_writes_a_row_and_withdraws_the_other(town: Town) -> None:
    rule_id = granted(await _define(town, valid_from="2020-01-01"))
    async with town.workplace.work("operator:test") as work:
        ended = granted(await end_tax_rule(work, rule_id=rule_id, valid_until=date(2026, 6, 1)))
        again = await end_tax_rule(work, rule_id=rule_id, valid_until=date(2026, 5, 1))
        later = await end_tax_rule(work, rule_id=str(ended), valid_until=date(2026, 7, 1))
        before = await end_tax_rule(work, rule_id=str(ended), valid_until=date(2019, 7, 1))
        unknown = await end_tax_rule(work, rule_id="tax_0", valid_until=date(2026, 7, 1))
    assert await _standing(town) == [("2020-01-01", "2026-06-01", 50_000)]
    codes = [one.code for one in (again, later, before, unknown) if isinstance(one, Refusal)]
    assert codes == ["withdrawn", "ended_already", "bad_day", "unknown_tax_rule"]


async def test_a_rule_for_one_class_and_one_for_all_do_not_stand_side_by_side_unseen(town: Town) -> None:
    await _define(town, valid_from="2020-01-01", classes="")
    refused = await _define(town, valid_from="2020-01-01", percent="6")
    assert isinstance(refused, Refusal)
    assert (refused.code, refused.field) == ("rate_exists", "valid_from")
    assert isinstance(await _define(town, valid_from="2020-01-01", region="TX"), str)
    assert isinstance(await _define(town, valid_from="2020-01-01", name="Other"), str)


async def test_two_people_at_once_define_one_rule(any_town: Town) -> None:
    outcomes = await asyncio.gather(*(_define(any_town, valid_from="2026-01-01") for _ in range(4)))
    assert sorted(isinstance(one, Refusal) for one in outcomes) == [False, True, True, True]
    assert len(await _standing(any_town)) == 1


async def test_taxes_on_taxes_must_exist_and_never_run_in_a_circle(town: Town) -> None:
    unknown = await _define(town, on_top_of="Nothing")
    await _define(town, name="First")
    await _define(town, name="Second", on_top_of="First")
    circle = await _define(town, name="First", on_top_of="Second", valid_from="2026-01-01")
    both = await _define(town, name="First", effect="surcharge", region="TX")
    async with town.workplace.work("operator:test") as work:
        first = next(one for one in await tax_rows.tax_rules(work.connection) if one.name == "First")
        in_use = await withdraw_tax_rule(work, rule_id=first.id, reason="a mistake")
    assert [one.code for one in (unknown, circle, both, in_use) if isinstance(one, Refusal)] == [
        "unknown_tax", "tax_circle", "tax_circle", "in_use",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("texts", "field"),
    [
        ({"name": ""}, "name"), ({"name": "x" * 81}, "name"), ({"country": "USA"}, "country"),
        ({"percent": ""}, "percent"), ({"percent": "seven"}, "percent"), ({"percent": "101"}, "percent"),
        ({"percent": "-1"}, "percent"), ({"percent": "1.23456"}, "percent"), ({"percent": "1e99"}, "percent"),
        ({"amount": "1.51"}, "method"), ({"method": "per_line"}, "percent"), ({"method": "often"}, "method"),
        ({"percent": "", "method": "per_line"}, "amount"),
        ({"percent": "", "method": "per_line", "amount": "1.51"}, "currency"),
        ({"percent": "", "method": "per_line", "amount": "1.51", "currency": "USD"}, "kinds"),
        ({"percent": "", "method": "per_line", "amount": "0.000000001", "currency": "USD"}, "amount"),
        ({"percent": "", "method": "per_unit", "amount": "1", "currency": "USD", "kinds": "recurring",
          "share": "50"}, "on_top_of"),
        ({"share": "0"}, "share"), ({"taxable": "yes"}, "taxable"), ({"taxable": "maybe"}, "taxable"),
        ({"on_top_of": "Sales tax"}, "on_top_of"), ({"classes": "Internet!"}, "classes"),
        ({"valid_from": "1.3.2026"}, "valid_from"), ({"valid_from": "2026-03-01", "valid_until": "2026-03-01"}, "valid_until"),
        ({"district": "Arroyo"}, "postal_codes"), ({"postal_codes": "8?501"}, "postal_codes"),
        ({"rounding": "sideways"}, "rounding"), ({"effect": "gift"}, "effect"),
        ({"effect": "surcharge", "name": "x" * 49}, "name"), ({"county": "c" * 60}, "authority"),
        ({"region": "r" * 41}, "region"), ({"authority": "a" * 51}, "authority"),
    ],
)  # fmt: skip
def test_a_rule_with_a_fault_is_refused_by_field(texts: dict[str, str], field: str) -> None:
    refused = read_rule({**NEW_MEXICO, **texts})
    assert isinstance(refused, Refusal), refused
    assert refused.field == field


def test_a_rule_is_read_from_texts() -> None:
    rule = granted(read_rule({
        "name": "E911", "country": "us", "region": "NM", "county": "Hill", "method": "per_line", "amount": "1.51",
        "currency": "usd", "kinds": "recurring", "postal_codes": "87999; 8790*", "classes": "voice, voip",
        "rounded_per": "line",
    }))  # fmt: skip
    assert isinstance(rule, TaxRule)
    assert (rule.unit_millionths, rule.currency, rule.rate_in_words()) == (
        151_000_000,
        "USD",
        "1.51 USD a line",
    )
    assert rule.jurisdiction.postal_codes == ("87999", "8790*")
    assert rule.tax_classes == {"voice", "voip"}


async def test_a_certificate_frees_while_it_lasts_and_as_it_was_known(town: Town) -> None:
    ann = await town.account("Ann")
    await _define(town, valid_from="2020-01-01")
    before = town.clock.now() - timedelta(seconds=1)
    async with town.workplace.work("operator:test") as work:
        exemption_id = granted(
            await grant_exemption(
                work, account_id=ann, certificate="NM-42", valid_from=date(2026, 1, 1),
                valid_until=date(2026, 7, 1), taxes=["Sales tax"], authorities=["US-NM"],
                scan=b"%PDF-1.7 a certificate",
            )
        )  # fmt: skip
    assert [await _tax(town, on, account=ann) for on in ("2025-12-31", "2026-01-01", "2026-07-01")] == [
        500,
        0,
        500,
    ]
    assert await _tax(town, "2026-01-01", account=ann, as_of=before) == 0  # nor was the rule known
    granted_at = town.clock.now()
    town.clock.advance(timedelta(days=1))
    async with town.workplace.work("operator:test") as work:
        assert await withdraw_exemption(work, exemption_id=str(exemption_id), reason="forged") is None
        again = await withdraw_exemption(work, exemption_id=str(exemption_id), reason="forged")
    assert isinstance(again, Refusal)
    assert await _tax(town, "2026-01-01", account=ann) == 500
    assert await _tax(town, "2026-01-01", account=ann, as_of=granted_at) == 0
    async with town.workplace.reading() as connection:
        assert await tax_rows.list_exemptions(connection) == []
        assert await tax_rows.scan_of(connection, str(exemption_id)) == (
            "application/pdf",
            b"%PDF-1.7 a certificate",
        )


async def test_a_certificate_with_a_fault_is_refused_by_field(town: Town) -> None:
    ann = await town.account("Ann")
    await _define(town)
    sound: dict[str, object] = {"account_id": ann, "certificate": "C", "valid_from": date(2026, 1, 1)}
    faults = [
        ({"account_id": "nobody"}, "account"), ({"certificate": " "}, "certificate"),
        ({"valid_until": date(2026, 1, 1)}, "valid_until"), ({"share_ppm": 0}, "share"),
        ({"taxes": ["Sails tax"]}, "taxes"), ({"authorities": ["US-NW"]}, "authorities"),
        ({"scan": b"MZ program"}, "scan"), ({"scan": b"%PDF-" + b"x" * (2 * 2**20)}, "scan"),
        ({"note": "x" * 2_001}, "note"),
    ]  # fmt: skip
    async with town.workplace.work("operator:test") as work:
        for terms, field in faults:
            refused = await grant_exemption(work, **{**sound, **terms})  # type: ignore[arg-type]
            assert isinstance(refused, Refusal), terms
            assert refused.field == field
        assert await tax_rows.list_exemptions(work.connection) == []


async def test_a_book_is_read_again_only_after_a_change(town: Town) -> None:
    books = TaxBooks()
    await _define(town)
    async with town.workplace.reading() as connection:
        first = await books.book(connection)
        assert await books.book(connection) is first
    await _define(town, name="Other")
    async with town.workplace.reading() as connection:
        assert len((await books.book(connection)).rules) == 2


async def test_a_rate_set_the_short_way_is_a_rule_too(town: Town) -> None:
    await town.tax(50_000)
    await town.tax(60_000, valid_from=date(2026, 4, 1))
    async with town.workplace.reading() as connection:
        rules = [
            (one.rate_ppm, one.valid_from, one.valid_until) for one in await tax_rows.tax_rules(connection)
        ]
    april = date(2026, 4, 1)
    assert min(rules)[2] == april
    assert max(rules, key=lambda one: one[1])[:2] == (60_000, april)
    assert await _tax(town, "2026-04-01") == 600


def _revision_before() -> str:
    revisions = ScriptDirectory.from_config(alembic_config()).walk_revisions()
    return next(str(one.down_revision) for one in revisions if one.doc.startswith("rules of taxes"))


@pytest.fixture
async def old_database(any_database_url: str) -> AsyncIterator[Database]:
    database = Database(any_database_url)
    yield database
    await database.close()


async def test_rates_of_before_are_carried_over_as_rules_known_since_ever(old_database: Database) -> None:
    async with old_database.write() as connection:
        await connection.run_sync(lambda sync: command.upgrade(alembic_config(sync), _revision_before()))
        await connection.execute(sa.text(
            "INSERT INTO billing_tax_rate (id, name, tax_class, country, region, rate_ppm, valid_from, valid_until)"
            " VALUES ('tax_1', 'GRT', 'internet', 'US', 'NM', 51250, '2020-01-01', '2022-07-01'),"
            " ('tax_2', 'GRT', 'internet', 'US', 'NM', 50000, '2022-07-01', NULL)"
        ))  # fmt: skip
    await upgrade(old_database)
    async with old_database.read() as connection:
        rules = sorted(await tax_rows.tax_rules(connection, as_of=None), key=lambda rule: rule.id)
        assert await tax_rows.tax_rules(connection, rules[0].recorded_at) != []
    assert [(one.id, one.rate_ppm, one.valid_until, one.tax_classes) for one in rules] == [
        ("tax_1", 51_250, date(2022, 7, 1), {"internet"}), ("tax_2", 50_000, None, {"internet"}),
    ]  # fmt: skip
    assert [tax_rows.scope_of(one) for one in rules] == [await _scope(old_database, one.id) for one in rules]


async def _scope(database: Database, rule_id: str) -> str:
    async with database.read() as connection:
        query = sa.select(tax_rows.tax_rule.c.scope).where(tax_rows.tax_rule.c.id == rule_id)
        return str((await connection.execute(query)).scalar_one())
