"""Transactions: whole or not at all, also when their task is cancelled at any moment."""

from __future__ import annotations

import asyncio
import random
import socket
import sqlite3
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import text

import core.database
from core.database import Database, again_when_it_gave_way, normalise_url, sqlite_url
from core.health import HealthIssue, close_issue, open_issue
from core.work import Work, Workplace


async def test_a_cancelled_transaction_is_whole_or_absent_and_leaves_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    database = Database(sqlite_url(path))
    async with database.write() as connection:
        await connection.execute(text("CREATE TABLE t (a)"))

    async def write_five() -> None:
        async with database.write() as connection:
            for _ in range(5):
                await connection.execute(text("INSERT INTO t VALUES (1)"))

    chance = random.Random(7)
    for _ in range(60):
        task = asyncio.create_task(write_five())
        for _ in range(chance.choice((1, 2))):
            await asyncio.sleep(chance.random() * 0.004)
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        with sqlite3.connect(path, timeout=2, isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            other.execute("ROLLBACK")
        other.close()
    async with database.read() as connection:
        count = (await connection.execute(text("SELECT count(*) FROM t"))).scalar_one()
    assert count % 5 == 0
    await database.close()


async def test_sqlite_commits_are_synchronous_and_written_ahead(tmp_path: Path) -> None:
    database = Database(sqlite_url(tmp_path / "p.sqlite"))
    async with database.write() as connection:
        assert (await connection.exec_driver_sql("PRAGMA synchronous")).scalar_one() == 2  # FULL
        assert (await connection.exec_driver_sql("PRAGMA journal_mode")).scalar_one() == "wal"
        assert (await connection.exec_driver_sql("PRAGMA foreign_keys")).scalar_one() == 1
    await database.close()


@pytest.mark.parametrize("url", ["mysql://x/y", "not a url", "oracle://"])
def test_another_database_is_refused_by_name(url: str) -> None:
    with pytest.raises(ValueError, match="this is no database; write it like"):
        normalise_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://hilltop:p@ss:SECRETpart@db/hilltop",
        "postgresql://hilltop:SECRETpart",
        "postgresql://hilltop:Sup@SECRETpart@db/hilltop",
        "postgresql://hilltop:Sup@SECRET/part@db/hilltop",
        "postgresql://hilltop:Sup@SECRET?part@db/hilltop",
        "postgresql://hilltop:[SECRET@db:part/hilltop",
        "postgresql://hilltop@db:99999/SECRETpart",
        "postgresql://hilltop@db/hilltop?SECRETpart=1",
        "sqlite:////tmp/x?SECRETpart=1",
        "SECRETpart",
        "mysql://hilltop:SECRETpart@db/hilltop",
    ],
)
def test_a_url_that_is_read_wrongly_is_refused_without_a_word_of_it(url: str) -> None:
    with pytest.raises(ValueError) as caught:
        normalise_url(url)
    assert "SECRET" not in str(caught.value) and "part" not in str(caught.value)
    with pytest.raises(ValueError):
        Database(url)


def test_what_is_escaped_in_a_password_reaches_the_driver() -> None:
    url = normalise_url("postgresql://hilltop:p%40s%3As%2F@db/hilltop?ssl=require")
    assert url == "postgresql+asyncpg://hilltop:p%40s%3As%2F@db/hilltop?ssl=require"


@pytest.mark.postgresql
async def test_a_transaction_that_gave_way_is_run_again(postgresql_workplace: Workplace) -> None:
    """Two transactions take two rows in opposite orders; PostgreSQL rolls one back, and both end done."""
    async with postgresql_workplace.work("system:test") as work:
        for key in ("a", "b"):
            await open_issue(work, HealthIssue(key=key, severity="warning", title=key, remedy=key))
    both_hold_one = asyncio.Barrier(2)
    tries = 0

    async def close_both(work: Work, first: str, second: str) -> None:
        nonlocal tries
        tries += 1
        await close_issue(work, first)
        if tries <= 2:
            await both_hold_one.wait()
        await close_issue(work, second)

    await asyncio.gather(
        postgresql_workplace.carry_out("system:a", partial(close_both, first="a", second="b")),
        postgresql_workplace.carry_out("system:b", partial(close_both, first="b", second="a")),
    )
    assert tries >= 3  # one gives way, or both do


async def test_what_is_wrong_is_not_run_again() -> None:
    tries = 0

    async def wrong() -> None:
        nonlocal tries
        tries += 1
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        await again_when_it_gave_way(wrong)
    assert tries == 1


@pytest.mark.postgresql
async def test_a_wire_to_postgresql_that_is_silently_cut_is_noticed(postgresql_url: str) -> None:
    """Asked of the kernel: it resets a connection whose peer answers neither octets nor probes for half a minute."""
    database = Database(postgresql_url)
    async with database.read() as connection:
        raw = await connection.get_raw_connection()
        wire = raw.driver_connection._transport.get_extra_info("socket")  # type: ignore[union-attr]
        assert wire.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        probed_s = wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) + wire.getsockopt(
            socket.IPPROTO_TCP, socket.TCP_KEEPINTVL
        ) * wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT)
        assert 0 < probed_s <= 30
        assert 0 < wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) <= 30_000
    await database.close()


@pytest.mark.postgresql
async def test_a_statement_that_never_ends_is_an_error(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core.database, "COMMAND_LIMIT_S", 0.5)
    database = Database(postgresql_url)
    async with asyncio.timeout(20):
        with pytest.raises(TimeoutError):
            async with database.write() as connection:
                await connection.execute(text("SELECT pg_sleep(60)"))
        async with database.read() as connection:
            assert (await connection.execute(text("SELECT 1"))).scalar_one() == 1
    await database.close()
