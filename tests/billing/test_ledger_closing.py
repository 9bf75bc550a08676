"""Closing days, locking periods, the chain that proves it, and every kind of tampering found and named."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_world import Books
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from appliance.migrate import upgrade
from billing.config import BillingSettings
from billing.domain.closing import LOCK, REOPEN, ClosingAct, link_hash, open_days, read_period
from billing.domain.ledger import BilledPart, BookedEntry, Booking, entry_digest, payment_entry
from billing.ledger.check_ledger import check_ledger
from billing.ledger.close_day import close_days, close_days_by_itself, last_ended_day
from billing.ledger.lock_period import lock_period, refuse_shut_day, reopen_period
from billing.ledger.verify_chain import chain_faults
from billing.store import ledger_rows
from billing.store.tables import closing_act, ledger_entry
from core.clock import FakeClock
from core.database import Database
from core.ids import SeededIds
from core.periods import Period
from core.refusal import Refusal, granted
from core.work import Workplace

SALE = BilledPart("recurring", 3000)


@pytest.fixture
def books(any_workplace: Workplace, clock: FakeClock) -> Books:
    return Books(any_workplace, clock)


@pytest.fixture
def ours(workplace: Workplace, clock: FakeClock) -> Books:
    return Books(workplace, clock)


async def _acts(books: Books) -> list[tuple[str, date, int]]:
    query = select(closing_act).order_by(closing_act.c.number)
    async with books.workplace.reading() as connection:
        return [(row.kind, row.day, row.entries) for row in await connection.execute(query)]


async def _entries(books: Books) -> list[tuple[date, date | None, int]]:
    query = select(ledger_entry).order_by(ledger_entry.c.id)
    async with books.workplace.reading() as connection:
        rows = await connection.execute(query)
        return [(row.booked_on, row.happened_on, row.supplement) for row in rows]


async def test_days_are_closed_in_order_without_gaps_and_once(books: Books) -> None:
    await books.invoice(SALE, taxes={"US-NM": 229})
    books.go_to("2026-03-13")
    await books.pay(1000)
    assert await books.close("2026-03-09") == []
    closed = await books.close("2026-03-11")
    assert [(one.day, one.entries, one.postings) for one in closed] == [
        (date(2026, 3, 10), 1, 3), (date(2026, 3, 11), 0, 0),
    ]  # fmt: skip
    assert await books.close("2026-03-11") == []
    books.go_to("2026-03-15")
    await books.close("2026-03-13")
    assert await _acts(books) == [
        ("day", date(2026, 3, 10), 1), ("day", date(2026, 3, 11), 0),
        ("day", date(2026, 3, 12), 0), ("day", date(2026, 3, 13), 1),
    ]  # fmt: skip
    async with books.workplace.reading() as connection:
        row = (await connection.execute(select(closing_act).where(closing_act.c.number == 1))).one()
    assert row.sums == {"USD": {"receivable": 3229, "revenue:recurring": -3000, "tax:US-NM": -229}}
    assert await books.faults() == []


async def test_a_day_that_is_not_over_everywhere_is_not_closed(ours: Books) -> None:
    await ours.invoice(SALE)
    assert last_ended_day(ours.clock.now()) == date(2026, 3, 9)  # it is noon of the 10th in UTC
    refused = await ours.try_close("2026-03-10")
    assert isinstance(refused, Refusal)
    assert refused.code == "day_not_over"
    ours.go_to("2025-06-01")  # woken up without a battery
    untrusted = await close_days(ours.workplace, actor="system:billing")
    assert isinstance(untrusted, Refusal)
    assert untrusted.code == "clock_untrusted"


async def test_the_worker_closes_what_is_old_enough_and_only_if_told(ours: Books) -> None:
    await ours.invoice(SALE)
    ours.go_to("2026-03-16")
    await ours.close("2026-03-10")  # the clock is trusted from here on
    assert await close_days_by_itself(ours.workplace, BillingSettings(close_days_by_itself=False)) == 0
    assert await close_days_by_itself(ours.workplace, BillingSettings()) == 2  # 11 and 12: three days old
    assert await close_days_by_itself(ours.workplace, BillingSettings()) == 0


async def test_what_belongs_to_a_closed_day_goes_to_the_first_open_one(books: Books) -> None:
    ann = await books.account()
    await books.invoice(SALE)
    books.go_to("2026-03-14")
    await books.close("2026-03-12")
    await books.book(payment_entry(Booking(ann, date(2026, 3, 11), "USD"), "pay_late", "cash", 500))
    assert await _entries(books) == [
        (date(2026, 3, 10), None, 0), (date(2026, 3, 13), date(2026, 3, 11), 0),
    ]  # fmt: skip
    async with books.workplace.reading() as connection:
        refused = await refuse_shut_day(connection, date(2026, 3, 12), "booked_on")
        assert await refuse_shut_day(connection, date(2026, 3, 13), "booked_on") is None
    assert refused is not None
    assert (refused.code, refused.field) == ("day_closed", "booked_on")
    assert "2026-03-13" in refused.message


async def test_a_locked_period_takes_no_bookings_and_a_reopened_one_gets_supplements(books: Books) -> None:
    ann = await books.account()
    await books.invoice(SALE)
    books.go_to("2026-04-03")
    await books.close("2026-03-20")
    async with books.workplace.work("operator:test") as work:
        assert isinstance(await lock_period(work, period="2026-04"), Refusal)
        granted(await lock_period(work, period="2026-03", reason="reported"))
        again = await lock_period(work, period="2026-Q1")
    assert isinstance(again, Refusal)
    assert again.code == "locked_before"
    await books.book(payment_entry(Booking(ann, date(2026, 3, 25), "USD"), "pay_a", "cash", 500))
    assert (await _entries(books))[-1] == (date(2026, 4, 1), date(2026, 3, 25), 0)
    async with books.workplace.work("operator:owner") as work:
        assert isinstance(await reopen_period(work, period="2026-03", reason=" "), Refusal)
        assert isinstance(await reopen_period(work, period="2026-04", reason="why not"), Refusal)
        granted(await reopen_period(work, period="2026-03", reason="a bill of the tower was forgotten"))
    for number, day in enumerate((10, 25), start=1):
        entry = payment_entry(Booking(ann, date(2026, 3, day), "USD"), f"pay_{number}", "cash", 10)
        await books.book(entry)
    assert (await _entries(books))[-2:] == [(date(2026, 3, 10), None, 1), (date(2026, 3, 25), None, 1)]
    async with books.workplace.work("operator:test") as work:
        granted(await lock_period(work, period="2026-03"))
    kinds = [kind for kind, _, _ in await _acts(books)]
    assert kinds == ["day"] * 22 + ["lock", "reopen", "day", "day", "lock"]
    assert (await _acts(books))[-3:-1] == [("day", date(2026, 3, 10), 1), ("day", date(2026, 3, 25), 1)]
    await books.book(payment_entry(Booking(ann, date(2026, 3, 10), "USD"), "pay_z", "cash", 10))
    assert (await _entries(books))[-1] == (date(2026, 4, 1), date(2026, 3, 10), 0)
    async with books.workplace.reading() as connection:
        assert await chain_faults(connection) == []


# Each tampering is found, and the day and the row are named.

_DAMAGE = [
    ("UPDATE billing_posting SET amount_minor = amount_minor + 5 WHERE entry_id = '{second}'",
     ["entry_unchanged {second}", "day_unchanged 2026-03-11"]),
    ("UPDATE billing_ledger_entry SET description = 'x' WHERE id = '{second}'", ["entry_unchanged {second}"]),
    ("UPDATE billing_ledger_entry SET description = 'x', digest = NULL WHERE id = '{second}'",
     ["day_unchanged 2026-03-11"]),
    ("DELETE FROM billing_posting WHERE entry_id = '{second}'; "
     "DELETE FROM billing_ledger_entry WHERE id = '{second}'",
     ["day_unchanged 2026-03-11", "source_booked"]),
    ("UPDATE billing_ledger_entry SET booked_on = '2026-03-12' WHERE id = '{second}'",
     ["entry_unchanged {second}", "day_unchanged 2026-03-11", "day_unchanged 2026-03-12"]),
    ("UPDATE billing_posting SET seq = -seq WHERE entry_id = '{first}'", ["entry_unchanged {first}"]),
    ("INSERT INTO billing_ledger_entry (id, booked_on, supplement, source_kind, source_id, description, "
     "recorded_at) VALUES ('le_false', '2026-03-10', 0, 'payment', 'pay_false', 'slipped in', 1)",
     ["day_unchanged 2026-03-10"]),
    ("INSERT INTO billing_ledger_entry (id, booked_on, supplement, source_kind, source_id, description, "
     "recorded_at) VALUES ('le_false', '2026-03-10', 1, 'payment', 'pay_false', 'slipped in', 1)",
     ["closed_day_untouched le_false"]),
    ("UPDATE billing_closing_act SET entries = 2 WHERE number = 2", ["day_unchanged 2026-03-11"]),
    ("UPDATE billing_closing_act SET hash = previous_hash WHERE number = 1",
     ["chain_linked act 2", "day_unchanged 2026-03-10"]),
    ("DELETE FROM billing_closing_act WHERE number = 2", ["chain_linked act 2"]),
    ("DELETE FROM billing_closing_act WHERE number = 4", ["chain_linked act 4"]),
    ("UPDATE billing_closing_act SET reason = 'as agreed' WHERE number = 4", ["act_unchanged act 4"]),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "named"), _DAMAGE)
async def test_tampering_is_found_and_named(ours: Books, damage: str, named: list[str]) -> None:
    await ours.invoice(SALE, taxes={"US-NM": 229})
    ours.go_to("2026-03-11")
    await ours.pay(1000)
    ours.go_to("2026-03-12")
    await ours.pay(700)
    ours.go_to("2026-03-15")
    await ours.close("2026-03-12")
    async with ours.workplace.work("operator:owner") as work:
        granted(await lock_period(work, period="2026-03-12"))
        granted(await reopen_period(work, period="2026-03-12", reason="a mistake"))
    assert await ours.faults() == []
    async with ours.workplace.reading() as connection:
        ids = list(
            (await connection.execute(select(ledger_entry.c.id).order_by(ledger_entry.c.id))).scalars()
        )
    names = {"first": ids[0], "second": ids[1]}
    await ours.tamper(*(one.format(**names) for one in damage.split("; ")))
    faults = await ours.faults()
    said = [f"{fault.check} {fault.subject}" for fault in faults]
    for one in named:
        assert any(words.startswith(one.format(**names)) for words in said), (one, faults)
    days = [fault.day for fault in faults if fault.day is not None]
    assert days == sorted(days)
    assert await check_ledger(ours.workplace) > 0


async def test_a_posting_whose_entry_is_gone_is_found(ours: Books) -> None:
    await ours.invoice(SALE)
    path = ours.workplace.database.url.partition("///")[2]
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM billing_ledger_entry")
        connection.execute("UPDATE billing_posting SET ledger_account = 'loot' WHERE seq = 1")
        connection.commit()
    checks = {fault.check for fault in await ours.faults()}
    assert {"posting_has_entry", "source_booked", "account_in_chart", "receivable_is_open"} <= checks


# Laws

_DAYS = st.dates(date(2026, 1, 1), date(2026, 12, 31))
_ACTS = st.lists(
    st.one_of(
        st.tuples(st.just(LOCK), _DAYS, st.none()),
        st.tuples(st.just(REOPEN), _DAYS, _DAYS).filter(lambda one: one[1] <= one[2]),
    ),
    max_size=6,
)


@given(st.none() | _DAYS, _ACTS, _DAYS)
def test_what_is_booked_is_always_booked_on_an_open_day(
    closed: date | None, acts: list[tuple[str, date, date | None]], day: date
) -> None:
    days = open_days(closed, acts)
    booked_on, happened_on = days.place(day)
    assert days.is_open(booked_on)
    assert (happened_on is None) == (booked_on == day)
    assert happened_on in (None, day)
    assert booked_on >= day
    if acts and acts[-1][0] == LOCK:
        assert not days.is_open(acts[-1][1])


_TEXT = st.text(max_size=20)
_ENTRY = st.builds(
    BookedEntry, id=_TEXT, booked_on=_DAYS.map(str), happened_on=st.none() | _DAYS.map(str),
    supplement=st.integers(0, 3), source_kind=_TEXT, source_id=_TEXT, description=_TEXT,
    entity_id=st.none() | _TEXT, recorded_us=st.integers(0, 2**53),
)  # fmt: skip
_SIDES = st.lists(st.tuples(_TEXT, st.none() | _TEXT, _TEXT, st.integers(-(2**60), 2**60)), max_size=4)


@given(_ENTRY, _SIDES, _ENTRY, _SIDES)
def test_two_entries_have_one_digest_only_if_they_are_the_same(
    one: BookedEntry, sides: list[tuple[str, str | None, str, int]],
    other: BookedEntry, others: list[tuple[str, str | None, str, int]],
) -> None:  # fmt: skip
    same = (one, sides) == (other, others)
    assert (entry_digest(one, sides) == entry_digest(other, others)) == same


@given(st.lists(_TEXT.map(lambda words: words.encode().hex()), max_size=4), st.integers(0, 3), _TEXT)
def test_any_single_change_changes_the_link(digests: list[str], place: int, by: str) -> None:
    act = ClosingAct(1, "day", date(2026, 3, 1), None, 0, len(digests), 0, {"USD": {"a": 1}}, None, 5, "me")
    link = link_hash("0" * 64, act, digests)
    assert link == link_hash("0" * 64, act, digests)
    changed = [*digests[:place], "00", *digests[place:]]
    assert link != link_hash("0" * 64, act, changed)
    assert link != link_hash("1" * 64, act, digests)
    other = ClosingAct(
        1, "day", date(2026, 3, 1), None, 0, len(digests), 0, {"USD": {"a": 1}}, None, 5, "me!" + by
    )
    assert link != link_hash("0" * 64, other, digests)


@pytest.mark.parametrize(
    ("words", "start", "end"),
    [
        ("2026", date(2026, 1, 1), date(2027, 1, 1)), ("2026-Q1", date(2026, 1, 1), date(2026, 4, 1)),
        ("2026-q4", date(2026, 10, 1), date(2027, 1, 1)), ("2024-02", date(2024, 2, 1), date(2024, 3, 1)),
        (" 2026-03-31 ", date(2026, 3, 31), date(2026, 4, 1)),
    ],
)  # fmt: skip
def test_periods_are_read(words: str, start: date, end: date) -> None:
    assert read_period(words) == Period(start, end)


@pytest.mark.parametrize("words", ["", "26", "2026-13", "2026-Q5", "2026-3", "March", "2026-02-30", "0000"])
def test_what_is_no_period_is_refused_in_words(words: str) -> None:
    with pytest.raises(ValueError, match="is no period"):
        read_period(words)


# The database's own guard, which migrations put up.


async def test_the_database_itself_refuses_to_change_the_books(
    any_database_url: str, clock: FakeClock
) -> None:
    database = Database(any_database_url)
    try:
        await upgrade(database)
        books = Books(Workplace(database, clock, SeededIds()), clock)
        await books.invoice(SALE)
        books.go_to("2026-03-14")
        await books.close("2026-03-12")
        ann = await books.account()
        await books.book(payment_entry(Booking(ann, date(2026, 3, 10), "USD"), "pay_1", "cash", 500))
        for table in ("billing_ledger_entry", "billing_posting", "billing_closing_act"):
            for act in (
                f"DELETE FROM {table}",
                f"UPDATE {table} SET {'number = number + 9' if 'act' in table else 'id = id' if 'entry' in table else 'seq = seq'}",
            ):
                with pytest.raises(DBAPIError, match="only inserted"):
                    await books.tamper(act)
        with pytest.raises(DBAPIError, match="day is closed"):
            await books.tamper(
                "INSERT INTO billing_ledger_entry (id, booked_on, supplement, source_kind, source_id, "
                "description, recorded_at) VALUES ('le_false', '2026-03-12', 0, 'x', 'y', 'slipped in', 1)"
            )
        assert {fault.check for fault in await books.faults()} <= {"source_booked", "credit_is_unallocated"}
    finally:
        await database.close()


async def test_a_close_waits_for_nobody_who_books(postgresql_workplace: Workplace, clock: FakeClock) -> None:
    """A booking in flight: the close is refused as busy, and the booking is on its day."""
    books = Books(postgresql_workplace, clock)
    ann = await books.account()
    await books.invoice(SALE)
    books.go_to("2026-03-14")
    async with books.workplace.work("operator:slow") as work:
        entry = payment_entry(Booking(ann, date(2026, 3, 11), "USD"), "pay_slow", "cash", 500)
        await ledger_rows.book(work.connection, work.now, work.ids, [entry])
        busy = await books.try_close("2026-03-12")
        assert isinstance(busy, Refusal)
        assert busy.code == "books_busy"
    await books.close("2026-03-12")
    assert (await _entries(books))[-1] == (date(2026, 3, 11), None, 0)
