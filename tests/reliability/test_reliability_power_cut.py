"""The plug is pulled while the journal is written: what was acknowledged is there, and it always opens.

The journal's file and its write-ahead log are copied when a commit is acknowledged. Between two of these
moments only the sectors that differ were on their way to the disk. A cut leaves any part of them there: a
beginning, torn at every 512 octets; some sectors early, others not at all; or zeros where the file grew. A write
that is cut does not harm octets beside it (SQLite's "powersafe overwrite", true of today's disks). SQLite syncs the log before it acknowledges and before it copies pages back, which orders the two files.
"""

from __future__ import annotations

import asyncio
import random
import re
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from reliability_box import Nursery, open_box, times, until
from reliability_field import Field, open_field

from radius.accounting.journal import Journal, JournalLimits, JournalReader, Record

SECTOR = 512
REORDERINGS = times(4, 40)  # tried at each commit
MOST_BEGINNINGS = times(40, 400)  # of a large write, such as pages copied back, every so many sectors


@dataclass(frozen=True)
class Moment:
    """The files as they were when ``acknowledged`` was the last record answered; ``trimmed`` may be gone."""

    main: bytes
    log: bytes
    acknowledged: int
    trimmed: int


@dataclass(frozen=True)
class CrashState:
    """What a cut may have left; every record from ``trimmed + 1`` to ``acknowledged`` must be in it."""

    main: bytes
    log: bytes | None
    acknowledged: int
    trimmed: int
    how: str


def _record(number: int) -> Record:
    return Record(number, "nas_1", "127.0.0.1", (b"%07d " % number) * (20 + number % 150))


class _Writer:
    """A journal being written, and its moments."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "radius.sqlite"
        self.journal = Journal(
            self.path, asyncio.get_running_loop(), JournalLimits(1_000, 0.0005), _no_trouble
        )
        self.journal._connection.execute("PRAGMA wal_autocheckpoint=40")  # as it is, only sooner
        self.written = 0
        self.trimmed = 0

    def moment(self) -> Moment:
        log = self.path.with_name("radius.sqlite-wal")
        return Moment(
            self.path.read_bytes(), log.read_bytes() if log.exists() else b"", self.written, self.trimmed
        )

    async def commit(self, records: int) -> Moment:
        """One group of records, acknowledged."""
        done: asyncio.Queue[bool] = asyncio.Queue()
        for _ in range(records):
            self.written += 1
            assert self.journal.append(_record(self.written), done.put_nowait)
        for _ in range(records):
            assert await asyncio.wait_for(done.get(), 20)
        return self.moment()

    async def trim(self, up_to: int) -> Moment:
        """What the database took over may be deleted; a cut may bring it back or not."""
        self.trimmed = up_to
        self.journal.trim(up_to)
        await self.commit(1)  # the writer does one thing after the other
        return self.moment()


def _no_trouble(trouble: str | None) -> None:
    raise AssertionError(trouble)


def _sectors(octets: bytes) -> list[bytes]:
    return [octets[at : at + SECTOR] for at in range(0, len(octets), SECTOR)]


def _partly_written(before: bytes, after: bytes, chance: random.Random) -> Iterator[tuple[bytes, str]]:
    """The file while it was on its way from ``before`` to ``after``."""
    old, new = _sectors(before), _sectors(after)
    old += [b""] * (len(new) - len(old))
    changed = [number for number, sector in enumerate(new) if sector != old[number]]
    for count in range(0, len(changed) + 1, 1 + len(changed) // MOST_BEGINNINGS):
        yield _mixed(old, new, set(changed[:count])), f"{count} of {len(changed)} sectors"
    for _ in range(REORDERINGS):
        kept = {number for number in changed if chance.random() < 0.5}
        yield _mixed(old, new, kept), f"sectors {sorted(kept)} of {changed}"
    if changed:
        torn = chance.choice(changed)
        half = list(new)
        half[torn] = new[torn][: SECTOR // 2] + old[torn][SECTOR // 2 :]
        yield _mixed(old, half, {number for number in changed if number <= torn}), f"sector {torn} torn"


def _mixed(old: list[bytes], new: list[bytes], written: set[int]) -> bytes:
    """Sectors that were written are new; in the file's growth, one that was not is zeros if any follows."""
    last = max((n for n in range(len(new)) if n in written or old[n]), default=-1)
    return b"".join(
        new[n] if n in written else old[n].ljust(SECTOR, b"\0") if n < last else old[n]
        for n in range(last + 1)
    )


