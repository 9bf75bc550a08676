"""Bank statements: read in three formats, each line once, certain ones recorded, the others in the inbox."""

from __future__ import annotations

import asyncio
from datetime import date
from typing import Any

import pytest
from bank_specimens import CAMT_02, CAMT_08, CSV_DAY_MAPPING, CSV_US, CSV_US_MAPPING, MT940, csv_day
from billing_story import Town
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from test_ach_debits import act

from billing.domain.bank_csv import CsvMapping, mapping_as_json, read_mapping
from billing.domain.bank_file_fault import BankFileFault
from billing.domain.bank_matching import KnownAccount, KnownInvoice, Register, tokens
from billing.domain.bank_statement import StatementLine, check_statement, line_keys
from billing.payments.bank.decide_line import (
    assign_line,
    ignore_line,
    reverse_by_line,
    undo_line,
    withdraw_payer_rule,
)
from billing.payments.bank.define_house_account import define_house_account
from billing.payments.bank.import_statement import import_statement, preview_statement
from billing.payments.bank.read_statement import read_statements
from billing.payments.bank.suggest_accounts import suggest_accounts
from billing.store import bank_rows
from billing.store.tables import bank_line, payment
from core.refusal import Refusal, granted
from core.secrets import Sealer

US = granted(read_mapping(CSV_US_MAPPING))


def told(lines: Any) -> list[tuple[str, int, str, str]]:
    return [(str(one.booked_on), one.amount_minor, one.payer_name, one.remittance) for one in lines]


def test_mt940_with_german_subfields_a_reversal_and_fees():
    kind, [statement] = read_statements(MT940.encode(), None, "USD")
    assert kind == "mt940"
    first, back, fee = statement.lines
    assert told([first]) == [("2026-03-02", 3000, "MAX MUSTERMANN", "Invoice INV-000001 thanks")]
    assert (first.payer_account, first.bank_reference, first.end_to_end_id, first.line) == (
        "DE89370400440532013000",
        "B123",
        "",
        6,
    )
    assert (back.amount_minor, back.reversal, back.line) == (-1250, True, 9)
    assert (fee.amount_minor, fee.remittance, fee.bank_reference) == (-550, "Account fees", "REF9")
    assert (statement.opening_minor, statement.closing_minor, statement.account) == (
        100000,
        101200,
        "10020030/1234567",
    )
    assert statement.imbalance_minor() == 0
    latin = MT940.replace("MAX", "MÄX").encode("cp1252")
    assert read_statements(latin, None, "USD")[1][0].lines[0].payer_name == "MÄX MUSTERMANN"
    assert read_statements(MT940.replace("\n", "\r\n").encode(), None, "USD")[1] == [statement]


@pytest.mark.parametrize("version", ["02", "04", "06"])
def test_camt_batch_bookings_reversals_and_what_is_only_announced(version):
    text = CAMT_02.replace("camt.053.001.02", f"camt.053.001.{version}")
    kind, [statement] = read_statements(text.encode(), None, "USD")
    assert kind == "camt053"
    ann, ben, back = statement.lines
    assert (ann.amount_minor, ann.end_to_end_id, ann.payer_name, ann.payer_account) == (
        3000,
        "INV-000001",
        "Ann Example",
        "DE89370400440532013000",
    )
    assert (ann.bank_reference, ann.value_on, ann.line) == ("BATCH1", date(2026, 3, 5), 14)
    assert (ben.amount_minor, ben.end_to_end_id, ben.payer_account, ben.remittance) == (
        6000,
        "",
        "55-001",
        "RF18 5390 0754 7034",
    )
    assert (back.amount_minor, back.reversal, back.payer_name) == (-1500, True, "Cyd Test")
    assert statement.imbalance_minor() == 0


def test_camt_of_the_newer_kind():
    _, [statement] = read_statements(CAMT_08.encode(), None, "USD")
    [line] = statement.lines
    assert told([line]) == [("2026-03-05", 3000, "Ann Example", "account A-000001")]
    assert (line.bank_reference, line.end_to_end_id) == ("7", "E2E-9")
    assert statement.imbalance_minor() == 0


