"""SNMP counters for money, one test a line: resets, wraps, gaps, jumps, and what may not be billed."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

import pytest
from aaa_world import GIB4, NOON, minute, records, subscribe, total
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from aaa.close_usage import close_usage, evidence_of
from aaa.domain.decision import Decision
from aaa.domain.metering import TICKS_TURN, CounterMeter, CounterSample, Resolution, resolve_sample
from aaa.record_sample import SampleOutcome, record_sample
from core.clock import FakeClock
from core.secrets import Sealer
from core.store.tables import health_issue
from core.work import Workplace

CAP_BPS = 100_000_000
MANY = settings(max_examples=1000 if os.environ.get("HILLTOP_SOAK") == "1" else 250)


def sample(at: float, into: int, out: int, **fields: object) -> CounterSample:
    """A 64-bit sample of a device that has been up for 100 hours at noon."""
    values: dict[str, object] = {
        "octets_in": into, "octets_out": out, "width_bits": 64, "at": minute(at),
        "sys_uptime_ticks": 36_000_000 + int(at * 6000), "engine_boots": 3, "discontinuity_ticks": 0, "if_index": 7,
    }  # fmt: skip
    return CounterSample(**(values | fields))  # type: ignore[arg-type]


def follow(*samples: CounterSample, cap_bps: int = CAP_BPS, every_s: float | None = None) -> list[Resolution]:
    """What is decided of each sample in turn."""
    meter: CounterMeter | None = None
    resolved = []
    for one in samples:
        resolution = resolve_sample(meter, one, cap_bps, every_s)
        meter = CounterMeter.from_json(resolution.meter.as_json())
        resolved.append(resolution)
    return resolved


def decided(resolutions: list[Resolution]) -> list[tuple[str, int, int]]:
    return [(one.decision.value, one.added_in, one.added_out) for one in resolutions]


def test_the_first_sample_is_the_beginning_and_bills_nothing() -> None:
    assert decided(follow(sample(0, 10**12, 10**13))) == [("first", 0, 0)]


def test_a_difference_inside_one_epoch_counts() -> None:
    assert decided(follow(sample(0, 100, 1000), sample(5, 150, 1700)))[1] == ("advance", 50, 700)


def test_a_32_bit_counter_that_turned_over_once_counts_across_the_turn() -> None:
    before, after = sample(0, 10, GIB4 - 1000, width_bits=32), sample(1, 20, 500, width_bits=32)
    assert decided(follow(before, after))[1] == ("wrap", 10, 1500)


def test_two_turns_possible_is_unsure_and_not_billed_and_asks_for_more_polls() -> None:
    before, after = sample(0, 10, 1000, width_bits=32), sample(10, 20, 500, width_bits=32)
    (_, unsure) = follow(before, after, cap_bps=1_000_000_000)
    assert (unsure.decision, unsure.added_out, unsure.poll_sooner) == (Decision.UNSURE, 0, True)


def test_after_an_unsure_sample_metering_goes_on_from_it() -> None:
    samples = [sample(at, 0, out, width_bits=32) for at, out in ((0, 0), (10, 500), (10.25, 700))]
    assert decided(follow(*samples, cap_bps=1_000_000_000))[2] == ("advance", 0, 200)


def test_a_64_bit_counter_never_wraps() -> None:
    assert decided(follow(sample(0, 0, (1 << 64) - 10), sample(5, 0, 10)))[1] == ("fell", 0, 0)


def test_a_reset_shows_in_sys_uptime() -> None:
    assert decided(follow(sample(0, 9_000, 90_000), sample(5, 50, 700, sys_uptime_ticks=3_000)))[1] == (
        "reset",
        50,
        700,
    )


def test_a_reset_shows_in_engine_boots_even_where_counters_are_higher() -> None:
    rebooted = sample(60, 9_500, 95_000, sys_uptime_ticks=200_000, engine_boots=4)
    assert decided(follow(sample(0, 9_000, 90_000), rebooted))[1] == ("reset", 9_500, 95_000)


def test_a_reset_shows_in_the_discontinuity_time() -> None:
    cleared = sample(5, 50, 700, discontinuity_ticks=36_015_000)
    assert decided(follow(sample(0, 9_000, 90_000), cleared))[1] == ("reset", 50, 700)


def test_a_dynamic_interface_born_anew_counts_from_zero_even_above_the_old_value() -> None:
    again = sample(5, 12_000, 1_000_000, session_age_s=200, if_index=9)
    assert decided(follow(sample(0, 9_000, 90_000, session_age_s=50), again))[1] == (
        "reset",
        12_000,
        1_000_000,
    )


def test_a_dynamic_interface_that_lived_on_is_not_reset() -> None:
    on = sample(5, 12_000, 100_000, session_age_s=350)
    assert decided(follow(sample(0, 9_000, 90_000, session_age_s=50), on))[1] == ("advance", 3_000, 10_000)


def test_sys_uptime_turning_over_after_497_days_is_not_a_reboot() -> None:
    before = sample(0, 9_000, 90_000, sys_uptime_ticks=TICKS_TURN - 1_000)
    after = sample(5, 9_500, 91_000, sys_uptime_ticks=29_000)
    assert decided(follow(before, after))[1] == ("advance", 500, 1_000)


def test_a_reboot_near_the_497th_day_is_still_a_reboot() -> None:
    before = sample(0, 9_000, 90_000, sys_uptime_ticks=TICKS_TURN - 1_000_000)
    assert decided(follow(before, sample(30, 50, 700, sys_uptime_ticks=6_000)))[1] == ("reset", 50, 700)


def test_an_agent_that_restarted_while_the_counters_went_on_is_no_reset() -> None:
    """net-snmp starts anew with boots + 1 and uptime 0 while the kernel counts on: no terabytes are billed."""
    restarted = sample(5, 10**12 + 50, 10**13 + 700, sys_uptime_ticks=2_000, engine_boots=4)
    assert decided(follow(sample(0, 10**12, 10**13), restarted))[1] == ("survived", 50, 700)


def test_an_index_that_moved_with_its_counters_is_no_reset() -> None:
    assert decided(follow(sample(0, 100, 1_000), sample(5, 150, 1_700, if_index=12)))[1] == ("moved", 50, 700)


def test_an_index_that_moved_and_counters_that_fell_are_a_reset() -> None:
    assert decided(follow(sample(0, 9_000, 90_000), sample(5, 50, 700, if_index=12)))[1] == ("reset", 50, 700)


def test_more_than_speed_times_time_is_quarantined() -> None:
    resolved = follow(sample(0, 0, 0), sample(5, 0, 10**12))
    assert decided(resolved)[1] == ("quarantined", 0, 0)


def test_a_spike_that_goes_away_leaves_no_trace() -> None:
    resolved = follow(sample(0, 0, 1_000), sample(5, 0, 10**15), sample(10, 0, 3_000))
    assert decided(resolved)[2] == ("advance", 0, 2_000)


def test_a_jump_that_stays_is_never_billed_however_long_one_waits() -> None:
    resolved = follow(sample(0, 0, 0), sample(5, 0, 10**12), sample(100_000, 0, 10**12 + 500))
    assert decided(resolved)[2] == ("advance", 0, 500)


def test_one_low_answer_that_was_a_glitch_bills_only_the_truth() -> None:
    resolved = follow(sample(0, 0, 10**12), sample(5, 0, 0), sample(10, 0, 10**12 + 900))
    assert decided(resolved)[1:] == [("fell", 0, 0), ("advance", 0, 900)]


def test_counters_cleared_by_hand_count_from_zero_when_two_samples_agree() -> None:
    resolved = follow(sample(0, 0, 10**12), sample(5, 0, 400), sample(10, 0, 900))
    assert decided(resolved)[1:] == [("fell", 0, 0), ("reset", 0, 900)]


def test_a_gap_spanning_polls_makes_no_spike_and_is_marked() -> None:
    resolved = follow(sample(0, 0, 0), sample(5, 0, 100), sample(60, 0, 20_000), every_s=300)
    assert decided(resolved)[1:] == [("advance", 0, 100), ("gap", 0, 19_900)]


def test_our_own_clock_stepping_back_inside_the_device_clock_does_not_quarantine() -> None:
    stepped = sample(0.1, 0, 3_000_000_000, sys_uptime_ticks=36_000_000 + 30_000)
    assert decided(follow(sample(0, 0, 0), stepped))[1] == ("advance", 0, 3_000_000_000)


def test_falling_back_to_32_bits_and_returning_keeps_the_count() -> None:
    wide, narrow = sample(0, 0, GIB4 * 5 + 100), sample(1, 0, 600, width_bits=32)
    back = sample(2, 0, GIB4 * 5 + 900)
    assert decided(follow(wide, narrow, back))[1:] == [("advance", 0, 500), ("advance", 0, 300)]


def test_an_older_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="not newer"):
        follow(sample(5, 0, 0), sample(5, 0, 10))


@dataclass(frozen=True)
class Truth:
    """One interval of a device's life: octets carried, and whether it rebooted, cleared or re-made the row."""

    octets: int
    event: str
    polled: bool


