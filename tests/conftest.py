"""Fixtures that every room's tests share."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import hypothesis
import pytest
from all_tables import create_tables

from core.clock import FakeClock
from core.database import Database, sqlite_url
from core.ids import SeededIds
from core.secrets import Sealer
from core.work import Workplace

# A law holds on a loaded machine too: nothing here is timed.
hypothesis.settings.register_profile("hilltop", deadline=None)
hypothesis.settings.load_profile("hilltop")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Modules with slow tests first, each whole and in its order: at the end no worker waits for another's long test."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(datetime(2026, 3, 10, 12, 0, tzinfo=UTC))


@pytest.fixture
def sealer() -> Sealer:
    return Sealer({"k1": bytes(range(32))})


def _run_aside(work: Coroutine[object, object, None]) -> None:
    """To its end beside whatever loop is running; raises what it raises."""
    with ThreadPoolExecutor(1) as aside:
        aside.submit(asyncio.run, work).result()


@pytest.fixture(scope="session")
def empty_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with every table and no row, made once for all tests of a process."""
    path = tmp_path_factory.mktemp("tables") / "empty.sqlite"

    async def make() -> None:
        database = Database(sqlite_url(path))
        await create_tables(database)
        await database.close()

    _run_aside(make())
    return path


@pytest.fixture
async def workplace(tmp_path: Path, clock: FakeClock, empty_tables: Path) -> AsyncIterator[Workplace]:
    shutil.copy(empty_tables, tmp_path / "hilltop.sqlite")
    database = Database(sqlite_url(tmp_path / "hilltop.sqlite"))
    yield Workplace(database, clock, SeededIds())
    await database.close()


def _postgresql_bin() -> Path | None:
    """The folder with initdb and pg_ctl: Debian's own place, else beside the postgres on the PATH."""
    for candidate in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (candidate / "initdb").exists():
            return candidate
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found else None


@pytest.fixture(scope="session")
def postgresql_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A private PostgreSQL cluster on a loopback port; yields its URL without a database name."""
    folder = _postgresql_bin()
    if folder is None:
        pytest.skip("no PostgreSQL server binaries (initdb) on this machine")
    base = Path(tempfile.mkdtemp(prefix="hilltop-pg-", dir="/tmp"))
    prefix = (
        ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    )
    if prefix:
        shutil.chown(base, "postgres", "postgres")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def run(*command: str) -> None:
        subprocess.run([*prefix, *command], check=True, capture_output=True, cwd=base)

    run(
        str(folder / "initdb"),
        "-D",
        str(base / "data"),
        "-U",
        "hilltop",
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--no-sync",
    )
    # No test takes the power from this server's machine: what its processes leave unsynced outlives them all the same.
    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={base} -c max_connections=200 -c fsync=off -c full_page_writes=off"
    run(
        str(folder / "pg_ctl"),
        "-D",
        str(base / "data"),
        "-l",
        str(base / "log"),
        "-w",
        "-o",
        options,
        "start",
    )
    try:
        yield f"postgresql://hilltop@127.0.0.1:{port}"
    finally:
        run(str(folder / "pg_ctl"), "-D", str(base / "data"), "-m", "immediate", "-w", "stop")
        shutil.rmtree(base, ignore_errors=True)


async def _to_postgresql(server: str, statement: str) -> None:
    connection = await asyncpg.connect(f"{server}/postgres")
    await connection.execute(statement)
    await connection.close()


@contextlib.asynccontextmanager
async def _postgresql_database(server: str, template: str) -> AsyncIterator[str]:
    """The URL of a database that is a copy of ``template``, gone at the end."""
    name = f"t_{secrets.token_hex(6)}"
    await _to_postgresql(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield f"{server}/{name}"
    await _to_postgresql(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def postgresql_url(postgresql_server: str) -> AsyncIterator[str]:
    """The URL of a fresh empty database in the private cluster."""
    async with _postgresql_database(postgresql_server, "template1") as url:
        yield url


@pytest.fixture(scope="session")
def postgresql_tables(postgresql_server: str) -> str:
    """The name of a database with every table and no row, made once for all tests of a process."""

    async def make() -> None:
        await _to_postgresql(postgresql_server, "CREATE DATABASE every_table")
        database = Database(f"{postgresql_server}/every_table")
        await create_tables(database)
        await database.close()

    _run_aside(make())
    return "every_table"


@pytest.fixture
async def postgresql_workplace(
    postgresql_server: str, postgresql_tables: str, clock: FakeClock
) -> AsyncIterator[Workplace]:
    async with _postgresql_database(postgresql_server, postgresql_tables) as url:
        database = Database(url)
        yield Workplace(database, clock, SeededIds())
        await database.close()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def any_workplace(request: pytest.FixtureRequest) -> Workplace:
    """A workplace on each database in turn."""
    fixture = "workplace" if request.param == "sqlite" else "postgresql_workplace"
    return request.getfixturevalue(fixture)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def any_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database of each kind in turn."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "any.sqlite")
    return str(request.getfixturevalue("postgresql_url"))