def test_csv_by_mapping_with_brackets_thousands_and_balances():
    kind, [statement] = read_statements(CSV_US.encode(), US, "USD")
    assert kind == "csv"
    assert [one.amount_minor for one in statement.lines] == [3000, -550, 3000, 3000]
    assert statement.lines[0].line == 3
    assert (statement.opening_minor, statement.closing_minor) == (100000, 108450)
    newest_first = "\n".join([*CSV_US.splitlines()[:2], *reversed(CSV_US.splitlines()[2:])])
    _, [other] = read_statements(newest_first.encode(), US, "USD")
    assert (other.opening_minor, other.closing_minor, other.imbalance_minor()) == (100000, 108450, 0)
    missing = CSV_US.replace('03/03/2026,SERVICE FEE,(5.50),"1,024.50",\n', "")
    _, [less] = read_statements(missing.encode(), US, "USD")
    assert less.imbalance_minor() == -550


@pytest.mark.parametrize(
    ("mapping", "content", "amounts"),
    [
        ({"booked": "1", "amount": "2", "headings": False, "delimiter": ";", "decimal_mark": ",", "date_format": "%d.%m.%Y"},
         "02.03.2026;1.234,50\n03.03.2026;-5,00-\n04.03.2026;7,00-\n", None),
        ({"booked": "1", "amount": "2", "headings": False, "delimiter": ";", "decimal_mark": ",", "date_format": "%d.%m.%Y"},
         "02.03.2026;1.234,50\n04.03.2026;7,00-\n", [123450, -700]),
        ({"booked": "d", "credit": "in", "debit": "out", "signs": "columns"}, "d,in,out\n2026-03-02,5,\n2026-03-03,,6.5\n", [500, -650]),
        ({"booked": "d", "amount": "a", "indicator": "s", "debit_word": "DR", "signs": "indicator"}, "d,a,s\n2026-03-02,5,CR\n2026-03-03,6.5,dr\n", [500, -650]),
        ({"booked": "d", "amount": "a", "signs": "inverted"}, "d,a\n2026-03-02,-5\n", [500]),
        ({"booked": "d", "amount": "a", "encoding": "utf-16"}, "d,a\n2026-03-02,5\n", [500]),
    ],
)  # fmt: skip
def test_banks_write_amounts_as_they_like(mapping, content, amounts):
    checked = granted(read_mapping(mapping))
    assert granted(read_mapping(mapping_as_json(checked))) == checked
    octets = content.encode(checked.encoding)
    if amounts is None:
        with pytest.raises(BankFileFault, match="line 2"):
            read_statements(octets, checked, "USD")
    else:
        _, [statement] = read_statements(octets, checked, "USD")
        assert [one.amount_minor for one in statement.lines] == amounts


@pytest.mark.parametrize(
    ("mapping", "field"),
    [
        ({"booked": ""}, "booked"), ({}, "booked"), ({"booked": "d"}, "amount"), ({"booked": "d", "amount": "a", "encoding": "klingon"}, "encoding"),
        ({"booked": "d", "amount": "a", "delimiter": ";;"}, "delimiter"), ({"booked": "d", "signs": "columns", "credit": "c"}, "credit"),
        ({"booked": "d", "amount": "a", "date_format": "%d %H"}, "date_format"), ({"booked": "d", "amount": "a", "date_format": "%Y"}, "date_format"),
        ({"booked": "d", "amount": "a", "signs": "luck"}, "signs"), ({"booked": "d", "amount": "a", "signs": "indicator"}, "indicator"),
        ({"booked": "d", "amount": "a", "skip_lines": 999}, "skip_lines"), ({"booked": "d", "x": "a"}, "x"), ({"booked": "d", "amount": "a", "decimal_mark": "x"}, "decimal_mark"),
    ],
)  # fmt: skip
def test_a_mapping_that_is_no_good_names_its_field(mapping, field):
    refused = read_mapping(mapping)
    assert isinstance(refused, Refusal)
    assert refused.field == field


_BOMB = """<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;">]><Document><BkToCstmrStmt>&y;</BkToCstmrStmt></Document>"""


