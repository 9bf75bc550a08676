"""The field: subscribers with services, NASes of the lab that tell their counters, and the comparison of both."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from reliability_box import Box, until
from sqlalchemy import func, select

from aaa.set_up import NewCredential, create_service, define_profile, register_nas
from aaa.store.tables import meter_reading, session, usage_record
from core.clock import Clock
from core.refusal import granted
from core.secrets import Secret
from lab.nas import LabNas, LabSession

NAS_SECRET = "a-secret-of-the-towers"
PASSWORD = "open sesame"


@dataclass(eq=False)
class Field:
    """NASes and the sessions they had. ``told`` are the counters of each report, by session."""

    box: Box
    nases: list[LabNas]
    services: dict[str, str]  # user name -> service id
    chance: random.Random
    sessions: list[LabSession] = field(default_factory=list)
    told: dict[LabSession, list[tuple[int, int]]] = field(default_factory=dict)
    dials: int = 0

    async def dial(self, username: str, nas: LabNas) -> LabSession:
        """Sign in, however often it takes; an answer that is a reject fails the test."""
        number = list(self.services).index(username)
        while True:
            self.dials += 1
            outcome = await nas.dial(
                username, PASSWORD, "pap" if number % 2 else "chap", mac=f"02:00:00:00:00:{number:02x}"
            )
            if isinstance(outcome, LabSession):
                self.sessions.append(outcome)
                self.told[outcome] = [(0, 0)]
                return outcome
            assert not outcome.answered, f"{username} was rejected: {outcome.message}"

    async def report(self, one: LabSession) -> bool:
        """Octets pass, and an interim update tells of them."""
        self._pass(one)
        return await one.interim()

    async def hang_up(self, one: LabSession) -> bool:
        """Octets pass, and the Stop tells of them."""
        self._pass(one)
        return await one.stop()

    def _pass(self, one: LabSession) -> None:
        one.transfer(down=self.chance.randrange(1, 3_000_000_000), up=self.chance.randrange(1, 400_000_000))
        self.told[one].append((one.octets_in, one.octets_out))

    async def resend(self) -> None:
        """Each NAS tells again what nobody has acknowledged."""
        await asyncio.gather(*(nas.resend() for nas in self.nases))

    async def resend_all(self, patience_s: float = 60.0) -> None:
        """Until nothing is left unacknowledged."""

        async def nothing_left() -> bool:
            await self.resend()
            return not any(nas.unacknowledged for nas in self.nases)

        await until("every report acknowledged", nothing_left, patience_s)

    async def settled(self, patience_s: float = 60.0, journals: Path | None = None) -> None:
        """Until the database has every report; then compare it with what the NASes counted.

        ``journals`` is where the journals are seen from here, when they lie in another namespace.
        """
        folder = journals or self.box.journal.parent

        async def everything_came() -> bool:
            return not await self.differences()

        try:
            await until("the database has every report", everything_came, patience_s)
        except AssertionError:
            found = await self.differences()
            raise AssertionError(
                f"{len(found)} differences, such as {found[:5]}; {self.box.log('collector')[-1500:]}"
            ) from None
        for set_aside in folder.glob("*.set-aside.jsonl"):
            raise AssertionError(f"records were set aside: {set_aside.read_text()[:2000]}")

        async def nothing_stands() -> bool:
            return not [key for key in await self.box.open_issues() if key.startswith(("radius.", "aaa."))]

        await until("no issue of RADIUS or metering", nothing_stands, patience_s)

    async def differences(self) -> list[str]:
        """Sessions, readings and usage that are not what the NASes counted, to the octet."""
        return [
            *await self._sessions_that_differ(),
            *await self._reports_that_differ(),
            *await self._usage_that_differs(),
        ]

    async def _sessions_that_differ(self) -> list[str]:
        known = Counter(
            (row.acct_session_id, row.username, row.octets_in, row.octets_out, row.stopped_at is None)
            for row in await self.box.rows(select(session))
        )
        wanted = Counter(
            (one.session_id, one.username, one.octets_in, one.octets_out, one.live) for one in self.sessions
        )
        return [
            *(f"session missing: {one}" for one in wanted - known),
            *(f"session too much: {one}" for one in known - wanted),
        ]

    async def _reports_that_differ(self) -> list[str]:
        """Every report is a reading, and exactly one."""
        query = select(
            session.c.username, session.c.acct_session_id, meter_reading.c.raw_in, meter_reading.c.raw_out
        ).join(meter_reading, meter_reading.c.meter_id == session.c.meter_id)
        known = Counter(
            (row.username, row.acct_session_id, row.raw_in, row.raw_out) for row in await self.box.rows(query)
        )
        wanted = Counter(
            (one.username, one.session_id, counters[0], counters[1])
            for one in self.sessions
            for counters in self.told[one]
        )
        return [
            *(f"report missing: {one}" for one in wanted - known),
            *(f"report too much: {one}" for one in known - wanted),
        ]

    async def _usage_that_differs(self) -> list[str]:
        query = select(
            usage_record.c.service_id,
            func.sum(usage_record.c.octets_in).label("up"),
            func.sum(usage_record.c.octets_out).label("down"),
        ).group_by(usage_record.c.service_id)  # fmt: skip
        known = {row.service_id: (int(row.up), int(row.down)) for row in await self.box.rows(query)}
        wanted: dict[str, tuple[int, int]] = {}
        for one in self.sessions:
            before = wanted.get(self.services[one.username], (0, 0))
            wanted[self.services[one.username]] = (before[0] + one.octets_in, before[1] + one.octets_out)
        return [
            f"usage of {service}: {known.get(service)} instead of {octets}"
            for service, octets in wanted.items()
            if known.get(service, (0, 0)) != octets
        ]


async def _people(box: Box, usernames: Sequence[str]) -> dict[str, str]:
    services = {}
    async with box.house.workplace.work("operator:test") as work:
        profile = granted(
            await define_profile(work, name="home", rate_down_bps=900_000_000, rate_up_bps=100_000_000)
        )
        for name in usernames:
            services[name] = granted(
                await create_service(
                    work, box.house.sealer, account_id=f"acc_{name}", label=name, profile_id=profile,
                    credentials=[NewCredential("pppoe", name, Secret(PASSWORD))],
                )
            )  # fmt: skip
    return services


@asynccontextmanager
async def open_field(
    box: Box, people: int, towers: int, seed: int, *, clock: Clock | None = None, timeout_s: float = 0.2
) -> AsyncIterator[Field]:
    """``people`` subscribers behind ``towers`` NASes, each on a loopback address of its own."""
    nases = []
    for number in range(towers):
        address = f"127.0.0.{number + 2}"
        nas = LabNas(
            f"tower-{number}", address, box.servers, NAS_SECRET, clock=clock, coa_port=0, tries=2,
            timeout_s=timeout_s, pool=f"100.64.{number}.0/24",
        )  # fmt: skip
        await nas.start()
        nases.append(nas)
        async with box.house.workplace.work("operator:test") as work:
            granted(
                await register_nas(
                    work, box.house.sealer, name=nas.name, network=address, secret=Secret(NAS_SECRET),
                    dynauth_port=nas.coa_port,
                )
            )  # fmt: skip
    services = await _people(box, [f"user{number:03d}" for number in range(people)])
    try:
        yield Field(box, nases, services, random.Random(seed))
    finally:
        for nas in nases:
            await nas.stop()