lives = st.lists(
    st.builds(
        Truth,
        st.integers(0, CAP_BPS // 8 * 250),
        st.sampled_from(["", "", "", "reboot", "born"]),
        st.booleans(),
    ),
    min_size=1,
    max_size=30,
)


def _live(life: list[Truth], width: int) -> tuple[list[CounterSample], int]:
    """The samples of a life, polled every five minutes where the poll got through, and all octets carried."""
    counter, uptime_s, age_s, boots, carried = 0, 360_000, 360_000, 1, 0
    samples = [sample(0, 0, 0, width_bits=width, sys_uptime_ticks=uptime_s * 100, session_age_s=age_s)]
    for tick, one in enumerate(life, start=1):
        uptime_s, age_s = uptime_s + 300, age_s + 300
        if one.event:  # in the middle of the interval, before its octets
            counter, age_s = 0, 250
        if one.event == "reboot":
            uptime_s, boots = 250, boots + 1
        counter, carried = counter + one.octets, carried + one.octets
        if one.polled:
            fields = {"sys_uptime_ticks": uptime_s * 100, "engine_boots": boots, "session_age_s": age_s}
            samples.append(sample(5 * tick, 0, counter % (1 << width), width_bits=width, **fields))
    return samples, carried


@MANY
@given(lives)
def test_law_64_bit_metering_never_bills_more_than_was_carried(life: list[Truth]) -> None:
    samples, carried = _live(life, 64)
    assert sum(one.added_out for one in follow(*samples)) <= carried


@MANY
@given(lives)
def test_law_64_bit_metering_polled_every_time_is_exact(life: list[Truth]) -> None:
    samples, carried = _live([replace(one, polled=True) for one in life], 64)
    assert sum(one.added_out for one in follow(*samples)) == carried


@MANY
@given(lives)
def test_law_32_bit_metering_polled_every_time_is_exact_where_one_turn_is_possible(life: list[Truth]) -> None:
    samples, carried = _live([replace(one, polled=True) for one in life], 32)
    assert sum(one.added_out for one in follow(*samples)) == carried


anything = st.builds(
    CounterSample,
    st.integers(0, (1 << 64) - 1),
    st.integers(0, (1 << 64) - 1),
    st.sampled_from([32, 64]),
    st.just(NOON),
    st.none() | st.integers(0, TICKS_TURN - 1),
    st.none() | st.integers(0, 5),
    st.none() | st.integers(0, TICKS_TURN - 1),
    st.none() | st.floats(0, 10**6),
    st.none() | st.integers(1, 5),
)


@MANY
@given(st.lists(anything, min_size=1, max_size=12))
def test_law_whatever_a_device_says_totals_never_fall_and_what_does_not_count_adds_nothing(
    devices: list[CounterSample],
) -> None:
    samples = [replace(one, at=minute(5 * tick)) for tick, one in enumerate(devices)]
    for one in follow(*samples):
        assert one.added_in >= 0
        assert one.added_out >= 0
        if not one.decision.counts:
            assert (one.added_in, one.added_out) == (0, 0)


# Through the database: readings, usage records, issues, closes.


@pytest.fixture
async def ann(workplace: Workplace, sealer: Sealer, clock: FakeClock) -> str:
    clock.step_to(minute(600))
    return await subscribe(workplace, sealer)


async def _record(
    workplace: Workplace, service_id: str, one: CounterSample, **fields: object
) -> SampleOutcome:
    async with workplace.work("system:collector") as work:
        return await record_sample(work, service_id=service_id, meter_key="snmp|t|e1", sample=one, **fields)  # type: ignore[arg-type]


async def test_samples_become_usage_with_their_raw_pair_as_evidence(workplace: Workplace, ann: str) -> None:
    for at, out in ((0, 1_000), (5, 3_000), (10, 4_000)):
        await _record(workplace, ann, sample(at, 0, out))
    assert await records(workplace) == [(0, 5, 0, 2_000), (5, 10, 0, 1_000)]
    async with workplace.work("system:billing") as work:
        closed = await close_usage(work, service_id=ann, from_at=minute(0), until_at=minute(60), claim="c")
        evidence = await evidence_of(work.connection, closed.close_id)
    assert evidence[0].opening is not None
    assert evidence[0].closing is not None
    assert (evidence[0].opening.raw_out, evidence[0].closing.raw_out) == (1_000, 3_000)
    assert evidence[0].closing.evidence["sample"]["sys_uptime_ticks"] == 36_030_000


async def test_the_same_sample_again_or_an_older_one_changes_nothing(workplace: Workplace, ann: str) -> None:
    await _record(workplace, ann, sample(0, 0, 0))
    await _record(workplace, ann, sample(5, 0, 500))
    assert (await _record(workplace, ann, sample(5, 0, 500))).decision is None
    assert (await _record(workplace, ann, sample(3, 0, 300))).decision is None
    assert await total(workplace) == (0, 500)


async def test_a_meter_that_only_cross_checks_makes_no_usage(workplace: Workplace, ann: str) -> None:
    await _record(workplace, ann, sample(0, 0, 0), bills=False)
    await _record(workplace, ann, sample(5, 0, 500), bills=False)
    assert await records(workplace) == []


async def test_without_a_cap_of_its_own_the_profile_says_what_is_too_much(
    workplace: Workplace, ann: str
) -> None:
    await _record(workplace, ann, sample(0, 0, 0))
    outcome = await _record(workplace, ann, sample(5, 0, 10**11))
    assert outcome.decision is Decision.QUARANTINED


async def test_a_quarantined_meter_is_a_health_issue_until_it_counts_again(
    workplace: Workplace, ann: str
) -> None:
    for at, out in ((0, 0), (5, 10**13)):
        await _record(workplace, ann, sample(at, 0, out))
    assert await _open_issues(workplace) == ["aaa.meter_not_billed:snmp|t|e1"]
    await _record(workplace, ann, sample(10, 0, 10**13 + 5))
    assert await _open_issues(workplace) == []


async def test_an_interface_given_to_another_service_starts_that_one_at_zero(
    workplace: Workplace, sealer: Sealer, ann: str
) -> None:
    bob = await subscribe(workplace, sealer, "bob")
    await _record(workplace, ann, sample(0, 0, 0))
    await _record(workplace, ann, sample(5, 0, 500))
    await _record(workplace, bob, sample(10, 0, 900))
    await _record(workplace, bob, sample(15, 0, 1_000))
    assert await records(workplace) == [(0, 5, 0, 500), (10, 15, 0, 100)]


async def test_samples_of_a_closed_period_are_usage_of_the_open_one(workplace: Workplace, ann: str) -> None:
    await _record(workplace, ann, sample(0, 0, 0))
    async with workplace.work("system:billing") as work:
        await close_usage(work, service_id=ann, from_at=minute(0), until_at=minute(60), claim="c")
    for at, out in ((30, 300), (40, 400), (70, 700)):
        await _record(workplace, ann, sample(at, 0, out))
    assert await records(workplace) == [(60, 60, 0, 400), (60, 70, 0, 300)]


async def _open_issues(workplace: Workplace) -> list[str]:
    async with workplace.reading() as connection:
        rows = await connection.execute(select(health_issue.c.key).where(health_issue.c.closed_at.is_(None)))
        return list(rows.scalars())