def _crash_states(moments: list[Moment], chance: random.Random) -> Iterator[CrashState]:
    for before, after in pairwise(moments):
        trimmed = after.trimmed
        for log, how in _partly_written(before.log, after.log, chance):
            yield CrashState(before.main, log, before.acknowledged, trimmed, f"log: {how}")
        if after.main != before.main:  # pages were copied back after the log had been synced
            for main, how in _partly_written(before.main, after.main, chance):
                yield CrashState(main, after.log, before.acknowledged, trimmed, f"file: {how}")


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory where there is one: thousands of syncs need no real disk to be emulated."""
    place = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="hilltop-cut-", dir=place if place.is_dir() else None) as folder:
        yield Path(folder)


async def _look(state: CrashState, folder: Path) -> None:
    """Open what the cut left as the radius process does, read it as the collector does, and go on writing."""
    path = folder / "radius.sqlite"
    for end in ("", "-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
    path.write_bytes(state.main)
    if state.log is not None:
        path.with_name(path.name + "-wal").write_bytes(state.log)
    troubles: list[str | None] = []
    journal = Journal(path, asyncio.get_running_loop(), JournalLimits(1, 0.0), troubles.append)
    done: asyncio.Queue[bool] = asyncio.Queue()
    journal.append(Record(0, "nas_1", "127.0.0.1", b"after the cut"), done.put_nowait)
    assert await asyncio.wait_for(done.get(), 20), state.how
    reader = JournalReader(path)
    found = {one.seq: one.datagram for one in reader.after(0, 1_000_000)}
    reader.close()
    await journal.close()
    assert troubles == [], f"{troubles} after {state.how}"
    newest = max(found)
    assert found.pop(newest) == b"after the cut"
    assert newest > state.acknowledged, f"a number was given twice after {state.how}"
    wanted = range(state.trimmed + 1, state.acknowledged + 1)
    assert set(wanted) <= set(found), f"acknowledged and lost after {state.how}: {set(wanted) - set(found)}"
    assert all(found[seq] == _record(seq).datagram for seq in found), f"mangled after {state.how}"


def _integrity(path: Path) -> str:
    connection = sqlite3.connect(path)
    try:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0])
    finally:
        connection.close()


async def test_a_cut_at_any_sector_loses_nothing_acknowledged_and_the_journal_opens(memory: Path) -> None:
    chance = random.Random(6)
    (memory / "cut").mkdir()
    writer = _Writer(memory / "live")
    moments = [writer.moment()]
    for number in range(times(60, 600)):
        moments.append(await writer.commit(chance.choice((1, 2, 5))))
        if number % 8 == 7:
            moments.append(await writer.trim(writer.written - chance.randrange(1, 12)))
    copied_back = sum(before.main != after.main for before, after in pairwise(moments))
    await writer.journal.close()
    tried = 0
    assert copied_back >= 5, "too few checkpoints among the moments"
    for state in _crash_states(moments, chance):
        await _look(state, memory / "cut")
        if tried % 10 == 0:
            assert _integrity(memory / "cut" / "radius.sqlite") == "ok", state.how
        tried += 1
    assert tried >= 500


async def test_a_cut_while_the_journal_is_made_leaves_something_that_opens(memory: Path) -> None:
    """Nothing was acknowledged yet, so nothing can be lost: but subscribers must be able to sign in."""
    (memory / "cut").mkdir()
    writer = _Writer(memory / "live")
    made = writer.moment()
    await writer.journal.close()
    closed = writer.moment()
    chance = random.Random(61)
    tried = 0
    for moment in (made, closed):
        for main, _how in _partly_written(b"", moment.main, chance):
            for log, _ in _some_of(_partly_written(b"", moment.log, chance), 12):
                await _opens(memory / "cut" / f"{tried}", main, log)
                tried += 1
    assert tried > 100


def _some_of(states: Iterator[tuple[bytes, str]], count: int) -> list[tuple[bytes, str]]:
    found = list(states)
    return found[:: max(1, len(found) // count)]


async def _opens(folder: Path, main: bytes, log: bytes) -> None:
    folder.mkdir()
    path = folder / "radius.sqlite"
    path.write_bytes(main)
    path.with_name("radius.sqlite-wal").write_bytes(log)
    journal = Journal(path, asyncio.get_running_loop(), JournalLimits(1, 0.0), lambda trouble: None)
    done: asyncio.Queue[bool] = asyncio.Queue()
    journal.append(_record(1), done.put_nowait)
    assert await asyncio.wait_for(done.get(), 20)
    await journal.close()


@contextmanager
def _watched(pid: int, calls: Path) -> Iterator[None]:
    """Every write, sync and answer of the process, in order, as the kernel sees them."""
    watch = ["strace", "-f", "-qq", "-y", "-s", "4", "-e", "trace=pwrite64,fdatasync,fsync,sendto,sendmsg"]
    observer = subprocess.Popen([*watch, "-o", str(calls), "-p", str(pid)], stderr=subprocess.PIPE, text=True)
    try:
        yield
    finally:
        observer.terminate()
        observer.wait()


async def _watching(calls: Path, field: Field) -> bool:
    """Reports are made until the observer has seen one."""
    await field.report(field.sessions[0])
    return calls.exists() and "fdatasync" in calls.read_text()


async def test_the_kernel_sees_a_sync_between_every_record_and_its_answer(
    tmp_path: Path, nursery: Nursery
) -> None:
    """The states above are right only if the answer waits for the disk, and not for the page cache."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    async with open_box(tmp_path, nursery) as box, open_field(box, 1, 1, seed=1, timeout_s=1.0) as field:
        radius = await box.start("radius")
        await field.dial("user000", field.nases[0])
        calls = tmp_path / "calls"
        with _watched(radius.pid, calls):
            try:
                await until("the observer at work", lambda: _watching(calls, field), 5)
            except AssertionError:
                pytest.skip("strace may not watch processes here")
            for _ in range(30):
                assert await field.report(field.sessions[0])
    answers, state = 0, "unknown"
    for call in calls.read_text().splitlines():
        if "pwrite64(" in call and "radius.sqlite" in call:
            state = "written"
        elif ("sync(" in call and "radius.sqlite" in call) or "sync resumed" in call:
            state = "synced" if state == "written" and call.endswith("= 0") else state
        elif re.search(r"send(to|msg)\(.*\\5", call) and state != "unknown":
            assert state == "synced", f"an answer left although the last write was only {state}"
            answers += 1
            state = "answered"
    assert answers >= 30
