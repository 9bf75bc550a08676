"""The ledger taken away: beancount and hledger themselves read it, and their balances are ours."""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
import subprocess
import sys
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from beancount import loader
from beancount.core import realization
from beancount.core.inventory import Inventory
from hypothesis import given
from hypothesis import strategies as st
from ledger_world import Books
from sqlalchemy import update

from billing.domain.account_names import account_name, component, is_account_name
from billing.domain.chart import CHART
from billing.domain.ledger import BilledPart, Entry, Posting
from billing.ledger.export_scope import amount
from billing.ledger.exports import EXPORTS, prepare_export
from billing.ledger.map_accounts import set_account_code
from billing.store.journal_rows import Scope, account_uses
from billing.store.tables import account, ledger_code
from core.clock import FakeClock
from core.periods import Period
from core.refusal import Refusal, granted
from core.work import Workplace

CYCLE = Period(date(2026, 3, 10), date(2026, 4, 10))
HOSTILE = '=cmd|\' /C calc\'!A1 "quoted" \\back; semi, comma | bar\n2026-03-10 * "forged"\n  Assets:X  1 USD\ttab {#^} Ünïcode 雪'
BEAN_CHECK = Path(sys.executable).with_name("bean-check")
HLEDGER = shutil.which("hledger")


@pytest.fixture
async def books(workplace: Workplace, clock: FakeClock) -> Books:
    """Three currencies, an entity, hostile names, two months; some of it on closed days."""
    books = Books(workplace, clock)
    books.accounts[HOSTILE] = await books.account("Hostile")
    async with workplace.work("import") as work:  # a name that came in before names were looked at
        await work.connection.execute(update(account).values(name=HOSTILE))
    await books.account("Yen", currency="JPY")
    await books.account("Din", currency="KWD")
    line = BilledPart("recurring", 3100, CYCLE, deferred=True)
    await books.invoice(
        line,
        BilledPart("late_fee", 500),
        BilledPart("deposit", 5000),
        taxes={"US-NM": 250, "US/NM Santa Fé": 7},
        name=HOSTILE,
        words=HOSTILE,
    )
    await books.invoice(
        BilledPart("recurring", 3101, CYCLE, deferred=True), name="Yen", currency="JPY", taxes={"JP": 310}
    )
    await books.invoice(
        BilledPart("recurring", 12345, CYCLE, deferred=True), name="Din", currency="KWD", entity_id="ent_1"
    )
    await books.pay(1001, HOSTILE, "transfer", note="@SUM(1+1)")
    books.go_to("2026-03-20")
    await books.close("2026-03-18")
    await books.book(Entry("refund", "ref_1", date(2026, 3, 12), HOSTILE, "USD", (
        Posting("refunds_due", books.accounts[HOSTILE], -300), Posting("customer_credit", books.accounts[HOSTILE], 300),
    )))  # fmt: skip
    books.go_to("2026-04-15")
    await books.pay(70, "Yen", "cash", currency="JPY")
    await books.close("2026-04-14")
    return books


async def _export(books: Books, name: str, **options: Any) -> str:
    async with books.workplace.reading() as connection:
        prepared = granted(await prepare_export(connection, name, **options))
        return "".join([part async for part in prepared.write(connection)])


async def _ours(
    books: Books, scope: Scope | None = None, *, by_customer: bool = False
) -> dict[tuple[str, str], Decimal]:
    """Balances by plain text name and currency; zeros left out."""
    sums: dict[tuple[str, str], Decimal] = {}
    async with books.workplace.reading() as connection:
        for one in await account_uses(connection, scope or Scope(), by_customer=by_customer):
            key = account_name(one.ledger_account, one.customer_number), one.currency
            sums[key] = sums.get(key, Decimal(0)) + amount(one.amount_minor, one.currency)
    return {key: total for key, total in sums.items() if total}


