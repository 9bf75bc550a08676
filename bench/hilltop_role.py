"""One role of Hilltop in this process: ``python -m bench.hilltop_role radius|ingest SETTINGS``.

It reads the part of the settings that the two roles need and announces readiness as a service unit does.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import tomllib
from pathlib import Path
from typing import Any

from core.clock import SystemClock
from core.database import Database
from core.ids import UlidSource
from core.secrets import load_or_create_sealer
from core.work import Workplace
from radius.config import RadiusSettings


async def run(role: str, settings: dict[str, Any]) -> None:
    """Run ``role`` until SIGTERM."""
    folder = Path(settings["state"]["directory"])
    clock = SystemClock()
    database = Database(settings["database"]["url"])
    workplace = Workplace(database, clock, UlidSource(clock))
    sealer = load_or_create_sealer(folder / "keys" / "sealing.key")
    stop, ready = asyncio.Event(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    announcing = asyncio.create_task(_announce(ready))
    try:
        if role == "radius":
            from radius.serving.role import run_radius

            radius = RadiusSettings(**settings["radius"])
            await run_radius(radius, workplace, sealer, folder / "journal" / "radius.sqlite", stop, ready)
        else:
            from radius.accounting.ingest import run_ingest

            ready.set()
            await run_ingest(folder / "journal", workplace, sealer, stop)
    finally:
        announcing.cancel()
        await database.close()


async def _announce(ready: asyncio.Event) -> None:
    await ready.wait()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], tomllib.loads(Path(sys.argv[2]).read_text())))
