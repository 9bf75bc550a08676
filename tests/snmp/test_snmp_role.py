"""The collector's role: each target at its own pace, whatever the others do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from snmp_world import OPERATOR, QUICK, SnmpWorld

from core.clock import FakeClock, SystemClock
from core.ids import SeededIds
from core.secrets import Sealer
from core.work import Workplace
from lab.agent import SnmpAgent
from snmp.config import SnmpSettings
from snmp.role import run_collector
from snmp.set_up import change_target, disable_target, enable_target

LONG_S = 30


@pytest.fixture
async def real(workplace: Workplace, sealer: Sealer) -> AsyncIterator[SnmpWorld]:
    """The world on the machine's own clock, as the role lives in it."""
    world = SnmpWorld(
        Workplace(workplace.database, SystemClock(), SeededIds(7)), sealer, FakeClock(SystemClock().now())
    )
    yield world
    world.close()


@asynccontextmanager
async def _role(world: SnmpWorld, settings: SnmpSettings = QUICK) -> AsyncIterator[None]:
    stop, ready = asyncio.Event(), asyncio.Event()
    role = asyncio.create_task(run_collector(settings, world.workplace, world.sealer, stop, ready))
    await asyncio.wait_for(ready.wait(), LONG_S)
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(role, LONG_S)


async def _until(condition: Callable[[], Awaitable[Any]]) -> None:
    async with asyncio.timeout(LONG_S):
        while not await condition():
            await asyncio.sleep(0.02)


def _polled(agent: SnmpAgent, times: int) -> Callable[[], Awaitable[bool]]:
    """That many requests from now on were answered or not, but asked."""
    start = agent.requests

    async def condition() -> bool:
        return agent.requests >= start + times

    return condition


@pytest.fixture
async def many() -> AsyncIterator[Callable[[str], Awaitable[SnmpAgent]]]:
    agents: list[SnmpAgent] = []

    async def make(name: str) -> SnmpAgent:
        agent = SnmpAgent(name, "witness-community")
        agent.add_interface("ether1")
        await agent.start()
        agents.append(agent)
        return agent

    yield make
    for agent in agents:
        await agent.stop()


Make = Callable[[str], Awaitable[SnmpAgent]]


async def test_targets_are_polled_on_their_interval_and_usage_is_what_the_agent_counted(
    real: SnmpWorld, many: Make
) -> None:
    agent = await many("a")
    target_id = await real.target(agent.port, poll_interval_s=1)
    await real.bind(target_id, "ether1", await real.service())
    async with _role(real):
        await _until(_polled(agent, 3))
        for _ in range(2):
            agent.add_traffic("ether1", 100, 4_000)
            readings = len(await real.readings())

            async def read(seen: int = readings) -> bool:
                return len(await real.readings()) > seen + 1  # one that began after the traffic is among them

            await _until(read)
    assert await real.total() == (200, 8_000)


async def test_a_target_added_while_it_runs_is_noticed_and_one_disabled_is_left_alone(
    real: SnmpWorld, many: Make
) -> None:
    async with _role(real):
        agent = await many("a")
        target_id = await real.target(agent.port, poll_interval_s=3_600)
        await _until(_polled(agent, 1))

        async def answered() -> bool:
            return (await real.row(target_id)).last_answer_at is not None

        await _until(answered)
        moved = await many("b")
        async with real.workplace.work(OPERATOR) as work:
            await change_target(work, target_id, port=moved.port)
        await _until(_polled(moved, 1))
        async with real.workplace.work(OPERATOR) as work:
            await disable_target(work, target_id)
        other = await many("c")
        await real.target(other.port, "other", poll_interval_s=1)
        asked = moved.requests
        await _until(_polled(other, 2))
        assert moved.requests == asked
        async with real.workplace.work(OPERATOR) as work:
            await enable_target(work, target_id)
        await _until(_polled(moved, 1))


