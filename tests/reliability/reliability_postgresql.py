"""A PostgreSQL server of the test's own, to be stopped, started and locked up at will."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest


@dataclass(frozen=True)
class PostgreSql:
    """One cluster on loopback."""

    binaries: Path
    base: Path
    port: int

    @property
    def url(self) -> str:
        return f"{self.server}/hilltop"

    @property
    def server(self) -> str:
        return f"postgresql://hilltop@127.0.0.1:{self.port}"

    def run(self, *command: str) -> None:
        """One of PostgreSQL's own programs, as the user it wants to be."""
        root = os.geteuid() == 0
        prefix = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if root else []
        command = (str(self.binaries / command[0]), "-D", str(self.base / "data"), *command[1:])
        subprocess.run([*prefix, *command], check=True, capture_output=True, cwd=self.base)

    def start(self) -> None:
        options = (
            f"-c listen_addresses=127.0.0.1 -c port={self.port} -c unix_socket_directories={self.base}"
            " -c fsync=off"
        )
        self.run("pg_ctl", "-l", str(self.base / "log"), "-w", "-o", options, "start")

    def stop(self) -> None:
        """As if its machine lost power."""
        self.run("pg_ctl", "-m", "immediate", "-w", "stop")

    async def execute(self, *statements: str) -> None:
        """By a superuser, beside the database in question."""
        connection = await asyncpg.connect(f"{self.server}/postgres")
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    async def accept(self, accepts: bool) -> None:
        """Whether anybody may connect to the database; those who are connected are thrown out."""
        await self.execute(
            f"ALTER DATABASE hilltop ALLOW_CONNECTIONS {str(accepts).lower()}",
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'hilltop'",
        )


@contextmanager
def own_postgresql() -> Iterator[PostgreSql]:
    """A running cluster with an empty database; gone at the end."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)
    program = str(found[0]) if found else shutil.which("initdb")
    if program is None:
        pytest.skip("no PostgreSQL server binaries (initdb) on this machine")
    base = Path(tempfile.mkdtemp(prefix="hilltop-pg-", dir="/tmp"))
    if os.geteuid() == 0:
        shutil.chown(base, "postgres", "postgres")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        server = PostgreSql(Path(program).parent, base, probe.getsockname()[1])
    try:
        server.run("initdb", "-U", "hilltop", "-A", "trust", "-E", "UTF8", "--no-sync")
        server.start()
        asyncio.run(server.execute("CREATE DATABASE hilltop"))
        yield server
    finally:
        if (base / "data" / "postmaster.pid").exists():
            server.stop()
        shutil.rmtree(base, ignore_errors=True)
