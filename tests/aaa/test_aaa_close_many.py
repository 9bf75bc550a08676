"""Closing many services at once: the same as one by one, nobody's trouble is another's, and few statements."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from aaa_world import Dialled, minute, report, subscribe
from sqlalchemy import event, select, update

from aaa import close_usage
from aaa.close_usage import (
    ClosedUsage,
    UsageClaim,
    close_many,
    slices_of_closes,
    usage_between,
    usage_of_many,
    verify_close,
)
from aaa.domain.closing import digest_in_order, digest_of_lines, is_digest, pieces_of
from aaa.store import close_rows
from aaa.store.tables import usage_close, usage_record
from core.clock import FakeClock
from core.refusal import Refusal
from core.secrets import Sealer
from core.work import Workplace

PEOPLE = [
    Dialled(username=name, acct_session_id=name, mac=f"02:00:00:00:00:0{number}", ip=f"10.0.0.{number}")
    for number, name in enumerate(("ann", "bob", "eve"), start=1)
]


@pytest.fixture
async def services(any_workplace: Workplace, sealer: Sealer, clock: FakeClock) -> list[str]:
    clock.step_to(minute(600))
    return [await subscribe(any_workplace, sealer, one.username) for one in PEOPLE]


async def _close(workplace: Workplace, *claims: UsageClaim) -> list[ClosedUsage | Refusal]:
    async with workplace.work("system:billing") as work:
        return await close_many(work, claims)


def _claim(service_id: str, from_m: float, until_m: float, claim: str = "c") -> UsageClaim:
    return UsageClaim(service_id, minute(from_m), minute(until_m), claim)


def _octets(outcomes: list[ClosedUsage | Refusal]) -> list[tuple[int, int] | str]:
    return [one.code if isinstance(one, Refusal) else (one.octets_out, one.records) for one in outcomes]


async def _all_verify(workplace: Workplace) -> bool:
    async with workplace.reading() as connection:
        ids = list((await connection.execute(select(usage_close.c.id))).scalars())
        return all([await verify_close(connection, close_id) for close_id in ids])


async def _everyone_reports(workplace: Workplace) -> None:
    for number, one in enumerate(PEOPLE, start=1):
        await report(
            workplace, one.start(), *(one.interim(m, (m, m * 10 * number)) for m in (25, 55, 65, 95))
        )


async def test_many_services_are_split_summed_and_proved_together(
    any_workplace: Workplace, services: list[str]
) -> None:
    await _everyone_reports(any_workplace)
    first = await _close(any_workplace, *(_claim(one, 0, 60) for one in services))
    assert _octets(first) == [(600, 3), (1200, 3), (1800, 3)]
    second = await _close(any_workplace, *(_claim(one, 60, 90, "next") for one in services))
    assert _octets(second) == [(300, 2), (600, 2), (900, 2)]
    for one in PEOPLE:
        await report(any_workplace, one.interim(58, (58, 5_800)), one.stop(100, (200, 9_000)))
    assert await _all_verify(any_workplace)
    again = await _close(any_workplace, *(_claim(one, 0, 60) for one in services))
    assert again == first


async def test_what_cannot_be_closed_is_refused_and_the_others_are_closed(
    any_workplace: Workplace, services: list[str]
) -> None:
    await _everyone_reports(any_workplace)
    ann, bob, eve = services
    await _close(any_workplace, _claim(eve, 0, 30))
    outcomes = await _close(
        any_workplace,
        _claim("svc_nobody", 0, 60), _claim(ann, 0, 60), _claim(bob, 0, 100_000), _claim(bob, 60, 60),
        _claim(eve, 0, 60), _claim(bob, 0, 60), _claim(ann, 0, 60), _claim(ann, 0, 50),
    )  # fmt: skip
    assert _octets(outcomes) == [
        "unknown_service", (600, 3), "span_not_over", "span_not_over", "claimed_otherwise", (1200, 3), (600, 3),
        "claimed_otherwise",
    ]  # fmt: skip
    assert await _close(any_workplace) == []


async def test_several_periods_and_claims_of_a_service_at_once_share_its_octets(
    any_workplace: Workplace, services: list[str]
) -> None:
    """Whatever the order of the claims, each octet is in one close, the earlier claim's."""
    await _everyone_reports(any_workplace)
    ann = services[0]
    await _close(any_workplace, _claim(ann, 30, 40, "before"))
    outcomes = await _close(
        any_workplace,
        _claim(ann, 60, 95, "second"), _claim(ann, 0, 60, "first"), _claim(ann, 0, 60, "twin"),
        _claim(ann, 50, 120, "rest"),
    )  # fmt: skip
    assert _octets(outcomes) == [(350, 2), (500, 4), (0, 0), (0, 0)]
    assert await _all_verify(any_workplace)


async def test_slices_of_closes_tell_when_octets_were_used(
    any_workplace: Workplace, services: list[str]
) -> None:
    await _everyone_reports(any_workplace)
    middle = await _close(any_workplace, _claim(services[0], 25, 40, "middle"))
    ann, bob = await _close(any_workplace, _claim(services[0], 0, 60), _claim(services[1], 0, 60))
    assert isinstance(middle[0], ClosedUsage)
    assert isinstance(ann, ClosedUsage)
    assert isinstance(bob, ClosedUsage)
    async with any_workplace.reading() as connection:
        slices = await slices_of_closes(
            connection, [ann.close_id, bob.close_id, middle[0].close_id, "ucl_none"]
        )
    assert slices.pop("ucl_none") == []
    assert slices == {
        middle[0].close_id: [(minute(25), minute(40), 15, 150)],
        ann.close_id: [
            (minute(0), minute(25), 25, 250), (minute(40), minute(55), 15, 150), (minute(55), minute(60), 5, 50),
        ],
        bob.close_id: [
            (minute(0), minute(25), 25, 500), (minute(25), minute(55), 30, 600), (minute(55), minute(60), 5, 100),
        ],
    }  # fmt: skip


