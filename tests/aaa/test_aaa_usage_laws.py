"""Laws of metering: order and repetition of reports do not matter, parts sum to the whole, nothing is invented."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from aaa_world import CLASS_KEY, GIB4, NOON, Dialled, minute, records, subscribe
from all_tables import create_tables
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from aaa.close_usage import close_usage, verify_close
from aaa.domain.accounting import AccountingEvent
from aaa.domain.session_meter import Line, Report, resolve_reports
from aaa.domain.usage import Interval, Point, cut_usage, follow, split_interval, spread
from aaa.record_accounting import record_accounting
from aaa.store.tables import service
from core.clock import FakeClock
from core.database import Database, sqlite_url
from core.ids import SeededIds
from core.secrets import Sealer
from core.work import Workplace

MANY = settings(max_examples=1000 if os.environ.get("HILLTOP_SOAK") == "1" else 250)
octets = st.integers(0, 1 << 40)
minutes = st.integers(0, 3000)


@st.composite
def histories(draw: st.DrawFn) -> list[Point]:
    """Readings of one meter in the order of time, totals rising."""
    times = sorted(draw(st.sets(minutes, min_size=1, max_size=12)))
    total_in = total_out = 0
    points = []
    for at in times:
        total_in, total_out = total_in + draw(octets), total_out + draw(octets)
        points.append(Point(minute(at), total_in, total_out, draw(st.none() | st.integers(0, 600))))
    return points


@MANY
@given(histories(), st.randoms())
def test_law_readings_in_any_order_with_repeats_give_the_same_usage(
    points: list[Point], random: object
) -> None:
    shuffled = points + points[: len(points) // 2]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert cut_usage(shuffled) == cut_usage(points)


@MANY
@given(histories())
def test_law_usage_sums_to_the_last_total(points: list[Point]) -> None:
    cut = cut_usage(points)
    assert sum(one.octets_in for one in cut) == points[-1].octets_in
    assert sum(one.octets_out for one in cut) == points[-1].octets_out
    assert all(one.start <= one.end for one in cut)


@MANY
@given(histories(), minutes)
def test_law_nothing_begins_before_the_border_and_the_rest_is_all_there(points: list[Point], at: int) -> None:
    border = minute(at)
    whole = cut_usage(points)
    before = [
        split_interval(one, border)[0] if one.end > border else one for one in whole if one.start < border
    ]
    frozen_in, frozen_out = sum(one.octets_in for one in before), sum(one.octets_out for one in before)
    left = cut_usage(points, border, frozen_in, frozen_out)
    assert all(one.start >= border for one in left)
    assert sum(one.octets_in for one in left) == points[-1].octets_in - frozen_in
    assert sum(one.octets_out for one in left) == points[-1].octets_out - frozen_out


@MANY
@given(histories(), st.none() | minutes)
def test_law_following_one_by_one_is_cutting_all_at_once(points: list[Point], at: int | None) -> None:
    border = None if at is None else minute(at)
    previous, followed = None, []
    for point in points:
        if border is None or point.at > border:
            followed.append(follow(previous, point, border))
            previous = point
    later = [point for point in points if border is None or point.at > border]
    assert [one for one in followed if one is not None] == cut_usage(later, border)


spans = st.tuples(minutes, minutes).map(sorted)


@MANY
@given(spans, octets, octets, st.fractions(0, 1))
def test_law_the_parts_of_a_split_sum_to_the_whole(
    span: list[int], into: int, out: int, where: float
) -> None:
    whole = Interval(minute(span[0]), minute(span[1] + 1), into, out)
    border = whole.start + (whole.end - whole.start) * float(where)
    if not whole.start < border < whole.end:
        return
    first, second = split_interval(whole, border)
    assert (first.end, second.start) == (border, border)
    assert first.octets_in + second.octets_in == into
    assert first.octets_out + second.octets_out == out
    assert min(first.octets_in, second.octets_in, first.octets_out, second.octets_out) >= 0


@MANY
@given(histories(), st.sets(minutes, min_size=2, max_size=8))
def test_law_spreading_over_days_loses_nothing(points: list[Point], inner: set[int]) -> None:
    cut = cut_usage(points)
    borders = [minute(-1000), *(minute(at) for at in sorted(inner)), minute(4000)]
    parts = spread(cut, borders)
    assert sum(part[0] for part in parts) == points[-1].octets_in
    assert sum(part[1] for part in parts) == points[-1].octets_out


@st.composite
def narrow_histories(draw: st.DrawFn) -> tuple[list[int], list[Report]]:
    """A NAS without Gigawords on a 100 Mbit/s line: the truth, and what it reports every five minutes."""
    total, truth, reports = 0, [], []
    for tick in range(1, draw(st.integers(2, 40))):
        total += draw(st.integers(0, 100_000_000 // 8 * 300))
        truth.append(total)
        reports.append(Report(minute(5 * tick), 0, total % GIB4, age_s=300 * tick))
    return truth, reports


@MANY
@given(narrow_histories(), st.randoms())
def test_law_a_wrapping_counter_is_followed_exactly_where_the_line_allows_one_turn(
    history: tuple[list[int], list[Report]], random: object
) -> None:
    truth, reports = history
    shuffled = list(reports)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    resolved = resolve_reports([Report(NOON, 0, 0, age_s=0), *shuffled], Line(0, 100_000_000))
    assert [meter.way_out.total for meter, _ in resolved[1:]] == truth


reports_of_anything = st.lists(
    st.builds(
        Report,
        st.integers(0, 2000).map(minute),
        st.none() | st.integers(0, (1 << 64) - 1),
        st.none() | st.integers(0, (1 << 64) - 1),
        st.booleans(),
        st.none() | st.integers(0, 1 << 32),
    ),
    max_size=10,
)


@MANY
@given(reports_of_anything)
def test_law_whatever_is_reported_totals_never_fall_and_fit_the_database(reports: list[Report]) -> None:
    before = 0
    for meter, _ in resolve_reports(reports, Line(10_000_000, 100_000_000)):
        assert before <= meter.way_out.total < 1 << 63
        before = meter.way_out.total


@st.composite
def stories(draw: st.DrawFn) -> tuple[list[AccountingEvent], list[list[AccountingEvent]]]:
    """Two sessions in the order of time, and the same reports shuffled, repeated and cut into batches."""
    in_order: list[AccountingEvent] = []
    for index, began in enumerate((0, draw(st.integers(1, 200)))):
        session = Dialled(acct_session_id=f"{index}", began=began, mac=None)
        ticks = sorted(draw(st.sets(st.integers(1, 60), min_size=1, max_size=6)))
        total = 0
        for tick in ticks:
            total += draw(st.integers(0, 10**9))
            in_order.append(session.interim(began + tick * 5, (total // 3, total)))
        in_order.append(session.start())
        if draw(st.booleans()):
            in_order.append(session.stop(began + ticks[-1] * 5 + 2, (total // 3, total + 5)))
    in_order.sort(key=lambda event: event.occurred_at)
    shuffled = draw(st.permutations(in_order + draw(st.lists(st.sampled_from(in_order), max_size=5))))
    cuts = sorted(draw(st.sets(st.integers(1, len(shuffled)), max_size=4)))
    batches = [shuffled[a:b] for a, b in zip([0, *cuts], [*cuts, len(shuffled)], strict=True)]
    return in_order, batches


@lru_cache
def _template() -> Path:
    """A database file with one subscriber, made once; examples copy it."""
    path = Path(tempfile.mkdtemp()) / "template.sqlite"

    async def make() -> None:
        database = Database(sqlite_url(path))
        await create_tables(database)
        await subscribe(Workplace(database, FakeClock(NOON), SeededIds()), Sealer({"k1": bytes(range(32))}))
        await database.close()

    with ThreadPoolExecutor() as pool:  # a loop of its own, beside the test's
        pool.submit(asyncio.run, make()).result()
    return path


async def _usage_after(
    batches: list[list[AccountingEvent]], close_after: int | None = None
) -> tuple[object, int]:
    """Records after the batches, and their octets; a period is closed after batch ``close_after``."""
    template = _template()
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(template, Path(folder) / "h.sqlite")
        database = Database(sqlite_url(Path(folder) / "h.sqlite"))
        workplace = Workplace(database, FakeClock(minute(10_000)), SeededIds(2))
        async with workplace.reading() as connection:
            service_id = (await connection.execute(select(service.c.id))).scalar_one()
        closed = None
        for number, batch in enumerate(batches):
            async with workplace.work("system:ingest") as work:
                await record_accounting(work, batch, CLASS_KEY)
                if number == close_after:
                    span = {"from_at": minute(-10), "until_at": minute(150)}
                    closed = await close_usage(work, service_id=service_id, claim="c", **span)
        cut = await records(workplace)
        if closed is not None:
            async with workplace.reading() as connection:
                assert await verify_close(connection, closed.close_id), "what was frozen has changed"
        await database.close()
    return cut, sum(one[3] for one in cut)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(stories())
async def test_law_reports_in_any_order_and_batches_with_repeats_leave_the_same_records(
    story: tuple[list[AccountingEvent], list[list[AccountingEvent]]],
) -> None:
    in_order, batches = story
    assert await _usage_after(batches) == await _usage_after([in_order])


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(stories(), st.integers(0, 4))
async def test_law_a_close_in_the_middle_loses_and_invents_nothing(
    story: tuple[list[AccountingEvent], list[list[AccountingEvent]]], close_after: int
) -> None:
    in_order, batches = story
    assert (await _usage_after(batches, close_after))[1] == (await _usage_after([in_order]))[1]


def test_the_law_of_wraps_can_fail() -> None:
    """Two turns between reports are beyond what the line allows, and are not invented."""
    reports = [Report(NOON, 0, 0, age_s=0), Report(minute(5), 0, 3_000_000_000), Report(minute(10), 0, 5)]
    (_, (first, _), (second, _)) = resolve_reports(reports, Line(0, 1_000_000))
    assert first.way_out.total == second.way_out.total == 3_000_000_000
