"""Two witnesses of one line: SNMP frames beside RADIUS payload, and the directions a NAS reports."""

from __future__ import annotations

import pytest
from aaa_world import Dialled, minute, report, subscribe
from sqlalchemy import select

from aaa.cross_check import check_directions, cross_check
from aaa.domain.metering import CounterSample
from aaa.record_sample import record_sample
from aaa.set_up import register_nas
from core.clock import FakeClock
from core.refusal import granted
from core.secrets import Sealer, Secret
from core.store.tables import health_issue
from core.work import Workplace

GB = 10**9
ANN = Dialled()


@pytest.fixture
async def ann(workplace: Workplace, sealer: Sealer, clock: FakeClock) -> str:
    clock.step_to(minute(120))
    return await subscribe(workplace, sealer)


async def _metered(workplace: Workplace, service_id: str, *points: tuple[float, int]) -> None:
    for at, out in points:
        async with workplace.work("system:collector") as work:
            sample = CounterSample(out // 10, out, 64, minute(at))
            await record_sample(
                work, service_id=service_id, meter_key="snmp|t|<pppoe-ann>", sample=sample, bills=False
            )


async def _issues(workplace: Workplace) -> list[str]:
    async with workplace.reading() as connection:
        rows = await connection.execute(select(health_issue.c.key).where(health_issue.c.closed_at.is_(None)))
        return list(rows.scalars())


async def _dialled(workplace: Workplace) -> None:
    await report(
        workplace, ANN.start(), *(ANN.interim(at, (at * GB // 600, at * GB // 60)) for at in range(5, 65, 5))
    )


async def test_a_steady_excess_of_frames_over_payload_is_normal(workplace: Workplace, ann: str) -> None:
    await _dialled(workplace)
    await _metered(workplace, ann, (1, 0), (31, 515_000_000), (61, 1_030_000_000))
    async with workplace.work("system:checks") as work:
        (check,) = await cross_check(work)
    assert check.agrees
    assert (check.from_at, check.until_at) == (minute(1), minute(60))
    assert check.radius[1] == pytest.approx(GB * 59 / 60, abs=2)
    assert await _issues(workplace) == []


async def test_leakage_opens_an_issue_and_agreement_closes_it(workplace: Workplace, ann: str) -> None:
    await _dialled(workplace)
    await _metered(workplace, ann, (0, 0), (30, 2 * GB))
    async with workplace.work("system:checks") as work:
        (check,) = await cross_check(work)
    assert not check.agrees
    assert await _issues(workplace) == [f"aaa.cross_check:{ann}"]


async def test_a_service_without_radius_is_not_compared(workplace: Workplace, ann: str) -> None:
    await _metered(workplace, ann, (0, 0), (30, GB))
    async with workplace.work("system:checks") as work:
        assert await cross_check(work) == []


async def test_a_nas_that_swaps_input_and_output_is_found(
    workplace: Workplace, sealer: Sealer, clock: FakeClock
) -> None:
    clock.step_to(minute(120))
    async with workplace.work("operator:ann") as work:
        nas_id = granted(
            await register_nas(work, sealer, name="odd", network="10.0.0.1", secret=Secret("s" * 16))
        )
    for number in range(6):
        swapped = Dialled(nas_id=nas_id, acct_session_id=str(number), username=f"u{number}", mac=None)
        await report(workplace, swapped.start(), swapped.interim(60, (2 * GB, GB // 10)))
    async with workplace.work("system:checks") as work:
        assert await check_directions(work) == [nas_id]
    assert await _issues(workplace) == [f"aaa.octets_reversed:{nas_id}"]


async def test_a_nas_with_usual_traffic_is_left_alone(
    workplace: Workplace, sealer: Sealer, clock: FakeClock
) -> None:
    clock.step_to(minute(120))
    async with workplace.work("operator:ann") as work:
        nas_id = granted(
            await register_nas(work, sealer, name="ok", network="10.0.0.1", secret=Secret("s" * 16))
        )
    for number in range(6):
        usual = Dialled(nas_id=nas_id, acct_session_id=str(number), username=f"u{number}", mac=None)
        await report(workplace, usual.start(), usual.interim(60, (GB // 10, 2 * GB)))
    async with workplace.work("system:checks") as work:
        assert await check_directions(work) == []
