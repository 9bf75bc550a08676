"""Late reports of long sessions: the same usage as in order, without the whole session being read again."""

from __future__ import annotations

import random
from typing import Any

import pytest
from aaa_world import CLASS_KEY, Dialled, minute, report, subscribe
from sqlalchemy import select

from aaa.close_usage import close_usage
from aaa.domain.accounting import AccountingEvent
from aaa.record_accounting import record_accounting
from aaa.store import usage_rows
from aaa.store.tables import meter_reading, usage_record
from core.clock import FakeClock
from core.secrets import Sealer
from core.work import Workplace

STEP_MIN = 5
REPORTS = 80
ANN = Dialled()
BOB = Dialled(username="bob", acct_session_id="b", mac="02:00:00:00:00:0b", ip="10.0.0.8")


def _story(who: Dialled, *, wide: bool, chance: random.Random) -> list[AccountingEvent]:
    octets_in = octets_out = 0
    events = [who.start()]
    for number in range(1, REPORTS + 1):
        octets_in += chance.randrange(1, 1 << 20)
        octets_out += chance.randrange(1, 3 << 30)
        told = who.interim if wide else who.old_nas
        events.append(told(number * STEP_MIN, (octets_in, octets_out)))
    return events


async def _written(workplace: Workplace, service_id: str) -> tuple[list[Any], list[Any]]:
    async with workplace.reading() as connection:
        record, reading = usage_record.c, meter_reading.c
        cut = select(record.start_at, record.end_at, record.octets_in, record.octets_out, record.interpolated)
        records = await connection.execute(
            cut.where(record.service_id == service_id).order_by(record.start_at, record.end_at)
        )
        meters = select(record.meter_id).where(record.service_id == service_id)
        told = select(reading.at, reading.octets_in, reading.octets_out, reading.decision)
        readings = await connection.execute(told.where(reading.meter_id.in_(meters)).order_by(reading.at))
        return [tuple(row) for row in records], [tuple(row) for row in readings]


async def _close(workplace: Workplace, service_id: str) -> None:
    async with workplace.work("system:billing") as work:
        await close_usage(work, service_id=service_id, from_at=minute(0), until_at=minute(202), claim="c")


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("seed", range(4))
async def test_late_reports_leave_what_the_same_reports_in_order_leave(
    workplace: Workplace, sealer: Sealer, clock: FakeClock, wide: bool, seed: int
) -> None:
    """Across a close as well, as long as nothing comes too late for it."""
    clock.step_to(minute(1_000))
    ann, bob = await subscribe(workplace, sealer), await subscribe(workplace, sealer, "bob")
    in_order = _story(ANN, wide=wide, chance=random.Random(seed))
    late = _story(BOB, wide=wide, chance=random.Random(seed))
    chance = random.Random(seed + 100)
    split = 202 // STEP_MIN + 1
    early, later = late[:split], late[split:]
    for some in (early, later):
        some.sort(key=lambda event: event.occurred_at.timestamp() + chance.randrange(0, 2_400))
        for at in range(0, len(some), 7):
            await report(workplace, *some[at : at + 7])
        if some is early:
            await _close(workplace, bob)
    await report(workplace, *in_order[:split])
    await _close(workplace, ann)
    await report(workplace, *in_order[split:])
    assert await _written(workplace, bob) == await _written(workplace, ann)


async def test_a_late_report_of_a_long_session_reads_a_few_readings(
    workplace: Workplace, sealer: Sealer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await subscribe(workplace, sealer)
    events = _story(ANN, wide=True, chance=random.Random(1))
    await report(workplace, *events[:-4], *events[-3:])
    read = 0
    readings_since = usage_rows.readings_since

    async def counted(*arguments: Any) -> dict[str, list[Any]]:
        nonlocal read
        found = await readings_since(*arguments)
        read += sum(map(len, found.values()))
        return found

    monkeypatch.setattr(usage_rows, "readings_since", counted)
    async with workplace.work("system:ingest") as work:
        outcome = await record_accounting(work, [events[-4]], CLASS_KEY)
    assert (outcome.late, outcome.recorded) == (1, 1)
    assert 0 < read < 12


async def test_a_close_that_shared_by_time_is_not_billed_again_when_readings_tell_otherwise(
    workplace: Workplace, sealer: Sealer, clock: FakeClock
) -> None:
    """By time half of it was used before the border, by the readings that came afterwards all of it behind."""
    clock.step_to(minute(1_000))
    ann = await subscribe(workplace, sealer)
    await report(workplace, ANN.start(), ANN.interim(400, (0, 2_000)))
    await _close(workplace, ann)
    await report(workplace, *(ANN.interim(at, (0, 10)) for at in (50, 220, 230)))
    await report(workplace, ANN.interim(240, (0, 20)), ANN.interim(260, (0, 30)))
    await report(workplace, ANN.interim(250, (0, 25)), ANN.interim(410, (0, 2_100)))
    used = [(row[0], row[3]) for row in (await _written(workplace, ann))[0]]
    assert sum(octets for _, octets in used) == 2_100
    assert sum(octets for start, octets in used if start < minute(202)) == 1_010
