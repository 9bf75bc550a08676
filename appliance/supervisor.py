"""``hilltop run``: all roles on one machine, each its own process, restarted when one dies."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from appliance.readiness import notify
from appliance.restarts import Restarts
from core.log import configure_logging, logger

_log = logger("appliance")
_STOP_PATIENCE_S = 10.0
_WATCHDOG_S = 30.0


@dataclass(slots=True)
class _Child:
    role: str
    process: asyncio.subprocess.Process | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    restarts: Restarts = field(default_factory=Restarts)
    ready_at_s: float | None = None
    heard_at_s: float = 0.0
    said: str = ""


class Supervisor:
    """Starts the roles, hears their readiness, restarts what dies or hangs with growing pauses."""

    def __init__(self, config: Path, roles: Sequence[str], *, watchdog_s: float = _WATCHDOG_S) -> None:
        self._config = config
        self._watchdog_s = watchdog_s
        self._children = [_Child(role) for role in roles]
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Ask everything to end."""
        self._stop.set()

    async def run(self) -> None:
        """Until ``stop`` or SIGTERM/SIGINT."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        with tempfile.TemporaryDirectory(prefix="hilltop-run-") as folder:
            async with asyncio.TaskGroup() as tasks:
                for child in self._children:
                    tasks.create_task(self._keep(child, Path(folder)))
                tasks.create_task(self._announce())

    async def _announce(self) -> None:
        for child in self._children:
            await _first(child.ready.wait(), self._stop.wait())
        if not self._stop.is_set():
            _log.info("all_roles_ready", roles=[child.role for child in self._children])
            notify("READY=1")

    async def _keep(self, child: _Child, folder: Path) -> None:
        while not self._stop.is_set():
            code = await self._live(child, folder)
            if self._stop.is_set():
                return
            served_s = 0.0 if child.ready_at_s is None else time.monotonic() - child.ready_at_s
            pause = child.restarts.pause_s(served_s)
            _log.error("role_ended", ended=child.role, code=code, said=child.said or None, restart_in_s=pause)
            await _first(asyncio.sleep(pause), self._stop.wait())

    async def _live(self, child: _Child, folder: Path) -> int:
        child.ready.clear()
        child.ready_at_s, child.heard_at_s, child.said = None, time.monotonic(), ""
        channel_path = folder / f"{child.role}.notify"
        channel_path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as channel:
            channel.bind(str(channel_path))
            loop = asyncio.get_running_loop()
            loop.add_reader(channel, _hear, channel, child)
            child.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "appliance.cli",
                "--config",
                str(self._config),
                "role",
                child.role,
                env={
                    **os.environ,
                    "NOTIFY_SOCKET": str(channel_path),
                    "HILLTOP_SUPERVISOR": str(os.getpid()),
                    "WATCHDOG_USEC": str(int(self._watchdog_s * 1_000_000)),
                },
                start_new_session=True,
            )
            try:
                await _first(child.process.wait(), self._stop.wait(), self._hangs(child))
                if child.process.returncode is None and not self._stop.is_set():
                    _log.error("role_hangs", role_hanging=child.role, silent_s=self._watchdog_s)
                    child.process.kill()
                return await _end(child.process)
            finally:
                loop.remove_reader(channel)

    async def _hangs(self, child: _Child) -> None:
        """Returns when a role has not fed the watchdog in time."""
        silent_s = 0.0
        while silent_s < self._watchdog_s:
            await asyncio.sleep(self._watchdog_s - silent_s)
            silent_s = time.monotonic() - child.heard_at_s


def _hear(channel: socket.socket, child: _Child) -> None:
    told = channel.recv(4096)
    child.heard_at_s = time.monotonic()
    if told.startswith(b"STATUS="):
        child.said = told.removeprefix(b"STATUS=").decode(errors="replace")
    if b"READY=1" in told:
        child.ready_at_s = child.heard_at_s
        child.ready.set()


async def _end(process: asyncio.subprocess.Process) -> int:
    if process.returncode is None:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _STOP_PATIENCE_S)
        except TimeoutError:
            process.kill()
    return await process.wait()


async def _first(*waiting: object) -> None:
    tasks = [asyncio.ensure_future(one) for one in waiting]  # type: ignore[call-overload]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def become_supervisor(config: Path, level: str, roles: Sequence[str]) -> NoReturn:
    """This process starts over as the supervisor, rid of what reading settings and migrating took."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", __name__, str(config), level, *roles])  # noqa: S606


if __name__ == "__main__":
    configure_logging("run", sys.argv[2])
    asyncio.run(Supervisor(Path(sys.argv[1]), sys.argv[3:]).run())