async def test_live_usage_of_many_spans_is_that_of_each(
    any_workplace: Workplace, services: list[str]
) -> None:
    await _everyone_reports(any_workplace)
    await _close(any_workplace, _claim(services[2], 0, 60))
    spans: list[tuple[str, datetime, datetime]] = [
        (one, minute(start), minute(end)) for one in services for start, end in ((0, 60), (30, 58), (58, 59))
    ]
    async with any_workplace.reading() as connection:
        used = await usage_of_many(connection, [*spans, spans[0]])
        assert used == [await usage_between(connection, *one) for one in [*spans, spans[0]]]
        assert await usage_of_many(connection, []) == []
    assert used[:3] == [(60, 600), (28, 280), (1, 10)]
    assert used[6:] == [(60, 1800), (28, 840), (1, 30), (60, 600)]


async def test_however_few_records_are_looked_at_at_once_the_closes_are_the_same(
    workplace: Workplace, sealer: Sealer, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.step_to(minute(600))
    services = [await subscribe(workplace, sealer, one.username) for one in PEOPLE]
    await _everyone_reports(workplace)
    monkeypatch.setattr(close_usage, "Pace", lambda: close_rows.Pace(at_once=1))
    monkeypatch.setattr(close_rows, "_RECORDS_AT_ONCE", 6)
    outcomes = await _close(workplace, *(_claim(one, 0, 60) for one in services))
    assert _octets(outcomes) == [(600, 3), (1200, 3), (1800, 3)]
    assert await _all_verify(workplace)


async def test_statements_do_not_grow_with_the_number_of_services(
    workplace: Workplace, sealer: Sealer, clock: FakeClock
) -> None:
    clock.step_to(minute(600))
    services = [await subscribe(workplace, sealer, one.username) for one in PEOPLE]
    await _everyone_reports(workplace)
    counts = []
    engine = workplace.database._writer.sync_engine
    for claimed in (services[:1], services[1:]):
        statements: list[str] = []

        def note(_connection: Any, _cursor: Any, statement: str, *_: Any, to: list[str] = statements) -> None:
            to.append(statement)

        event.listen(engine, "before_cursor_execute", note)
        await _close(workplace, *(_claim(one, 0, 60) for one in claimed))
        event.remove(engine, "before_cursor_execute", note)
        counts.append(len(statements))
    assert counts[0] == counts[1] <= 10


async def test_closes_of_an_earlier_release_verify_by_their_own_digest(
    any_workplace: Workplace, services: list[str]
) -> None:
    await _everyone_reports(any_workplace)
    (closed,) = await _close(any_workplace, _claim(services[0], 0, 60))
    assert isinstance(closed, ClosedUsage)
    async with any_workplace.work("system:earlier") as work:
        found = await work.connection.execute(
            select(usage_record)
            .where(usage_record.c.service_id == services[0], usage_record.c.start_at < minute(60))
            .order_by(usage_record.c.start_at)
        )
        lines = [
            f"{one.meter_id}|{one.start_at.timestamp():.0f}000000|{one.end_at.timestamp():.0f}000000"
            f"|{one.octets_in}|{one.octets_out}|{int(one.interpolated)}"
            for one in found
        ]
        assert closed.digest == digest_of_lines(lines)
        await work.connection.execute(update(usage_close).values(digest=digest_in_order(lines)))
    assert await _all_verify(any_workplace)
    async with any_workplace.work("somebody") as work:
        await work.connection.execute(
            update(usage_record).where(usage_record.c.end_at == minute(25)).values(end_at=minute(24))
        )
    assert not await _all_verify(any_workplace)


def test_digests_of_both_kinds_are_what_they_always_were() -> None:
    """Written down once: a close of years ago is proved with these."""
    lines = ["mtr_b|1|2|3|4|0", "mtr_a|2|3|5|6|1"]
    assert digest_in_order(lines) == "97263a9897de13cc67ffbda32a15dbc2ed18e378f10cc20ffcf069d25473d02f"
    assert (
        digest_of_lines(lines)
        == digest_of_lines(lines[::-1])
        == "lines:c39693623208a63e80d53adfe7a5a3d95fe6e5d5b9e707473a87a1652372b428"
    )
    assert is_digest(digest_of_lines(lines), lines)
    assert is_digest(digest_in_order(lines), lines)
    assert not is_digest(digest_in_order(lines), lines[::-1])
    assert not is_digest(digest_of_lines(lines), lines[:1])


@pytest.mark.parametrize(
    ("taken", "left"),
    [
        ([], [(0, 60)]),
        ([(60, 90), (-30, 0)], [(0, 60)]),
        ([(10, 20)], [(0, 10), (20, 60)]),
        ([(30, 70), (-5, 10), (5, 12)], [(12, 30)]),
        ([(0, 60)], []),
        ([(-10, 100), (20, 30)], []),
    ],
)
def test_what_is_left_of_a_span(taken: list[tuple[int, int]], left: list[tuple[int, int]]) -> None:
    spans = [(minute(start), minute(end)) for start, end in taken]
    assert pieces_of((minute(0), minute(60)), spans) == [(minute(start), minute(end)) for start, end in left]
