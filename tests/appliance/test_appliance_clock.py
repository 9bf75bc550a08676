"""Small boxes wake up in the past: while the roles run, a clock that steps back bills and suspends nobody."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from appliance_running import Appliance, appliance, until
from sqlalchemy import select

from aaa.store.tables import hold, service, service_profile
from appliance.wiring import open_house
from billing.set_up import define_plan_version, open_account, subscribe
from billing.store.tables import dunning_state, invoice
from core.clock import LabClock
from core.refusal import granted
from core.store.tables import health_issue

pytestmark = pytest.mark.slow
BEGINNING = datetime(2026, 3, 10, 18, 0, tzinfo=UTC)
QUICK = "[worker]\nbilling_s = 0.2\ndunning_s = 0.2\nreaping_s = 0.2\n"


async def sell(one: Appliance) -> None:
    async with open_house(one.settings) as house, house.workplace.work("test") as work:
        profile = (await work.connection.execute(select(service_profile.c.id))).scalar_one()
        fir = (await work.connection.execute(select(service.c.id))).scalar_one()
        plan = granted(
            await define_plan_version(
                work, code="home", name="Home", price_minor=3000, currency="USD", allowance_octets=None,
                overage_tiers=[], service_profile_id=profile,
            )
        )  # fmt: skip
        account = granted(await open_account(work, name="Ann"))
        granted(await subscribe(work, account_id=account, service_id=fir, plan_version_id=plan))


async def books(one: Appliance) -> tuple[list[str], str, int]:
    """Invoice numbers, the stage, and how many holds there ever were."""
    async with open_house(one.settings) as house, house.workplace.reading() as connection:
        numbers = (
            (await connection.execute(select(invoice.c.number).order_by(invoice.c.number))).scalars().all()
        )
        stage = (await connection.execute(select(dunning_state.c.stage))).scalar_one()
        return list(numbers), stage, len((await connection.execute(select(hold.c.id))).all())


async def doubted(one: Appliance) -> bool:
    async with open_house(one.settings) as house, house.workplace.reading() as connection:
        rows = await connection.execute(
            select(health_issue.c.key).where(
                health_issue.c.key == "billing.clock_untrusted", health_issue.c.closed_at.is_(None)
            )
        )
        return rows.first() is not None


async def test_a_clock_that_steps_back_bills_nobody_twice_and_suspends_nobody(tmp_path: Path) -> None:
    clock = LabClock.create(tmp_path / "clock", BEGINNING)
    more = f'[clock]\nsource = "lab:{tmp_path / "clock"}"\n{QUICK}'
    async with appliance(tmp_path, more=more) as one:
        await sell(one)
        await one.start("worker")

        async def has(count: int) -> bool:
            return len((await books(one))[0]) == count

        await until(lambda: has(1), "the first invoice")
        clock.move_to(BEGINNING + timedelta(days=23))  # 2 April: billed again, reminded of the first
        await until(lambda: has(2), "the second invoice")

        async def reminded() -> bool:
            return (await books(one))[1] == "reminded"

        await until(reminded, "the reminder")
        before = await books(one)

        async def trusted() -> bool:
            return not await doubted(one)

        for wrong in (datetime(1970, 1, 1, tzinfo=UTC), BEGINNING - timedelta(days=60), BEGINNING):
            clock.move_to(wrong)
            await until(lambda: doubted(one), f"doubt of {wrong}")
            assert await books(one) == before
            clock.move_to(BEGINNING + timedelta(days=23, minutes=5))
            await until(trusted, "trust again")
            assert await books(one) == before
        clock.move_to(BEGINNING + timedelta(days=23 + 365 * 9))  # and a leap that no provider sleeps through
        await until(lambda: doubted(one), "doubt of the leap")
        assert await books(one) == before
        clock.move_to(BEGINNING + timedelta(days=52))  # 1 May

        async def suspended() -> bool:
            numbers, stage, holds = await books(one)
            return len(numbers) == 3 and stage == "suspended" and holds > 0

        await until(suspended, "the third invoice and what is due by now")
        assert (await books(one))[0] == ["INV-000001", "INV-000002", "INV-000003"]
        assert one.said("role_ended") == []