@pytest.mark.parametrize(
    ("content", "mapping", "line", "field"),
    [
        (b"", None, 0, "file"), (b"hello", None, 1, "format"), (_BOMB.encode(), None, 1, "DOCTYPE"),
        (b"<Document><x></Document>", None, 1, "XML"), (b"<a/>", None, 1, "Document"),
        (b"<Document>" + b"<x>" * 100, None, 1, "Document"),
        (CAMT_02.replace("30.00</Amt></TxAmt>", "31.00</Amt></TxAmt>").encode(), None, 14, "TxDtls/Amt"),
        (CAMT_02.replace(">90.00<", ">NaN<").encode(), None, 11, "Amt"), (CAMT_02.replace(">90.00<", ">1E400<").encode(), None, 11, "Amt"),
        (CAMT_02.replace(">90.00<", ">90.001<").encode(), None, 11, "Amt"), (CAMT_02.replace(">90.00<", ">-90.00<").encode(), None, 11, "Amt"),
        (CAMT_02.replace("<BookgDt><Dt>2026-03-04</Dt></BookgDt><ValDt><Dt>2026-03-05</Dt></ValDt>", "<BookgDt><Dt>soon</Dt></BookgDt>").encode(), None, 12, "BookgDt"),
        (CAMT_02.replace("CRDT</CdtDbtInd><Sts>BOOK", "MAYBE</CdtDbtInd><Sts>BOOK", 1).encode(), None, 10, "CdtDbtInd"),
        (CAMT_02.replace("UTF-8", "UTF-16").encode("utf-16"), None, 1, "ok"), (CAMT_02.replace("UTF-8", "klingon").encode(), None, 1, "XML"),
        (MT940.replace("C30,00N", "XX30,00N").encode(), None, 6, ":61:"), (MT940.replace(":60F:C260301USD1000,00\n", "").encode(), None, 2, ":60F:"),
        (MT940.replace("260301USD", "269901USD").encode(), None, None, None), (b":20:x\n\xff\x00\x81", None, 1, "encoding"),
        (CSV_US.replace("03/03/2026", "2026-03-03").encode(), US, 4, "Date"), (CSV_US.replace("(5.50)", "five").encode(), US, 4, "Amount"),
        (CSV_US.replace("Balance,", "Saldo,").encode(), US, 2, "Balance"), (CSV_US.encode("utf-16"), US, 1, "encoding"),
        (CSV_US.replace("SERVICE FEE", "SERVICE \"FEE").encode() + b'"', US, None, None), (CSV_US.replace("SERVICE FEE,(5.50)", "SERVICE FEE").encode(), US, 4, None),
        (CSV_US.replace("30.00,1030", "0.00,1030").encode(), US, 3, "Amount"), (b"x\n", US, 0, "file"),
    ],
)  # fmt: skip
def test_hostile_files_are_refused_with_line_and_field(content, mapping, line, field):
    if field == "ok":
        read_statements(content, mapping, "USD")
        return
    with pytest.raises(BankFileFault) as caught:
        for one in read_statements(content, mapping, "USD")[1]:
            check_statement(one, "USD", "")
    if line is not None:
        assert caught.value.line == line
    if field is not None:
        assert caught.value.field == field


@settings(max_examples=60)
@given(
    at=st.integers(0, 2000),
    new=st.binary(min_size=1, max_size=3),
    which=st.sampled_from([MT940, CAMT_02, CAMT_08, CSV_US]),
)
def test_no_damage_breaks_a_reader(at, new, which):
    octets = which.encode()
    damaged = octets[: at % len(octets)] + new + octets[at % len(octets) + 1 :]
    try:
        for one in read_statements(damaged, US, "USD")[1]:
            check_statement(one, "USD", "")
    except BankFileFault as fault:
        assert fault.message


_line = st.builds(
    StatementLine, st.just(1), st.sampled_from([date(2026, 3, 1), date(2026, 3, 2)]), st.none(), st.sampled_from([100, 200]),
    st.just("USD"), st.booleans(), st.sampled_from(["", "R1"]), st.just(""), st.sampled_from(["a", "b"]),
)  # fmt: skip


@given(days=st.lists(st.lists(_line, max_size=5), max_size=4), cut=st.integers(0, 3))
def test_lines_of_overlapping_files_have_the_same_keys(days, cut):
    """Files of whole days overlap: what both tell of is the same, and true twins stay two."""
    dated = [
        [
            StatementLine(
                1,
                date(2026, 3, 1 + n),
                None,
                one.amount_minor,
                "USD",
                one.reversal,
                one.bank_reference,
                "",
                one.remittance,
            )
            for one in day
        ]
        for n, day in enumerate(days)
    ]
    whole = [one for day in dated for one in day]
    keys = line_keys(whole)
    assert len(set(keys)) == len(keys)
    later = [one for day in dated[cut:] for one in day]
    assert line_keys(later) == keys[len(keys) - len(later) :]


# Matching

REGISTER = Register.of(
    [KnownAccount("ann", "A-000001", "Ann Example"), KnownAccount("ben", "A-000002", "Ben Sample"), KnownAccount("cyd", "7", "Cyd Example")],
    [KnownInvoice("i1", "INV-000001", "ann", 3000), KnownInvoice("i2", "INV-000002", "ben", 3000), KnownInvoice("i3", "INV-000003", "ben", 500),
     KnownInvoice("i4", "INV-000004", "ann", 0)],
    {"mark-ben": "ben"},
)  # fmt: skip


