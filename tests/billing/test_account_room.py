"""Who pays for whom, and cycles that turn otherwise from a day on: nothing is billed twice, nothing is left out."""

from __future__ import annotations

import itertools
from datetime import date, timedelta
from typing import Any

import pytest
from billing_story import GB, Town
from sqlalchemy import select
from test_subscription_changes import act

from billing.accounts.change_account import change_account
from billing.accounts.set_payer import set_payer, turn_payers
from billing.invoicing.replay import replay_invoices
from billing.store import account_rows
from billing.store.tables import invoice, invoice_line, subscription
from billing.subscriptions.change_subscription import end_subscription
from core.periods import start_of_day
from core.refusal import Refusal, granted


async def billed_days(town: Town, account_id: str, kind: str) -> list[tuple[date, date, str]]:
    """``(from, until, invoiced account)`` of what an account's subscriptions were charged for, in order."""
    line = invoice_line.c
    query = (
        select(line.period_start, line.period_end, invoice.c.account_id)
        .join(invoice, invoice.c.id == line.invoice_id)
        .join(subscription, subscription.c.id == line.subscription_id)
        .where(subscription.c.account_id == account_id, line.kind == kind)
        .order_by(line.period_start)
    )
    async with town.workplace.reading() as connection:
        return [tuple(row) for row in await connection.execute(query)]


async def prove_no_gap(town: Town, account_id: str, from_on: str, least: date) -> None:
    """Recurring charges and usage follow each other day by day."""
    for kind in ("recurring", "usage"):
        spans = await billed_days(town, account_id, kind)
        assert spans[0][0] == date.fromisoformat(from_on), kind
        for before, after in itertools.pairwise(spans):
            assert before[1] == after[0], (kind, spans)
        if kind == "recurring":
            assert spans[-1][1] > least


async def prove_replay(town: Town) -> None:
    async with town.workplace.reading() as connection:
        spans = date(2026, 1, 1), date(2027, 12, 31)
        async for one in replay_invoices(connection, town.meters, *spans, town.settings):
            assert one.is_same, [difference.cause for difference in one.differences]


async def live_until(town: Town, last: str) -> None:
    """A bill run every few days and on the last."""
    end = date.fromisoformat(last)
    while True:
        outcome = await town.bill()
        assert not outcome.parked, outcome.parked
        day = min(town.clock.now().date() + timedelta(days=6), end)
        if day <= town.clock.now().date():
            town.clock.advance(timedelta(minutes=1))
            return
        town.travel(day)


