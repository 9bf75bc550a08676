"""Invoices that wait for a person: the run drafts, a yes issues exactly what was seen, a no holds back."""

from __future__ import annotations

import asyncio
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from billing_story import GB, PowerCut, Town, new_database, utc
from sqlalchemy import select
from test_usage_invoicing import ROLLING, assert_replayed, sell, use

from billing.accounts.define_entity import define_entity
from billing.config import BillingSettings
from billing.invoicing.add_charge import add_charge
from billing.invoicing.approve_drafts import (
    Approved,
    approve_draft,
    approve_drafts,
    draft_again,
    reject_draft,
)
from billing.invoicing.bill_run import RunProgress, bill_run
from billing.invoicing.replay import replay_invoices
from billing.store.tables import account, bucket_movement, draft, invoice, number_series, parked
from billing.store.tables import bill_run as bill_run_table
from billing.subscriptions.change_subscription import end_subscription
from core.clock import FakeClock
from core.ids import SeededIds
from core.refusal import Refusal, granted
from core.store.tables import health_issue
from core.work import Workplace

CAREFUL = BillingSettings(approval=True, block_size=2)


async def drafts(town: Town, *states: str) -> list[Any]:
    query = select(draft).order_by(draft.c.id)
    if states:
        query = query.where(draft.c.state.in_(states))
    async with town.workplace.reading() as connection:
        return list(await connection.execute(query))


async def approve(town: Town, draft_id: str) -> Approved | Refusal:
    return await approve_draft(
        town.workplace, town.meters, draft_id, actor="operator:mara", settings=town.settings
    )


async def approve_all(town: Town, **options: Any) -> Approved:
    options = {"seen_until": town.clock.now(), **options}
    return granted(
        await approve_drafts(
            town.workplace, town.meters, actor="operator:mara", settings=town.settings, **options
        )
    )


async def reject(town: Town, draft_id: str, reason: str) -> Refusal | None:
    async with town.workplace.work("operator:mara") as work:
        return await reject_draft(work, draft_id=draft_id, reason=reason)


async def again(town: Town, draft_id: str | None = None) -> list[str] | Refusal:
    async with town.workplace.work("operator:mara") as work:
        return await draft_again(work, draft_id=draft_id)


async def charge(town: Town, account_id: str, source: str, amount_minor: int = 5_000) -> None:
    async with town.workplace.work("operator:mara") as work:
        granted(
            await add_charge(
                work, account_id=account_id, kind="visit", description="Visit", amount_minor=amount_minor,
                tax_class="internet", revenue="fees", source=source,
            )
        )  # fmt: skip


async def test_drafts_wait_and_become_exactly_what_the_run_would_have_issued(any_town: Town) -> None:
    town = any_town
    town.settings = CAREFUL
    await town.tax()
    people = [await town.customer(f"Person {n}", "2026-03-05") for n in range(5)]
    town.meters.use("svc_1", utc("2026-03-15T12:00"), 150 * GB, 0)
    town.travel("2026-04-01")
    outcome = await town.bill()
    assert (outcome.invoices, outcome.drafts, outcome.parked) == (0, 5, ())
    assert await town.invoices() == []
    assert (await town.bill()).run_id is None  # what waits is passed over
    seen = await drafts(town, "waiting")
    assert [(one.account_id, str(one.cycle_start)) for one in seen] == [
        (one, "2026-03-01") for one in sorted(people)
    ]
    first = await approve_all(town)
    assert first.numbers == tuple(f"INV-{n:06d}" for n in range(1, 6))
    assert [one.total_minor for one in await town.invoices()] == [one.total_minor for one in seen]
    assert {one.bill_run_id for one in await town.invoices()} == {outcome.run_id}
    assert (await approve_all(town)).numbers == ()
    assert granted(await approve(town, seen[0].id)).already == 1
    assert len(await town.invoices()) == 5
    assert (await town.bill()).drafts == 5  # the cycle after it
    assert (await approve_all(town)).numbers == tuple(f"INV-{n:06d}" for n in range(6, 11))
    async with town.workplace.reading() as connection:
        told = await connection.execute(
            select(draft.c.invoice_id, invoice.c.id).join(invoice, invoice.c.id == draft.c.invoice_id)
        )
        assert len(told.all()) == 10
        assert [
            one.invoices
            for one in await connection.execute(
                select(bill_run_table.c.invoices).order_by(bill_run_table.c.started_at)
            )
        ] == [5, 5]
    async with town.workplace.reading() as connection:
        year = date(2026, 1, 1), date(2026, 12, 31)
        replayed = [one async for one in replay_invoices(connection, town.meters, *year, town.settings)]
    assert [one.differences for one in replayed] == [()] * 10
    await town.prove_books()


