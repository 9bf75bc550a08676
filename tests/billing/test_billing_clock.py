"""Which word about the clock counts, from the first boot on; and what a doubted clock may do to an account."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from billing_story import Town, utc
from sqlalchemy import select

from billing.clock_doubt import clock_standing, vouch_for_clock
from billing.dunning.evaluate import evaluate_dunning
from billing.dunning.exceptions import record_promise, set_immunity
from billing.invoicing.bill_run import BillRunOutcome, bill_run
from billing.payments.reverse_payment import reverse_payment
from billing.set_up import end_subscription, subscribe
from billing.store.tables import subscription
from core.clock import FakeClock
from core.refusal import Refusal, granted
from core.store.tables import audit

RIGHT = datetime(2026, 6, 10, 12, 0, tzinfo=UTC)
LEAP = timedelta(days=400)


def _start(town: Town, at: datetime, *, synchronised: bool = False) -> None:
    town.clock = FakeClock(at, synchronised=synchronised)
    town.workplace.clock = town.clock


async def _run(town: Town) -> BillRunOutcome | Refusal:
    return await bill_run(town.workplace, town.meters, settings=town.settings)


async def _refused(town: Town) -> bool:
    return isinstance(await _run(town), Refusal)


async def _vouch(town: Town) -> None:
    async with town.workplace.work("operator:test") as work:
        granted(await vouch_for_clock(work, town.settings) or True)


# Before the clock was first found right, what it wrote down proves nothing.

FIRST_BOOTS = {
    "the battery is empty": datetime(2000, 1, 1, 0, 5, tzinfo=UTC),
    "far behind": datetime(2026, 1, 10, tzinfo=UTC),
    "a month ahead": RIGHT + timedelta(days=30),
    "far ahead": datetime(2031, 1, 1, tzinfo=UTC),
}


@pytest.fixture(params=FIRST_BOOTS)
def new_town(any_town: Town, request: pytest.FixtureRequest) -> Town:
    """A town on each database and on a machine whose clock was wrong at its first boot."""
    _start(any_town, FIRST_BOOTS[request.param])
    return any_town


async def test_a_person_is_believed_whatever_a_new_machine_wrote_down_before(new_town: Town) -> None:
    town = new_town
    await town.account("Written by a wrong clock")
    town.clock.step_to(RIGHT)
    refused = await _run(town)
    assert isinstance(refused, Refusal) and "nobody has said yet" in refused.message
    await _vouch(town)
    await town.customer("Ann", "2026-06-01")
    assert (await town.bill()).invoices == 1
    town.travel("2026-07-02")
    assert (await town.bill()).invoices == 1


async def test_a_time_server_is_believed_whatever_a_new_machine_wrote_down_before(new_town: Town) -> None:
    town = new_town
    ann = await town.account()
    _start(town, RIGHT, synchronised=True)
    assert not await _refused(town)
    await town.subscription(ann, await town.plan(), "2026-06-01")
    assert (await town.bill()).invoices == 1
    _start(town, RIGHT + timedelta(days=1))  # the next boot, without a time server
    assert not await _refused(town)


BOOTS = {
    "the battery is empty": datetime(2000, 1, 1, 0, 5, tzinfo=UTC),
    "behind": RIGHT - timedelta(days=20),
    "far ahead": datetime(2031, 1, 1, tzinfo=UTC),
}


@pytest.mark.parametrize("boot", BOOTS)
@pytest.mark.parametrize("billed", [False, True])
async def test_a_later_boot_at_a_false_time_is_doubted_until_it_is_right(
    any_town: Town, boot: str, billed: bool
) -> None:
    town = any_town
    _start(town, RIGHT)
    await _vouch(town)
    if billed:
        await town.customer("Ann", "2026-06-01")
        await town.bill()
    town.clock.step_to(BOOTS[boot])
    await town.account("Written by a wrong clock")
    assert await _refused(town)
    town.clock.step_to(RIGHT + timedelta(hours=1))
    assert not await _refused(town)


async def test_a_time_server_is_not_believed_against_the_books_but_a_person_is(any_town: Town) -> None:
    """As after a month billed ahead of time, or a backup restored long after on another machine."""
    town = any_town
    _start(town, RIGHT, synchronised=True)
    await town.customer("Ann", "2026-06-01")
    await town.bill()
    for wrong, right in ((40, 5), (40, 400)):
        town.clock.step_to(RIGHT + timedelta(days=wrong))
        await _vouch(town)
        await _run(town)
        town.clock.step_to(RIGHT + timedelta(days=right))
        refused = await _run(town)
        assert isinstance(refused, Refusal) and "hilltop clock trust" in refused.message
        await _vouch(town)
        assert not await _refused(town)
        town.clock.advance(timedelta(days=1))
        assert not await _refused(town)
    async with town.workplace.reading() as connection:
        kept = await connection.execute(
            select(audit.c.detail).where(audit.c.action == "billing.clock_trusted").order_by(audit.c.seq)
        )
        assert ["despite" in one for one in kept.scalars()] == [False, False, True, False, True]


async def test_a_machine_kept_by_a_time_server_may_be_set_up_for_long(town: Town) -> None:
    _start(town, RIGHT, synchronised=True)
    assert not await _refused(town)
    town.clock.advance(timedelta(days=200))
    assert not await _refused(town)
    async with town.workplace.reading() as connection:
        standing = await clock_standing(connection, town.clock, town.settings)
    assert standing.good and standing.trust is not None and standing.trust.at == town.clock.now()


# Nothing worsens by a doubted clock, and nothing that it noted outlasts it.


async def _overdue(town: Town) -> str:
    ann = await town.customer("Ann", "2026-03-10")
    await town.bill()  # due on Tuesday 24 March
    town.travel("2026-03-25")
    await town.dun()
    return ann


async def test_an_exception_ended_by_a_doubted_clock_cuts_nobody_off(any_town: Town) -> None:
    town = any_town
    ann = await _overdue(town)
    right = town.clock.now()
    town.clock.step_to(right + LEAP)
    for immune in (True, False):
        async with town.workplace.work("operator:test") as work:
            assert await set_immunity(work, account_id=ann, immune=immune) is None
    for until in (date(2026, 3, 27), None):
        async with town.workplace.work("operator:test") as work:
            assert await record_promise(work, account_id=ann, until=until) is None
    assert await town.stage(ann) == "clear"
    town.clock.step_to(right)
    await town.dun()
    town.travel("2026-03-27")
    [change] = await town.dun()
    assert change.to_stage == "reminded"


async def test_what_a_doubted_clock_held_back_is_taken_up_when_it_is_right(any_town: Town) -> None:
    town = any_town
    ann = await _overdue(town)
    async with town.workplace.work("operator:test") as work:
        await set_immunity(work, account_id=ann, immune=True)
    town.travel("2026-04-08")
    await town.dun()
    town.travel("2026-04-09")
    right = town.clock.now()
    town.clock.step_to(right + LEAP)
    async with town.workplace.work("operator:test") as work:
        await set_immunity(work, account_id=ann, immune=False)
    assert await town.stage(ann) == "clear"
    assert isinstance(await evaluate_dunning(town.workplace), Refusal)
    town.clock.step_to(right)
    [change] = await town.dun()
    assert change.to_stage == "suspended" and "16 days late" in change.because


async def test_immunity_relieves_even_by_a_doubted_clock(town: Town) -> None:
    ann = await _overdue(town)
    town.travel("2026-04-09")
    await town.dun()
    town.clock.step_to(town.clock.now() + LEAP)
    async with town.workplace.work("operator:test") as work:
        change = granted(await set_immunity(work, account_id=ann, immune=True))
    assert change is not None and change.to_stage == "clear"


async def test_no_subscription_begins_or_ends_on_a_day_before_the_software_was_made(town: Town) -> None:
    """It would be billed for decades, or be credited as if it had never run."""
    ann = await town.customer("Ann", "2026-03-10")
    plan = await town.plan(code="more")
    await town.bill()
    town.clock.step_to(datetime(2000, 1, 1, 12, 0, tzinfo=UTC))
    async with town.workplace.work("operator:test") as work:
        begun = await subscribe(work, account_id=ann, service_id="svc_9", plan_version_id=plan)
        running = (await work.connection.execute(select(subscription.c.id))).scalar_one()
        ended = await end_subscription(work, subscription_id=running)
    assert [one.code for one in (begun, ended) if isinstance(one, Refusal)] == ["clock_untrusted"] * 2


@pytest.mark.parametrize("step", [LEAP, -timedelta(days=10)])
async def test_a_payment_is_not_taken_back_on_a_false_day(any_town: Town, step: timedelta) -> None:
    town = any_town
    ann = await _overdue(town)
    paid = await town.pay(ann, 2129)
    town.clock.step_to(town.clock.now() + step)
    async with town.workplace.work("operator:test") as work:
        refused = await reverse_payment(work, payment_id=paid.payment_id, reason="bounced")
    assert isinstance(refused, Refusal) and refused.code == "clock_untrusted"


async def test_the_ladder_does_not_sleep_until_a_day_that_a_false_clock_noted(any_town: Town) -> None:
    """One account paid a little while the clock had leapt, the other was opened before it was set right."""
    town = any_town
    _start(town, datetime(2031, 1, 1, tzinfo=UTC), synchronised=True)
    bob = await town.account("Bob")
    town.clock.step_to(utc("2026-03-10T12:00"))
    await town.subscription(bob, await town.plan(code="bob"), "2026-03-10")
    ann = await _overdue(town)
    town.travel("2026-04-09")
    await town.dun()
    right = town.clock.now()
    town.clock.step_to(right + LEAP)
    await town.pay(ann, 2129)
    town.clock.step_to(right + timedelta(days=1))
    await town.bill()
    await town.dun()
    town.travel("2026-05-26")
    await town.dun()
    town.travel("2026-05-27")
    await town.dun()
    assert [await town.stage(one) for one in (ann, bob)] == ["suspended", "suspended"]
    assert utc(f"{(await town.events(ann))[-1][0]}T00:00") < utc("2026-05-28T00:00")