def line(amount: int = 3000, text: str = "", name: str = "", end_to_end: str = "") -> StatementLine:
    return StatementLine(1, date(2026, 3, 1), None, amount, "USD", False, "", end_to_end, text, name)


@pytest.mark.parametrize(
    ("given_line", "mark", "account", "invoices"),
    [
        (line(text="thanks for INV-000001!"), None, "ann", ("i1",)), (line(text="inv 000 001"), None, "ann", ("i1",)),
        (line(text="INV000002 INV000003"), None, "ben", ("i2", "i3")), (line(end_to_end="INV-000002"), None, "ben", ("i2",)),
        (line(text="customer A000001"), None, "ann", ()), (line(text="A-000002 / INV-000003"), None, "ben", ("i3",)),
        (line(text="INV-000004"), None, "ann", ("i4",)), (line(text="hello"), "mark-ben", "ben", ()),
        (line(text="INV-000001"), "mark-ben", "ann", ("i1",)),  # what is written counts more than who pays
    ],
)  # fmt: skip
def test_what_somebody_said_is_certain(given_line, mark, account, invoices):
    match = REGISTER.match(given_line, mark)
    assert match.certain is not None
    assert (match.certain.account_id, match.certain.invoice_ids) == (account, invoices)


@pytest.mark.parametrize(
    ("given_line", "mark", "first"),
    [
        (line(), None, "ann"), (line(name="SAMPLE BEN"), None, "ben"), (line(500, name="Ann Exampel"), None, "ben"),
        (line(text="INV-000001 and A-000002"), None, "ann"), (line(-3000, text="INV-000002"), None, "ben"), (line(1, name="ANN EXAMPLE"), None, "ann"),
        (line(7, text="for 7"), None, None), (line(1), None, None), (line(1, text="INV-000001 A-000002"), "mark-ben", "ann"),
    ],
)  # fmt: skip
def test_the_rest_is_a_guess_at_most(given_line, mark, first):
    match = REGISTER.match(given_line, mark)
    assert match.certain is None
    assert (match.suggestions[0].account_id if match.suggestions else None) == first


def test_tokens_join_what_banks_break():
    assert "INV000001" in tokens("Rechnung INV-0000 01")
    assert tokens("a b 12") == []
    assert len(tokens("x9" * 500 + " " + " ".join(["ab1"] * 5000))) < 2000


# The use cases


async def home(town: Town, mapping: dict[str, Any] | None = None, **terms: Any) -> str:
    return granted(
        await act(
            town,
            define_house_account,
            name="main",
            currency="USD",
            csv_mapping=mapping or CSV_DAY_MAPPING,
            **terms,
        )
    )


async def take(town: Town, sealer: Sealer, content: bytes, name: str = "f") -> Any:
    return await act(town, import_statement, sealer, house_account="main", content=content, name=name)


async def two_customers(town: Town) -> tuple[str, str]:
    """Ann (A-000001, INV-000001) and Ben (A-000002, INV-000002), 30.00 each."""
    town.travel("2026-03-01")
    ann, ben = (
        await town.customer("Ann Example", "2026-03-01"),
        await town.customer("Ben Sample", "2026-03-01"),
    )
    await town.bill()
    town.travel("2026-03-10")
    return ann, ben


async def inbox(town: Town) -> list[Any]:
    async with town.workplace.reading() as connection:
        return await bank_rows.list_lines(connection)


async def opened(town: Town) -> list[int]:
    return [one.open_minor for one in await town.invoices()]


