"""A small world for collector tests: one target with one service, polled over a clock that the test moves."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import select

from aaa.set_up import NewCredential, create_service, define_profile
from aaa.store.tables import meter, meter_reading, usage_record
from core.clock import FakeClock
from core.refusal import granted
from core.secrets import Sealer, Secret
from core.store.tables import health_issue
from core.work import Workplace
from lab.agent import V3User
from snmp.config import SnmpSettings
from snmp.poll import Collector, PollOutcome
from snmp.set_up import bind, register_target
from snmp.store import target_rows

QUICK = SnmpSettings(timeout_s=1.0, retries=1, pause_s=0, refresh_s=0.05, issue_after_failures=3)
ANNA = V3User("anna", "auth-password", "privacy-password")
COMMUNITY = "witness-community"
OPERATOR = "operator:ann"


class SnmpWorld:
    """One collector, as the role has it. Every poll comes some minutes after the one before."""

    def __init__(
        self, workplace: Workplace, sealer: Sealer, clock: FakeClock, settings: SnmpSettings = QUICK
    ) -> None:
        self.workplace = workplace
        self.sealer = sealer
        self.clock = clock
        self.collector = Collector(workplace, sealer, settings)

    def close(self) -> None:
        self.collector.close()

    async def service(self, label: str = "ann", rate_bps: int = 100_000_000) -> str:
        """A service whose line has that rate both ways."""
        async with self.workplace.work(OPERATOR) as work:
            profile_id = granted(
                await define_profile(work, name=f"p-{label}", rate_down_bps=rate_bps, rate_up_bps=rate_bps)
            )
            return granted(
                await create_service(
                    work, self.sealer, account_id="acc_1", label=label, profile_id=profile_id,
                    credentials=[NewCredential("pppoe", label, Secret("pw"))],
                )
            )  # fmt: skip

    async def target(self, port: int, name: str = "tower", **fields: Any) -> str:
        """A target on loopback, of version 2c unless told otherwise."""
        values: dict[str, Any] = {"address": "127.0.0.1", "community": Secret(COMMUNITY)} | fields
        async with self.workplace.work(OPERATOR) as work:
            return granted(await register_target(work, self.sealer, name=name, port=port, **values))

    async def bind(self, target_id: str, if_name: str, service_id: str, **fields: Any) -> str:
        async with self.workplace.work(OPERATOR) as work:
            return granted(
                await bind(work, target_id=target_id, if_name=if_name, service_id=service_id, **fields)
            )

    async def row(self, target_id: str) -> Any:
        async with self.workplace.reading() as connection:
            return await target_rows.target_row(connection, target_id)

    async def poll(self, target_id: str, after_min: float = 5) -> PollOutcome:
        self.clock.advance(timedelta(minutes=after_min))
        return await self.collector.poll(await self.row(target_id), 300)

    async def usage(self) -> list[tuple[int, int]]:
        """Usage records as (upload, download), in order of time."""
        async with self.workplace.reading() as connection:
            rows = await connection.execute(
                select(usage_record).order_by(usage_record.c.start_at, usage_record.c.id)
            )
            return [(row.octets_in, row.octets_out) for row in rows]

    async def total(self) -> tuple[int, int]:
        cut = await self.usage()
        return sum(one[0] for one in cut), sum(one[1] for one in cut)

    async def readings(self) -> list[Any]:
        async with self.workplace.reading() as connection:
            return list((await connection.execute(select(meter_reading).order_by(meter_reading.c.id))).all())

    async def decisions(self) -> list[str]:
        return [row.decision for row in await self.readings()]

    async def meters(self) -> list[Any]:
        async with self.workplace.reading() as connection:
            return list((await connection.execute(select(meter).order_by(meter.c.key))).all())

    async def open_issues(self) -> list[str]:
        """Kinds of the open health issues."""
        async with self.workplace.reading() as connection:
            rows = await connection.execute(
                select(health_issue.c.key)
                .where(health_issue.c.closed_at.is_(None))
                .order_by(health_issue.c.key)
            )
            return [key.partition(":")[0] for key in rows.scalars()]