async def test_facts_that_change_before_the_yes_make_a_new_draft_and_issue_nothing(town: Town) -> None:
    town.settings = CAREFUL
    ann, bob = [await town.customer(name, "2026-03-01") for name in ("Ann", "Bob")]
    await town.bill()
    [of_ann] = [one for one in await drafts(town) if one.account_id == ann]
    await charge(town, ann, "visit:1")
    seen_until = town.clock.now()
    town.clock.advance(town.settings.settling)
    done = await approve_all(town, seen_until=seen_until)
    assert (done.numbers, done.changed) == (("INV-000001",), (ann,))
    assert [one.account_id for one in await town.invoices()] == [bob]
    [waiting] = await drafts(town, "waiting")
    assert (waiting.account_id, waiting.total_minor - of_ann.total_minor) == (ann, 5_000)
    assert (await approve_all(town, seen_until=seen_until)).numbers == ()  # nobody has seen the new one
    refused = await approve(town, of_ann.id)
    assert isinstance(refused, Refusal)
    assert refused.code == "draft_replaced"
    assert granted(await approve(town, waiting.id)).numbers == ("INV-000002",)
    await town.prove_books()


async def test_a_rejected_draft_holds_its_account_back_until_it_is_drafted_again(town: Town) -> None:
    town.settings = CAREFUL
    ann = await town.customer("Ann", "2026-03-01")
    await town.bill()
    [first] = await drafts(town)
    assert isinstance(await reject(town, first.id, " "), Refusal)
    assert await reject(town, first.id, "The visit is missing") is None
    assert await reject(town, first.id, "The visit is missing") is None  # twice changes nothing
    refused = await approve(town, first.id)
    assert isinstance(refused, Refusal)
    assert refused.code == "draft_rejected"
    assert (await approve_all(town)).numbers == ()
    assert (await town.bill()).run_id is None
    town.settings = BillingSettings()  # nobody is asked any more: what was rejected stays so
    assert (await town.bill()).run_id is None
    town.settings = CAREFUL
    await charge(town, ann, "visit:1")
    assert await again(town) == [ann]
    assert (await town.bill()).drafts == 1
    [second] = await drafts(town, "waiting")
    assert second.total_minor == first.total_minor + 5_000
    assert granted(await approve(town, second.id)).numbers == ("INV-000001",)
    assert isinstance(await again(town, second.id), Refusal)
    assert isinstance(await reject(town, second.id, "too late"), Refusal)
    assert isinstance(await approve(town, "dft_none"), Refusal)


async def test_what_waits_is_billed_when_nobody_is_asked_any_more_and_gone_when_nothing_is_owed(
    town: Town,
) -> None:
    town.settings = CAREFUL
    ann = await town.account("Ann")
    sub = await town.subscription(ann, await town.plan(), "2026-03-01")
    await town.customer("Bob", "2026-03-01")
    await town.bill()
    async with town.workplace.work("operator:mara") as work:
        granted(await end_subscription(work, subscription_id=sub, ends_on=date(2026, 3, 1)))
    [of_ann] = [one for one in await drafts(town) if one.account_id == ann]
    assert granted(await approve(town, of_ann.id)).gone == (ann,)
    town.settings = BillingSettings()
    assert (await town.bill()).numbers == ("INV-000001",)
    assert [one.state for one in await drafts(town)] == ["replaced", "replaced"]


