"""Sessions are found by what people ask for, page by page, each by an index; their addresses over time are kept."""

from __future__ import annotations

from datetime import timedelta
from random import Random
from typing import Any

import pytest
from aaa_world import NOON, Dialled, minute, report, subscribe
from sqlalchemy import event, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.domain.close_cause import CAUSES, why_closed
from aaa.domain.session_filter import SessionFilter, read_filter, read_place
from aaa.sessions import SessionDetail, list_sessions, read_mark, session_detail
from aaa.store.session_search import causes_known, neighbours_at, online_count, sessions_at
from aaa.store.tables import session
from core.ids import SeededIds
from core.refusal import Refusal, granted
from core.secrets import Sealer
from core.work import Workplace
from radius.accounting.decode import TERMINATE_CAUSES

MACS = [f"02005e0000{number:02x}" for number in range(7)]
ADDRESSES = [f"100.64.0.{number}" for number in range(9)]
PREFIXES = ["2001:db8:7:100::/56", "2001:db8:7:200::/56", "2001:db8:9::/48", None]


async def scatter(workplace: Workplace, number: int = 400) -> list[dict[str, Any]]:
    """Sessions of all kinds, several at the same instant, as rows straight into the table."""
    chance, ids = Random(11), SeededIds(5)
    rows: list[dict[str, Any]] = []
    for one in range(number):
        started = NOON + timedelta(minutes=chance.randrange(120))
        is_open = chance.random() < 0.2
        stopped = None if is_open else started + timedelta(minutes=chance.randrange(1, 300))
        rows.append(
            {
                "id": ids.new("ses"), "key": f"k{one}", "nas_id": f"nas_{chance.randrange(3)}",
                "acct_session_id": f"{one:x}", "username": f"user{chance.randrange(12)}", "service_id": None,
                "mac": chance.choice(MACS), "framed_ip": chance.choice(ADDRESSES),
                "delegated_ipv6_prefix": chance.choice(PREFIXES), "started_at": started, "stopped_at": stopped,
                "last_event_at": stopped or started, "last_received_at": stopped or started,
                "close_cause": None if is_open else chance.choice(["User-Request", "lost_stop", "Lost-Carrier"]),
            }
        )  # fmt: skip
    async with workplace.work("test") as work:
        await work.connection.execute(insert(session), rows)
    return rows


FILTERS = {
    "everything": ({}, lambda row: True),
    "online": ({"state": "online"}, lambda row: row["stopped_at"] is None),
    "closed": ({"state": "closed"}, lambda row: row["stopped_at"] is not None),
    "user": ({"username": "user3"}, lambda row: row["username"] == "user3"),
    "mac": ({"mac": "02-00-5E-00-00-02"}, lambda row: row["mac"] == MACS[2]),
    "address": ({"address": "100.64.0.4"}, lambda row: row["framed_ip"] == "100.64.0.4"),
    "inside a prefix": (
        {"address": "2001:db8:7:1ff::9"}, lambda row: row["delegated_ipv6_prefix"] == PREFIXES[0],
    ),
    "why": ({"why": "lost_stop"}, lambda row: row["close_cause"] == "lost_stop"),
    "times": (
        {"from": "2026-03-10T12:30Z", "until": "2026-03-10T13:00Z"},
        lambda row: minute(30) <= row["started_at"] < minute(60),
    ),
    "several": (
        {"state": "closed", "mac": MACS[1], "why": "Lost-Carrier", "from": "2026-03-10T12:10Z"},
        lambda row: row["mac"] == MACS[1] and row["close_cause"] == "Lost-Carrier"
        and row["started_at"] >= minute(10),
    ),
}  # fmt: skip


async def test_every_filter_gives_what_a_look_at_each_row_gives_page_by_page(
    any_workplace: Workplace,
) -> None:
    rows = await scatter(any_workplace)
    async with any_workplace.reading() as connection:
        for name, (asked, holds) in FILTERS.items():
            wanted = granted(read_filter(asked, None))
            expected = sorted(
                filter(holds, rows), key=lambda row: (row["started_at"], row["id"]), reverse=True
            )
            assert expected, f"{name}: the test has nothing to find"
            assert await _paged(connection, wanted) == [row["id"] for row in expected], name
        both = SessionFilter(nas_ids=("nas_0", "nas_2"), username="user1")
        expected_ids = {row["id"] for row in rows if row["nas_id"] != "nas_1" and row["username"] == "user1"}
        assert set(await _paged(connection, both)) == expected_ids
        assert await _paged(connection, SessionFilter(nas_ids=())) == [], "a tower without a NAS"
        assert await online_count(connection) == sum(row["stopped_at"] is None for row in rows)
        assert await causes_known(connection) == ["Lost-Carrier", "User-Request", "lost_stop"]


async def _paged(connection: AsyncConnection, wanted: SessionFilter) -> list[str]:
    found, mark = [], ""
    while True:
        after = read_mark(mark)
        assert not isinstance(after, Refusal)
        page = await list_sessions(connection, wanted, after=after, limit=7)
        found += [view.id for view in page.rows]
        if page.next_after is None:
            return found
        mark = page.next_after


