"""Debits by ACH from the draft to what the bank sends back; the same file twice changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import date
from typing import Any

import pytest
from ach_specimens import answer_file
from billing_story import Town
from nacha_inspector import inspect
from sqlalchemy import select, update

from billing.config import BillingSettings
from billing.domain.nacha import read_nacha
from billing.ledger.verify import trial_balance
from billing.payments.ach.define_originator import define_originator
from billing.payments.ach.draft_batch import (
    approve_ach_batch,
    cancel_ach_batch,
    draft_ach_batch,
    remove_ach_entry,
)
from billing.payments.ach.import_returns import import_ach_returns
from billing.payments.ach.keep_bank_account import end_bank_account, keep_bank_account, set_bank_autopay
from billing.payments.ach.make_file import make_ach_file
from billing.payments.ach.settle_debits import settle_debits
from billing.payments.reverse_payment import reverse_payment
from billing.store import ach_rows
from billing.store.in_flight_rows import accounts_with_debit_in_flight
from billing.store.tables import ach_batch, ach_entry, ach_return, autopay, bank_account, charge
from core.refusal import Refusal, granted
from core.secrets import Sealer, Secret
from core.work import Work

BANK = {
    "destination": "091400606", "destination_name": "First Example Bank", "origin": "1234567890",
    "origin_name": "Hilltop Example", "company_name": "Hilltop Example", "company_id": "1234567890", "odfi": "09140060",
}  # fmt: skip
NUMBER = "000123456789"
FEES = BillingSettings(returned_payment_fees={"nsf": {"USD": 2500}})


async def act(town: Town, use_case: Callable[..., Awaitable[Any]], *args: Any, **terms: Any) -> Any:
    """One use case in a transaction that is rolled back when it refuses."""
    outcomes: list[Any] = []

    async def run(work: Work) -> Any:
        outcomes.append(await use_case(work, *args, **terms))
        return granted(outcomes[-1])

    try:
        await town.workplace.carry_out("operator:test", run)
    except Exception:
        if not outcomes or not isinstance(outcomes[-1], Refusal):
            raise
    return outcomes[-1]


async def with_bank(town: Town, sealer: Sealer, account_id: str, **terms: Any) -> str:
    """A bank account of the customer."""
    form = {
        "holder_name": "Ann Example", "account_type": "checking", "routing_number": "091000019",
        "account_number": Secret(NUMBER), "sec_code": "WEB", "authorised_on": date(2026, 1, 2), "mandate": "web form 12",
    }  # fmt: skip
    return granted(await act(town, keep_bank_account, sealer, account_id=account_id, **{**form, **terms}))


async def due(town: Town, sealer: Sealer, *names: str) -> list[str]:
    """Customers with an invoice of 30.00 due on 2026-03-15 and a bank account."""
    town.travel("2026-03-01")
    accounts = [await town.customer(name, "2026-03-01") for name in names]
    for n, one in enumerate(accounts):
        await with_bank(town, sealer, one, account_number=Secret(f"{NUMBER}{n}"))
    await town.bill()
    await act(town, define_originator, name="main", **BANK)
    town.travel("2026-03-12", hour=9)
    return accounts


async def sent(town: Town, sealer: Sealer, **terms: Any) -> tuple[str, bytes]:
    """A batch drafted, approved and made into its file."""
    draft = granted(
        await act(town, draft_ach_batch, originator="main", **{"due_until": date(2026, 3, 31), **terms})
    )
    granted(await act(town, approve_ach_batch, batch_id=draft.batch_id))
    made = granted(await act(town, make_ach_file, sealer, batch_id=draft.batch_id))
    return draft.batch_id, made.content


async def traces(town: Town, batch_id: str) -> dict[str, str]:
    async with town.workplace.reading() as connection:
        return {one.account_id: one.trace_number for one in await ach_rows.entries_of(connection, batch_id)}


async def ledger(town: Town) -> dict[str, int]:
    async with town.workplace.reading() as connection:
        return {name: amount for name, _, amount in await trial_balance(connection)}


async def in_flight(town: Town, *accounts: str) -> set[str]:
    async with town.workplace.reading() as connection:
        return await accounts_with_debit_in_flight(connection, accounts)


async def test_from_draft_to_settled(any_town: Town, sealer: Sealer) -> None:
    town = any_town
    ann, ben = await due(town, sealer, "Ann", "Ben")
    draft = granted(await act(town, draft_ach_batch, originator="main", due_until=date(2026, 3, 15)))
    assert (draft.entries, draft.total_minor, draft.effective_on) == (2, 6000, date(2026, 3, 13))
    assert await in_flight(town, ann, ben) == set()  # a draft is nobody's promise
    early = await act(town, make_ach_file, sealer, batch_id=draft.batch_id)
    assert early.code == "not_approved"
    assert await act(town, approve_ach_batch, batch_id=draft.batch_id) is None
    assert await in_flight(town, ann, ben) == {ann, ben}
    made = granted(await act(town, make_ach_file, sealer, batch_id=draft.batch_id))
    assert inspect(made.content) == []
    again = granted(await act(town, make_ach_file, sealer, batch_id=draft.batch_id))
    assert (again.outcome, again.content, again.sha256) == ("exists", made.content, made.sha256)
    assert (await ledger(town))["in_transit:ach"] == 6000
    assert [one.status for one in await town.invoices()] == ["paid", "paid"]
    assert await in_flight(town, ann, ben) == {ann, ben}
    too_late = await act(town, cancel_ach_batch, batch_id=draft.batch_id, reason="no")
    assert too_late.code == "too_late"
    town.travel("2026-03-17", hour=9)
    assert await settle_debits(town.workplace) == 0
    town.travel("2026-03-18", hour=9)  # Friday the 13th and three banking days
    assert await settle_debits(town.workplace) == 2
    assert await settle_debits(town.workplace) == 0
    books = await ledger(town)
    assert (books["in_transit:ach"], books["cash:ach"]) == (0, 6000)
    assert await in_flight(town, ann, ben) == set()
    await town.prove_books()


async def test_what_the_file_says(town: Town, sealer: Sealer) -> None:
    _, ben, cyd = await due(town, sealer, "Ann", "Ben", "Cyd")
    await with_bank(
        town, sealer, ben, account_number=Secret("777 888"), sec_code="PPD", account_type="savings"
    )
    await with_bank(town, sealer, cyd, account_number=Secret("999888"), sec_code="CCD", prenote=True)
    batch_id, content = await sent(town, sealer)
    assert inspect(content) == []
    file = read_nacha(content)
    assert [batch.sec_code for batch in file.batches] == ["PPD", "CCD", "WEB"]
    ppd, ccd, web = (batch.entries[0] for batch in file.batches)
    assert (ppd.transaction_code, ppd.account_number, ppd.amount_minor) == ("37", "777888", 3000)
    assert (ccd.transaction_code, ccd.amount_minor) == ("28", 0)
    assert (web.transaction_code, web.discretionary, web.name) == ("27", "R", "ANN EXAMPLE")
    assert file.head.created_at.isoformat() == "2026-03-12T11:00:00"  # nine in Denver is eleven in New York
    async with town.workplace.reading() as connection:
        kept = list(await connection.execute(select(ach_batch.c.file_sealed, ach_batch.c.file_modifier)))
        numbers = list(
            await connection.execute(select(bank_account.c.number_sealed, bank_account.c.last_four))
        )
    assert NUMBER not in str(kept) and NUMBER not in str(numbers)
    assert kept[0].file_modifier == "A"
    # Cyd's debit waits for the prenote: three banking days after it settled.
    none = await act(town, draft_ach_batch, originator="main", account_ids=[cyd])
    assert "prenote" in none.message
    town.travel("2026-03-17", hour=9)
    later = granted(await act(town, draft_ach_batch, originator="main", account_ids=[cyd]))
    assert (later.entries, later.effective_on) == (1, date(2026, 3, 18))
    assert batch_id != later.batch_id


async def test_who_is_left_out_and_why(town: Town, sealer: Sealer) -> None:
    ann, ben, cyd, dee = await due(town, sealer, "Ann", "Ben", "Cyd", "Dee")
    async with town.workplace.work("operator:test") as work:
        await work.connection.execute(
            autopay.insert().values(
                account_id=ben,
                enabled=True,
                day_rule="before_due",
                days=1,
                changed_at=work.now,
                changed_by="x",
            )
        )
    [bank] = await banks(town, cyd)
    assert await act(town, end_bank_account, bank_account_id=bank.id, reason="customer asked") is None
    [bank] = await banks(town, dee)
    assert await act(town, set_bank_autopay, bank_account_id=bank.id, on=False) is None
    draft = granted(await act(town, draft_ach_batch, originator="main", due_until=date(2026, 3, 31)))
    assert (draft.entries, dict(draft.left_out)) == (1, {ben: "a gateway collects its invoices"})
    nothing = await act(town, draft_ach_batch, originator="main", due_until=date(2026, 3, 31))
    assert "drafted" in nothing.message
    by_hand = granted(
        await act(town, draft_ach_batch, originator="main", account_ids=[ann, cyd, dee, "acc_0"])
    )
    assert by_hand.entries == 1  # Dee has no autopay, but was asked for
    assert dict(by_hand.left_out) == {
        ann: "a debit is drafted or on its way", cyd: "it has no bank account for debits", "acc_0": "there is no such account"
    }  # fmt: skip


async def banks(town: Town, account_id: str) -> list[Any]:
    async with town.workplace.reading() as connection:
        return await ach_rows.bank_accounts_of(connection, account_id)


async def test_what_is_paid_between_draft_and_file_is_not_debited(town: Town, sealer: Sealer) -> None:
    ann, ben, cyd = await due(town, sealer, "Ann", "Ben", "Cyd")
    draft = granted(await act(town, draft_ach_batch, originator="main", due_until=date(2026, 3, 31)))
    async with town.workplace.reading() as connection:
        entries = {one.account_id: one.id for one in await ach_rows.entries_of(connection, draft.batch_id)}
    assert await act(town, remove_ach_entry, batch_id=draft.batch_id, entry_id=entries[cyd]) is None
    await act(town, approve_ach_batch, batch_id=draft.batch_id)
    late = await act(town, remove_ach_entry, batch_id=draft.batch_id, entry_id=entries[ben])
    assert late.code == "not_draft"
    await town.pay(ann, 3000)
    await town.pay(ben, 1000)
    town.travel("2026-03-14", hour=9)  # Saturday: the day of the draft has passed
    made = granted(await act(town, make_ach_file, sealer, batch_id=draft.batch_id))
    [batch] = read_nacha(made.content).batches
    assert [one.amount_minor for one in batch.entries] == [2000]
    assert batch.effective_on == date(2026, 3, 16)
    assert inspect(made.content) == []
    await town.prove_books()


async def test_returns_reverse_with_fee_and_the_same_file_twice_changes_nothing(
    any_town: Town, sealer: Sealer
) -> None:
    town = any_town
    ann, ben, cyd = await due(town, sealer, "Ann", "Ben", "Cyd")
    batch_id, _ = await sent(town, sealer)
    trace = await traces(town, batch_id)
    town.travel("2026-03-17", hour=9)
    file = answer_file(
        ("R01", trace[ann], "091000010000001", "", 3000), ("R02", trace[ben], "091000010000002", "", 3000),
        ("C01", trace[cyd], "091000010000003", "5550001111", 0), ("R03", "091400609999999", "091000010000004", "", 100),
    )  # fmt: skip
    taken = granted(await act(town, import_ach_returns, sealer, content=file, name="ret.txt", settings=FEES))
    assert (taken.outcome, taken.counts) == ("taken", {"reversed": 2, "corrected": 1, "unknown": 1})
    before = await ledger(town)
    assert (before["in_transit:ach"], before["receivable"]) == (3000, 6000)
    async with town.workplace.reading() as connection:
        [fee] = list(await connection.execute(select(charge)))  # R02 is no want of money
        assert (fee.account_id, fee.quoted_minor) == (ann, 2500)
    assert await banks(town, ben) == []  # closed: no further debit
    [corrected] = await banks(town, cyd)
    assert (corrected.last_four, corrected.autopay) == ("1111", True)
    same = granted(await act(town, import_ach_returns, sealer, content=file, name="again.txt", settings=FEES))
    assert (same.outcome, same.file_id) == ("exists", taken.file_id)
    other = answer_file(  # the same answers in another file, a day later, in another order, and one more
        ("C01", trace[cyd], "091000010000003", "5550001111", 0), ("R02", trace[ben], "091000010000002", "", 3000),
        ("R01", trace[ann], "091000010000001", "", 3000), ("R01", trace[ann], "091000010000009", "", 3000), made="2603200700",
    )  # fmt: skip
    overlap = granted(await act(town, import_ach_returns, sealer, content=other, name="b.txt", settings=FEES))
    assert overlap.counts == {"again": 4}
    assert await ledger(town) == before
    assert [one.last_four for one in await banks(town, cyd)] == ["1111"]
    await town.prove_books()
    assert await in_flight(town, ann, ben, cyd) == {cyd}
    town.travel("2026-03-19", hour=9)
    assert await settle_debits(town.workplace) == 1
    await town.prove_books()


async def test_the_money_was_held_so_its_days_do_not_count(town: Town, sealer: Sealer) -> None:
    [ann] = await due(town, sealer, "Ann")
    batch_id, _ = await sent(town, sealer)
    trace = (await traces(town, batch_id))[ann]
    town.travel("2026-05-01", hour=9)
    await settle_debits(town.workplace)
    file = answer_file(("R10", trace, "091000010000001", "", 3000), made="2604300700")
    taken = granted(await act(town, import_ach_returns, sealer, content=file, name="r", settings=FEES))
    assert taken.counts == {"reversed": 1}
    assert (await ledger(town))["cash:ach"] == 0
    assert await town.stage(ann) == "clear"
    async with town.workplace.reading() as connection:
        assert (await connection.execute(select(ach_return.c.outcome))).scalar_one() == "reversed"
    await town.prove_books()


async def test_an_approved_debit_defers_suspension_until_it_is_given_up(town: Town, sealer: Sealer) -> None:
    ann, ben = await due(town, sealer, "Ann", "Ben")
    town.travel("2026-03-20", hour=9)
    draft = granted(await act(town, draft_ach_batch, originator="main", account_ids=[ann]))
    await act(town, approve_ach_batch, batch_id=draft.batch_id)
    town.travel("2026-04-02", hour=9)  # 18 days late: time to suspend
    await town.dun()
    assert (await town.stage(ann), await town.stage(ben)) == ("clear", "suspended")
    await act(town, cancel_ach_batch, batch_id=draft.batch_id, reason="the bank is closed")
    town.travel("2026-04-03", hour=9)
    await town.dun()
    assert await town.stage(ann) == "suspended"


async def test_a_return_beyond_sixty_days_is_taken_and_marked_late(town: Town, sealer: Sealer) -> None:
    [ann] = await due(town, sealer, "Ann")
    batch_id, _ = await sent(town, sealer)
    trace = (await traces(town, batch_id))[ann]
    town.travel("2026-05-20", hour=9)
    for made, outcome in (("2605180700", "late"),):
        file = answer_file(("R07", trace, "091000010000001", "", 3000), made=made)
        taken = granted(await act(town, import_ach_returns, sealer, content=file, name="r"))
        assert taken.counts == {outcome: 1}
    await town.prove_books()


async def test_what_cannot_be_done_by_itself_is_listed(town: Town, sealer: Sealer) -> None:
    ann, ben, cyd = await due(town, sealer, "Ann", "Ben", "Cyd")
    batch_id, _ = await sent(town, sealer)
    trace = await traces(town, batch_id)
    async with town.workplace.reading() as connection:
        paid = {one.account_id: one.payment_id for one in await ach_rows.entries_of(connection, batch_id)}
    granted(await act(town, reverse_payment, payment_id=paid[ann], reason="the bank called"))
    file = answer_file(
        ("R01", trace[ann], "091000010000001", "", 3000), ("R01", trace[ben], "091000010000002", "", 2999),
        ("C04", trace[cyd], "091000010000003", "ANOTHER NAME", 0), ("R68", trace[cyd], "091000010000004", "", 3000),
    )  # fmt: skip
    taken = granted(await act(town, import_ach_returns, sealer, content=file, name="r"))
    assert taken.counts == {"by_hand": 4}
    await town.prove_books()


async def test_a_prenote_that_comes_back_ends_the_bank_account(town: Town, sealer: Sealer) -> None:
    town.travel("2026-03-01")
    ann = await town.customer("Ann", "2026-03-01")
    await with_bank(town, sealer, ann, prenote=True)
    await act(town, define_originator, name="main", **BANK)
    town.travel("2026-03-12", hour=9)
    batch_id, content = await sent(town, sealer)
    assert inspect(content) == []
    trace = (await traces(town, batch_id))[ann]
    file = answer_file(("R04", trace, "091000010000001", "", 0))
    taken = granted(await act(town, import_ach_returns, sealer, content=file, name="r"))
    assert taken.counts == {"prenote": 1}
    assert await banks(town, ann) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"), (b"hello", "file header"), ("Ü".encode(), "ASCII"),
        (answer_file(("R01", "091400600000001", "091000010000001", "", 5)).replace(b"0000000005", b"0000000006", 1), "total of debits"),
        (b"101 091400606 2313801042603190700A094101" + b" " * 54 + b"\n9000000000001000000000000000000000000000000000000000000" + b" " * 39, "no return"),
    ],
)  # fmt: skip
async def test_a_file_that_is_no_good_changes_nothing(
    town: Town, sealer: Sealer, content: bytes, words: str
) -> None:
    outcome = await act(town, import_ach_returns, sealer, content=content, name="x")
    assert isinstance(outcome, Refusal)
    assert words in outcome.message
    async with town.workplace.reading() as connection:
        assert await ach_rows.list_files(connection, ["ach_return"]) == []


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ({"routing_number": "091000018"}, "routing_number"), ({"account_number": Secret("12")}, "account_number"),
        ({"account_number": Secret("12345678901234567890")}, "account_number"), ({"account_type": "gold"}, "account_type"),
        ({"sec_code": "TEL"}, "sec_code"), ({"mandate": " "}, "mandate"), ({"authorised_on": date(2030, 1, 1)}, "authorised_on"),
        ({"holder_name": "☃"}, "holder_name"), ({"account_id": "acc_0"}, "account_id"),
    ],
)  # fmt: skip
async def test_a_bank_account_is_checked_and_its_number_never_repeated(
    town: Town, sealer: Sealer, terms: dict[str, Any], field: str
) -> None:
    form: dict[str, Any] = {
        "account_id": await town.account("Ann"), "holder_name": "Ann", "account_type": "checking", "routing_number": "091000019",
        "account_number": Secret(NUMBER), "sec_code": "WEB", "authorised_on": date(2026, 1, 2), "mandate": "form",
    }  # fmt: skip
    outcome = await act(town, keep_bank_account, sealer, **{**form, **terms})
    assert isinstance(outcome, Refusal)
    assert outcome.field == field
    assert NUMBER not in outcome.message


async def test_the_same_bank_account_is_kept_once(town: Town, sealer: Sealer) -> None:
    ann = await town.account("Ann")
    first = await with_bank(town, sealer, ann)
    assert await with_bank(town, sealer, ann) == first
    second = await with_bank(town, sealer, ann, account_number=Secret("55556666"))
    assert {one.id: one.autopay for one in await banks(town, ann)} == {first: False, second: True}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"destination": "091400607"}, "destination"), ({"odfi": "0914"}, "odfi"), ({"company_name": "Ü" * 3}, "company_name"),
        ({"company_name": "x" * 17}, "company_name"), ({"origin": "1"}, "origin"), ({"settle_days": 31}, "settle_days"),
        ({"time_zone": "Mars"}, "time_zone"), ({"colour": "red"}, "colour"),
    ],
)  # fmt: skip
async def test_an_originator_is_checked_field_by_field(
    town: Town, change: dict[str, Any], field: str
) -> None:
    outcome = await act(town, define_originator, name="main", **{**BANK, **change})
    assert isinstance(outcome, Refusal)
    assert outcome.field == field


async def test_effective_days_are_banking_days(town: Town, sealer: Sealer) -> None:
    await due(town, sealer, "Ann")
    for day in (date(2026, 3, 12), date(2026, 3, 14), date(2026, 5, 25)):
        outcome = await act(
            town, draft_ach_batch, originator="main", effective_on=day, due_until=date(2026, 3, 31)
        )
        assert outcome.field == "effective_on"
    today = granted(
        await act(town, draft_ach_batch, originator="main", same_day=True, due_until=date(2026, 3, 31))
    )
    assert today.effective_on == date(2026, 3, 12)
    await act(town, approve_ach_batch, batch_id=today.batch_id)
    made = granted(await act(town, make_ach_file, sealer, batch_id=today.batch_id))
    assert read_nacha(made.content).batches[0].descriptive_date == "SD1700"


@pytest.mark.postgresql
async def test_two_imports_of_one_file_at_once_take_it_once(
    postgresql_workplace: Any, clock: Any, sealer: Sealer
) -> None:
    town = Town(postgresql_workplace, clock)
    ann, ben = await due(town, sealer, "Ann", "Ben")
    batch_id, _ = await sent(town, sealer)
    trace = await traces(town, batch_id)
    file = answer_file(
        ("R01", trace[ann], "091000010000001", "", 3000), ("R01", trace[ben], "091000010000002", "", 3000)
    )
    outcomes = await asyncio.gather(
        *(act(town, import_ach_returns, sealer, content=file, name=f"f{n}", settings=FEES) for n in range(4))
    )
    assert sorted(granted(one).outcome for one in outcomes) == ["exists", "exists", "exists", "taken"]
    async with town.workplace.reading() as connection:
        assert len(list(await connection.execute(select(charge)))) == 2
    await town.prove_books()


@pytest.mark.postgresql
async def test_two_people_make_one_file_at_once_and_get_the_same(
    postgresql_workplace: Any, clock: Any, sealer: Sealer
) -> None:
    town = Town(postgresql_workplace, clock)
    await due(town, sealer, "Ann", "Ben")
    draft = granted(await act(town, draft_ach_batch, originator="main", due_until=date(2026, 3, 31)))
    await act(town, approve_ach_batch, batch_id=draft.batch_id)
    made = await asyncio.gather(
        *(act(town, make_ach_file, sealer, batch_id=draft.batch_id) for _ in range(3))
    )
    assert len({granted(one).content for one in made}) == 1
    async with town.workplace.reading() as connection:
        assert (
            len(list(await connection.execute(select(ach_entry).where(ach_entry.c.state == "in_flight"))))
            == 2
        )
    await town.prove_books()


async def test_a_file_that_was_tampered_with_at_rest_is_not_handed_out(town: Town, sealer: Sealer) -> None:
    await due(town, sealer, "Ann")
    batch_id, _ = await sent(town, sealer)
    async with town.workplace.work("operator:test") as work:
        await work.connection.execute(update(ach_batch).values(file_sealed="k1:AAAA"))
    with pytest.raises(Exception, match="sealed"):
        await act(town, make_ach_file, sealer, batch_id=batch_id)
