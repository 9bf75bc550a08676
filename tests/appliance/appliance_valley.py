"""A small provider over all rooms: accounts that are billed, fall late and pay; facts delivered as the worker does."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from sqlalchemy import Row, select

from aaa.domain.effect import Effect
from aaa.entitlements import entitlement_of
from aaa.set_up import NewCredential, define_profile
from aaa.store.tables import hold
from appliance.add_subscriber import add_service
from appliance.reactions import REACTIONS
from appliance.wiring import MeteredUsage
from billing.dunning.evaluate import evaluate_dunning
from billing.invoicing.bill_run import bill_run
from billing.payments.receive_payment import receive_payment
from billing.set_up import define_plan_version, open_account
from billing.store.tables import dunning_state, invoice
from core.clock import FakeClock
from core.outbox import dispatch_due
from core.periods import start_of_day
from core.refusal import Refusal, granted
from core.secrets import Sealer, Secret
from core.work import Workplace
from provisioning.set_up import register_device, register_site
from provisioning.store.tables import enforcement_point, task
from ui.ports import NewService

DENVER = "America/Denver"
SUSPENDED_ON = date(
    2026, 4, 13
)  # the invoice of 10 March is due on the 24th; 15 days later is past a weekend


@dataclass
class Valley:
    workplace: Workplace
    sealer: Sealer
    clock: FakeClock
    device_id: str = ""
    _keys: Any = field(default_factory=lambda: itertools.count(1))

    @classmethod
    async def build(cls, workplace: Workplace, sealer: Sealer, clock: FakeClock) -> Valley:
        valley = cls(workplace, sealer, clock)
        async with workplace.work("operator:ann") as work:
            profile = granted(await define_profile(work, name="home", rate_down_bps=10**7, rate_up_bps=10**6))
            granted(
                await define_plan_version(
                    work, code="home", name="Home", price_minor=3000, currency="USD", allowance_octets=None,
                    overage_tiers=[], service_profile_id=profile,
                )
            )  # fmt: skip
            site_id = granted(await register_site(work, name="Red Hill"))
            valley.device_id = granted(
                await register_device(
                    work, sealer, site_id=site_id, name="rb", driver="routeros", address="192.0.2.1",
                    username="hilltop", password=Secret("opensesame"),
                )
            )  # fmt: skip
        return valley

    async def account(self, name: str = "Ann", **terms: Any) -> str:
        async with self.workplace.work("operator:ann") as work:
            return granted(await open_account(work, name=name, **terms))

    async def service(self, account_id: str, username: str, *, device: bool = True) -> str:
        async with self.workplace.work("operator:ann") as work:
            new = NewService(
                plan="home", label=username, credentials=[NewCredential("pppoe", username, Secret("pw-" + username))],
                device_ids=[self.device_id] if device else [],
            )  # fmt: skip
            return granted(await add_service(work, self.sealer, account_id, new))

    def travel(self, day: date, hour: int = 6) -> None:
        self.clock.advance(start_of_day(day, DENVER) + timedelta(hours=hour) - self.clock.now())

    async def bill(self) -> int:
        outcome = await bill_run(self.workplace, MeteredUsage())
        assert not isinstance(outcome, Refusal)
        assert not outcome.parked, outcome.parked
        return outcome.invoices

    async def dun(self) -> list[Any]:
        changes = await evaluate_dunning(self.workplace)
        assert not isinstance(changes, Refusal)
        return changes

    async def deliver(self) -> None:
        while await dispatch_due(self.workplace, REACTIONS):
            pass

    async def fall_late(self) -> None:
        """Bill on the day, and be suspended for it; the facts lie in the outbox."""
        assert await self.bill()
        self.travel(SUSPENDED_ON)
        assert await self.dun()

    async def pay_all(self, account_id: str) -> None:
        async with self.workplace.work("operator:ann") as work:
            rows = await work.connection.execute(
                select(invoice.c.open_minor).where(invoice.c.account_id == account_id)
            )
            owed = sum(rows.scalars())
            granted(
                await receive_payment(
                    work, account_id=account_id, amount_minor=owed, currency="USD", method="cash",
                    idempotency_key=f"k{next(self._keys)}",
                )
            )  # fmt: skip

    async def effect(self, service_id: str) -> Effect:
        async with self.workplace.reading() as connection:
            found = await entitlement_of(connection, service_id)
            assert found is not None
            return found.effect

    async def stage(self, account_id: str) -> str:
        rows = await self.rows(select(dunning_state.c.stage).where(dunning_state.c.account_id == account_id))
        return str(rows[0].stage)

    async def rows(self, statement: Any) -> Sequence[Row[Any]]:
        async with self.workplace.reading() as connection:
            return (await connection.execute(statement)).all()

    async def holds(self, service_id: str) -> list[tuple[str, str]]:
        rows = await self.rows(
            select(hold.c.holder, hold.c.effect).where(
                hold.c.service_id == service_id, hold.c.lifted_at.is_(None)
            )
        )
        return sorted((row.holder, row.effect) for row in rows)

    async def tasks(self, service_id: str) -> list[tuple[str, str, str]]:
        """Open and proven intents: mechanism, effect, status."""
        rows = await self.rows(
            select(enforcement_point.c.mechanism, task.c.effect, task.c.status)
            .join(task, task.c.point_id == enforcement_point.c.id)
            .where(task.c.service_id == service_id, task.c.status != "superseded")
        )
        return sorted((row.mechanism, row.effect, row.status) for row in rows)
