"""A FreeRADIUS of a test's own: its configuration in a folder, its words in a log, its end with the test."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

FREERADIUS = Path("/usr/sbin/freeradius")
RADCLIENT = shutil.which("radclient")
needs_freeradius = pytest.mark.skipif(
    not FREERADIUS.exists() or RADCLIENT is None, reason="freeradius and freeradius-utils are not installed"
)

MAIN = """\
prefix = /usr
libdir = /usr/lib/freeradius
logdir = {folder}
raddbdir = {folder}
run_dir = {folder}
db_dir = {folder}
pidfile = {folder}/pid
max_request_time = 10
cleanup_delay = 2
max_requests = 4096
hostname_lookups = no
log {{
    destination = files
    file = {folder}/log
    auth = no
}}
security {{
    max_attributes = 200
    reject_delay = 0
    status_server = yes
    allow_core_dumps = no
}}
thread pool {{
    start_servers = 2
    max_servers = 4
    min_spare_servers = 1
    max_spare_servers = 3
    max_requests_per_server = 0
}}
{rest}
"""


@asynccontextmanager
async def freeradius(folder: Path, rest: str, users: str = "") -> AsyncIterator[Path]:
    """FreeRADIUS over ``rest`` of a configuration; yields the path of its log."""
    folder.mkdir(exist_ok=True)
    (folder / "radiusd.conf").write_text(MAIN.format(folder=folder, rest=rest))
    (folder / "users").write_text(users)
    log = folder / "log"
    process = await asyncio.create_subprocess_exec(
        FREERADIUS, "-f", "-d", folder, "-n", "radiusd", "-D", "/usr/share/freeradius",
        env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(20):
            while "Ready to process requests" not in (
                log.read_text(errors="replace") if log.exists() else ""
            ):
                assert process.returncode is None, (
                    log.read_text(errors="replace") if log.exists() else "no log"
                )
                await asyncio.sleep(0.05)
        yield log
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def radclient(
    port: int, kind: str, secret: str, *attributes: str, tries: int = 3, timeout_s: int = 3
) -> str:
    """What radclient says; its exit code does not matter here."""
    assert RADCLIENT is not None
    process = await asyncio.create_subprocess_exec(
        RADCLIENT, "-x", "-r", str(tries), "-t", str(timeout_s), f"127.0.0.1:{port}", kind, secret,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate("\n".join(attributes).encode() + b"\n")
    return said.decode()
