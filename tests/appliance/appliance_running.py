"""A whole appliance in real processes, for tests that kill parts of it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aaa.set_up import NewCredential, create_service, define_profile, register_nas
from appliance.migrate import upgrade
from appliance.settings import Settings, load_settings
from appliance.wiring import House, open_house
from core.refusal import granted
from core.secrets import Secret
from radius.probing.probe import ProbeTarget, probe

SECRET = Secret("a shared secret of the test")
_START = (
    "import asyncio, sys; from pathlib import Path; from appliance.supervisor import Supervisor;"
    "from core.log import configure_logging; configure_logging('run');"
    "asyncio.run(Supervisor(Path(sys.argv[1]), sys.argv[3:], watchdog_s=float(sys.argv[2])).run())"
)


def free_port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@dataclass
class Appliance:
    """The supervisor's process, its settings and what it said."""

    folder: Path
    settings: Settings
    auth_port: int
    process: asyncio.subprocess.Process | None = None
    _known: set[int] = field(default_factory=set)

    @property
    def config(self) -> Path:
        return self.folder / "hilltop.toml"

    def log(self) -> list[dict[str, Any]]:
        path = self.folder / "log"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines if line.startswith("{")]

    def said(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        return [one for one in self.log() if one["event"] == event and fields.items() <= one.items()]

    async def start(self, *roles: str, watchdog_s: float = 30.0) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", _START, str(self.config), str(watchdog_s), *roles,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def pid_of(self, role: str) -> int | None:
        """The living process of that role under this appliance's settings."""
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
                if str(self.config).encode() in words and words[-3:-1] == [b"role", role.encode()]:
                    return int(entry.name)
        return None

    def living(self) -> list[str]:
        return [role for role in ("radius", "collector", "worker", "web") if self.pid_of(role)]

    async def kill(self, role: str, number: signal.Signals = signal.SIGKILL) -> int:
        pid = self.pid_of(role)
        assert pid is not None, f"{role} does not run"
        os.kill(pid, number)
        return pid

    async def signs_in(self) -> bool:
        target = ProbeTarget("127.0.0.1", self.auth_port, SECRET)
        return (await probe(target, "fir", Secret("fir-password"), timeout_s=1.0)).accepted

    async def end(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        for role in self.living():
            with suppress(ProcessLookupError, TypeError):
                os.kill(self.pid_of(role), signal.SIGKILL)  # type: ignore[arg-type]


async def until(look: Callable[[], Awaitable[Any] | Any], what: str, patience_s: float = 45.0) -> Any:
    """Wait for something that must come; the patience is for a loaded machine."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        found = look()
        found = await found if asyncio.iscoroutine(found) else found
        if found:
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(f"{what}: not within {patience_s} s")


async def set_up(house: House) -> None:
    """A NAS on loopback and the subscriber fir."""
    await upgrade(house.workplace.database)
    async with house.workplace.work("test") as work:
        granted(await register_nas(work, house.sealer, name="loop", network="127.0.0.1", secret=SECRET))
        profile = granted(await define_profile(work, name="p", rate_down_bps=10**6, rate_up_bps=10**6))
        fir = NewCredential("pppoe", "fir", Secret("fir-password"))
        granted(
            await create_service(
                work, house.sealer, account_id="acc_1", label="fir", profile_id=profile, credentials=[fir]
            )
        )


@asynccontextmanager
async def appliance(
    folder: Path, database_url: str = "", web_port: int = 0, more: str = ""
) -> AsyncIterator[Appliance]:
    """An appliance that is set up and not started; nothing of it lives after the block."""
    auth, accounting = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_DGRAM)
    (folder / "hilltop.toml").write_text(
        f'[state]\ndirectory = "{folder}/state"\n[database]\nurl = "{database_url}"\n'
        f'[radius]\nauth_listen = ["127.0.0.1:{auth}"]\naccounting_listen = ["127.0.0.1:{accounting}"]\n'
        f'[ui]\nlisten = "127.0.0.1:{web_port or free_port(socket.SOCK_STREAM)}"\n{more}'
    )
    settings = load_settings(folder / "hilltop.toml")
    async with open_house(settings, may_make_key=True) as house:
        await set_up(house)
    one = Appliance(folder, settings, auth)
    try:
        yield one
    finally:
        await one.end()
