"""Sign-ins to network gear on record before they are answered: lines on the local disk, then the database.

An answer leaves when its line is flushed, several with one flush. A line that cannot be written is a sign-in
that gets no answer. The database takes the lines over by their keys, exactly once, when it is there. While
RADIUS is reloaded the old process and its successor have the same file: one after the other, by a lock.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import secrets
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from aaa.gear_logins import GearSignIn, record_gear_sign_ins
from core.files import write_durably
from core.health import HealthIssue
from core.log import logger
from core.work import Workplace

GEAR_ISSUE: Final = HealthIssue(
    "radius.gear_record", "critical",
    "sign-ins to network gear cannot be recorded, so operators are not let in to it",
    "free space on the state disk, or look for a failing disk in the system log",
)  # fmt: skip
_WAITING_AT_MOST = 1_000
_LARGEST_OCTETS = 16 << 20
_AT_ONCE = 500
_log = logger("radius")

Then = Callable[[bool], None]
"""Called on the event loop with whether the line is on the disk."""


def gear_record_path(journal_path: Path) -> Path:
    """Where the lines of the process that owns this journal lie."""
    return journal_path.with_suffix(".gear.jsonl")


async def take_over_left(folder: Path, running: Collection[str], workplace: Workplace) -> None:
    """Bring in the lines of processes that run no more: ``running`` names the journals of those that do."""
    mine = {gear_record_path(folder / name) for name in running}
    for path in await asyncio.to_thread(lambda: sorted(folder.glob("*.gear.jsonl"))):
        if path not in mine:
            await GearRecord(path).turn(workplace)


class GearRecord:
    """The lines of one radius process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: list[tuple[GearSignIn, Then]] = []
        self._writing: asyncio.Task[None] | None = None
        self._disk = asyncio.Lock()
        self.trouble: str | None = None

    @staticmethod
    def new_key() -> str:
        """What tells one record from every other."""
        return secrets.token_hex(16)

    def note(self, sign_in: GearSignIn, then: Then) -> bool:
        """Put a sign-in on record, then call ``then``; False when too many wait for the disk."""
        if len(self._waiting) >= _WAITING_AT_MOST:
            return False
        self._waiting.append((sign_in, then))
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write())
        return True

    async def _write(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting, []
                lines = "".join(json.dumps(asdict(one), default=_text) + "\n" for one, _ in group)
                async with self._disk:
                    self._tell(await asyncio.to_thread(_append, self._path, lines.encode()))
                for _, then in group:
                    then(self.trouble is None)
        finally:
            self._writing = None

    def _tell(self, trouble: str | None) -> None:
        if trouble is not None and self.trouble is None:
            _log.error("gear_sign_ins_not_recorded", error=trouble)
        self.trouble = trouble

    async def turn(self, workplace: Workplace) -> None:
        """Bring the lines into the database and forget those that it has."""
        whole = await asyncio.to_thread(_read, self._path)
        if not whole:
            return
        lines = [line for line in whole.decode("utf-8", "replace").splitlines() if line]
        signs = [one for one in map(_parsed, lines) if one is not None]
        async with workplace.work("system:radius") as work:
            for start in range(0, len(signs), _AT_ONCE):
                await record_gear_sign_ins(work, signs[start : start + _AT_ONCE])
        async with self._disk:
            await asyncio.to_thread(_forget, self._path, whole)

    async def close(self) -> None:
        """What waits is written; the rest is the next process's."""
        if self._writing is not None:
            await self._writing


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is not recorded")


def _parsed(line: str) -> GearSignIn | None:
    """A line's sign-in; None for one that a pulled plug cut: it was not answered either."""
    try:
        fields = json.loads(line)
        return GearSignIn(**fields | {"at": datetime.fromisoformat(fields["at"])})
    except (ValueError, TypeError, KeyError):
        _log.error("gear_record_line_unreadable", octets=len(line))
        return None


def _append(path: Path, lines: bytes) -> str | None:
    """Write and flush; what went wrong, if anything. A torn end is begun on a line of its own."""
    try:
        with _alone(path):
            return _append_alone(path, lines)
    except OSError as trouble:
        return trouble.strerror or str(trouble)


def _append_alone(path: Path, lines: bytes) -> str | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        if size + len(lines) > _LARGEST_OCTETS:
            return "too many wait for the database"
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            lines = b"\n" + lines
        if os.write(descriptor, lines) != len(lines):
            return "the disk is full"
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return None


def _read(path: Path) -> bytes:
    """The whole lines."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return b""
    return content[: content.rfind(b"\n") + 1]


def _forget(path: Path, whole: bytes) -> None:
    """Drop these lines, unless another process has done so; the database knows them by their keys."""
    with _alone(path):
        content = path.read_bytes()
        if content.startswith(whole):
            write_durably(path, content.removeprefix(whole), 0o600)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """No other process has the file meanwhile. A lock beside it, for it is itself replaced."""
    descriptor = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
