"""Deferred revenue: earned by actual days, recognised once, right again after whatever came late."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

import pytest
from billing_story import Town
from hypothesis import given
from hypothesis import strategies as st
from ledger_world import Books
from sqlalchemy import event, select

from billing.domain.ledger import (
    BilledPart,
    Booking,
    Entry,
    allocation_entry,
    credit_note_entry,
    invoice_entry,
    payment_entry,
    recovery_entry,
    reversal_entry,
    write_off_entry,
)
from billing.domain.recognition import (
    DeferredLines,
    RevenueKey,
    earned_by_key,
    earned_through,
    recognition_schedule,
)
from billing.ledger.close_day import close_days
from billing.ledger.recognise import (
    book_reckoned,
    lines_behind,
    reckon,
    recognise_through,
    recognitions,
    schedule,
)
from billing.ledger.verify import trial_balance
from billing.set_up import end_subscription
from billing.store.tables import ledger_entry
from core.clock import FakeClock
from core.periods import Period
from core.refusal import Refusal, granted
from core.work import Workplace

MARCH = Period(date(2026, 3, 1), date(2026, 4, 1))
CYCLE = Period(date(2026, 3, 10), date(2026, 4, 10))


@pytest.fixture
def books(any_workplace: Workplace, clock: FakeClock) -> Books:
    return Books(any_workplace, clock)


@pytest.fixture
def ours(workplace: Workplace, clock: FakeClock) -> Books:
    return Books(workplace, clock)


async def _recognise(books: Books, through: str) -> list[tuple[str, int]]:
    async with books.workplace.work("operator:test") as work:
        entries = granted(await recognise_through(work, date.fromisoformat(through)))
    return [(entry.currency, entry.postings[0].amount_minor) for entry in entries]


async def _balance(books: Books, name: str) -> int:
    async with books.workplace.reading() as connection:
        return sum(amount for account, _, amount in await trial_balance(connection) if account == name)


@pytest.mark.parametrize(
    ("day", "earned"),
    [
        ("2026-02-28", 0), ("2026-03-01", 100), ("2026-03-02", 200), ("2026-03-30", 3000),
        ("2026-03-31", 3100), ("2026-04-01", 3100), ("2027-01-01", 3100),
    ],
)  # fmt: skip
def test_each_day_of_the_service_period_earns_its_share(day: str, earned: int) -> None:
    assert earned_through(3100, MARCH, date.fromisoformat(day)) == earned
    assert earned_through(-3100, MARCH, date.fromisoformat(day)) == -earned


@given(st.integers(-(10**12), 10**12), st.dates(date(2020, 1, 1), date(2030, 1, 1)), st.integers(0, 800))
def test_the_days_sum_to_the_whole_and_never_turn_back(amount: int, start: date, days: int) -> None:
    period = Period(start, start + timedelta(days=days))
    curve = [earned_through(amount, period, start + timedelta(days=day)) for day in range(-1, days + 1)]
    assert curve[-1] == amount
    assert curve[0] == 0
    steps = [after - before for before, after in pairwise(curve)]
    assert all(step * amount >= 0 for step in steps)


_LINES = st.lists(
    st.builds(
        DeferredLines,
        revenue=st.sampled_from(["recurring", "rental"]), currency=st.sampled_from(["USD", "JPY"]),
        entity_id=st.none() | st.just("ent_1"), booked_on=st.dates(date(2026, 1, 1), date(2026, 3, 1)),
        period=st.builds(
            lambda start, days: Period(start, start + timedelta(days=days)),
            st.dates(date(2025, 12, 1), date(2026, 6, 1)), st.integers(1, 400),
        ),
        amount_minor=st.integers(-100_000, 100_000), count=st.integers(1, 50),
    ),
    max_size=8,
)  # fmt: skip


@given(_LINES, st.dates(date(2026, 3, 1), date(2026, 8, 1)))
def test_the_schedule_and_what_was_recognised_sum_to_what_was_billed(
    lines: list[DeferredLines], after: date
) -> None:
    recognised = earned_by_key(lines, after)
    totals = dict(recognised)
    for month in recognition_schedule(lines, recognised, after):
        key = RevenueKey(month.revenue, month.currency, month.entity_id)
        totals[key] = totals.get(key, 0) + month.amount_minor
    billed: dict[RevenueKey, int] = {}
    for one in lines:
        key = RevenueKey(one.revenue, one.currency, one.entity_id)
        billed[key] = billed.get(key, 0) + one.amount_minor * one.count
    assert {key: total for key, total in totals.items() if total} == {k: v for k, v in billed.items() if v}


async def test_recognition_is_the_difference_to_what_was_recognised(books: Books) -> None:
    await books.invoice(BilledPart("recurring", 3100, CYCLE, deferred=True), BilledPart("usage", 500))
    await books.invoice(BilledPart("recurring", 3100, CYCLE, deferred=True), name="Bob")
    await books.invoice(BilledPart("rental", 310, CYCLE, deferred=True), name="Bob")
    assert await _balance(books, "deferred:recurring") == -6200
    books.go_to("2026-03-20")
    assert await _recognise(books, "2026-03-14") == [("USD", 1000), ("USD", 50)]
    assert await _recognise(books, "2026-03-14") == []
    assert await _recognise(books, "2026-03-19") == [("USD", 1000), ("USD", 50)]
    async with books.workplace.work("operator:test") as work:
        backwards = await recognise_through(work, date(2026, 3, 18))
    assert isinstance(backwards, Refusal)
    assert backwards.code == "recognised_further"
    assert (await _balance(books, "deferred:recurring"), await _balance(books, "revenue:recurring")) == (
        -4200,
        -2000,
    )
    assert await books.faults() == []
    books.go_to("2026-05-01")
    assert await _recognise(books, "2026-04-30") == [("USD", 4200), ("USD", 210)]
    assert await _balance(books, "deferred:recurring") == 0
    assert await books.faults() == []


async def test_what_comes_late_comes_right_by_itself(books: Books) -> None:
    """A credit for days already earned, an invoice for a period long over, another of a recognised day."""
    await books.invoice(BilledPart("recurring", 3100, CYCLE, deferred=True))
    books.go_to("2026-03-25")
    await _recognise(books, "2026-03-24")  # 15 of 31 days
    rest = Period(date(2026, 3, 20), CYCLE.end)
    ended = BilledPart("recurring", -2100, rest, deferred=True)  # it ended on the 20th
    await books.invoice(ended, BilledPart("usage", 2100))
    past = Period(date(2026, 1, 1), date(2026, 2, 1))
    await books.invoice(BilledPart("recurring", 900, past, deferred=True), name="Bob")
    assert await books.faults() == []
    assert await _recognise(books, "2026-03-25") == [("USD", 100 - 600 + 900)]
    books.clock.advance(timedelta(seconds=1))
    await books.invoice(BilledPart("recurring", 310, CYCLE, deferred=True), name="Bob", on=date(2026, 3, 22))
    assert await books.faults() == []
    assert await _recognise(books, "2026-03-25") == [("USD", 160)]  # the same day, another source
    assert await books.faults() == []
    books.go_to("2026-04-20")
    await _recognise(books, "2026-04-15")
    assert await _balance(books, "deferred:recurring") == 0
    assert await _balance(books, "revenue:recurring") == -(3100 - 2100 + 900 + 310)
    assert await books.faults() == []


async def test_every_recognition_is_the_sum_of_the_lines_behind_it(ours: Books) -> None:
    for number in range(5):
        ours.go_to(date(2026, 3, 10 + 2 * number))
        for amount in (3100, -700 + number):
            period = Period(date(2026, 3, 5 + number), CYCLE.end)
            line = BilledPart("recurring", amount, period, deferred=True)
            await ours.invoice(line, BilledPart("usage", 5000), on=date(2026, 3, 9 + number))
            ours.clock.advance(timedelta(seconds=1))
            await _recognise(ours, f"2026-03-{9 + 2 * number:02}")
            ours.clock.advance(timedelta(seconds=1))
    async with ours.workplace.reading() as connection:
        found = await recognitions(connection)
        assert len(found) == 10
        for one in found:
            behind = granted(await lines_behind(connection, one.entry_id))
            assert sum(line.earned_minor for line in behind.lines) == one.amount_minor
            assert not behind.more


async def test_two_who_recognise_at_once_book_it_once(books: Books) -> None:
    await books.invoice(BilledPart("recurring", 3100, CYCLE, deferred=True))
    books.go_to("2026-03-20")
    async with books.workplace.reading() as connection:
        reckoned = granted(await reckon(connection, date(2026, 3, 14), books.clock.now()))
    assert await _recognise(books, "2026-03-15") == [("USD", 600)]
    async with books.workplace.work("operator:test") as work:
        second = await book_reckoned(work, reckoned)
    assert isinstance(second, Refusal)
    assert second.code == "recognised_meanwhile"
    assert await books.faults() == []


async def test_a_real_months_invoices_are_earned_day_by_day(town: Town) -> None:
    """Through the bill run: a price in advance, usage, tax; an end in mid month is given back and earned back."""
    await town.tax()
    ann = await town.account("Ann")
    subscription = await town.subscription(ann, await town.plan(), "2026-03-01")
    await town.customer("Bob", "2026-03-05")
    await town.bill()
    town.travel("2026-03-20")
    granted(
        await close_days(town.workplace, through=date(2026, 3, 18), settings=town.settings, trust_clock=True)
    )
    await town.prove_books()
    async with town.workplace.work("operator:test") as work:
        granted(await end_subscription(work, subscription_id=subscription, ends_on=date(2026, 3, 21)))
    for day in ("2026-04-02", "2026-05-04"):
        town.travel(day)
        await town.bill()
        await town.prove_books()
    granted(
        await close_days(town.workplace, through=date(2026, 5, 1), settings=town.settings, trust_clock=True)
    )
    await town.prove_books()
    async with town.workplace.reading() as connection:
        kinds = {name.partition(":")[0] for name, _, amount in await trial_balance(connection) if amount}
        found = await recognitions(connection)
        for one in found:
            behind = granted(await lines_behind(connection, one.entry_id))
            assert sum(line.earned_minor for line in behind.lines) == one.amount_minor
    assert len(found) > 40
    assert {"receivable", "deferred", "revenue", "tax"} <= kinds


async def test_each_day_is_recognised_before_it_is_closed(books: Books) -> None:
    await books.invoice(BilledPart("recurring", 3100, CYCLE, deferred=True))
    books.go_to("2026-03-14")
    await books.close("2026-03-12")
    async with books.workplace.reading() as connection:
        rows = (await connection.execute(select(ledger_entry).order_by(ledger_entry.c.id))).all()
    assert [(row.source_kind, row.booked_on.day) for row in rows] == [
        ("invoice", 10), ("recognition", 10), ("recognition", 11), ("recognition", 12),
    ]  # fmt: skip
    assert await _balance(books, "revenue:recurring") == -300
    assert await books.faults() == []


async def test_entities_and_currencies_are_recognised_apart_and_drilled_down(ours: Books) -> None:
    await ours.invoice(BilledPart("recurring", 3100, CYCLE, deferred=True), entity_id="ent_1")
    await ours.invoice(BilledPart("recurring", 6200, CYCLE, deferred=True), words="Home 100")
    await ours.invoice(BilledPart("recurring", 31, CYCLE, deferred=True), name="Yen", currency="JPY")
    await ours.invoice(BilledPart("recurring", 31_000, CYCLE, deferred=True), name="Din", currency="KWD")
    ours.go_to("2026-03-20")
    assert await _recognise(ours, "2026-03-12") == [("JPY", 3), ("KWD", 3000), ("USD", 600), ("USD", 300)]
    await _recognise(ours, "2026-03-14")
    async with ours.workplace.reading() as connection:
        found = await recognitions(connection)
        house = next(one for one in found if one.key == RevenueKey("recurring", "USD"))
        behind = granted(await lines_behind(connection, house.entry_id))
        months = await schedule(connection, date(2026, 3, 20))
        assert isinstance(await lines_behind(connection, "le_none"), Refusal)
    (line,) = behind.lines
    assert (line.description, line.amount_minor, line.earned_minor) == ("Home 100", 6200, 400)
    assert (behind.after, behind.recognition.through) == (date(2026, 3, 12), date(2026, 3, 14))
    ours_usd = [
        (one.month.month, one.amount_minor)
        for one in months
        if (one.currency, one.entity_id) == ("USD", None)
    ]
    assert ours_usd == [(3, 3400), (4, 1800)]


async def test_recognition_reads_groups_and_not_lines(ours: Books) -> None:
    for number in range(30):
        await ours.invoice(BilledPart("recurring", 3100, CYCLE, deferred=True), name=f"No {number}")
    ours.go_to("2026-03-20")
    fetched: list[str] = []
    engine = ours.workplace.database._writer.sync_engine
    event.listen(engine, "before_cursor_execute", lambda *given: fetched.append(given[2]))
    assert await _recognise(ours, "2026-03-14") == [("USD", 30 * 500)]
    assert len(fetched) < 20
    assert all("GROUP BY" in sql for sql in fetched if "FROM billing_invoice_line" in sql)


# Entries


def _sides(entry: Entry) -> dict[str, int]:
    return {one.ledger_account: one.amount_minor for one in entry.postings}


BOOKING = Booking("acc_1", date(2026, 3, 10), "USD", "ent_1")


def test_an_invoice_defers_what_is_billed_in_advance_and_keeps_deposits_apart() -> None:
    parts = [
        BilledPart("recurring", 3000, CYCLE, deferred=True), BilledPart("recurring", 200, CYCLE, deferred=True),
        BilledPart("usage", 450), BilledPart("fees", 500), BilledPart("deposit", 5000),
        BilledPart("setup", 100, None, deferred=True),
    ]  # fmt: skip
    entry = invoice_entry(BOOKING, "inv_1", "INV-1", parts, {"US-NM": 250, "US": 0})
    assert _sides(entry) == {
        "receivable": 9500, "deferred:recurring": -3200, "revenue:usage": -450, "revenue:fees": -500,
        "deposits": -5000, "revenue:setup": -100, "tax:US-NM": -250,
    }  # fmt: skip
    assert entry.entity_id == "ent_1"
    assert {one.account_id for one in entry.postings if one.ledger_account in ("receivable", "deposits")} == {
        "acc_1"
    }


def test_a_credit_note_turns_everything_round() -> None:
    parts = [BilledPart("recurring", 3000, CYCLE, deferred=True), BilledPart("usage", 450)]
    back = [BilledPart(one.revenue, -one.amount_minor, one.period, one.deferred) for one in parts]
    there = invoice_entry(BOOKING, "inv_1", "INV-1", parts, {"US-NM": 250})
    undone = credit_note_entry(BOOKING, "inv_2", "CN-1", back, {"US-NM": -250})
    assert {name: -amount for name, amount in _sides(there).items()} == _sides(undone)


def test_what_is_written_off_is_a_loss_and_what_is_paid_after_all_is_owed_again() -> None:
    gone = write_off_entry(BOOKING, "wo_1", "INV-1", 3250, {"US-NM": 250})
    assert _sides(gone) == {"bad_debt": 3000, "tax:US-NM": 250, "receivable": -3250}
    assert _sides(recovery_entry(BOOKING, "rc_1", "INV-1", 1000)) == {
        "receivable": 1000, "bad_debt_recovered": -1000,
    }  # fmt: skip


_AMOUNT = st.integers(-(10**9), 10**9)
_PARTS = st.lists(
    st.builds(
        BilledPart,
        st.sampled_from(["recurring", "usage", "deposit", "fees"]),
        _AMOUNT,
        st.none() | st.just(CYCLE),
        st.booleans(),
    ),
    max_size=5,
)
_TAXES = st.dictionaries(st.sampled_from(["US", "US-NM", "CA-ON"]), _AMOUNT)
_ENTRIES = st.lists(
    st.one_of(
        st.builds(lambda parts, taxes: invoice_entry(BOOKING, "i", "1", parts, taxes), _PARTS, _TAXES),
        st.builds(lambda parts, taxes: credit_note_entry(BOOKING, "i", "1", parts, taxes), _PARTS, _TAXES),
        st.builds(lambda amount, taxes: write_off_entry(BOOKING, "w", "1", amount, taxes), _AMOUNT, _TAXES),
        st.builds(lambda amount: recovery_entry(BOOKING, "r", "1", amount), _AMOUNT),
        st.builds(lambda amount: payment_entry(BOOKING, "p", "cash", amount), _AMOUNT),
        st.builds(lambda amount: allocation_entry(BOOKING, "a", amount), _AMOUNT),
        st.builds(lambda amount: reversal_entry(BOOKING, "p", "cash", amount, "why"), _AMOUNT),
    )
)


@given(_ENTRIES)
def test_any_sequence_of_bookings_balances(entries: list[Entry]) -> None:
    assert sum(one.amount_minor for entry in entries for one in entry.postings) == 0
    assert all(one.amount_minor != 0 for entry in entries for one in entry.postings)