def _beancount_balances(path: Path) -> dict[tuple[str, str], Decimal]:
    checked = subprocess.run([BEAN_CHECK, path], capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, ""), checked.stderr
    entries, errors, _ = loader.load_file(str(path))
    assert errors == []
    found: dict[tuple[str, str], Decimal] = {}
    for real in realization.iter_children(realization.realize(entries)):
        inventory: Inventory = real.balance
        for position in inventory:
            found[real.account, position.units.currency] = position.units.number
    return {key: total for key, total in found.items() if total}


def _hledger_balances(path: Path) -> dict[tuple[str, str], Decimal]:
    if HLEDGER is None:
        if os.environ.get("HILLTOP_TEST_PACKAGES") == "there":
            pytest.fail("./dev test installed hledger, and it is not found")
        pytest.skip("no hledger on this machine")
    subprocess.run([HLEDGER, "-f", path, "check", "--strict"], check=True, capture_output=True)
    told = subprocess.run(
        [HLEDGER, "-f", path, "balance", "--flat", "--no-total", "-O", "csv", "--layout=bare"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    rows = list(csv.DictReader(io.StringIO(told.stdout)))
    return {
        (row["account"], row["commodity"]): Decimal(row["balance"]) for row in rows if Decimal(row["balance"])
    }


READERS = {"beancount": _beancount_balances, "hledger": _hledger_balances}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("by_customer", [False, True])
async def test_the_reader_itself_takes_it_and_has_our_balances(
    books: Books, tmp_path: Path, name: str, by_customer: bool
) -> None:
    path = tmp_path / f"ledger.{EXPORTS[name].suffix}"
    path.write_text(await _export(books, name, by_customer=by_customer))
    ours = await _ours(books, by_customer=by_customer)
    assert READERS[name](path) == ours
    assert {currency for _, currency in ours} == {"USD", "JPY", "KWD"}
    assert ours["Liabilities:Tax:US-NM", "USD"] == Decimal("-2.50")
    assert ours["Assets:Cash:Cash", "JPY"] == Decimal(70)
    assert sum(1 for account, _ in ours if account.startswith("Assets:Receivable")) == 3


@pytest.mark.parametrize("name", READERS)
async def test_a_month_alone_and_with_what_was_before(books: Books, tmp_path: Path, name: str) -> None:
    path = tmp_path / f"ledger.{EXPORTS[name].suffix}"
    april = {"first": date(2026, 4, 1), "last": date(2026, 4, 30)}
    path.write_text(await _export(books, name, **april))
    assert READERS[name](path) == await _ours(books, Scope(**april))
    path.write_text(await _export(books, name, **april, opening=True))
    assert READERS[name](path) == await _ours(books)


@pytest.mark.parametrize("name", READERS)
async def test_one_currency_or_entity(books: Books, tmp_path: Path, name: str) -> None:
    path = tmp_path / f"ledger.{EXPORTS[name].suffix}"
    path.write_text(await _export(books, name, currency="jpy"))
    assert READERS[name](path) == await _ours(books, Scope(currency="JPY"))
    path.write_text(await _export(books, name, entity="ent_1"))
    assert READERS[name](path) == await _ours(books, Scope(entity_id="ent_1"))
    path.write_text(await _export(books, name, entity="house"))
    house = READERS[name](path)
    assert house == await _ours(books, Scope(entity_id=""))
    assert "KWD" not in {currency for _, currency in house}


@pytest.mark.parametrize("name", READERS)
async def test_an_operators_own_account_names_are_used_where_they_are_valid(
    books: Books, tmp_path: Path, name: str
) -> None:
    for of, code in (
        ("tax", "Liabilities:Taxes:Sales"),
        ("cash:transfer", "1200"),
        ("receivable", "Assets:Debtors"),
    ):
        async with books.workplace.work("operator:test") as work:
            assert not isinstance(await set_account_code(work, ledger_account=of, code=code), Refusal)
    path = tmp_path / f"ledger.{EXPORTS[name].suffix}"
    path.write_text(await _export(books, name, by_customer=True))
    found = READERS[name](path)
    assert found["Liabilities:Taxes:Sales", "USD"] == Decimal("-2.57")
    assert found["Assets:Cash:Transfer", "USD"] == Decimal("10.01")
    assert sum(1 for account, _ in found if account.startswith("Assets:Debtors:A")) == 3


@pytest.mark.parametrize("name", [*EXPORTS])
async def test_the_same_period_twice_is_the_same_file_whatever_came_after(books: Books, name: str) -> None:
    period = {"first": date(2026, 3, 1), "last": date(2026, 3, 31), "currency": "USD"}
    first = await _export(books, name, **period)
    books.go_to("2026-04-20")
    await books.pay(999, HOSTILE)
    await books.invoice(BilledPart("usage", 1), name=HOSTILE)
    assert await _export(books, name, **period) == first
    assert len(first.splitlines()) > 1
    assert await _export(books, name, last=date(2026, 2, 1), currency="USD") != first


async def test_entries_are_found_again_by_our_ids(books: Books) -> None:
    text = await _export(books, "beancount", currency="USD")
    ids = re.findall(r'^  entry: "(le_\w+)"$', text, re.MULTILINE)
    assert len(ids) == len(set(ids)) == text.count("\n  source: ")
    assert "happened: 2026-03-12" in text
    journal = await _export(books, "hledger", currency="USD")
    assert re.findall(r"^[\d-]+ \* \((le_\w+)\)", journal, re.MULTILINE) == ids


async def test_iif_balances_in_ascii_and_names_its_lists(books: Books) -> None:
    async with books.workplace.reading() as connection:
        several = await prepare_export(connection, "iif")
        unknown = await prepare_export(connection, "xls")
        backwards = await prepare_export(connection, "iif", first=date(2026, 2, 1), last=date(2026, 1, 1))
    assert [one.code for one in (several, unknown, backwards) if isinstance(one, Refusal)] == [
        "currency_missing", "bad_format", "bad_span",
    ]  # fmt: skip
    text = await _export(books, "iif", currency="USD")
    assert text.isascii()
    assert '"' not in text
    assert ";" not in text
    rows = [line.split("\t") for line in text.split("\r\n")]
    assert rows[-1] == [""]
    heads = [row[0] for row in rows[:-1]]
    assert set(heads) == {
        "!ACCNT",
        "ACCNT",
        "!CUST",
        "CUST",
        "!TRNS",
        "!SPL",
        "!ENDTRNS",
        "TRNS",
        "SPL",
        "ENDTRNS",
    }
    accounts = {row[1]: row[2] for row in rows if row[0] == "ACCNT"}
    assert (accounts["Receivable"], accounts["Cash:Transfer"], accounts["Tax:US-NM"]) == (
        "AR",
        "BANK",
        "OCLIAB",
    )
    customers = {row[1] for row in rows if row[0] == "CUST"}
    assert all(len(one) <= 41 for one in customers)
    total, sums = Decimal(0), dict[str, Decimal]()
    for row in rows:
        if row[0] == "TRNS":
            assert total == 0
        if row[0] in ("TRNS", "SPL"):
            _, kind, day, account, customer, moved, memo = row
            assert (kind, re.fullmatch(r"\d\d/\d\d/2026", day) is not None) == ("GENERAL JOURNAL", True)
            assert memo.startswith("le_")
            assert customer in customers | {""}
            assert account != "Receivable" or (row[0], bool(customer)) == ("TRNS", True)
            total += Decimal(moved)
            sums[account] = sums.get(account, Decimal(0)) + Decimal(moved)
    assert total == 0
    assert set(sums) <= set(accounts)
    ours = await _ours(books, Scope(currency="USD"))
    assert sums["Receivable"] == ours["Assets:Receivable", "USD"]
    assert sums["Tax:US-NM"] == Decimal("-2.50")


async def test_csv_cells_run_no_formula_and_sum_to_our_balances(books: Books) -> None:
    text = await _export(books, "journal")
    rows = list(csv.DictReader(io.StringIO(text)))
    sums: dict[tuple[str, str], Decimal] = {}
    for row in rows:
        key = account_name(row["ledger_account"]), row["currency"]
        moved = Decimal(row["debit"] or 0) - Decimal(row["credit"] or 0)
        assert moved == Decimal(row["amount"])
        sums[key] = sums.get(key, Decimal(0)) + moved
        for name, cell in row.items():
            assert name in ("debit", "credit", "amount") or not cell.startswith(
                ("=", "+", "-", "@", "\t", "\r")
            )
    assert {key: total for key, total in sums.items() if total} == await _ours(books)
    assert any(row["customer_name"] == f"'{HOSTILE}" for row in rows)
    assert {row["kind"] for row in rows} == {"asset", "liability", "income"}


async def test_invoices_and_payments_as_csv(books: Books) -> None:
    invoices = list(csv.DictReader(io.StringIO(await _export(books, "invoices"))))
    assert [(one["number"], one["currency"], one["total"]) for one in invoices] == [
        ("INV-000001", "USD", "88.57"), ("INV-000002", "JPY", "3411"), ("INV-000003", "KWD", "12.345"),
    ]  # fmt: skip
    payments = list(csv.DictReader(io.StringIO(await _export(books, "payments", last=date(2026, 3, 31)))))
    assert [(one["amount"], one["method"], one["note"]) for one in payments] == [
        ("10.01", "transfer", "'@SUM(1+1)")
    ]
    entity = await _export(books, "invoices", entity="ent_1")
    assert len(entity.splitlines()) == 2


async def test_codes_are_refused_for_what_is_no_account_and_taken_away_again(ours: Books) -> None:
    async with ours.workplace.work("operator:test") as work:
        unknown = await set_account_code(work, ledger_account="lost", code="1")
        control = await set_account_code(work, ledger_account="tax", code="a\tb")
        assert not isinstance(await set_account_code(work, ledger_account="tax:US-NM", code="2200"), Refusal)
        assert not isinstance(await set_account_code(work, ledger_account="tax:US-NM", code="2201"), Refusal)
        rows = (await work.connection.execute(ledger_code.select())).all()
        assert [(row.ledger_account, row.code) for row in rows] == [("tax:US-NM", "2201")]
        assert not isinstance(await set_account_code(work, ledger_account="tax:US-NM", code=""), Refusal)
        assert (await work.connection.execute(ledger_code.select())).all() == []
    assert isinstance(unknown, Refusal)
    assert isinstance(control, Refusal)


@pytest.fixture
def ours(workplace: Workplace, clock: FakeClock) -> Books:
    return Books(workplace, clock)


async def test_an_export_is_written_in_parts(ours: Books) -> None:
    """No part grows with the books."""
    await ours.account()
    await ours.book(*(
        Entry("payment", f"pay_{number}", date(2026, 3, 10) + timedelta(days=number % 3), "Payment", "USD", (
            Posting("cash:cash", None, 100), Posting("customer_credit", ours.accounts["Ann"], -100)
        ))
        for number in range(6_001)
    ))  # fmt: skip
    for name in EXPORTS:
        async with ours.workplace.reading() as connection:
            prepared = granted(await prepare_export(connection, name, currency="USD"))
            parts = [part async for part in prepared.write(connection)]
        assert max(len(part) for part in parts) < 1_000_000
        if name in ("beancount", "hledger", "iif", "journal"):
            assert "".join(parts).count("le_") in (6_001, 12_002)


async def test_empty_books_are_valid_files(ours: Books, tmp_path: Path) -> None:
    for name, read in READERS.items():
        path = tmp_path / f"empty.{EXPORTS[name].suffix}"
        path.write_text(await _export(ours, name))
        assert read(path) == {}


_NAMES = st.text(min_size=1, max_size=12) | st.from_regex(r"[A-Za-z0-9_-]{1,8}", fullmatch=True)


@given(_NAMES, _NAMES)
def test_account_names_are_valid_and_different_for_different_accounts(one: str, other: str) -> None:
    assert is_account_name(account_name(f"tax:{one}"))
    assert (component(one) == component(other)) == (one == other)


def test_every_line_of_the_chart_has_a_valid_name() -> None:
    for line in CHART:
        assert is_account_name(account_name(line.name + (":x" if line.detail else ""), "A-1"))
