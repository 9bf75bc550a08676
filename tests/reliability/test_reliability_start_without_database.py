"""RADIUS is started while the database is away: it answers from the snapshot, journals, and follows it later."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from reliability_box import Box, Nursery, open_box, until
from reliability_field import open_field
from reliability_postgresql import PostgreSql, own_postgresql
from test_reliability_database_away import _traffic

from radius.directory.snapshot import read_header, snapshot_path
from radius.serving.status import read_statuses


@pytest.fixture
def own_server() -> Iterator[PostgreSql]:
    with own_postgresql() as server:
        yield server


class MovedFile:
    """An embedded database whose file is taken away and brought back."""

    def __init__(self, box: Box) -> None:
        self._box = box
        self._away = box.folder / "elsewhere"

    @property
    def path(self) -> Path:
        return Path(self._box.house.workplace.database.url.partition("///")[2])

    async def take(self) -> None:
        await self._box.house.workplace.database.close()
        self._away.mkdir()
        for part in self.path.parent.glob(f"{self.path.name}*"):
            shutil.move(part, self._away / part.name)

    async def bring_back(self) -> None:
        assert not self.path.exists(), "no empty database was begun in its place"
        for part in self._away.iterdir():
            shutil.move(part, self.path.parent / part.name)


class StoppedServer:
    """PostgreSQL, stopped and started."""

    def __init__(self, server: PostgreSql) -> None:
        self._server = server

    async def take(self) -> None:
        await asyncio.to_thread(self._server.stop)

    async def bring_back(self) -> None:
        await asyncio.to_thread(self._server.start)


async def test_the_database_file_is_moved_away(tmp_path: Path, nursery: Nursery) -> None:
    async with open_box(tmp_path, nursery) as box:
        await _start_without(box, MovedFile(box))


@pytest.mark.postgresql
async def test_postgresql_is_down_at_the_start(
    tmp_path: Path, nursery: Nursery, own_server: PostgreSql
) -> None:
    async with open_box(tmp_path, nursery, database_url=own_server.url) as box:
        await _start_without(box, StoppedServer(own_server))


async def _start_without(box: Box, database: Any) -> None:
    async with open_field(box, people=24, towers=2, seed=5, timeout_s=1.0) as field:
        path = snapshot_path(box.house.settings.journal_directory)
        collector = await box.start("collector")
        await until("the snapshot", lambda: _found(path))
        await collector.kill()
        await database.take()

        radius = await box.start("radius", prefix=[])
        await until("the snapshot in use", lambda: _is_from_snapshot(box, True))
        records = await _traffic(field)
        assert box.journal_rows() >= records, "what was acknowledged is in the journal"

        await database.bring_back()
        await until("the database in the snapshot's place", lambda: _is_from_snapshot(box, False))
        await box.start("collector")
        await _traffic(field)
        await field.settled()
        assert not radius.ended.is_set()


async def _found(path: Path) -> bool:
    return read_header(path) is not None


async def _is_from_snapshot(box: Box, expected: bool) -> bool:
    """Of every process that answers."""
    statuses = read_statuses(box.house.settings.journal_directory)
    return bool(statuses) and all(
        one.directory_from_snapshot is expected and one.directory_logins > 0 for one in statuses
    )