@pytest.mark.parametrize("yes", ["one", "all"])
async def test_two_people_who_say_yes_at_once_issue_it_once(any_town: Town, yes: str) -> None:
    town = any_town
    town.settings = CAREFUL
    for n in range(4):
        await town.customer(f"Person {n}", "2026-03-01")
    await town.bill()
    [first, *_] = await drafts(town)
    acts = [approve(town, first.id) if yes == "one" else approve_all(town) for _ in range(3)]
    outcomes = [granted(one) for one in await asyncio.gather(*acts)]
    numbers = sorted(number for one in outcomes for number in one.numbers)
    assert numbers == [f"INV-{n:06d}" for n in range(1, 2 if yes == "one" else 5)]
    await town.prove_books()


async def test_an_approval_that_is_killed_goes_on_and_no_number_is_lost(town: Town) -> None:
    town.settings = CAREFUL
    for n in range(5):
        await town.customer(f"Person {n}", "2026-02-01")
    town.travel("2026-04-01")
    await town.bill()
    await approve_all(town)
    await town.bill()  # usage of the cycle that ended is closed with the draft
    town.meters.crash_after = town.meters.asked + 3
    with pytest.raises(PowerCut):
        await approve_all(town)
    town.meters.crash_after = None
    await town.prove_books()
    await approve_all(town)
    assert [one.number for one in await town.invoices()] == [f"INV-{n:06d}" for n in range(1, 11)]
    assert await drafts(town, "waiting") == []
    await town.prove_books()


# Several legal entities in one run


async def test_each_legal_entity_has_its_own_gapless_series_and_its_own_word_on_approval(town: Town) -> None:
    town.settings = BillingSettings(block_size=3, entity_approval={"south": True})
    async with town.workplace.work("operator:mara") as work:
        for name, prefix in (("north", "N-"), ("south", "S-")):
            granted(
                await define_entity(
                    work, town.settings, entity_id=name, name=name, invoice_prefix=prefix,
                    credit_note_prefix=f"{prefix}C-",
                )
            )  # fmt: skip
    plan = await town.plan()
    for n, entity in enumerate([None, "north", "south"] * 2):
        person = await town.account(f"Person {n}", entity_id=entity)
        await town.subscription(person, plan, "2026-03-01")
    outcome = await town.bill()
    assert sorted(outcome.numbers) == ["INV-000001", "INV-000002", "N-000001", "N-000002"]
    assert {one.entity_id for one in await drafts(town)} == {"south"}
    assert (await approve_all(town, entity_id="")).numbers == ()  # the house's own: none waits
    assert (await approve_all(town, entity_id="south")).numbers == ("S-000001", "S-000002")
    async with town.workplace.reading() as connection:
        series = {row.name: row.next_number for row in await connection.execute(select(number_series))}
    assert {name: series[name] for name in series if name.startswith("invoice")} == {
        "invoice": 3, "invoice:north": 3, "invoice:south": 3,
    }  # fmt: skip
    await town.prove_books()


# Parked accounts, and how far a run is


