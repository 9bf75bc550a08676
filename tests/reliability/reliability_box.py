"""An appliance under attack: its settings, its database, its roles as processes that can be killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Row, select

import core
from appliance.migrate import upgrade
from appliance.settings import load_settings
from appliance.wiring import House, open_house
from core.store.tables import health_issue
from lab.radius_wire import RadiusServer

SOAK = os.environ.get("HILLTOP_SOAK") == "1"
"""Longer counts, for a night."""

ROOT = Path(core.__file__).parents[1]
T = TypeVar("T")

_SETTINGS = """\
[state]
directory = "{state}"

[database]
url = "{database_url}"

[clock]
source = "{clock}"

[worker]
outbox_s = 0.05
enforcement_s = 0.1
billing_s = 0.25
dunning_s = 0.25
reaping_s = 1
drift_s = 1

[radius]
workers = {workers}
auth_listen = ["127.0.0.1:{auth_port}"]
accounting_listen = ["127.0.0.1:{accounting_port}"]
reject_delay_s = 0.05
directory_refresh_s = 0.1
reject_record_s = 0.1
status_interval_s = 0.2
journal_commit_ms = 2
journal_trim_s = 0.1
snapshot_every_s = 1

[provisioning]
drift_interval_s = 600

[snmp]
refresh_s = 0.2
"""


def times(ordinary: int, soak: int) -> int:
    """How often something is done: the ordinary count, or the soak's."""
    return soak if SOAK else ordinary


async def until(what: str, look: Callable[[], Awaitable[T | None]], patience_s: float = 60.0) -> T:
    """Look again and again until something is found; fails naming ``what`` when it never is."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        found = await look()
        if found:
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(f"{what}: not within {patience_s:.0f} s")


class Nursery:
    """The process that forks roles; see ``reliability_nursery``."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("reliability_nursery.py"))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=_environment(),
        )  # fmt: skip
        assert self._said() == "ready"

    def _said(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def start(self, arguments: Sequence[str], env: dict[str, str], log: Path) -> int:
        """A new process running ``hilltop ARGUMENTS``; its id."""
        assert self._process.stdin is not None
        order = {"arguments": list(arguments), "env": env, "log": str(log)}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._said())

    def close(self) -> None:
        """The children die with it."""
        self._process.kill()
        self._process.wait()


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def _descendants(pid: int) -> list[int]:
    """The processes that a process and its children have started."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [one for child in children for one in (int(child), *_descendants(int(child)))]


@dataclass(eq=False)
class Daemon:
    """One role's process. It is known by a file descriptor, so that no other process is ever hit."""

    role: str
    pid: int
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    _handle: int = -1

    def watch(self) -> None:
        """Notice its end."""
        self._handle = os.pidfd_open(self.pid)
        asyncio.get_running_loop().add_reader(self._handle, self._on_end)

    def _on_end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._handle)
        os.close(self._handle)
        self._handle = -1
        self.ended.set()

    async def send(self, number: signal.Signals) -> None:
        """Send a signal and wait for the end."""
        if self._handle >= 0:
            signal.pidfd_send_signal(self._handle, number)
        await asyncio.wait_for(self.ended.wait(), 20)

    async def kill(self) -> None:
        """kill -9, of all its processes at once."""
        family = await asyncio.to_thread(_descendants, self.pid) if self._handle >= 0 else []
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await self.send(signal.SIGKILL)


