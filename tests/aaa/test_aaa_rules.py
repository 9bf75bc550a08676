"""Rules of profiles: hours of the week and quotas become holds, and are lifted again, whatever was missed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from aaa_world import CLASS_KEY, NOON, Dialled, subscribe
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.apply_rules import RuleKeeper, rules_in_words
from aaa.domain.effect import Effect
from aaa.domain.profile_rule import (
    HoursRule,
    QuotaRule,
    Rule,
    check_hours,
    check_quota,
    format_days,
    period_containing,
    read_days,
)
from aaa.record_accounting import record_accounting
from aaa.set_profile_rule import remove_rule, set_rule
from aaa.set_up import change_profile, end_service
from aaa.store import repositories, rule_rows, tables
from core.clock import FakeClock
from core.quantities import GB
from core.refusal import Refusal, granted
from core.secrets import Sealer
from core.work import Workplace

ZONE = "America/Denver"
EVENING = HoursRule("evening", Effect.THROTTLE, frozenset(range(5)), 18 * 60, 23 * 60)


def _local(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(ZONE)).astimezone(UTC)


@pytest.mark.parametrize(
    ("days", "begins", "ends", "on", "off"),
    [
        ("mon-fri", "18:00", "23:00", ["2026-03-10 18:00", "2026-03-10 22:59"],
         ["2026-03-10 17:59", "2026-03-10 23:00", "2026-03-14 20:00"]),
        ("fri", "22:00", "06:00", ["2026-03-13 22:00", "2026-03-14 05:59"],
         ["2026-03-13 05:00", "2026-03-14 06:00", "2026-03-14 22:00"]),
        ("sun", "20:00", "02:00", ["2026-03-16 01:59"], ["2026-03-15 01:00"]),  # into Monday
        ("daily", "00:00", "24:00", ["2026-03-10 00:00", "2026-03-10 23:59"], []),
        ("sun", "02:00", "03:00", [], ["2026-03-08 03:30"]),  # the hour that the spring does not have
        ("sun", "01:00", "02:00", ["2026-11-01 01:30"], ["2026-11-01 02:00"]),  # the hour it has twice
    ],
)  # fmt: skip
def test_hours_are_those_on_the_wall(
    days: str, begins: str, ends: str, on: list[str], off: list[str]
) -> None:
    rule = check_hours(name="r", effect="throttle", days=days, begins=begins, ends=ends)
    assert isinstance(rule, HoursRule)
    assert [one for one in on if not rule.is_on(_local(one), ZONE)] == []
    assert [one for one in off if rule.is_on(_local(one), ZONE)] == []


@given(st.frozensets(st.integers(0, 6), min_size=1))
def test_law_days_are_read_as_they_are_written(days: frozenset[int]) -> None:
    assert read_days(format_days(days)) == days


@given(
    st.integers(0, 1439),
    st.integers(1, 1440),
    st.frozensets(st.integers(0, 6), min_size=1),
    st.integers(0, 10_079),
)
def test_law_a_week_has_as_many_minutes_as_its_windows(
    begins: int, ends: int, days: frozenset[int], probe: int
) -> None:
    rule = HoursRule("r", Effect.THROTTLE, days, begins, ends)
    monday = datetime(2026, 6, 1, tzinfo=UTC)
    length = ends - begins if ends > begins else ends - begins + 1440
    inside = any(
        (probe - day * 1440 - begins) % 10_080 < length for day in days
    )  # the window, laid out on the ring of a week
    assert rule.is_on(monday + timedelta(minutes=probe), "UTC") == inside


@pytest.mark.parametrize(
    ("kind", "start", "end"),
    [
        ("day", "2026-03-10", "2026-03-11"), ("week", "2026-03-09", "2026-03-16"),
        ("month", "2026-03-01", "2026-04-01"), ("billing", "2026-02-15", "2026-03-15"),
    ],
)  # fmt: skip
def test_periods_turn_in_the_provider_s_zone(kind: str, start: str, end: str) -> None:
    late = _local("2026-03-10 23:30")  # the eleventh already in UTC
    period = period_containing(kind, late, ZONE, 15)
    assert (str(period.start), str(period.end)) == (start, end)


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        (check_hours(name="", effect="throttle", days="mon", begins="1:00", ends="2:00"), "name"),
        (check_hours(name="r", effect="block", days="mon", begins="1:00", ends="2:00"), "effect"),
        (check_hours(name="r", effect="throttle", days="moon", begins="1:00", ends="2:00"), "days"),
        (check_hours(name="r", effect="throttle", days="mon-", begins="1:00", ends="2:00"), "days"),
        (check_hours(name="r", effect="throttle", days="mon", begins="24:00", ends="2:00"), "begins"),
        (check_hours(name="r", effect="throttle", days="mon", begins="1:60", ends="2:00"), "begins"),
        (check_hours(name="r", effect="throttle", days="mon", begins="1:00", ends="25:00"), "ends"),
        (check_hours(name="r", effect="throttle", days="mon", begins="1:00", ends="noon"), "ends"),
        (check_quota(name="r", effect="throttle", octets=0, period="day", direction="sum"), "octets"),
        (check_quota(name="r", effect="throttle", octets=10**16, period="day", direction="sum"), "octets"),
        (check_quota(name="r", effect="throttle", octets=1, period="year", direction="sum"), "period"),
        (check_quota(name="r", effect="throttle", octets=1, period="day", direction="both"), "direction"),
    ],
)  # fmt: skip
def test_a_rule_is_refused_by_field(rule: Rule | Refusal, field: str) -> None:
    assert isinstance(rule, Refusal)
    assert rule.field == field


async def _profile_of(workplace: Workplace, service_id: str) -> str:
    async with workplace.reading() as connection:
        row = await repositories.service_row(connection, service_id)
    assert row is not None
    return str(row.profile_id)


async def _give(workplace: Workplace, service_id: str, *rules: Rule) -> str:
    profile_id = await _profile_of(workplace, service_id)
    async with workplace.work("test") as work:
        for rule in rules:
            granted(await set_rule(work, profile_id, rule))
    return profile_id


async def _holds(workplace: Workplace) -> list[tuple[str, str, str]]:
    async with workplace.reading() as connection:
        rows = await connection.execute(
            select(tables.hold).where(tables.hold.c.lifted_at.is_(None)).order_by(tables.hold.c.holder)
        )
        return [(row.holder, row.effect, row.reason) for row in rows]


async def _uses(workplace: Workplace, service_id: str, down: int, up: int, minutes: float = 60) -> None:
    line = Dialled(service_id, sign_in=f"s{minutes}", acct_session_id=f"8{int(minutes):07}")
    async with workplace.work("test") as work:
        await record_accounting(work, [line.start(), line.stop(minutes, (up, down))], CLASS_KEY)


async def test_hours_place_and_lift_holds_once(
    any_workplace: Workplace, clock: FakeClock, sealer: Sealer
) -> None:
    ann, bob = await subscribe(any_workplace, sealer), await subscribe(any_workplace, sealer, "bob")
    profile_id = await _give(any_workplace, ann, EVENING)
    keeper = RuleKeeper(any_workplace, ZONE)
    assert await keeper.turn() == 0, "noon in UTC is morning in Denver"
    clock.step_to(_local("2026-03-10 18:00"))
    assert await keeper.turn() == 1
    assert await keeper.turn() == 0
    assert await RuleKeeper(any_workplace, ZONE).turn() == 0, "after a restart as well"
    assert await _holds(any_workplace) == [("schedule", "throttle", "evening: mon-fri 18:00 to 23:00")]
    stricter = HoursRule("peak", Effect.WALLED_GARDEN, frozenset((1,)), 19 * 60, 20 * 60)
    await _give(any_workplace, ann, stricter)
    clock.step_to(_local("2026-03-10 19:30"))
    assert await keeper.turn() == 1
    assert [hold[1] for hold in await _holds(any_workplace)] == ["walled_garden"]
    async with any_workplace.work("test") as work:
        assert await remove_rule(work, profile_id, "peak") is None
        assert isinstance(await remove_rule(work, profile_id, "peak"), Refusal)
    await keeper.turn()
    assert [hold[1] for hold in await _holds(any_workplace)] == ["throttle"]
    async with any_workplace.work("test") as work:
        granted(await change_profile(work, ann, await _profile_of(any_workplace, bob)))
    assert await keeper.turn() == 1, "the other plan has no such hours"
    assert await _holds(any_workplace) == []
    async with any_workplace.work("test") as work:
        granted(await change_profile(work, ann, profile_id))
    assert await keeper.turn() == 1
    clock.step_to(_local("2026-03-10 23:00"))
    assert await keeper.turn() == 1
    assert await _holds(any_workplace) == []
    async with any_workplace.work("test") as work:
        granted(await end_service(work, ann, "moved"))
    clock.step_to(_local("2026-03-11 18:30"))
    assert await keeper.turn() == 0, "nothing is held of what has ended"


async def test_a_quota_holds_until_its_period_turns(
    any_workplace: Workplace, clock: FakeClock, sealer: Sealer
) -> None:
    ann = await subscribe(any_workplace, sealer)
    quota = QuotaRule("fair use", Effect.THROTTLE, 10 * GB, "month", "down")
    profile_id = await _give(any_workplace, ann, quota)
    keeper = RuleKeeper(any_workplace, ZONE)
    clock.step_to(NOON + timedelta(minutes=61))
    await _uses(any_workplace, ann, down=10 * GB - 1, up=50 * GB)
    assert await keeper.turn() == 0, "uploads do not count"
    await _uses(any_workplace, ann, down=1, up=0, minutes=30)
    assert await keeper.turn() == 0, "no more could have come in no time: it is not looked at yet"
    clock.step_to(NOON + timedelta(minutes=63))
    assert await keeper.turn() == 1
    assert await keeper.turn() == 0
    [hold] = await _holds(any_workplace)
    assert hold[:2] == ("quota", "throttle")
    assert "10.00 GB of download a month are used up; until 2026-04-01" in hold[2]
    async with any_workplace.reading() as connection:
        [said] = await rules_in_words(connection, ann, clock.now(), ZONE)
    assert said.startswith(
        "fair use: throttle 10.00 GB of download a month, 100 % used until 2026-04-01 06:00Z"
    )
    await _give(any_workplace, ann, QuotaRule("fair use", Effect.THROTTLE, 20 * GB, "month", "down"))
    assert await keeper.turn() == 1, "a larger quota counts at once"
    assert await _holds(any_workplace) == []
    await _give(any_workplace, ann, quota)
    assert await keeper.turn() == 1
    clock.step_to(_local("2026-04-01 00:00"))
    assert await keeper.turn() == 1, "the first minute of April in Denver"
    assert await _holds(any_workplace) == []
    async with any_workplace.work("test") as work:
        granted_hold = await rule_rows.rule_rows(work.connection, profile_id)
        assert len(granted_hold) == 1, "the same name is the same rule"


async def test_a_quota_by_the_billing_cycle_turns_with_the_account(
    workplace: Workplace, clock: FakeClock, sealer: Sealer
) -> None:
    ann = await subscribe(workplace, sealer)
    await _give(workplace, ann, QuotaRule("cap", Effect.WALLED_GARDEN, GB, "billing", "sum"))

    async def turns(_connection: AsyncConnection, accounts: Sequence[str]) -> Mapping[str, Any]:
        assert set(accounts) == {"acc_1"}
        return {"acc_1": (20, ZONE)}

    clock.step_to(NOON + timedelta(hours=2))
    await _uses(workplace, ann, down=GB, up=0)
    keeper = RuleKeeper(workplace, "UTC", turns)
    assert await keeper.turn() == 1
    clock.step_to(_local("2026-03-19 23:59"))
    assert await keeper.turn() == 0
    clock.step_to(_local("2026-03-20 00:00"))
    assert await keeper.turn() == 1


async def test_a_quota_is_looked_at_before_it_can_be_used_up(
    workplace: Workplace, clock: FakeClock, sealer: Sealer
) -> None:
    """A line of 100 Mbit/s needs 80 s for a GB: 12 GB cannot be gone within a quarter of an hour."""
    ann = await subscribe(workplace, sealer)
    await _give(workplace, ann, QuotaRule("cap", Effect.THROTTLE, 12 * GB, "month", "down"))
    keeper = RuleKeeper(workplace, ZONE)
    await keeper.turn()
    looks = 0
    for _ in range(4 * 60):
        clock.advance(timedelta(minutes=1))
        before = keeper.looks
        await keeper.turn()
        looks += keeper.looks - before
    assert looks == 4 * 60 // 16, "every 16 minutes while it is unused, not every minute"
    assert await _holds(workplace) == []


async def test_a_clock_stepped_back_does_not_hide_a_quota(
    workplace: Workplace, clock: FakeClock, sealer: Sealer
) -> None:
    ann = await subscribe(workplace, sealer)
    await _give(workplace, ann, QuotaRule("cap", Effect.THROTTLE, GB, "month", "down"))
    keeper = RuleKeeper(workplace, ZONE)
    clock.step_to(NOON + timedelta(days=300))
    await keeper.turn()
    clock.step_to(NOON + timedelta(hours=2))
    await _uses(workplace, ann, down=GB, up=0)
    assert await keeper.turn() == 1