async def test_parked_accounts_are_remembered_until_one_try_succeeds(town: Town) -> None:
    town.settings = BillingSettings(block_size=3)
    people = [await town.customer(f"Person {n}", "2026-02-05") for n in range(7)]
    await town.bill()
    town.travel("2026-04-01")
    town.meters.broken = {"svc_2", "svc_5"}
    told: list[RunProgress] = []
    first = await town.bill(watch=told.append)
    assert (told[0].accounts, told[0].done) == (7, 0)
    assert (told[-1].done, told[-1].parked, told[-1].invoices) == (5, 2, 5)
    assert sum(one.accounts for one in told) == 7 * len(told)
    town.clock.advance(town.settings.settling)
    await town.bill()
    async with town.workplace.reading() as connection:
        rows = {row.account_id: row for row in await connection.execute(select(parked))}
        runs = (
            await connection.execute(select(bill_run_table).where(bill_run_table.c.id == first.run_id))
        ).one()
    assert set(rows) == {people[1], people[4]}
    assert (runs.accounts, runs.done, runs.invoices) == (7, 5, 5)
    one = rows[people[1]]
    assert (one.tries, one.tried_at - one.since) == (2, town.settings.settling)
    assert "on fire" in one.reason
    town.meters.broken = {"svc_5"}
    tried = await town.bill(only=[people[1]], actor="operator:mara")
    assert (tried.invoices, tried.parked) == (1, ())
    town.meters.broken.clear()
    await town.bill()
    async with town.workplace.reading() as connection:
        assert list(await connection.execute(select(parked))) == []
        issues = (await connection.execute(select(health_issue.c.closed_at))).scalars()
        assert all(issues)


async def test_who_was_parked_and_owes_nothing_any_more_is_let_go(town: Town) -> None:
    ann = await town.account("Ann")
    sub = await town.subscription(ann, await town.plan(), "2026-03-01")
    await town.bill()
    town.travel("2026-04-01")
    town.meters.broken = {"svc_1"}
    assert len((await town.bill()).parked) == 1
    async with town.workplace.work("operator:test") as work:
        granted(await end_subscription(work, subscription_id=sub, ends_on=date(2026, 4, 1)))
        await work.connection.execute(account.update().values(next_cycle_on=None))
    assert (await town.bill()).run_id is None
    async with town.workplace.reading() as connection:
        assert list(await connection.execute(select(parked))) == []


async def test_no_yes_by_a_clock_that_cannot_be_trusted(town: Town) -> None:
    town.settings = CAREFUL
    await town.customer("Ann", "2026-03-01")
    await town.bill()
    [waiting] = await drafts(town)
    town.clock.step_to(utc("2029-03-01T00:00"))
    refused = await approve(town, waiting.id)
    assert isinstance(refused, Refusal)
    assert refused.code == "clock_untrusted"
    assert isinstance(await bill_run(town.workplace, town.meters, settings=town.settings), Refusal)


async def _three_months(folder: Path, settings: BillingSettings) -> list[Any]:
    """A plan whose rest rolls over; drafts are made, made again and approved where that is asked."""
    database = await new_database(folder / f"approval-{settings.approval}.sqlite")
    clock = FakeClock(utc("2026-03-10T12:00"))
    town = Town(Workplace(database, clock, SeededIds()), clock, settings=settings)
    try:
        await sell(town, ROLLING)
        for day, used in (("2026-03-12", 60), ("2026-04-12", 130), ("2026-05-12", 120)):
            use(town, day, used)
        for day in ("2026-03-11", "2026-04-01", "2026-05-01", "2026-06-01"):
            town.travel(day)
            await town.bill()
            for one in await drafts(town, "waiting"):
                granted(await again(town, one.id))
                await town.bill()
            await approve_all(town)
        await assert_replayed(town)
        async with town.workplace.reading() as connection:
            query = select(*bucket_movement.c["kind", "amount", "on_date", "rated_for"])
            moved = list(await connection.execute(query.order_by(bucket_movement.c.seq)))
        return [*((one.number, one.total_minor) for one in await town.invoices()), *map(tuple, moved)]
    finally:
        await database.close()


async def test_a_bucket_moves_once_whatever_was_drafted_before(tmp_path: Path) -> None:
    plain = await _three_months(tmp_path, BillingSettings())
    assert any(kind == "rolled_over" for kind, *_ in plain)
    assert await _three_months(tmp_path, CAREFUL) == plain
