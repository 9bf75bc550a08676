"""ACH files: what we write stands a second opinion, what banks write is read, what is damaged is named."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta

import pytest
from ach_specimens import CHANGE, RETURNS, answer_file
from hypothesis import given, settings
from hypothesis import strategies as st
from nacha_inspector import inspect

from billing.domain.ach_returns import Answer, Correction, read_correction, read_returns
from billing.domain.bank_file_fault import BankFileFault
from billing.domain.banking_days import add_banking_days, banking_day_from, is_banking_day
from billing.domain.nacha import (
    TRANSACTION_CODES,
    AchFile,
    Addendum,
    Batch,
    Entry,
    FileHead,
    ascii_text,
    read_nacha,
    routing_number_fault,
    write_nacha,
)

HEAD = FileHead(
    "091400606",
    "FIRST EXAMPLE BANK",
    "1234567890",
    "HILLTOP EXAMPLE",
    datetime.fromisoformat("2026-03-18T09:05"),
    "A",
)


def routing(eight: str) -> str:
    """The nine digits that begin with ``eight``."""
    return next(eight + last for last in "0123456789" if routing_number_fault(eight + last) is None)


entries_strategy = st.lists(
    st.tuples(
        st.sampled_from(sorted(TRANSACTION_CODES.values())),
        st.integers(10_000_00, 329_999_99).map(lambda one: routing(f"{one:08d}")),
        st.text("0123456789ABC-", min_size=1, max_size=17),
        st.integers(1, 99_999_999),
        st.text("ABCDEFGH .", max_size=21).map(lambda one: "X" + one.rstrip()),
        st.booleans(),
    ),
    min_size=1, max_size=12,
)  # fmt: skip


@settings(max_examples=30)
@given(batches=st.lists(entries_strategy, min_size=1, max_size=4), sec=st.sampled_from(["PPD", "CCD", "WEB"]))
def test_what_is_written_stands_a_second_opinion_and_is_read_back_as_it_was(batches, sec):
    count = 0
    made = []
    for number, rows in enumerate(batches, start=1):
        entries = []
        for code, bank, account, cents, name, more in rows:
            count += 1
            entries.append(
                Entry(
                    code, bank, account, 0 if code[1] in "38" else cents, f"A-{count}", name,
                    f"09140060{count:07d}", "R" if sec == "WEB" else "",
                    (Addendum("05", "INVOICE".ljust(80)),) if more else (),
                )
            )  # fmt: skip
        made.append(
            Batch("HILLTOP EXAMPLE", "1234567890", sec, "INTERNET", date(2026, 3, 20), "09140060", number,
                  tuple(entries), "MAR 20")
        )  # fmt: skip
    file = AchFile(HEAD, tuple(made))
    octets = write_nacha(file)
    assert inspect(octets) == []
    assert read_nacha(octets) == file
    assert write_nacha(read_nacha(octets)) == octets
    without_ends = octets.replace(b"\r\n", b"")
    assert read_nacha(without_ends) == file
    assert read_nacha(octets.replace(b"\r\n", b"\n")) == file


def test_the_inspector_itself_finds_faults():
    entry = Entry("27", "091400606", "1", 100, "A-1", "X", "091400600000001")
    good = write_nacha(
        AchFile(HEAD, (Batch("H", "1234567890", "PPD", "NET", date(2026, 3, 20), "09140060", 1, (entry,)),))
    )
    assert inspect(good) == []
    assert inspect(good.replace(b"0000000100", b"0000000101", 1))
    assert inspect(good.replace(b"091400606", b"091400607"))
    assert inspect(good[:-96])


def test_returns_that_a_bank_wrote_are_read():
    first, second = read_returns(read_nacha(RETURNS.encode()))
    assert (first.code, first.answer, first.original_trace, first.return_trace, first.amount_minor) == (
        "R01", Answer.RETURNED, "091400600000001", "091000017611242", 12354,
    )  # fmt: skip
    assert first.sent_on == date(2018, 10, 17)
    assert (second.code, second.line, second.information) == ("R03", 7, "NO SUCH ACCOUNT HERE")


@pytest.mark.parametrize(
    ("code", "told", "asked"),
    [
        ("C01", "1918171614", Correction(account_number="1918171614")),
        ("C02", "091400606", Correction(routing_number="091400606")),
        ("C03", "091400606   77881", Correction("091400606", "77881")),
        ("C05", "37", Correction(account_type="savings")),
        ("C06", f"{'5566':<17}   27", Correction(account_number="5566", account_type="checking")),
        ("C07", f"091400606{'5566':<17}37", Correction("091400606", "5566", "savings")),
    ],
)
def test_notifications_of_change_say_what_to_change(code, told, asked):
    text = CHANGE.replace("C01", code).format(corrected=told)
    [back] = read_returns(read_nacha(text.encode()))
    assert (back.answer, back.original_trace, back.return_trace) == (
        Answer.CHANGE, "121042880000001", "091012980000088",
    )  # fmt: skip
    assert read_correction(back.code, back.corrected) == asked


@pytest.mark.parametrize(
    ("code", "told", "because"),
    [
        ("C02", "091400607", "check digit"),
        ("C01", "", "empty"),
        ("C05", "99", "transaction code"),
        ("C04", "X", "by hand"),
    ],
)
def test_a_correction_that_cannot_be_made_says_why(code, told, because):
    assert because in read_correction(code, told)


def test_dishonoured_returns_are_told_apart():
    [back] = read_returns(read_nacha(answer_file(("R61", "091400600000001", "091000010000001", "", 100))))
    assert back.answer is Answer.OTHER


@pytest.mark.parametrize(
    ("change", "line", "field"),
    [
        (lambda t: t.replace("0000012354A", "0000012355A"), 5, "total of debits"),
        (lambda t: t.replace("6091400606123", "6091400616123"), 5, "entry hash"),
        (lambda t: t.replace("9000002", "9000003"), 10, "batch count"),
        (lambda t: t.replace("\n799R01", "\n699R01"), 3, "addenda indicator"),
        (lambda t: t.replace("S 1091000017611242", "S 0091000017611242"), 3, "addenda indicator"),
        (lambda t: t.replace("1810170306", "1813170306"), 1, "file creation date"),
        (lambda t: t.replace("094101", "095101"), 1, "record size"),
        (lambda t: "\n".join(t.splitlines()[:-1]), 10, "record type"),
        (lambda t: t.replace("EXAMPLE ONE", "EXÄMPLE ONE"), 3, "encoding"),
        (lambda t: t.replace("EXAMPLE ONE", "EXAMPLE ONE" + " " * 30), 3, "record"),
        (lambda t: t + "surprise\n", 11, "record"),
        (lambda t: "", 0, "file"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_refused_with_line_and_field(change, line, field):
    with pytest.raises(BankFileFault) as caught:
        read_nacha(change(RETURNS).encode())
    assert (caught.value.field, caught.value.line) == (field, line)


@given(octets=st.binary(max_size=400), at=st.integers(0, 900), new=st.binary(min_size=1, max_size=1))
def test_no_octets_break_the_reader(octets, at, new):
    damaged = RETURNS.encode()[:at] + new + RETURNS.encode()[at + 1 :]
    for content in (octets, damaged):
        try:
            read_nacha(content)
        except BankFileFault as fault:
            assert fault.message


@pytest.mark.parametrize("number", ["021000021", "011401533", "091000019", "091400606"])
def test_routing_numbers_of_public_record_pass(number):
    assert routing_number_fault(number) is None
    assert "check digit" in routing_number_fault(number[:-1] + str((int(number[-1]) + 1) % 10))


def test_what_does_not_fit_a_field_is_refused_at_writing():
    entry = Entry("27", "091400606", "1", 100, "A-1", "X" * 23, "091400600000001")
    batch = Batch("H", "1234567890", "PPD", "NET", date(2026, 3, 20), "09140060", 1, (entry,))
    with pytest.raises(ValueError, match="22 columns"):
        write_nacha(AchFile(HEAD, (batch,)))
    with pytest.raises(ValueError, match="10 digits"):
        write_nacha(
            AchFile(HEAD, (replace(batch, entries=(replace(entry, name="X", amount_minor=10**10),)),))
        )


def test_names_become_what_ach_can_say():
    assert ascii_text("Zoë Ünal-Łuk", 22) == "ZOE UNAL-UK"
    assert ascii_text("line\nbreak", 22) == "LINE BREAK"


# Federal Reserve Board, K.8: Holidays Observed by the Federal Reserve System 2026-2030 (updated 2025-12-31).
CLOSED = {
    2026: ["01-01", "01-19", "02-16", "05-25", "06-19", "09-07", "10-12", "11-11", "11-26", "12-25"],
    2027: ["01-01", "01-18", "02-15", "05-31", "07-05", "09-06", "10-11", "11-11", "11-25"],
    2028: ["01-17", "02-21", "05-29", "06-19", "07-04", "09-04", "10-09", "11-23", "12-25"],
    2029: ["01-01", "01-15", "02-19", "05-28", "06-19", "07-04", "09-03", "10-08", "11-12", "11-22", "12-25"],
    2030: ["01-01", "01-21", "02-18", "05-27", "06-19", "07-04", "09-02", "10-14", "11-11", "11-28", "12-25"],
}  # fmt: skip


@pytest.mark.parametrize("year", sorted(CLOSED))
def test_banking_days_are_those_of_the_federal_reserves_own_list(year):
    days = [
        date(year, 1, 1) + timedelta(days=n) for n in range((date(year + 1, 1, 1) - date(year, 1, 1)).days)
    ]
    closed = [f"{day:%m-%d}" for day in days if day.weekday() < 5 and not is_banking_day(day)]
    assert closed == CLOSED[year]


def test_counting_banking_days():
    assert banking_day_from(date(2026, 7, 3)) == date(2026, 7, 3)  # the fourth is a Saturday: nothing moves
    assert banking_day_from(date(2027, 7, 4)) == date(2027, 7, 6)  # a Sunday: Monday is kept
    assert add_banking_days(date(2026, 11, 25), 1) == date(2026, 11, 27)
    assert add_banking_days(date(2026, 11, 28), 0) == date(2026, 11, 30)