@pytest.mark.parametrize(
    ("before", "after", "first"),
    [
        ({"anchor_day": 15}, {"anchor_day": 1}, 3000 * 14 // 28),
        ({"anchor_day": 30}, {"anchor_day": 31}, None),
        ({"anchor_day": 1}, {"cycle_unit": "week"}, 3000),
        ({"anchor_day": 1}, {"cycle_unit": "quarter", "anchor_day": 10}, None),
        ({"anchor_day": 31}, {"cycle_unit": "day", "cycle_count": 10}, 3000),
    ],
    ids=["15-to-1", "30-to-31", "weeks", "quarters", "ten-days"],
)
async def test_cycles_turn_otherwise_from_the_first_one_without_invoice(
    town: Town, before: dict[str, Any], after: dict[str, Any], first: int | None
) -> None:
    town.travel("2026-01-12")
    ann = await town.customer("Ann", "2026-01-12", **before)
    town.meters.use("svc_1", start_of_day(date(2026, 2, 20), "America/Denver"), 0, 130 * GB)
    await live_until(town, "2026-02-02")
    changed = granted(await act(town, change_account, account_id=ann, changes={**after, "locale": "de_DE"}))
    assert changed == sorted({*after, "locale"})
    begun = len(await billed_days(town, ann, "recurring"))
    await live_until(town, "2026-05-20")
    await prove_no_gap(town, ann, "2026-01-12", date(2026, 5, 20))
    if first is not None:
        lines = [one for each in await town.invoices(ann) for one in await town.lines(each.number)]
        charged = [one.amount_minor for one in lines if one.kind == "recurring"]
        assert charged[begun] == first
    await prove_replay(town)
    await town.prove_books()


async def test_nothing_billed_yet_turns_as_if_it_had_always_been_so(town: Town) -> None:
    town.travel("2026-03-03")
    ann = await town.customer("Ann", "2026-03-10", anchor_day=1)
    granted(await act(town, change_account, account_id=ann, changes={"anchor_day": 10}))
    await live_until(town, "2026-04-10")
    assert [one.amount_minor for each in await town.invoices() for one in await town.lines(each.number)
            if one.kind == "recurring"] == [3000, 3000]  # fmt: skip


async def test_an_anniversary_is_the_day_of_opening_where_the_account_is(town: Town) -> None:
    town.travel("2026-01-31")
    ann = await town.customer("Ann", "2026-01-31", anchor_day=None)
    await live_until(town, "2026-03-31")
    cycles = [
        (one.cycle_start, one.cycle_end)
        for one in sorted(await town.invoices(ann), key=lambda each: each.number)
    ]
    assert cycles == [
        (date(2026, 1, 31), date(2026, 2, 28)),
        (date(2026, 2, 28), date(2026, 3, 31)),
        (date(2026, 3, 31), date(2026, 4, 30)),
    ]


async def family(town: Town, **child: Any) -> tuple[str, str]:
    """A parent and a child with a line each, since January."""
    town.travel("2026-01-12")
    parent = await town.customer("Parent", "2026-01-12")
    return parent, await town.customer("Child", "2026-01-12", **child)


@pytest.mark.parametrize("child_day", [1, 15, 31])
@pytest.mark.parametrize("joins_on", ["2026-01-12", "2026-02-10", "2026-02-20"])
async def test_a_parent_pays_from_the_first_day_without_invoice_and_until_the_last(
    town: Town, child_day: int, joins_on: str
) -> None:
    parent, child = await family(town, anchor_day=child_day)
    town.meters.use("svc_2", start_of_day(date(2026, 2, 20), "America/Denver"), 0, 130 * GB)
    await live_until(town, joins_on)
    own = len(await town.invoices(child))
    granted(await act(town, set_payer, account_id=child, payer_id=parent))
    await live_until(town, "2026-04-20")
    assert len(await town.invoices(child)) == own, "from then on the parent has the invoices"
    granted(await act(town, set_payer, account_id=child, payer_id=None))
    await live_until(town, "2026-07-02")
    payers = [payer for _, _, payer in await billed_days(town, child, "recurring")]
    assert [who for who, _ in itertools.groupby(payers)] == [child, parent, child][0 if own else 1 :]
    await prove_no_gap(town, child, "2026-01-12", date(2026, 7, 2))
    await prove_no_gap(town, parent, "2026-01-12", date(2026, 7, 2))
    await prove_replay(town)
    await town.prove_books()


async def test_what_is_planned_for_a_day_happens_on_it_once(town: Town) -> None:
    parent, child = await family(town)
    planned = date(2026, 1, 20)
    assert granted(await act(town, set_payer, account_id=child, payer_id=parent, from_on=planned)) == planned
    for day, turned in (("2026-01-19", 0), ("2026-01-20", 1), ("2026-01-21", 0)):
        town.travel(day)
        assert granted(await turn_payers(town.workplace, settings=town.settings)) == turned
    async with town.workplace.reading() as connection:
        account = await account_rows.find_account(connection, child)
        assert account is not None
        assert account.payer_account_id == parent
        [row] = await account_rows.payers_of(connection, child)
    assert (row.from_on, row.payer_id, row.name) == (planned, parent, "Parent")
    granted(await act(town, set_payer, account_id=child, payer_id=None, from_on=date(2026, 3, 1)))
    granted(await act(town, set_payer, account_id=child, payer_id=parent))  # no: it stays
    town.travel("2026-03-02")
    assert granted(await turn_payers(town.workplace, settings=town.settings)) == 0


async def test_dunning_acts_on_the_parent_and_cuts_the_children(any_town: Town) -> None:
    town = any_town
    parent, child = await family(town)
    granted(await act(town, set_payer, account_id=child, payer_id=parent))
    await town.bill()
    town.travel("2026-02-26")
    changes = await town.dun()
    assert [(one.account_id, sorted(one.service_ids)) for one in changes] == [(parent, ["svc_1", "svc_2"])]
    refused = await act(town, set_payer, account_id=await town.account("Late"), payer_id=parent)
    assert refused.code == "account_in_dunning"
    granted(await act(town, set_payer, account_id=child, payer_id=None))
    told = (await town.facts("billing.dunning_stage_changed"))[-1]
    assert (told["account_id"], told["service_ids"], told["to_stage"]) == (child, ["svc_2"], "clear")


async def test_a_service_on_two_ladders_is_held_by_the_harsher(town: Town) -> None:
    """An old debt of the child keeps its own line cut when the parent pays, and the other way round."""
    parent, child = await family(town)
    await town.bill()
    granted(await act(town, set_payer, account_id=child, payer_id=parent))
    town.travel("2026-02-20")  # both have an invoice of January open, and are cut together
    await town.dun()
    [own] = await town.invoices(child)
    await town.pay(parent, sum(one.open_minor for one in await town.invoices(parent)))
    told = (await town.facts("billing.dunning_stage_changed"))[-2:]
    assert sorted((tuple(one["service_ids"]), one["to_stage"]) for one in told) == [
        (("svc_1",), "clear"), (("svc_2",), "suspended"),
    ]  # fmt: skip
    await town.pay(child, own.open_minor)
    told = (await town.facts("billing.dunning_stage_changed"))[-1]
    assert (told["account_id"], told["service_ids"], told["to_stage"]) == (child, ["svc_2"], "clear")


async def test_who_cannot_pay_for_whom_is_refused_by_name(town: Town) -> None:
    parent, child = await family(town)
    euro = await town.account("Euro", currency="EUR")
    granted(await act(town, set_payer, account_id=child, payer_id=parent))
    other = await town.account("Other")
    for account_id, payer_id, day, code in (
        (child, child, None, "pays_itself"), (child, "acc_none", None, "unknown_payer"),
        ("acc_none", parent, None, "unknown_account"), (euro, parent, None, "wrong_currency"),
        (other, child, None, "payer_is_paid_for"), (parent, other, None, "pays_for_others"),
        (child, parent, None, "nothing_changes"), (other, parent, date(2026, 1, 1), "day_in_the_past"),
        (other, None, None, "nothing_changes"),
    ):  # fmt: skip
        refused = await act(town, set_payer, account_id=account_id, payer_id=payer_id, from_on=day)
        assert isinstance(refused, Refusal), code
        assert refused.code == code
    refused = await act(town, change_account, account_id=child, changes={"anchor_day": 5})
    assert refused.code == "follows_payer"


async def test_what_an_account_cannot_become_is_refused_by_field(town: Town) -> None:
    ann, idle = await town.customer("Ann"), await town.account("Idle")
    for field, value in (
        ("name", ""), ("email", "nowhere"), ("country", "Mexico"), ("currency", "EUR"), ("delivery", "pigeon"),
        ("locale", "xx_YY"), ("payment_terms_days", 400), ("invoice_offset_days", -40), ("anchor_day", 32),
        ("cycle_unit", "moon"), ("account_class", ""), ("balance", 3),
    ):  # fmt: skip
        refused = await act(town, change_account, account_id=ann, changes={field: value})
        assert isinstance(refused, Refusal), field
        assert refused.field == field
    assert granted(await act(town, change_account, account_id=idle, changes={"currency": "eur"})) == [
        "currency"
    ]
    assert granted(await act(town, change_account, account_id=idle, changes={"currency": "EUR"})) == []


async def test_an_invoice_that_no_longer_comes_early_leaves_no_usage_behind(town: Town) -> None:
    town.travel("2026-01-12")
    ann = await town.customer("Ann", "2026-01-12")
    granted(await act(town, change_account, account_id=ann, changes={"invoice_offset_days": -5}))
    await live_until(town, "2026-02-27")
    granted(await act(town, change_account, account_id=ann, changes={"invoice_offset_days": 0}))
    await live_until(town, "2026-04-02")
    await prove_no_gap(town, ann, "2026-01-12", date(2026, 4, 2))


async def test_an_ended_childs_last_usage_is_on_its_own_invoice_after_it_left(town: Town) -> None:
    parent, child = await family(town)
    granted(await act(town, set_payer, account_id=child, payer_id=parent))
    await live_until(town, "2026-02-10")
    async with town.workplace.reading() as connection:
        query = select(subscription.c.id).where(subscription.c.account_id == child)
        sub = (await connection.execute(query)).scalar_one()
    granted(await act(town, end_subscription, subscription_id=sub, ends_on=date(2026, 2, 15)))
    granted(await act(town, set_payer, account_id=child, payer_id=None))
    await live_until(town, "2026-03-03")
    spans = await billed_days(town, child, "usage")
    assert [(str(start), str(end), payer) for start, end, payer in spans] == [
        ("2026-01-12", "2026-02-01", parent), ("2026-02-01", "2026-02-15", child),
    ]  # fmt: skip
    await prove_replay(town)