async def test_certain_lines_are_recorded_and_the_same_again_changes_nothing(
    any_town: Town, sealer: Sealer
) -> None:
    town = any_town
    ann, ben = await two_customers(town)
    await home(town)
    day_one = ("2026-03-02", "30", "INV-000001", "Ann")
    twin = ("2026-03-03", "12", "coffee", "Someone")
    first = granted(await take(town, sealer, csv_day(day_one, twin, twin)))
    assert (first.outcome, first.new_lines, first.matched, first.waiting) == ("taken", 3, 1, 2)
    assert await opened(town) == [0, 3000]
    same = granted(await take(town, sealer, csv_day(day_one, twin, twin), "other name"))
    assert (same.outcome, same.file_id, same.matched) == ("exists", first.file_id, 1)
    later = ("2026-03-04", "30", "A-000002", "Ben")
    overlap = granted(await take(town, sealer, csv_day(twin, twin, later)))
    assert (overlap.new_lines, overlap.matched) == (1, 1)
    earlier = granted(await take(town, sealer, csv_day(("2026-03-01", "1", "x", "y"), day_one)))  # comes late
    assert (earlier.new_lines, earlier.waiting) == (1, 1)
    assert await opened(town) == [0, 0]
    async with town.workplace.reading() as connection:
        paid = list(await connection.execute(select(payment).order_by(payment.c.received_on)))
    assert [(one.account_id, one.amount_minor, str(one.received_on), one.method) for one in paid] == [
        (ann, 3000, "2026-03-02", "transfer"), (ben, 3000, "2026-03-04", "transfer"),
    ]  # fmt: skip
    assert len(await inbox(town)) == 3
    await town.prove_books()


async def test_mt940_and_camt_end_to_end(town: Town, sealer: Sealer) -> None:
    await two_customers(town)
    await home(town)
    taken = granted(await take(town, sealer, MT940.encode()))
    assert (taken.new_lines, taken.matched) == (3, 1)
    camt = granted(await take(town, sealer, CAMT_08.encode()))
    assert (camt.new_lines, camt.matched) == (1, 1)
    async with town.workplace.reading() as connection:
        rows = list(await connection.execute(select(bank_line)))
        statements = await bank_rows.list_statements(connection)
    assert "DE89370400440532013000" not in str(rows)  # shown as DE…3000 alone
    assert {one.payer_shown for one in rows} == {"DE…3000", ""}
    assert len(statements) == 2
    await town.prove_books()


async def test_the_inbox_assign_split_remember_ignore_and_undo(any_town: Town, sealer: Sealer) -> None:
    town = any_town
    ann, ben = await two_customers(town)
    await home(town)
    granted(
        await take(
            town,
            sealer,
            csv_day(
                ("2026-03-02", "60", "rent and net", "Landlord Ltd"),
                ("2026-03-03", "-4", "fee", ""),
                ("2026-03-04", "30", "?", "Uncle"),
            ),
        )
    )
    big, fee, uncle = await inbox(town)
    async with town.workplace.reading() as connection:
        hints = await suggest_accounts(connection, [big, uncle])
    assert {one.account_id for one in hints[uncle.id]} == {ann, ben}  # both owe exactly this
    for parts in ([(ann, 3000)], [(ann, 6000), (ben, 0)], [], [(ann, 7000), (ben, -1000)]):
        assert (await act(town, assign_line, line_id=big.id, parts=parts)).code == "bad_split"
    split = granted(await act(town, assign_line, line_id=big.id, parts=[(ann, 3500), (ben, 2500)]))
    assert granted(await act(town, assign_line, line_id=big.id, parts=[(ann, 3500), (ben, 2500)])) == split
    assert (await act(town, assign_line, line_id=big.id, parts=[(ann, 6000)])).code == "decided"
    assert await opened(town) == [0, 500]
    assert await act(town, undo_line, line_id=big.id, reason="wrong people") is None
    assert await act(town, undo_line, line_id=big.id, reason="twice") is None
    assert await opened(town) == [3000, 3000]
    again = granted(await act(town, assign_line, line_id=big.id, parts=[(ann, 3500), (ben, 2500)]))
    assert set(again).isdisjoint(split)
    assert (await act(town, ignore_line, line_id=fee.id, reason=" ")).field == "reason"
    assert await act(town, ignore_line, line_id=fee.id, reason="bank fee") is None
    assert (await act(town, assign_line, line_id=fee.id, parts=[(ann, 4)])).code == "money_went_out"
    granted(await act(town, assign_line, line_id=uncle.id, parts=[(ben, 3000)], remember=True))
    assert await inbox(town) == []
    learnt = granted(await take(town, sealer, csv_day(("2026-04-04", "30", "as always", "Uncle"))))
    assert learnt.matched == 1
    async with town.workplace.reading() as connection:
        [rule] = await bank_rows.list_rules(connection)
    assert (rule.account_id, rule.payer_name) == (ben, "Uncle")
    assert await act(town, withdraw_payer_rule, rule_id=rule.id) is None
    assert (await act(town, withdraw_payer_rule, rule_id=rule.id)).code == "unknown_rule"
    forgotten = granted(await take(town, sealer, csv_day(("2026-05-04", "30", "as always", "Uncle"))))
    assert forgotten.waiting == 1
    await town.prove_books()


