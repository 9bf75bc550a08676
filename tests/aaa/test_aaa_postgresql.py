"""The same metering on PostgreSQL, and what only several writers at once can get wrong."""

from __future__ import annotations

import asyncio

import pytest
from aaa_world import (
    CLASS_KEY,
    Dialled,
    minute,
    nas_on,
    one_by_one,
    records,
    report,
    sessions,
    subscribe,
    total,
)
from sqlalchemy import text

from aaa.close_usage import close_usage, evidence_of, usage_between, verify_close
from aaa.cross_check import check_directions, cross_check
from aaa.domain.effect import Effect
from aaa.domain.metering import CounterSample
from aaa.entitlements import entitlement_of
from aaa.place_hold import lift_hold, place_hold
from aaa.reap_sessions import reap_sessions
from aaa.record_accounting import record_accounting
from aaa.record_sample import record_sample
from core.clock import FakeClock
from core.refusal import granted
from core.secrets import Sealer
from core.work import Workplace

pytestmark = pytest.mark.postgresql
ANN = Dialled()


@pytest.fixture
def workplace(postgresql_workplace: Workplace) -> Workplace:
    return postgresql_workplace


@pytest.fixture
async def ann(workplace: Workplace, sealer: Sealer, clock: FakeClock) -> str:
    clock.step_to(minute(600))
    return await subscribe(workplace, sealer)


async def test_sessions_late_reports_closes_and_evidence(workplace: Workplace, ann: str) -> None:
    await one_by_one(workplace, [ANN.start(), ANN.interim(55, (10, 100)), ANN.interim(65, (21, 203))])
    await report(workplace, ANN.interim(30, (4, 40)), ANN.interim(55, (10, 100)), ANN.stop(70, None))
    async with workplace.work("system:billing") as work:
        closed = await close_usage(work, service_id=ann, from_at=minute(0), until_at=minute(60), claim="c")
    await report(workplace, ANN.interim(59, (20, 200)))
    assert (closed.octets_in, closed.octets_out) == (15, 151)
    assert (await records(workplace))[-2:] == [(60, 60, 5, 49), (60, 65, 1, 3)]
    async with workplace.reading() as connection:
        assert await verify_close(connection, closed.close_id)
        assert len(await evidence_of(connection, closed.close_id)) == closed.records
        assert await usage_between(connection, ann, minute(0), minute(90)) == (21, 203)
    assert await total(workplace) == (21, 203)


async def test_reboots_reaping_and_reused_ids(workplace: Workplace, clock: FakeClock, ann: str) -> None:
    again = Dialled(began=20)
    await report(workplace, ANN.start(), ANN.interim(5, (100, 200)), again.start(), nas_on(30))
    assert [one.close_cause for one in await sessions(workplace)] == ["nas_reboot", "nas_reboot"]
    await report(workplace, Dialled(acct_session_id="x", began=40).start())
    clock.step_to(minute(90))
    async with workplace.work("system:reaper") as work:
        assert await reap_sessions(work) == 1


async def test_texts_with_nul_and_counters_beyond_64_bits_do_not_poison_a_batch(
    workplace: Workplace, ann: str
) -> None:
    nasty = Dialled(username="a\0b\udcff", acct_session_id="x" * 300, mac="m" * 100)
    await report(workplace, nasty.start(), ANN.start(), ANN.interim(5, ((1 << 64) - 1, 5)))
    await report(workplace, ANN.interim(10, (7, 8)))
    assert await total(workplace) == (7, 8)


async def test_samples_and_checks(workplace: Workplace, ann: str) -> None:
    for at, out in ((0, 0), (5, 900), (5, 900)):
        async with workplace.work("system:collector") as work:
            sample = CounterSample(0, out, 64, minute(at), 36_000_000 + at * 6_000)
            await record_sample(work, service_id=ann, meter_key="snmp|t|e", sample=sample, bills=at >= 0)
            await cross_check(work)
            await check_directions(work)
    assert await total(workplace) == (0, 900)


