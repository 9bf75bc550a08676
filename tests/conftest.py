"""Fixtures that every room's tests share."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
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


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(datetime(2026, 3, 10, 12, 0, tzinfo=UTC))


@pytest.fixture
def sealer() -> Sealer:
    return Sealer({"k1": bytes(range(32))})


@pytest.fixture(scope="session")
def empty_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with every table and no row, made once for all tests of a process."""
    path = tmp_path_factory.mktemp("tables") / "empty.sqlite"

    async def make() -> None:
        database = Database(sqlite_url(path))
        await create_tables(database)
        await database.close()

    thread = threading.Thread(target=asyncio.run, args=(make(),))  # beside whatever loop is running
    thread.start()
    thread.join()
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
    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={base} -c max_connections=200"
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


@pytest.fixture
async def postgresql_url(postgresql_server: str) -> AsyncIterator[str]:
    """The URL of a fresh empty database in the private cluster."""
    name = f"t_{secrets.token_hex(6)}"
    connection = await asyncpg.connect(f"{postgresql_server}/postgres")
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    yield f"{postgresql_server}/{name}"
    connection = await asyncpg.connect(f"{postgresql_server}/postgres")
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connection.close()


@pytest.fixture
async def postgresql_workplace(postgresql_url: str, clock: FakeClock) -> AsyncIterator[Workplace]:
    database = Database(postgresql_url)
    await create_tables(database)
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
