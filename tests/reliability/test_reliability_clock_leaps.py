"""The clock leaps at the worst moment: between a look at it and its use, and while others write down its time."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import select

from aaa.set_up import NewCredential, create_service, define_profile
from appliance.wiring import MeteredUsage
from billing.dunning.evaluate import evaluate_dunning
from billing.invoicing.bill_run import BillRunOutcome, bill_run
from billing.payments.receive_payment import receive_payment
from billing.set_up import define_plan_version, open_account, subscribe
from billing.store.tables import dunning_state, invoice
from core.clock import FakeClock
from core.refusal import Refusal, granted
from core.secrets import Sealer, Secret
from core.work import Workplace
from provisioning.set_up import register_site

LEAP = timedelta(days=3652)


class LeapingClock(FakeClock):
    """Leaps at the ``reads``-th look at it; 0 is never."""

    def __init__(self, start: datetime) -> None:
        super().__init__(start)
        self.reads = 0
        self.leap_at = 0

    def now(self) -> datetime:
        self.reads += 1
        if self.reads == self.leap_at:
            self.step_to(super().now() + LEAP)
        return super().now()


async def _debtor(workplace: Workplace, sealer: Sealer) -> str:
    """An account that is billed from the first of March and pays nothing."""
    async with workplace.work("operator:test") as work:
        profile = granted(
            await define_profile(work, name="home", rate_down_bps=10_000_000, rate_up_bps=1_000_000)
        )
        version = granted(
            await define_plan_version(
                work, code="home", name="Home", price_minor=4900, currency="USD", allowance_octets=None,
                overage_tiers=[], service_profile_id=profile,
            )
        )  # fmt: skip
        account_id = granted(await open_account(work, name="Ann", region="CO"))
        service_id = granted(
            await create_service(
                work, sealer, account_id=account_id, label="ann", profile_id=profile,
                credentials=[NewCredential("pppoe", "ann", Secret("open sesame"))],
            )
        )  # fmt: skip
        granted(
            await subscribe(
                work, account_id=account_id, service_id=service_id, plan_version_id=version,
                starts_on=date(2026, 3, 1),
            )
        )  # fmt: skip
    return account_id


async def _turn(workplace: Workplace) -> list[object]:
    """What the worker does every few minutes."""
    return [await bill_run(workplace, MeteredUsage()), await evaluate_dunning(workplace)]


async def _felt(workplace: Workplace) -> tuple[list[date], list[str]]:
    """What the customer feels: cycles billed, stages."""
    async with workplace.reading() as connection:
        cycles = await connection.execute(select(invoice.c.cycle_start).order_by(invoice.c.cycle_start))
        stages = await connection.execute(select(dunning_state.c.stage))
        return list(cycles.scalars()), list(stages.scalars())


@pytest.fixture
def leaping(workplace: Workplace) -> LeapingClock:
    clock = LeapingClock(datetime(2026, 3, 1, 18, 0, tzinfo=UTC))
    workplace.clock = clock
    return clock


async def test_the_clock_leaps_between_a_look_at_it_and_its_use(
    workplace: Workplace, sealer: Sealer, leaping: LeapingClock
) -> None:
    """At every look in turn. Whatever was begun before the leap may be finished; nothing is done by it."""
    await _debtor(workplace, sealer)
    await _turn(workplace)
    leaping.advance(timedelta(days=17))
    felt = ([date(2026, 3, 1)], ["reminded"])
    await _turn(workplace)
    assert await _felt(workplace) == felt
    right = leaping.now()
    for look in range(1, 40):
        leaping.reads, leaping.leap_at = 0, look
        await _turn(workplace)
        await _turn(workplace)
        looks, leaping.leap_at = leaping.reads, 0
        assert await _felt(workplace) == felt, f"the clock leapt at look {look}"
        leaping.step_to(right)
        assert not any(isinstance(one, Refusal) for one in await _turn(workplace)), "not trusted again"
        if look > looks:
            break
    else:
        raise AssertionError("the turn never came to an end")


async def test_what_others_write_down_at_a_false_time_makes_it_no_truer(
    workplace: Workplace, sealer: Sealer, leaping: LeapingClock
) -> None:
    """An operator's act and a payment carry the false instant: not billed by it, and not stuck after it."""
    account_id = await _debtor(workplace, sealer)
    await _turn(workplace)
    leaping.advance(timedelta(days=17))
    await _turn(workplace)
    before = await _felt(workplace)
    right = leaping.now()
    leaping.step_to(right + LEAP)
    async with workplace.work("operator:test") as work:
        granted(await register_site(work, name="North Ridge"))
        granted(
            await receive_payment(
                work, account_id=account_id, amount_minor=100, currency="USD", method="cash",
                idempotency_key="1",
            )
        )  # fmt: skip
    assert all(isinstance(one, Refusal) for one in await _turn(workplace)), "billed by a clock gone wrong"
    assert await _felt(workplace) == before
    leaping.step_to(right + timedelta(minutes=10))
    assert not any(isinstance(one, Refusal) for one in await _turn(workplace)), "not trusted again"
    leaping.advance(timedelta(days=15))
    outcome, _ = await _turn(workplace)
    assert isinstance(outcome, BillRunOutcome)
    assert (await _felt(workplace))[0] == [date(2026, 3, 1), date(2026, 4, 1)]
