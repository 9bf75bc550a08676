"""The database is away: authentication goes on, accounting goes into the journal, and all of it arrives."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from reliability_box import Box, Nursery, open_box, times, until
from reliability_field import NAS_SECRET, Field, open_field
from reliability_postgresql import PostgreSql, own_postgresql

from lab.nas import LabNas, RejectedDial
from radius.directory.snapshot import snapshot_path


@pytest.fixture
def own_server() -> Iterator[PostgreSql]:
    with own_postgresql() as server:
        yield server


async def _traffic(field: Field) -> int:
    """Everybody dials whose turn it is, all report; each is answered at once. The reports made."""
    fresh = list(field.services)[len(field.sessions) : len(field.sessions) + 8]
    for number, name in enumerate(fresh):
        before = field.dials
        await field.dial(name, field.nases[number % len(field.nases)])
        assert field.dials == before + 1, "a sign-in went unanswered"
    wrong = await field.nases[0].dial(fresh[0], "not it", mac="02:00:00:00:00:01")
    assert isinstance(wrong, RejectedDial), "a wrong password is still a wrong password"
    assert wrong.answered
    for one in [one for one in field.sessions if one.live]:
        assert await field.report(one), "a report was not acknowledged"
    assert await field.hang_up(next(one for one in field.sessions if one.live))
    assert not any(nas.unacknowledged for nas in field.nases)
    return len(fresh) + sum(one.live for one in field.sessions) + 1


async def _backlog_is(box: Box, records: int) -> None:
    """The journal holds what was acknowledged while nobody could take it over."""
    assert await asyncio.to_thread(box.journal_rows) >= records


@pytest.mark.postgresql
async def test_postgresql_is_stopped_and_comes_back(
    tmp_path: Path, nursery: Nursery, own_server: PostgreSql
) -> None:
    async with (
        open_box(tmp_path, nursery, database_url=own_server.url) as box,
        open_field(box, people=40, towers=2, seed=3, timeout_s=1.0) as field,
    ):
        radius = await box.start("radius", prefix=[])
        collector = await box.start("collector", prefix=[])
        await _traffic(field)
        await field.settled()

        own_server.stop()
        records = await _traffic(field)
        records += await _traffic(field)
        await _backlog_is(box, records)
        own_server.start()
        await field.settled()

        await own_server.accept(False)
        records = await _traffic(field)
        await until("the collector notices", lambda: _said(box, "collector", "ingest_failing", 2))
        await _backlog_is(box, records)
        await own_server.accept(True)
        await field.settled()
        assert not radius.ended.is_set()
        assert not collector.ended.is_set()


async def _said(box: Box, role: str, word: str, often: int) -> bool:
    return box.log(role).count(word) >= often


@pytest.mark.postgresql
async def test_roles_that_start_while_the_database_is_away_are_silent_and_recover(
    tmp_path: Path, nursery: Nursery, own_server: PostgreSql
) -> None:
    """Without a directory nobody can be judged: silence lets the NAS ask another server; a reject would not."""
    async with (
        open_box(tmp_path, nursery, database_url=own_server.url) as box,
        open_field(box, people=17, towers=1, seed=4, timeout_s=1.0) as field,
    ):
        await box.start("radius")
        await box.start("collector")
        await _traffic(field)
        own_server.stop()
        await _traffic(field)
        await box.kill_all()
        snapshot_path(box.journal.parent).unlink(missing_ok=True)  # with one it would go on from there
        roles = [await box.start(role, wait=False) for role in ("radius", "collector", "worker")]
        await until("a turn without directory", lambda: _said(box, "radius", "radius_turn_failing", 1))
        hasty = LabNas("hasty", "127.0.0.2", box.servers, NAS_SECRET, coa_port=0, tries=2, timeout_s=0.3)
        await hasty.start()
        outcome = await hasty.dial("user000", "open sesame")
        await hasty.stop()
        assert isinstance(outcome, RejectedDial)
        assert not outcome.answered, "who cannot be judged must not be rejected"
        assert not await field.report(field.sessions[-1]), "a NAS nobody knows was acknowledged"
        own_server.start()
        await field.dial(list(field.services)[-1], field.nases[0])
        await field.resend_all()
        await field.settled()
        assert [one.role for one in roles if one.ended.is_set()] == []


async def test_sqlite_is_locked_by_a_stranger(tmp_path: Path, nursery: Nursery) -> None:
    """A backup or an administrator's shell holds the write lock for seconds."""
    async with open_box(tmp_path, nursery) as box, open_field(box, 40, 2, seed=5, timeout_s=1.0) as field:
        radius = await box.start("radius")
        collector = await box.start("collector")
        await _traffic(field)
        await field.settled()
        with closing(
            sqlite3.connect(tmp_path / "state" / "hilltop.sqlite", isolation_level=None)
        ) as stranger:
            stranger.execute("BEGIN IMMEDIATE")
            locked_at_s = asyncio.get_running_loop().time()
            records = await _traffic(field)
            left_s = locked_at_s + times(5, 25) - asyncio.get_running_loop().time()
            await asyncio.sleep(max(0.0, left_s))
            records += await _traffic(field)
            await _backlog_is(box, records)
            stranger.execute("ROLLBACK")
        await field.settled()
        assert not radius.ended.is_set()
        assert not collector.ended.is_set()
