"""Closing usage: split at borders, frozen for good, provable to the raw readings."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from aaa_world import NOON, Dialled, minute, one_by_one, records, report, subscribe, total
from sqlalchemy import update

from aaa.close_usage import (
    ClosedUsage,
    close_usage,
    evidence_of,
    fastest_rates,
    slices_between,
    slices_of_closes,
    usage_between,
    usage_by_day,
    usage_of_many,
    verify_close,
)
from aaa.store.tables import usage_record
from core.clock import FakeClock
from core.secrets import Sealer
from core.work import Workplace

ANN = Dialled()


@pytest.fixture
async def ann(workplace: Workplace, sealer: Sealer, clock: FakeClock) -> str:
    clock.step_to(minute(600))
    return await subscribe(workplace, sealer)


async def _close(
    workplace: Workplace, service_id: str, from_m: float, until_m: float, claim: str = "c1"
) -> ClosedUsage:
    async with workplace.work("system:billing") as work:
        return await close_usage(
            work, service_id=service_id, from_at=minute(from_m), until_at=minute(until_m), claim=claim
        )


async def test_a_session_across_the_border_is_split_by_time_and_nothing_is_lost(
    workplace: Workplace, ann: str
) -> None:
    await report(workplace, ANN.start(), ANN.interim(55, (10, 100)), ANN.interim(65, (21, 203)))
    march = await _close(workplace, ann, 0, 60, "march")
    april = await _close(workplace, ann, 60, 120, "april")
    assert (march.octets_in, march.octets_out) == (15, 151)
    assert (april.octets_in, april.octets_out) == (6, 52)
    assert await records(workplace) == [(0, 55, 10, 100), (55, 60, 5, 51), (60, 65, 6, 52)]


async def test_the_same_claim_again_gives_the_same_close(workplace: Workplace, ann: str) -> None:
    await report(workplace, ANN.start(), ANN.interim(5, (10, 100)))
    assert await _close(workplace, ann, 0, 60) == await _close(workplace, ann, 0, 60)


async def test_a_claim_for_another_span_is_a_broken_invariant(workplace: Workplace, ann: str) -> None:
    await _close(workplace, ann, 0, 60)
    with pytest.raises(ValueError, match="c1 closed"):
        await _close(workplace, ann, 0, 90)


@pytest.mark.parametrize(("from_m", "until_m"), [(60, 60), (60, 0), (0, 100_000)])
async def test_an_empty_or_unfinished_span_is_not_closed(
    workplace: Workplace, ann: str, from_m: float, until_m: float
) -> None:
    with pytest.raises(ValueError, match="cannot be closed"):
        await _close(workplace, ann, from_m, until_m)


async def test_no_octet_is_in_two_closes(workplace: Workplace, ann: str) -> None:
    await report(workplace, ANN.start(), ANN.interim(30, (10, 100)))
    first = await _close(workplace, ann, 0, 60, "one")
    second = await _close(workplace, ann, 0, 60, "two")
    assert (first.octets_out, second.octets_out, second.records) == (100, 0, 0)


async def test_octets_late_for_a_closed_period_are_usage_of_the_open_one(
    workplace: Workplace, ann: str
) -> None:
    await report(workplace, ANN.start(), ANN.interim(30, (10, 100)))
    march = await _close(workplace, ann, 0, 60, "march")
    await report(workplace, ANN.interim(50, (20, 180)))
    assert await records(workplace) == [(0, 30, 10, 100), (60, 60, 10, 80)]
    await report(workplace, ANN.interim(70, (30, 200)))
    april = await _close(workplace, ann, 60, 120, "april")
    assert (march.octets_out, april.octets_out) == (100, 100)
    async with workplace.reading() as connection:
        assert await verify_close(connection, march.close_id)


async def test_a_whole_session_that_arrives_after_the_close_is_usage_of_the_open_period(
    workplace: Workplace, ann: str
) -> None:
    await _close(workplace, ann, 0, 60)
    await report(workplace, ANN.start(), ANN.stop(30, (10, 100)))
    assert await records(workplace) == [(60, 60, 10, 100)]


async def test_a_late_reading_between_does_not_move_what_is_frozen(workplace: Workplace, ann: str) -> None:
    await report(workplace, ANN.start(), ANN.interim(50, (0, 1000)), ANN.interim(70, (0, 3000)))
    march = await _close(workplace, ann, 0, 60, "march")
    assert march.octets_out == 2000
    await report(workplace, ANN.interim(59, (0, 2500)))
    april = await _close(workplace, ann, 60, 120, "april")
    assert (april.octets_out, (await total(workplace))[1]) == (1000, 3000)


async def test_the_digest_tells_a_record_that_was_touched(workplace: Workplace, ann: str) -> None:
    await report(workplace, ANN.start(), ANN.interim(30, (10, 100)))
    closed = await _close(workplace, ann, 0, 60)
    async with workplace.reading() as connection:
        assert await verify_close(connection, closed.close_id)
    async with workplace.work("somebody") as work:
        await work.connection.execute(update(usage_record).values(octets_out=99))
    async with workplace.reading() as connection:
        assert not await verify_close(connection, closed.close_id)


async def test_evidence_walks_from_the_close_to_the_raw_counters(workplace: Workplace, ann: str) -> None:
    await report(
        workplace,
        ANN.start(),
        ANN.interim(50, (10, 1000), evidence={"packet": 7}),
        ANN.interim(70, (30, 3000)),
    )
    closed = await _close(workplace, ann, 0, 60)
    async with workplace.reading() as connection:
        evidence = await evidence_of(connection, closed.close_id)
    assert [(one.octets_out, one.interpolated, one.meter_source) for one in evidence] == [
        (1000, False, "radius"),
        (1000, True, "radius"),
    ]
    opening, closing = evidence[1].opening, evidence[1].closing
    assert opening is not None
    assert closing is not None
    assert (opening.at, opening.raw_out, opening.evidence["packet"]) == (minute(50), 1000, 7)
    assert (closing.at, closing.octets_out, closing.decision) == (minute(70), 3000, "advance")
    assert sum(one.octets_out for one in evidence) == closed.octets_out


async def test_evidence_of_a_session_whose_start_was_lost_has_no_opening(
    workplace: Workplace, ann: str
) -> None:
    await report(workplace, ANN.stop(30, (10, 100)))
    closed = await _close(workplace, ann, 0, 60)
    async with workplace.reading() as connection:
        (one,) = await evidence_of(connection, closed.close_id)
    assert one.opening is None
    assert one.closing is not None
    assert one.closing.evidence["age_s"] == 1800


async def test_live_usage_shares_records_across_the_borders_by_time(workplace: Workplace, ann: str) -> None:
    await report(workplace, ANN.start(), ANN.interim(60, (60, 600)), ANN.interim(120, (120, 1200)))
    async with workplace.reading() as connection:
        assert await usage_between(connection, ann, minute(30), minute(90)) == (60, 600)
        assert await usage_between(connection, ann, minute(0), minute(120)) == (120, 1200)
        assert await usage_between(connection, ann, minute(10), minute(20)) == (10, 100)


async def test_live_usage_of_adjoining_spans_sums_to_the_whole(workplace: Workplace, ann: str) -> None:
    await report(workplace, ANN.start(), ANN.interim(60, (61, 607)), ANN.interim(120, (121, 1213)))
    async with workplace.reading() as connection:
        parts = [await usage_between(connection, ann, minute(at), minute(at + 7)) for at in range(0, 126, 7)]
    assert (sum(part[0] for part in parts), sum(part[1] for part in parts)) == (121, 1213)


async def test_usage_by_local_day_on_the_day_that_springs_forward(
    workplace: Workplace, sealer: Sealer, clock: FakeClock
) -> None:
    clock.step_to(datetime(2026, 3, 20, tzinfo=UTC))
    service_id = await subscribe(workplace, sealer)
    midnight = datetime(2026, 3, 8, 7, 0, tzinfo=UTC)  # in Denver the day has 23 hours
    began = (midnight - NOON).total_seconds() / 60
    session = Dialled(began=began)
    await report(workplace, session.start(), session.interim(began + 47 * 60, (0, 47_000)))
    async with workplace.reading() as connection:
        days = await usage_by_day(
            connection, service_id, date(2026, 3, 8), date(2026, 3, 11), "America/Denver"
        )
    assert days == [(date(2026, 3, 8), 0, 23_000), (date(2026, 3, 9), 0, 24_000), (date(2026, 3, 10), 0, 0)]


async def test_long_sessions_are_split_by_their_interim_readings(workplace: Workplace, ann: str) -> None:
    await one_by_one(workplace, [ANN.start(), *(ANN.interim(m, (0, m * 10)) for m in range(10, 100, 10))])
    closed = await _close(workplace, ann, 0, 60)
    assert (closed.octets_out, closed.records) == (600, 6)


async def test_gaps_between_closes_are_left_alone(workplace: Workplace, ann: str) -> None:
    await report(workplace, ANN.start(), ANN.interim(30, (0, 300)), ANN.interim(90, (0, 900)))
    await _close(workplace, ann, 60, 120, "second")
    await report(workplace, ANN.interim(31, (0, 301)))
    first = await _close(workplace, ann, 0, 60, "first")
    assert first.octets_out == 600
    assert await total(workplace) == (0, 900)


async def test_many_services_at_once_give_what_each_gives_alone(workplace: Workplace, ann: str) -> None:
    """Totals of many spans, and when they were used: records across the ends are cut by time."""
    await report(workplace, ANN.start(), ANN.interim(55, (10, 100)), ANN.interim(65, (21, 203)))
    spans = [(ann, minute(0), minute(60)), (ann, minute(60), minute(120)), ("svc_0", minute(0), minute(60))]
    async with workplace.reading() as connection:
        totals = await usage_of_many(connection, spans)
        alone = [await usage_between(connection, *one) for one in spans]
        slices = await slices_between(connection, *spans[0])
        rates = await fastest_rates(connection, [ann, "svc_0"])
    assert totals == alone == [(15, 151), (6, 52), (0, 0)]
    assert slices == [(minute(0), minute(55), 10, 100), (minute(55), minute(60), 5, 51)]
    assert set(rates) == {ann}


async def test_a_close_says_when_its_octets_were_used(workplace: Workplace, ann: str) -> None:
    await report(workplace, ANN.start(), ANN.interim(55, (10, 100)), ANN.interim(65, (21, 203)))
    march, april = (
        await _close(workplace, ann, 0, 60, "march"),
        await _close(workplace, ann, 60, 120, "april"),
    )
    async with workplace.reading() as connection:
        slices = await slices_of_closes(connection, [march.close_id, april.close_id, "ucl_0"])
    assert slices == {
        march.close_id: [(minute(0), minute(55), 10, 100), (minute(55), minute(60), 5, 51)],
        april.close_id: [(minute(60), minute(65), 6, 52)],
        "ucl_0": [],
    }
