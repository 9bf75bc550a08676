"""The ingestion alone, without the collector's polls: ``python -m bench.hilltop_ingest SETTINGS``."""

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
from radius.accounting.ingest import run_ingest


async def run(settings: dict[str, Any]) -> None:
    """Bring what the journals hold into the database until SIGTERM."""
    folder = Path(settings["state"]["directory"])
    clock = SystemClock()
    database = Database(settings["database"]["url"])
    workplace = Workplace(database, clock, UlidSource(clock))
    sealer = load_or_create_sealer(folder / "keys" / "sealing.key")
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    _announce()
    try:
        await run_ingest(folder / "journal", workplace, sealer, stop)
    finally:
        await database.close()


def _announce() -> None:
    """As a service unit does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])


if __name__ == "__main__":
    asyncio.run(run(tomllib.loads(Path(sys.argv[1]).read_text())))
