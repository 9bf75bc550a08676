"""No two services ever have one address: over processes that die, accounting that is lost, a database away."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from all_tables import create_tables
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from radius_world import CLASS_KEY, World
from sqlalchemy import select

from aaa.define_pool import define_pool
from aaa.directory import Directory
from aaa.domain.accounting import AccountingEvent, AccountingKind
from aaa.keep_pools import keep_pools
from aaa.reap_sessions import reap_sessions
from aaa.record_accounting import record_accounting
from core.changes import Changes
from core.clock import FakeClock
from core.database import Database, sqlite_url
from core.ids import SeededIds
from core.refusal import granted
from core.secrets import Sealer
from core.store.tables import health_issue
from core.work import Workplace
from radius.accounting.ingest import ingest_once
from radius.accounting.journal import Journal, JournalLimits
from radius.leases.leasing import Leased, Leasing
from radius.leases.turns import LeaseTurns
from radius.serving.place import Place, journal_name

WORKERS = 3
SERVICES = 7
INTERIM = timedelta(minutes=5)


@dataclass
class Worker:
    """One process: what it knows is gone when it dies, its journal is not."""

    index: int
    journal: Journal
    leasing: Leasing
    turns: LeaseTurns
    changes: Changes
    cut_off: bool = False


@dataclass
class OnNas:
    """A session as the NAS has it, which is how it is."""

    address: str
    id: str
    due: datetime
    lost_one: bool = False


@dataclass
class Truth:
    online: dict[str, OnNas] = field(default_factory=dict)
    sessions: int = 0


class Leases(RuleBasedStateMachine):
    """Rules are what happens to a provider; each turn, keep and ingestion is the product's own."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.truth = Truth()
        self.workers: dict[int, Worker] = {}
        self.directory: Directory | None = None

    @initialize(addresses=st.integers(2, 8))
    def begin(self, addresses: int) -> None:
        self.run(self._begin(addresses))

    async def _begin(self, addresses: int) -> None:
        self.clock = FakeClock(datetime(2026, 3, 10, 12, 0, tzinfo=UTC))
        database = Database(sqlite_url(Path(self.folder.name) / "hilltop.sqlite"))
        await create_tables(database)
        self.workplace = Workplace(database, self.clock, SeededIds())
        self.world = World(self.workplace, Sealer({"k1": bytes(range(32))}))
        await self.world.nas()
        await self.world.profile(pool="homes")
        for number in range(SERVICES):
            await self.world.service(f"user{number}")
        async with self.workplace.work("test") as work:
            granted(
                await define_pool(
                    work, name="homes", kind="ipv4", ranges=[f"10.0.0.1-10.0.0.{addresses}"], rest_s=660
                )
            )
        self.directory = await self.world.directory()
        for index in range(WORKERS):
            await self._start(index)

    def run(self, coroutine: Any) -> Any:
        return self.loop.run_until_complete(coroutine)

    async def _start(self, index: int) -> None:
        path = Path(self.folder.name) / journal_name(index)
        limits = JournalLimits(commit_rows=1, commit_s=0.0)
        journal = Journal(path, asyncio.get_running_loop(), limits, lambda trouble: None)
        leasing = Leasing(self.clock)
        changes = Changes(self.workplace.database, self.clock)
        turns = LeaseTurns(leasing, self.workplace, path, Place(index, WORKERS), 72.0, changes=changes)
        turns.begin(journal.id)
        leasing.append = journal.append
        assert self.directory is not None
        leasing.use(self.directory)
        self.workers[index] = Worker(index, journal, leasing, turns, changes)
        await turns.turn(0.0)

    @rule(index=st.integers(0, WORKERS - 1), number=st.integers(0, SERVICES - 1), starts=st.booleans())
    def dial(self, index: int, number: int, starts: bool) -> None:
        if index in self.workers:
            self.run(self._dial(self.workers[index], f"user{number}", starts=starts))

    async def _dial(self, worker: Worker, name: str, *, starts: bool) -> None:
        assert self.directory is not None
        service = self.directory.logins[name.encode()].service
        had = self.truth.online.get(name)
        leased = worker.leasing.lease(service, None, "nas_1")
        if not isinstance(leased, Leased):
            assert had is None or worker.cut_off or not leased, "who is online gets what he has"
            return
        if leased.grants:
            committed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            assert worker.leasing.write(leased.grants, committed.set_result)
            assert await committed
        address = ".".join(str(octet) for octet in leased.attributes[2:6])
        holders = [user for user, one in self.truth.online.items() if one.address == address and user != name]
        assert not holders, f"{address} was given to {name} while {holders} had it"
        self.truth.sessions += 1
        if had is not None:
            await self._report(name, AccountingKind.STOP)
        due = self.clock.now() + INTERIM
        self.truth.online[name] = OnNas(address, f"s{self.truth.sessions}", due)
        if starts:
            await self._report(name, AccountingKind.START)

    async def _report(self, name: str, kind: AccountingKind) -> None:
        one = self.truth.online[name]
        now = self.clock.now()
        event = AccountingEvent(
            nas_id="nas_1", kind=kind, acct_session_id=one.id, username=name, class_token=b"",
            occurred_at=now, received_at=now, framed_ip=one.address,
        )  # fmt: skip
        async with self.workplace.work("test") as work:
            await record_accounting(work, [event], CLASS_KEY)

    @rule(number=st.integers(0, SERVICES - 1), told=st.booleans())
    def hang_up(self, number: int, told: bool) -> None:
        name = f"user{number}"
        if name in self.truth.online:
            if told:
                self.run(self._report(name, AccountingKind.STOP))
            del self.truth.online[name]

    @rule(index=st.integers(0, WORKERS - 1))
    def kill(self, index: int) -> None:
        """kill -9: the lock goes, the stock is forgotten, what is in the journal stays."""
        worker = self.workers.pop(index, None)
        if worker is not None:
            self.run(worker.journal.close())
            worker.turns.drop_lock()

    @rule(index=st.integers(0, WORKERS - 1))
    def restart(self, index: int) -> None:
        if index not in self.workers:
            self.run(self._start(index))

    @rule(index=st.integers(0, WORKERS - 1), away=st.booleans())
    def cut_off(self, index: int, away: bool) -> None:
        if index in self.workers:
            self.workers[index].cut_off = away

    @rule()
    def take_over(self) -> None:
        self.run(self._ingest())

    async def _ingest(self) -> None:
        for index in range(WORKERS):
            path = Path(self.folder.name) / journal_name(index)
            while path.exists() and await ingest_once(path, self.workplace, self.world.sealer):
                pass

    @rule()
    def turn(self) -> None:
        self.run(self._turns())

    async def _turns(self) -> None:
        for worker in self.workers.values():
            if not worker.cut_off:
                await worker.changes.look()
                await worker.turns.turn(0.0)

    @rule(minutes=st.sampled_from([1, 2, 3, 13, 40]), loses=st.booleans(), collects=st.booleans())
    def time_passes(self, minutes: int, loses: bool, collects: bool) -> None:
        self.run(self._pass(minutes, loses=loses, collects=collects))

    async def _pass(self, minutes: int, *, loses: bool, collects: bool) -> None:
        """``loses``: a report of each session comes nowhere, never two after another. ``collects``: the
        journals are taken over."""
        while minutes > 0:
            step = 1 if minutes < 6 or self.truth.online else min(minutes, 10)
            minutes -= step
            self.clock.advance(timedelta(minutes=step))
            await self._hear(loses=loses)
            if collects:
                await self._ingest()
            async with self.workplace.work("test") as work:
                await reap_sessions(work)
                await keep_pools(work)
            await self._turns()

    async def _hear(self, *, loses: bool) -> None:
        for name, one in self.truth.online.items():
            if self.clock.now() >= one.due:
                one.due += INTERIM
                one.lost_one = loses and not one.lost_one
                if not one.lost_one:
                    await self._report(name, AccountingKind.INTERIM)

    @invariant()
    def nobody_shares(self) -> None:
        addresses = [one.address for one in self.truth.online.values()]
        assert len(addresses) == len(set(addresses))

    def teardown(self) -> None:
        for worker in self.workers.values():
            self.run(worker.journal.close())
            worker.turns.drop_lock()
        if self.directory is not None:
            self.run(self._no_conflict())
            self.run(self.workplace.database.close())
        self.loop.close()
        self.folder.cleanup()

    async def _no_conflict(self) -> None:
        async with self.workplace.reading() as connection:
            keys = (await connection.execute(select(health_issue.c.key))).scalars()
            assert not [key for key in keys if key.startswith("aaa.pool_conflict")]