async def test_every_page_is_found_along_an_index_without_sorting_the_whole(workplace: Workplace) -> None:
    """What makes a page of a million sessions as quick as one of a hundred."""
    await scatter(workplace)
    seen: list[tuple[str, Any]] = []

    def note(_conn: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("SELECT aaa_session"):
            seen.append((statement, parameters))

    async with workplace.reading() as connection:
        event.listen(connection.sync_connection, "before_cursor_execute", note)
        after = read_mark(f"{int(minute(50).timestamp()) * 1_000_000}.ses_z")
        assert not isinstance(after, Refusal)
        for asked, _ in FILTERS.values():
            await list_sessions(connection, granted(read_filter(asked, None)), after=after)
        await list_sessions(connection, SessionFilter(nas_ids=("nas_0", "nas_1")))
        place = granted(read_place("100.64.0.4"))
        await sessions_at(connection, place, minute(40), minute(50))
        await neighbours_at(connection, place, minute(40))
        event.remove(connection.sync_connection, "before_cursor_execute", note)
        for statement, parameters in seen:
            plan = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            steps = [row[3] for row in plan.all()]
            scans = [step for step in steps if step.startswith("SCAN aaa_session") and "INDEX" not in step]
            assert not scans, (statement, steps)
            narrow = "_ipv6_" in str(steps) or "sqlite_autoindex" in str(steps)
            assert narrow or "USE TEMP B-TREE FOR ORDER BY" not in steps, (statement, steps)
    assert len(seen) > 15


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"mac": "nonsense"}, "mac"), ({"address": "100.64.0.0/24"}, "address"), ({"address": "home"}, "address"),
        ({"from": "yesterday"}, "from"), ({"until": "2026-03-10 12:00"}, "until"), ({"state": "gone"}, "state"),
    ],
)  # fmt: skip
def test_what_cannot_be_looked_for_is_refused_by_name(asked: dict[str, str], field: str) -> None:
    refusal = read_filter(asked, None)
    assert isinstance(refusal, Refusal)
    assert refusal.field == field


def test_an_address_is_looked_for_in_every_prefix_that_holds_it() -> None:
    place = granted(read_place("[2001:db8:7:1ff::9]"))
    assert (place.text, place.version) == ("2001:db8:7:1ff::9", 6)
    assert {"2001:db8:7:1ff::9/128", "2001:db8:7:1ff::/64", "2001:db8:7:100::/56"} <= set(place.networks)
    assert granted(read_place("::ffff:100.64.0.9")).text == "100.64.0.9"
    assert granted(read_place("2001:db8:7:100::/56")).networks[0] == "2001:db8:7:100::/56"


def test_a_mark_that_is_none_is_refused() -> None:
    for mark in ("x", "12", ".ses_1", "9" * 30 + ".ses_1", "-5.ses_1"):
        assert isinstance(read_mark(mark), Refusal), mark


def test_every_cause_has_its_words() -> None:
    assert set(TERMINATE_CAUSES.values()) <= set(CAUSES)
    assert why_closed("lost_stop", inferred=True).startswith("inferred: ")
    assert why_closed(None, inferred=False) == ""
    assert "no RFC names" in why_closed("cause 77", inferred=False)


async def _only(workplace: Workplace) -> SessionDetail:
    async with workplace.reading() as connection:
        (session_id,) = (await connection.execute(select(session.c.id))).scalars()
        detail = await session_detail(connection, session_id)
    assert detail is not None
    return detail


async def test_addresses_that_came_late_or_changed_are_kept_with_their_times(
    any_workplace: Workplace, sealer: Sealer
) -> None:
    await subscribe(any_workplace, sealer)
    ann = Dialled(ip="10.0.0.7")
    moved = Dialled(ip="10.0.0.8")
    first, second = PREFIXES[0], PREFIXES[1]
    await report(any_workplace, ann.start(), ann.interim(5, (1, 1), delegated_ipv6_prefix=first))
    await report(any_workplace, ann.interim(10, (2, 2), delegated_ipv6_prefix=first))
    await report(any_workplace, moved.interim(15, (3, 3), delegated_ipv6_prefix=second))
    await report(any_workplace, moved.interim(20, (4, 4)), moved.stop(21, (5, 5)))
    detail = await _only(any_workplace)
    assert detail.session.addresses == ["10.0.0.8", second]
    assert detail.session.mac == "AA:BB:CC:00:00:01"
    spans = {(one.kind, one.network, one.first_seen_at, one.last_seen_at) for one in detail.spans}
    assert spans == {
        ("ipv4", "10.0.0.7", minute(0), minute(10)), ("ipv4", "10.0.0.8", minute(15), None),
        ("delegated", first, minute(5), minute(10)), ("delegated", second, minute(15), None),
    }  # fmt: skip
    assert [one.evidence["kind"] for one in detail.readings] == ["stop", *["interim"] * 4, "start"]
    async with any_workplace.reading() as connection:
        for address in ("10.0.0.7", "10.0.0.8", "2001:db8:7:101::1", "2001:db8:7:2ab::1"):
            wanted = granted(read_filter({"address": address}, None))
            assert len((await list_sessions(connection, wanted)).rows) == 1, address
        kept = (await connection.execute(text("SELECT count(*) FROM aaa_session_address"))).scalar_one()
    assert kept == 4


async def test_a_session_that_keeps_its_addresses_costs_no_row_more(
    workplace: Workplace, sealer: Sealer
) -> None:
    await subscribe(workplace, sealer)
    ann = Dialled(ip="10.0.0.7")
    await report(workplace, ann.start(delegated_ipv6_prefix=PREFIXES[0]), ann.interim(5, (1, 1)))
    detail = await _only(workplace)
    assert [(one.network, one.first_seen_at, one.last_seen_at) for one in detail.spans] == [
        ("10.0.0.7", NOON, None), (PREFIXES[0], NOON, None),
    ]  # fmt: skip
    async with workplace.reading() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM aaa_session_address"))).scalar_one() == 0