@dataclass(eq=False)
class Box:
    """One appliance. Roles are forked from the nursery, or started by the real command line."""

    folder: Path
    house: House
    nursery: Nursery
    auth_port: int
    accounting_port: int
    running: list[Daemon] = field(default_factory=list)

    @property
    def config(self) -> Path:
        return self.folder / "hilltop.toml"

    @property
    def servers(self) -> list[RadiusServer]:
        return [RadiusServer("127.0.0.1", self.auth_port, self.accounting_port)]

    @property
    def journal(self) -> Path:
        return self.house.settings.journal_directory / "radius.sqlite"

    def log(self, role: str) -> str:
        """What the role's processes have logged."""
        path = self.folder / f"{role}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    async def start(self, role: str, *, prefix: Sequence[str] | None = None, wait: bool = True) -> Daemon:
        """Start a role; with ``prefix`` (may be empty) by the real command line behind it."""
        arguments = ["--config", str(self.config), "role", role]
        with tempfile.TemporaryDirectory(prefix="hilltop-ready-") as channel_folder:
            channel_path = Path(channel_folder) / "notify"
            env = {"NOTIFY_SOCKET": str(channel_path), "HILLTOP_SUPERVISOR": "0"}
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as channel:
                channel.bind(str(channel_path))
                daemon = Daemon(role, self._begin(role, arguments, env, prefix))
                daemon.watch()
                self.running.append(daemon)
                if wait:
                    await self._until_ready(daemon, channel)
        return daemon

    def _begin(
        self, role: str, arguments: list[str], env: dict[str, str], prefix: Sequence[str] | None
    ) -> int:
        log = self.folder / f"{role}.log"
        if prefix is None:
            return self.nursery.start(arguments, env, log)
        command = [*prefix, sys.executable, "-m", "appliance.cli", *arguments]
        env = {**_environment(), **env, "HILLTOP_SUPERVISOR": str(os.getpid())}
        with log.open("ab") as output:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=ROOT, env=env,
                start_new_session=True,
            )  # fmt: skip
        return process.pid

    async def _until_ready(self, daemon: Daemon, channel: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while not daemon.ready.is_set() and not daemon.ended.is_set():
            try:
                said = await asyncio.wait_for(loop.sock_recv(channel, 4096), 0.5)
            except TimeoutError:
                continue
            if b"READY=1" in said:
                daemon.ready.set()
        if not daemon.ready.is_set():
            raise AssertionError(f"{daemon.role} ended before it was ready: {self.log(daemon.role)[-2000:]}")

    async def rows(self, query: Any) -> list[Row[Any]]:
        """What a query finds now."""
        async with self.house.workplace.reading() as connection:
            return list((await connection.execute(query)).all())

    async def open_issues(self) -> dict[str, Row[Any]]:
        """The health issues that stand."""
        found = await self.rows(select(health_issue).where(health_issue.c.closed_at.is_(None)))
        return {row.key: row for row in found}

    def journal_rows(self) -> int:
        """How many records are in the journals and not trimmed yet."""
        found = 0
        for path in self.journal.parent.glob("radius*.sqlite"):
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
                found += int(connection.execute("SELECT count(*) FROM record").fetchone()[0])
        return found

    async def kill_all(self) -> None:
        """Nothing that was started outlives the test."""
        for daemon in self.running:
            if not daemon.ended.is_set():
                await daemon.kill()
        self.running.clear()


def free_ports(count: int) -> list[int]:
    """UDP ports of loopback that nobody has."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


@asynccontextmanager
async def open_box(
    folder: Path,
    nursery: Nursery,
    *,
    database_url: str = "",
    clock: str = "system",
    workers: int = 2,
    more: str = "",
) -> AsyncIterator[Box]:
    """A migrated, empty appliance; ``more`` is added to its settings file. Everything is killed at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    auth_port, accounting_port = free_ports(2)
    (folder / "hilltop.toml").write_text(
        _SETTINGS.format(
            state=folder / "state", database_url=database_url, clock=clock,
            auth_port=auth_port, accounting_port=accounting_port, workers=workers,
        )
        + more
    )  # fmt: skip
    async with AsyncExitStack() as stack:
        house = await stack.enter_async_context(
            open_house(load_settings(folder / "hilltop.toml"), may_make_key=True)
        )
        await upgrade(house.workplace.database)
        box = Box(folder, house, nursery, auth_port, accounting_port)
        stack.push_async_callback(box.kill_all)
        yield box
