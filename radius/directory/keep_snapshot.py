"""Keep the snapshot of the directory: written by the collector, so that no sign-in waits while it is made."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from aaa.store import directory_rows, image_rows
from core.health import HealthIssue, close_issue, open_issue
from core.log import logger
from core.memory_database import MemoryDatabase
from core.secrets import Sealer
from core.work import Workplace
from radius.directory.snapshot import SnapshotHeader, read_header, snapshot_path, write_snapshot

_LOOK_EVERY_S = 1.0
_ISSUE = HealthIssue(
    "radius.snapshot", "warning",
    "the snapshot of the directory cannot be written: RADIUS could not start while the database is away",
    "free space on the state disk, or look for a failing disk in the system log",
)  # fmt: skip
_log = logger("radius")


class SnapshotKeeper:
    """Writes the snapshot once at the start, and when something has changed at most every ``every_s``."""

    def __init__(self, journal_directory: Path, workplace: Workplace, sealer: Sealer, every_s: float) -> None:
        self._path = snapshot_path(journal_directory)
        self._workplace = workplace
        self._sealer = sealer
        self._every_s = every_s
        self._not_before_s = float("-inf")
        self._seq: int | None = None
        self._failing = False

    async def turn(self) -> bool:
        """Look whether it is due, and write it; True when it was written."""
        now_s = self._workplace.clock.monotonic_s()
        if now_s < self._not_before_s:
            return False
        if self._seq is None:
            header = await asyncio.to_thread(read_header, self._path)
            self._seq = -1 if header is None else header.seq
        async with self._workplace.reading() as connection:
            if await directory_rows.newest_change(connection) == self._seq:
                return False
        self._not_before_s = now_s + self._every_s
        header, image = await take_image(self._workplace)
        try:
            await asyncio.to_thread(write_snapshot, self._path, self._sealer, header, image)
        except OSError as trouble:
            await self._tell(f"{trouble.strerror or trouble}")
            return False
        self._seq = header.seq
        await self._tell(None)
        return True

    async def _tell(self, trouble: str | None) -> None:
        if (trouble is not None) is self._failing:
            return
        async with self._workplace.work("system:collector") as work:
            if trouble is None:
                await close_issue(work, _ISSUE.key)
            else:
                _log.error("snapshot_not_written", error=trouble)
                await open_issue(work, _ISSUE)
        self._failing = trouble is not None


async def take_image(workplace: Workplace) -> tuple[SnapshotHeader, bytes]:
    """Everything a directory is made of, as of one instant."""
    memory = MemoryDatabase()
    try:
        async with workplace.reading() as connection, memory.work() as target:
            at, seq = workplace.clock.now(), await directory_rows.newest_change(connection)
            await image_rows.prepare(target)
            async for table, rows in image_rows.pages(connection):
                await image_rows.put(target, table, rows)
                await asyncio.sleep(0)
        return SnapshotHeader(image_rows.layout(), seq, at.isoformat()), await memory.image()
    finally:
        await memory.close()


async def run_snapshots(
    keeper: SnapshotKeeper, stop: asyncio.Event, beat: Callable[[], None] = lambda: None
) -> None:
    """Turn after turn until ``stop``; the database may be away."""
    failing = False
    while not stop.is_set():
        beat()
        try:
            await keeper.turn()
            failing = False
        except Exception as trouble:  # noqa: BLE001 - the boundary of one turn
            if not failing:
                _log.warning("snapshot_waits", error=f"{type(trouble).__name__}: {trouble}")
            failing = True
        try:
            await asyncio.wait_for(stop.wait(), _LOOK_EVERY_S)
        except TimeoutError:
            continue