async def test_slow_and_dead_targets_never_delay_the_others(real: SnmpWorld, many: Make) -> None:
    living = await many("living")
    dead = [await many(f"dead{number}") for number in range(4)]
    for one in dead:
        one.silent = True
        await real.target(one.port, one.name, poll_interval_s=1)
    await real.target(living.port, "living", poll_interval_s=1)
    settings = QUICK.model_copy(
        update={
            "timeout_s": 2.0, "retries": 0, "concurrent_targets": 2, "concurrent_failing_targets": 1,
            "longest_backoff_s": 1.0,
        }
    )  # fmt: skip
    async with _role(real, settings):
        await _until(_polled(dead[-1], 1))  # all of them were asked once, two at a time
        await asyncio.wait_for(_until(_polled(living, 4)), LONG_S)
        assert sum(one.requests for one in dead) < 4 + 4 * 4, "the dead share one place of their own"


async def test_trouble_of_one_device_ends_neither_the_role_nor_its_polls(
    real: SnmpWorld, many: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from snmp.poll import Collector

    agent, sick = await many("a"), await many("sick")
    poll = Collector.poll

    async def sometimes(self: Collector, target: Any, expected: float | None = None) -> Any:
        if target.name == "sick" and not sick.requests:
            sick.requests += 1
            raise RuntimeError("a bug of ours")
        return await poll(self, target, expected)

    monkeypatch.setattr(Collector, "poll", sometimes)
    await real.target(sick.port, "sick", poll_interval_s=1)
    await real.target(agent.port, "a", poll_interval_s=1)
    async with _role(real):
        await _until(_polled(sick, 3))
        await _until(_polled(agent, 2))


async def test_a_failing_target_is_asked_less_often_and_at_once_when_it_was_changed(
    real: SnmpWorld, many: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    silent = await many("silent")
    silent.silent = True
    target_id = await real.target(silent.port, poll_interval_s=1)

    from snmp.domain import pacing

    def noted(interval: float, failures: int, longest: float) -> float:
        waits.append(pacing.wait_s(interval, failures, longest))
        return 0.0 if len(waits) < 5 else 3_600.0

    monkeypatch.setattr("snmp.role.wait_s", noted)
    settings = QUICK.model_copy(update={"timeout_s": 0.1, "retries": 0, "longest_backoff_s": 6.0})

    async def five() -> bool:
        return len(waits) >= 5

    async with _role(real, settings):
        await _until(five)
        assert waits == [1.0, 2.0, 4.0, 6.0, 6.0]
        assert await real.open_issues() == ["snmp.target_unreachable"]
        silent.silent = False
        async with real.workplace.work(OPERATOR) as work:
            await change_target(work, target_id, poll_interval_s=2)

        async def healed() -> bool:
            return not await real.open_issues()

        await _until(healed)


async def test_a_32_bit_target_is_polled_as_often_as_its_line_demands(
    real: SnmpWorld, many: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[float] = []
    agent = await many("old")
    agent.has_64_bit = False
    target_id = await real.target(agent.port, poll_interval_s=300)
    await real.bind(target_id, "ether1", await real.service(rate_bps=1_000_000_000))

    def noted(interval: float, failures: int, longest: float) -> float:
        chosen.append(interval)
        return 3_600.0

    monkeypatch.setattr("snmp.role.wait_s", noted)

    async def once() -> bool:
        return bool(chosen)

    async with _role(real):
        await _until(once)
    assert 5 <= chosen[0] < 17.2 / 2, "twice the profile's rate turns a counter over in 17 s"


async def test_it_stops_in_the_middle_of_a_silence(real: SnmpWorld, many: Make) -> None:
    agent = await many("silent")
    agent.silent = True
    await real.target(agent.port)
    settings = QUICK.model_copy(update={"timeout_s": 600.0, "poll_deadline_s": 6_000.0})
    async with _role(real, settings):
        await _until(_polled(agent, 1))