def test_no_two_services_ever_have_one_address() -> None:
    run_state_machine_as_test(
        Leases,
        settings=settings(
            max_examples=10, stateful_step_count=35, deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )  # fmt: skip


@pytest.mark.parametrize("collects", [True, False])
async def test_who_signs_in_again_without_a_start_keeps_his_address(collects: bool) -> None:
    """He was away for long, his address is wanted, and of his new session nothing is heard for minutes.

    ``collects``: whether the journal with what he was given anew is taken over meanwhile.
    """
    one = Leases()
    try:
        await one._begin(6)
        one.loop.close()
        await one._dial(one.workers[0], "user0", starts=True)
        await one._report("user0", AccountingKind.STOP)
        had = one.truth.online.pop("user0")
        await one._ingest()
        await one._pass(10, loses=False, collects=True)
        for number in range(1, 6):
            for worker in one.workers.values():
                if f"user{number}" not in one.truth.online:
                    await one._dial(worker, f"user{number}", starts=True)
                    await one._turns()
        assert len(one.truth.online) == 5, "nothing is left but what user0 had"
        await one._dial(one.workers[0], "user0", starts=False)
        assert one.truth.online["user0"].address == had.address
        if collects:
            await one._ingest()
        await one._pass(4, loses=False, collects=collects)
        for worker in [*one.workers.values()] * 2:  # whoever has something set aside gives it to the other
            await one._dial(worker, "user6", starts=True)
            one.clock.advance(timedelta(seconds=5))
            await one._turns()
        assert "user6" not in one.truth.online
    finally:
        for worker in one.workers.values():
            await worker.journal.close()
            worker.turns.drop_lock()
        await one.workplace.database.close()
        one.folder.cleanup()
