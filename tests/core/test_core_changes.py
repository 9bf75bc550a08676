"""Whether something was committed, asked without reading: on both databases, and nothing is missed."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from core.changes import Changes, counted_when_changed, when_changed
from core.clock import FakeClock
from core.database import Database, sqlite_url


async def _insert(database: Database) -> None:
    async with database.write() as connection:
        await connection.execute(text("INSERT INTO t VALUES (1)"))


async def test_each_commit_counts_whoever_makes_it_and_nothing_else_does(
    any_database_url: str, clock: FakeClock
) -> None:
    own, other = Database(any_database_url), Database(any_database_url)
    changes = Changes(own, clock)

    async def is_new() -> bool:
        before = changes.count
        await changes.look()
        return changes.count > before

    try:
        async with own.write() as connection:
            await connection.execute(text("CREATE TABLE t (a INTEGER)"))
        assert await is_new()
        assert not await is_new()
        async with other.write() as connection:
            await connection.execute(text("INSERT INTO t VALUES (1)"))
            assert not await is_new(), "it is not committed yet"
        assert await is_new()
        async with own.read() as connection:  # a reader holds nobody up, and is nothing new
            await connection.execute(text("SELECT * FROM t"))
            assert not await is_new()
            await _insert(other)
            assert await is_new()
        await _insert(own)
        assert await is_new()
        assert not await is_new()
        with pytest.raises(ZeroDivisionError):
            async with other.write() as connection:
                await connection.execute(text("INSERT INTO t VALUES (1)"))
                raise ZeroDivisionError
        async with own.read() as connection:
            assert (await connection.execute(text("SELECT count(*) FROM t"))).scalar_one() == 3
    finally:
        await own.close()
        await other.close()


async def test_transactions_that_overlap_are_each_noticed(postgresql_url: str, clock: FakeClock) -> None:
    """The later one commits first."""
    own, first, second = (Database(postgresql_url) for _ in range(3))
    changes = Changes(own, clock)
    try:
        async with own.write() as connection:
            await connection.execute(text("CREATE TABLE t (a INTEGER)"))
        async with first.write() as early:
            await early.execute(text("INSERT INTO t VALUES (1)"))
            await _insert(second)
            await changes.look()
            seen = changes.count
        await changes.look()
        assert changes.count > seen
    finally:
        for one in (own, first, second):
            await one.close()


async def test_a_file_that_is_away_or_another_counts(tmp_path: Path, clock: FakeClock) -> None:
    path, aside = tmp_path / "hilltop.sqlite", tmp_path / "aside.sqlite"
    database = Database(sqlite_url(path))
    changes = Changes(database, clock)
    try:
        async with database.write() as connection:
            await connection.execute(text("CREATE TABLE t (a INTEGER)"))
        await database.close()  # the journal is in the file
        await changes.look()
        seen, at_s = changes.count, changes.seen_s
        path.rename(aside)
        clock.advance(timedelta(seconds=1))
        with pytest.raises(FileNotFoundError):
            await changes.look()
        assert (changes.count, changes.seen_s) == (seen + 1, at_s)
        shutil.copy(aside, path)
        await changes.look()
        assert changes.count == seen + 2
        assert changes.seen_s == clock.monotonic_s()
    finally:
        await database.close()


async def test_a_turn_is_left_out_while_nothing_is_new_but_not_for_long(
    tmp_path: Path, clock: FakeClock
) -> None:
    database = Database(sqlite_url(tmp_path / "hilltop.sqlite"))
    changes = Changes(database, clock)
    acted, busy = [], False

    async def act() -> None:
        acted.append(changes.count)
        if changes.count == 7:
            raise ConnectionError("away")

    turn = when_changed(changes, clock, act, 30, lambda: busy)
    await turn()
    await turn()
    assert acted == [0]
    changes.touch()
    await turn()
    await turn()
    assert acted == [0, 1]
    clock.advance(timedelta(seconds=30))
    await turn()
    assert acted == [0, 1, 1]
    busy = True
    await turn()
    assert acted == [0, 1, 1, 1]
    busy = False
    changes.count = 7
    for _ in range(2):  # what failed is not done
        with pytest.raises(ConnectionError):
            await turn()
    await database.close()


async def test_a_loop_that_counts_looks_for_itself(any_database_url: str, clock: FakeClock) -> None:
    database = Database(any_database_url)
    async with database.write() as connection:
        await connection.execute(text("CREATE TABLE t (a INTEGER)"))
    to_do = [3, 2]

    async def act() -> int:
        return to_do.pop()

    turn = counted_when_changed(Changes(database, clock), clock, act, 1)
    try:
        assert [await turn() for _ in range(3)] == [2, 0, 0]
        await _insert(database)
        assert [await turn() for _ in range(2)] == [3, 0]
    finally:
        await database.close()