async def test_holds_placed_at_once_are_numbered_without_a_gap(workplace: Workplace, ann: str) -> None:
    async def place(holder: str, effect: Effect) -> int:
        async with workplace.work(f"system:{holder}") as work:
            return granted(await place_hold(work, service_id=ann, holder=holder, effect=effect, reason="x"))

    await asyncio.gather(
        place("dunning", Effect.WALLED_GARDEN), place("abuse", Effect.BLOCK), place("quota", Effect.THROTTLE)
    )
    async with workplace.work("system:x") as work:
        granted(await lift_hold(work, service_id=ann, holder="abuse"))
        entitlement = await entitlement_of(work.connection, ann)
    assert entitlement is not None
    assert entitlement.effect is Effect.WALLED_GARDEN


async def test_accounting_beside_a_close_leaves_no_octet_behind(workplace: Workplace, ann: str) -> None:
    """Whichever comes first, what begins before the border is frozen and the rest is open."""
    await report(workplace, ANN.start(), ANN.interim(10, (0, 100)))

    async def account(at: int) -> None:
        async with workplace.work("system:ingest") as work:
            await record_accounting(work, [ANN.interim(at, (0, at * 10))], CLASS_KEY)

    async def close() -> int:
        async with workplace.work("system:billing") as work:
            closed = await close_usage(
                work, service_id=ann, from_at=minute(0), until_at=minute(60), claim="c"
            )
            return closed.octets_out

    closed, *_ = await asyncio.gather(close(), account(59))
    await account(90)
    open_part = sum(out for start, _, _, out in await records(workplace) if start >= 60)
    assert closed + open_part == 900


async def _comes_to_wait(workplace: Workplace, task: asyncio.Task[int]) -> bool:
    """Whether the task comes to wait for a lock that is held; False when it ends without."""
    statement = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    while not task.done():
        async with workplace.reading() as connection:
            if (await connection.execute(statement)).scalar_one():
                return True
    return False


async def test_the_reaper_never_writes_over_a_report_that_comes_while_it_looks(
    workplace: Workplace, clock: FakeClock, ann: str
) -> None:
    """Read as silent before the report is committed and written after it, the session would lose its octets."""
    await report(workplace, ANN.start(), ANN.interim(10, (0, 100)))

    async def reap() -> int:
        async with workplace.work("system:reaper") as work:
            return await reap_sessions(work)

    async with workplace.work("system:ingest") as work:
        await record_accounting(work, [ANN.interim(590, (0, 900))], CLASS_KEY)
        reaping = asyncio.create_task(reap())
        assert await _comes_to_wait(workplace, reaping), "the reaper did not wait its turn"
    assert await reaping == 0
    (session,) = await sessions(workplace)
    assert (session.stopped_at, session.octets_out) == (None, 900)


async def test_closes_in_any_order_of_services_beside_accounting_never_deadlock(
    workplace: Workplace, sealer: Sealer, ann: str
) -> None:
    bob = await subscribe(workplace, sealer, "bob")
    people = {ann: ANN, bob: Dialled(username="bob", acct_session_id="b", ip="10.0.0.8")}
    await report(workplace, *(one.start() for one in people.values()))

    async def account(at: int) -> None:
        async with workplace.work("system:ingest") as work:
            events = [one.interim(at, (0, at)) for one in people.values()]
            await record_accounting(work, events, CLASS_KEY)

    async def close(at: int, services: list[str]) -> None:
        async with workplace.work("system:billing") as work:
            for service_id in services:
                await close_usage(
                    work, service_id=service_id, from_at=minute(at), until_at=minute(at + 10), claim=f"c{at}"
                )
                await asyncio.sleep(0)

    steps = [account(at) for at in range(100, 105)]
    steps += [close(at, sorted(people, reverse=bool(at % 20))) for at in range(0, 50, 10)]
    await asyncio.gather(*steps)
    assert await total(workplace) == (0, 208)