async def test_money_that_went_out_takes_a_payment_back(town: Town, sealer: Sealer) -> None:
    ann, _ = await two_customers(town)
    await home(town)
    granted(
        await take(
            town,
            sealer,
            csv_day(("2026-03-02", "30", "INV-000001", "Ann"), ("2026-03-09", "-30", "returned", "Ann")),
        )
    )
    [back] = await inbox(town)
    async with town.workplace.reading() as connection:
        paid = (await connection.execute(select(payment.c.id))).scalar_one()
    granted(await act(town, reverse_by_line, line_id=back.id, payment_id=paid, fee_minor=700))
    assert await opened(town) == [3000, 3000]
    assert (await act(town, reverse_by_line, line_id=back.id, payment_id=paid)).code == "decided"
    assert await act(town, undo_line, line_id=back.id, reason="was another's") is None
    assert await opened(town) == [0, 3000]
    await town.prove_books()
    assert ann


async def test_a_preview_tells_and_writes_nothing(town: Town, sealer: Sealer) -> None:
    ann, _ = await two_customers(town)
    await home(town)
    file = csv_day(("2026-03-02", "30", "INV-000001", "Ann"), ("2026-03-03", "1", "x", ""))
    async with town.workplace.reading() as connection:
        before = granted(await preview_statement(connection, sealer, house_account="main", content=file))
        wrong = await preview_statement(
            connection, sealer, house_account="main", content=b"day;amount;text;payer\nsoon;1;;\n"
        )
    assert isinstance(wrong, Refusal) and "line 2, day" in wrong.message
    assert [(one.known, one.match.certain and one.match.certain.account_id) for one in before.lines] == [
        (False, ann),
        (False, None),
    ]
    assert await inbox(town) == []
    granted(await take(town, sealer, file))
    async with town.workplace.reading() as connection:
        after = granted(await preview_statement(connection, sealer, house_account="main", content=file))
    assert [one.known for one in after.lines] == [True, True]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (MT940.replace("USD1012,00", "USD1012,01").encode(), "0.01 USD"), (MT940.replace("USD", "EUR").encode(), "EUR, not USD"),
        (CAMT_08.encode(), "another account"), (b"x" * 64 + b"\n", "day"), (csv_day(), "no booked movement"),
    ],
)  # fmt: skip
async def test_what_does_not_add_up_is_not_taken(
    town: Town, sealer: Sealer, content: bytes, words: str
) -> None:
    await home(town, identification="10020030/1234567")
    outcome = await take(town, sealer, content)
    assert isinstance(outcome, Refusal)
    assert words in outcome.message
    assert await inbox(town) == []


async def test_a_house_account_is_checked_and_may_be_told_anew(town: Town) -> None:
    first = await home(town)
    assert await home(town, {**CSV_DAY_MAPPING, "delimiter": ","}) == first
    for terms in (
        {"name": ""},
        {"currency": "usd"},
        {"identification": "--"},
        {"csv_mapping": {"booked": ""}},
        {"currency": "EUR"},
    ):
        assert isinstance(
            await act(town, define_house_account, **{"name": "main", "currency": "USD", **terms}), Refusal
        )


def test_the_mapping_has_a_form_to_be_kept_in():
    assert mapping_as_json(CsvMapping("d", "a", remittance=("x",)))["remittance"] == ["x"]


@pytest.mark.postgresql
async def test_two_imports_of_one_file_at_once_take_each_line_once(
    postgresql_workplace: Any, clock: Any, sealer: Sealer
) -> None:
    town = Town(postgresql_workplace, clock)
    await two_customers(town)
    await home(town)
    one = csv_day(
        ("2026-03-02", "30", "INV-000001", "Ann"),
        ("2026-03-03", "30", "INV-000002", "Ben"),
        ("2026-03-03", "9", "?", ""),
    )
    other = csv_day(
        ("2026-03-03", "9", "?", ""), ("2026-03-03", "30", "INV-000002", "Ben"), ("2026-03-04", "5", "?", "")
    )
    outcomes = await asyncio.gather(
        *(take(town, sealer, content) for content in (one, other, one, other, one))
    )
    assert sorted(granted(done).outcome for done in outcomes) == ["exists"] * 3 + ["taken"] * 2
    async with town.workplace.reading() as connection:
        assert len(list(await connection.execute(select(bank_line)))) == 4
        assert len(list(await connection.execute(select(payment)))) == 2
    await town.prove_books()
