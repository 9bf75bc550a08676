"""A private PostgreSQL cluster for one run: loopback only, durable commits, thrown away afterwards."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from bench.ports import free_tcp_port

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "synchronous_commit": "on",
    "fsync": "on",
    "max_connections": "100",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "autovacuum": "on",
}
"""The same for both sides: stock but for memory and checkpoints, which a run of minutes should not meet."""


def binaries() -> Path | None:
    """The folder of initdb and pg_ctl, Debian's newest first; None when there is none."""
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (folder / "initdb").exists():
            return folder
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found else None


class Cluster:
    """One running cluster with the superuser ``bench`` and no password on loopback."""

    def __init__(self) -> None:
        folder = binaries()
        if folder is None:
            raise RuntimeError("no PostgreSQL server on this machine: apt-get install postgresql-15")
        self._bin = folder
        self._base = Path(tempfile.mkdtemp(prefix="hilltop-bench-pg-"))
        self.port = free_tcp_port()
        # initdb and postgres refuse to run as root
        self._prefix = (
            ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
        )

    def start(self) -> None:
        """Create and start it."""
        if self._prefix:
            shutil.chown(self._base, "postgres", "postgres")
        data = str(self._base / "data")
        self._run("initdb", "-D", data, "-U", "bench", "-A", "trust", "-E", "UTF8", "--no-sync")
        settings = {**SETTINGS, "port": str(self.port), "unix_socket_directories": str(self._base)}
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        self._run("pg_ctl", "-D", data, "-l", str(self._base / "log"), "-w", "-o", options, "start")

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [*self._prefix, str(self._bin / program), *arguments],
            capture_output=True,
            text=True,
            cwd=self._base,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stderr.strip() or done.stdout.strip()}")

    def create(self, database: str, schema: Path | None = None) -> None:
        """A new database, with the tables of ``schema`` when one is given."""
        self.query("postgres", f"CREATE DATABASE {database}")
        if schema is not None:
            self.query(database, schema.read_text())

    def query(self, database: str, statements: str) -> str:
        """What ``psql`` answers to ``statements``."""
        command = [
            str(self._bin / "psql"),
            "-h",
            "127.0.0.1",
            "-p",
            str(self.port),
            "-U",
            "bench",
            "-d",
            database,
        ]
        done = subprocess.run(
            [*command, "-qAtX", "-v", "ON_ERROR_STOP=1"],
            input=statements,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"psql failed: {done.stderr.strip()}")
        return done.stdout.strip()

    def url(self, database: str) -> str:
        """The URL of ``database``."""
        return f"postgresql://bench@127.0.0.1:{self.port}/{database}"

    @property
    def pids(self) -> list[int]:
        """The postmaster; its children are its backends."""
        file = self._base / "data" / "postmaster.pid"
        return [int(file.read_text().split()[0])] if file.exists() else []

    def stop(self) -> None:
        """Stop it and remove every trace; safe to call twice."""
        if self.pids:
            self._run("pg_ctl", "-D", str(self._base / "data"), "-m", "immediate", "-w", "stop")
        shutil.rmtree(self._base, ignore_errors=True)
