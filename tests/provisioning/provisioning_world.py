"""A small world for provisioning's tests: one tower, one device, real services with holds, a scripted device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, insert, select

from aaa.define_profile import define_profile
from aaa.domain.effect import Effect
from aaa.place_hold import lift_hold, place_hold
from aaa.set_up import NewCredential, create_service
from aaa.store.tables import session
from core.clock import FakeClock
from core.refusal import granted
from core.secrets import Sealer, Secret
from core.store.tables import fact, health_issue
from core.work import Workplace
from provisioning.request_enforcement import request_enforcement
from provisioning.set_up import add_enforcement_point, register_device, register_site
from provisioning.store.tables import device, enforcement_point, observation, task, transcript


@dataclass
class World:
    """Shorthand for what the tests do again and again."""

    workplace: Workplace
    sealer: Sealer
    clock: FakeClock
    site_id: str = ""
    device_id: str = ""
    profile_id: str = ""

    @classmethod
    async def build(cls, workplace: Workplace, sealer: Sealer, clock: FakeClock) -> World:
        world = cls(workplace, sealer, clock)
        async with workplace.work("operator:ann") as work:
            world.site_id = granted(await register_site(work, name="Red Hill"))
            world.profile_id = granted(
                await define_profile(work, name="home", rate_down_bps=25_000_000, rate_up_bps=5_000_000)
            )
        world.device_id = await world.add_device("rb-red")
        return world

    async def add_device(self, name: str, **fields: Any) -> str:
        given = {
            "site_id": self.site_id, "driver": "routeros", "address": "192.0.2.1", "username": "hilltop",
            "password": Secret("opensesame"), **fields,
        }  # fmt: skip
        async with self.workplace.work("operator:ann") as work:
            return granted(await register_device(work, self.sealer, name=name, **given))

    async def service(self, name: str, address: str | None = None) -> str:
        async with self.workplace.work("operator:ann") as work:
            credential = NewCredential("pppoe", name, Secret("secret-of-" + name))
            return granted(
                await create_service(
                    work, self.sealer, account_id="acc_" + name, label=name, profile_id=self.profile_id,
                    credentials=[credential], framed_ip=address,
                )
            )  # fmt: skip

    async def enforced_service(
        self, name: str, address: str | None = None, device_id: str | None = None
    ) -> str:
        service_id = await self.service(name, address)
        async with self.workplace.work("operator:ann") as work:
            granted(
                await add_enforcement_point(
                    work, service_id=service_id, device_id=device_id or self.device_id
                )
            )
        return service_id

    async def hold(self, service_id: str, effect: Effect = Effect.BLOCK, holder: str = "dunning") -> int:
        async with self.workplace.work("system:billing") as work:
            return granted(
                await place_hold(work, service_id=service_id, holder=holder, effect=effect, reason="overdue")
            )

    async def lift(self, service_id: str, holder: str = "dunning") -> int:
        async with self.workplace.work("system:billing") as work:
            return granted(await lift_hold(work, service_id=service_id, holder=holder))

    async def ask(self, service_id: str, generation: int, effect: str, cause: str = "test") -> list[str]:
        async with self.workplace.work("system:reactions") as work:
            return await request_enforcement(
                work, service_id=service_id, generation=generation, effect=effect, cause=cause
            )

    async def suspend(self, service_id: str) -> int:
        generation = await self.hold(service_id)
        await self.ask(service_id, generation, "block", "dunning stage suspended")
        return generation

    async def restore(self, service_id: str) -> int:
        generation = await self.lift(service_id)
        await self.ask(service_id, generation, "none", "payment received")
        return generation

    async def online(self, service_id: str, address: str, generation: int = 1) -> None:
        """An open accounting session that has the address."""
        now = self.clock.now()
        async with self.workplace.work("system:radius") as work:
            await work.connection.execute(
                insert(session).values(
                    id=work.ids.new("ses"), key=work.ids.new("key"), nas_id="nas_1",
                    acct_session_id=f"81{address}", username="u", service_id=service_id, framed_ip=address,
                    started_at=now, last_event_at=now, last_received_at=now, interim_interval_s=300,
                    generation=generation, octets_in=0, octets_out=0, gigawords_seen=False,
                    close_inferred=False,
                )
            )  # fmt: skip

    async def offline(self, service_id: str) -> None:
        async with self.workplace.work("system:radius") as work:
            await work.connection.execute(
                session.update()
                .where(session.c.service_id == service_id, session.c.stopped_at.is_(None))
                .values(stopped_at=self.clock.now())
            )

    async def rows(self, statement: Any) -> Sequence[Row[Any]]:
        async with self.workplace.reading() as connection:
            return (await connection.execute(statement)).all()

    async def device(self, device_id: str | None = None) -> Row[Any]:
        return (await self.rows(select(device).where(device.c.id == (device_id or self.device_id))))[0]

    async def points(self, service_id: str) -> Sequence[Row[Any]]:
        return await self.rows(
            select(enforcement_point)
            .where(enforcement_point.c.service_id == service_id)
            .order_by(enforcement_point.c.mechanism)
        )

    async def tasks(self, service_id: str, mechanism: str = "device") -> Sequence[Row[Any]]:
        return await self.rows(
            select(task, enforcement_point.c.device_id)
            .join(enforcement_point, enforcement_point.c.id == task.c.point_id)
            .where(
                task.c.service_id == service_id,
                enforcement_point.c.device_id.is_(None)
                if mechanism == "live_session"
                else enforcement_point.c.device_id.is_not(None),
            )
            .order_by(task.c.created_at, task.c.id)
        )

    async def transcripts(self) -> Sequence[Row[Any]]:
        return await self.rows(select(transcript).order_by(transcript.c.started_at, transcript.c.id))

    async def observations(self) -> Sequence[Row[Any]]:
        return await self.rows(select(observation).order_by(observation.c.seq))

    async def open_issues(self) -> dict[str, Row[Any]]:
        rows = await self.rows(select(health_issue).where(health_issue.c.closed_at.is_(None)))
        return {row.key: row for row in rows}

    async def facts(self, kind: str) -> Sequence[Row[Any]]:
        return await self.rows(select(fact).where(fact.c.kind == kind).order_by(fact.c.seq))
