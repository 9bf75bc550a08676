"""Where the directory of a radius process comes from, how old it is, and what that means for its answers.

The database is followed turn by turn. A process that cannot reach it at its start begins with the snapshot;
when the database is back, that is loaded whole and takes the snapshot's place. While it stays away the
profiles' own hours are looked at once a turn.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from aaa.directory import Directory
from aaa.domain.profile import AccessPolicy
from aaa.stale_directory import Due, due_actions, under_age
from aaa.store import directory_rows
from core.changes import Changes
from core.health import HealthIssue
from core.log import logger
from core.memory_database import MemoryDatabase
from core.secrets import Sealer
from core.work import Workplace
from radius.directory.snapshot import SnapshotRefused, read_snapshot

STALE_ISSUE = HealthIssue(
    "radius.directory_stale", "critical",
    "RADIUS has not seen the database for so long that profiles are no longer answered as usual",
    "bring the database back; each profile says after how many hours what is done without it",
)  # fmt: skip
REFUSED_KEY = "radius.snapshot_refused"
_READ_AGAIN_S = 30.0
"""So often the directory is read even if nothing was committed."""
_log = logger("radius")


class DirectorySource:
    """The newest directory this process can have. ``answering`` is what its pipelines use."""

    def __init__(
        self,
        workplace: Workplace,
        sealer: Sealer,
        policy: AccessPolicy,
        snapshot: Path,
        patience_s: float,
        *,
        changes: Changes | None = None,
    ) -> None:
        """With ``changes`` each turn looks there first; without, each reads."""
        self._workplace = workplace
        self._changes = changes
        self._followed, self._read_again_s = -1, 0.0
        self._clock = workplace.clock
        self._sealer = sealer
        self._policy = policy
        self._snapshot = snapshot
        self._patience_s = patience_s
        self._fresh: Directory | None = None
        self._seen_s = self._clock.monotonic_s()
        self._refused_mtime_ns: int | None = None
        self.answering: Directory | None = None
        self.from_snapshot = False
        self.snapshot_trouble: str | None = None
        self.due: Due = {}

    @property
    def age_s(self) -> float:
        """Since the database was last seen."""
        return self._clock.monotonic_s() - self._seen_s

    async def turn(self) -> None:
        """Follow the database, then look whether it has been away for too long. Raises what it raises."""
        before = self._fresh
        try:
            await self._follow()
        except Exception:
            if self._fresh is None:
                await self._begin_with_snapshot()
            raise
        finally:
            if self._fresh is not None:
                await self._look_at_age(self._fresh, anew=self._fresh is not before)

    async def _follow(self) -> None:
        count, now_s = await self._count(), self._clock.monotonic_s()
        if self._fresh is not None and count == self._followed and now_s < self._read_again_s:
            self._seen_s = now_s
            return
        if self._fresh is None:
            async with asyncio.timeout(self._patience_s), self._workplace.reading() as connection:
                await directory_rows.newest_change(connection)
        async with self._workplace.reading() as connection:
            if self._fresh is None or self.from_snapshot:
                self._fresh = await Directory.load(connection, self._sealer, self._policy)
            else:
                self._fresh = await self._fresh.refreshed(connection, self._sealer)
        if self.from_snapshot:
            _log.info("directory_from_database_again", seq=self._fresh.seq)
        self.from_snapshot = False
        self._seen_s = self._clock.monotonic_s()
        self._followed, self._read_again_s = -1 if count is None else count, now_s + _READ_AGAIN_S

    async def _count(self) -> int | None:
        """Of the commits there have been; None when nobody counts them."""
        if self._changes is None:
            return None
        async with asyncio.timeout(self._patience_s if self._fresh is None else None):
            await self._changes.look()
        return self._changes.count

    async def _begin_with_snapshot(self) -> None:
        """Use the snapshot if there is a sound one; one that was refused is not read again."""
        mtime_ns = await asyncio.to_thread(_mtime_ns, self._snapshot)
        if mtime_ns is None or mtime_ns == self._refused_mtime_ns:
            return
        try:
            directory, taken_at = await directory_of_snapshot(self._snapshot, self._sealer, self._policy)
        except FileNotFoundError:
            return
        except SnapshotRefused as refused:
            self._refused_mtime_ns, self.snapshot_trouble = mtime_ns, str(refused)
            _log.error("snapshot_refused", reason=str(refused))
            return
        age_s = max(0.0, (self._clock.now() - taken_at).total_seconds())
        self._fresh, self.from_snapshot = directory, True
        self._seen_s = self._clock.monotonic_s() - age_s
        _log.warning(
            "directory_from_snapshot", taken_at=taken_at.isoformat(), logins=len(directory.logins),
            reason="the database is away",
        )  # fmt: skip

    async def _look_at_age(self, fresh: Directory, *, anew: bool) -> None:
        due = due_actions(fresh, self.age_s)
        if due != self.due:
            names = sorted(fresh.profiles[one].name for one in due)
            _log.error("directory_stale", age_s=round(self.age_s), profiles=names)
        if anew or due != self.due:
            self.answering = await under_age(fresh, due)
            self.due = due

    def issues(self) -> list[HealthIssue]:
        """What the operator should know."""
        found = [STALE_ISSUE] if self.due else []
        if self.snapshot_trouble is not None:
            found.append(
                HealthIssue(
                    REFUSED_KEY, "warning",
                    f"RADIUS could not start from its snapshot: {self.snapshot_trouble}",
                    "with the database here the collector writes a new one; if it comes again, look for a "
                    "failing disk or another sealing key",
                )
            )  # fmt: skip
        return found


async def directory_of_snapshot(
    path: Path, sealer: Sealer, policy: AccessPolicy
) -> tuple[Directory, datetime]:
    """The directory in the snapshot, and when the database was last seen by who wrote it.

    Raises ``FileNotFoundError`` or ``SnapshotRefused``.
    """
    header, image = await asyncio.to_thread(read_snapshot, path, sealer)
    memory = MemoryDatabase(image)
    del image
    try:
        async with memory.work() as connection:
            directory = await Directory.load(connection, sealer, policy)
    except SQLAlchemyError as trouble:
        reason = str(trouble).partition("\n")[0]
        raise SnapshotRefused(f"{path.name} does not hold a whole directory: {reason}") from None
    finally:
        await memory.close()
    return directory, header.taken_at


def _mtime_ns(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None
