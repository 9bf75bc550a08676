"""A radius process inside the test's own, on ports of its own, with radclient as the witness."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from freeradius_peer import RADCLIENT, radclient
from radius_world import SECRET, World

from aaa.store import directory_rows
from core.clock import SystemClock
from core.ids import UlidSource
from core.work import Workplace
from radius.config import RadiusSettings
from radius.serving.role import RadiusServer

needs_radclient = pytest.mark.skipif(
    RADCLIENT is None, reason="radclient is not installed (freeradius-utils)"
)


@dataclass
class Live:
    """A server that answers."""

    world: World
    server: RadiusServer
    auth_port: int
    accounting_port: int
    journal: Path

    async def radclient(self, kind: str, *attributes: str, secret: str = SECRET) -> str:
        """What radclient says; its exit code does not matter here."""
        port = self.accounting_port if kind == "acct" else self.auth_port
        return await radclient(port, kind, secret, *attributes, tries=2, timeout_s=4)

    async def sign_in(self, username: str, method: str, password: str, *more: str) -> str:
        """``accept``, ``reject`` or ``silence``, as radclient sees it."""
        said = await self.radclient(
            "auth", f'User-Name = "{username}"', f'{method} = "{password}"', *more, "Message-Authenticator = 0x00"
        )  # fmt: skip
        if "Received Access-Accept" in said:
            return "accept"
        return "reject" if "Received Access-Reject" in said else "silence"

    async def until(self, seq_moves: int) -> None:
        """Wait until the directory has gone beyond that change."""
        async with asyncio.timeout(10):
            while self.server.status().directory_seq <= seq_moves:
                await asyncio.sleep(0.01)

    async def caught_up(self) -> None:
        """Wait until the directory knows of every change there is."""
        async with self.world.workplace.reading() as connection:
            newest = await directory_rows.newest_change(connection)
        await self.until(newest - 1)

    async def rules(self, identity: str, wanted: str = "") -> list[str]:
        """The rules that identity was rejected by, newest first, once ``wanted`` (or any) is on record."""
        async with asyncio.timeout(10):
            while True:
                async with self.world.workplace.reading() as connection:
                    found = await directory_rows.rejects_of(connection, [identity], 9)
                rules = [row.rule for row in found]
                if wanted in rules or (rules and not wanted):
                    return rules
                await asyncio.sleep(0.01)

    @property
    def seq(self) -> int:
        return self.server.status().directory_seq

    def client(self) -> socket.socket:
        """A socket of a NAS, connected to the authentication port."""
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.setblocking(False)
        made.bind(("127.0.0.1", 0))
        made.connect(("127.0.0.1", self.auth_port))
        return made


@asynccontextmanager
async def live_server(world: World, folder: Path, **settings: Any) -> AsyncIterator[Live]:
    """Serve the world. Its clock is the machine's: real datagrams travel in real time."""
    clock = SystemClock()
    world.workplace = Workplace(world.workplace.database, clock, UlidSource(clock))
    fast = {
        "auth_listen": ["127.0.0.1:0"], "accounting_listen": ["127.0.0.1:0"], "reject_delay_s": 0.0,
        "directory_refresh_s": 0.02, "reject_record_s": 0.02, "journal_commit_ms": 2, "journal_trim_s": 0.05,
    }  # fmt: skip
    journal = folder / "journal" / "radius.sqlite"
    server = RadiusServer(RadiusSettings(**(fast | settings)), world.workplace, world.sealer, journal)
    stop, ready = asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(server.run(stop, ready))
    await asyncio.wait_for(ready.wait(), 20)
    auth_port, accounting_port = server.ports
    try:
        yield Live(world, server, auth_port, accounting_port, journal)
    finally:
        stop.set()
        await running
