"""The accounting journal: one SQLite file, one writer thread, group commit, FULL sync.

Records gather while the disk is busy and are committed together, so a slow disk makes larger groups and
not a longer queue. A record's ``answer`` is called after its commit, or with False when it was not
written; nothing is acknowledged before. The radius process is the only writer; it trims what the database
has taken over.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

_SCHEMA = """
CREATE TABLE IF NOT EXISTS journal (id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS record (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    received_us INTEGER NOT NULL,
    nas_id TEXT NOT NULL,
    source TEXT NOT NULL,
    datagram BLOB NOT NULL
);
"""
_GROUP_SIZES = (512, 128, 32, 8, 1)  # a few fixed statements, so each is compiled once
_TRIM_AT_ONCE = 5_000


class Record(NamedTuple):
    """One Accounting-Request as it came: when (microseconds since 1970), from which NAS and address."""

    received_us: int
    nas_id: str
    source: str
    datagram: bytes


class StoredRecord(NamedTuple):
    """A record with its number."""

    seq: int
    received_us: int
    nas_id: str
    source: str
    datagram: bytes


Answer = Callable[[bool], None]


@dataclass(frozen=True, slots=True)
class JournalLimits:
    """When a group is committed, and how much may wait for it."""

    commit_rows: int = 100
    commit_s: float = 0.02
    backlog: int = 20_000


class Journal:
    """The writer's end; ``on_trouble`` hears what fails, and None when it works again.

    Made and used on the event loop; the disk is touched by its own thread. One that cannot be opened, because
    the disk is full, is tried again with each group: until then nothing is acknowledged, and ``id`` is empty.
    """

    def __init__(
        self,
        path: Path,
        loop: asyncio.AbstractEventLoop,
        limits: JournalLimits,
        on_trouble: Callable[[str | None], None],
    ) -> None:
        self.path = path
        self._loop = loop
        self._limits = limits
        self._on_trouble = on_trouble
        self._waiting: list[tuple[Record, Answer]] = []
        self._in_commit = 0
        self._failing = False
        self._trim_failing = False
        self._timer: asyncio.TimerHandle | None = None
        self._orders: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection: sqlite3.Connection | None = None
        self.id = ""
        try:
            self._connection, self.id = _open_or_begin_anew(path, on_trouble)
        except sqlite3.OperationalError as trouble:
            self._failing = True
            on_trouble(f"{path.name} cannot be opened: {trouble}")
        self._thread = threading.Thread(target=self._serve, name="journal", daemon=True)
        self._thread.start()

    @property
    def backlog(self) -> int:
        """Records not on disk yet."""
        return len(self._waiting) + self._in_commit

    def append(self, record: Record, answer: Answer) -> bool:
        """Put a record into the next group; False when too many wait already."""
        if len(self._waiting) + self._in_commit >= self._limits.backlog:
            return False
        self._waiting.append((record, answer))
        if self._in_commit:
            return True
        if len(self._waiting) >= self._limits.commit_rows:
            self._commit()
        elif self._timer is None:
            self._timer = self._loop.call_later(self._limits.commit_s, self._commit)
        return True

    def _commit(self) -> None:
        """Hand over what waits; the next group gathers meanwhile."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._in_commit or not self._waiting:
            return
        group, self._waiting = self._waiting, []
        self._in_commit = len(group)
        self._orders.put(lambda: self._write(group))

    def _write(self, group: list[tuple[Record, Answer]]) -> None:
        try:
            write_records(self._opened(), [record for record, _ in group])
        except Exception as trouble:  # noqa: BLE001 - whatever it is (no memory, say), this thread goes on
            self._tell(self._finish, group, f"{type(trouble).__name__}: {trouble}")
            return
        self._tell(self._finish, group, None)

    def _opened(self) -> sqlite3.Connection:
        """In the writer's thread. Raises ``sqlite3.Error``."""
        if self._connection is None:
            self._connection, self.id = _open_known(self.path)
        return self._connection

    def _finish(self, group: list[tuple[Record, Answer]], trouble: str | None) -> None:
        self._in_commit = 0
        if trouble is not None or self._failing:
            self._failing = trouble is not None
            self._on_trouble(trouble)
        for _, answer in group:
            answer(trouble is None)
        if len(self._waiting) >= self._limits.commit_rows:
            self._commit()
        elif self._waiting and self._timer is None:
            self._timer = self._loop.call_later(self._limits.commit_s, self._commit)

    def trim(self, up_to_seq: int) -> None:
        """Delete what the database has taken over."""
        self._orders.put(lambda: self._trim(up_to_seq))

    def _trim(self, up_to_seq: int) -> None:
        trouble = None
        try:
            connection = self._opened()
            with connection:
                connection.execute(
                    "DELETE FROM record WHERE seq IN"
                    " (SELECT seq FROM record WHERE seq <= ? ORDER BY seq LIMIT ?)",
                    (up_to_seq, _TRIM_AT_ONCE),
                )
        except Exception as failure:  # noqa: BLE001 - as in a commit
            trouble = f"trimming: {failure}"
        self._tell(self._trimmed, trouble)

    def _trimmed(self, trouble: str | None) -> None:
        """What fails in trimming is over when trimming works again; failing commits weigh more."""
        if trouble is not None or self._trim_failing:
            self._trim_failing = trouble is not None
            if not self._failing:
                self._on_trouble(trouble)

    async def close(self) -> None:
        """Commit what waits, then stop the thread."""
        while self.backlog:
            self._commit()
            await asyncio.sleep(0.001)
        self._orders.put(None)
        await asyncio.to_thread(self._thread.join)
        if self._connection is not None:
            self._connection.close()

    def _serve(self) -> None:
        while (order := self._orders.get()) is not None:
            order()

    def _tell(self, what: Callable[..., None], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is gone: nobody is waiting for the answer
            self._loop.call_soon_threadsafe(what, *arguments)


def write_records(connection: sqlite3.Connection, records: Sequence[Record]) -> None:
    """Insert and commit a group. One statement takes many rows: the interpreter lock is let go once."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        at = 0
        for size in _GROUP_SIZES:
            while len(records) - at >= size:
                values = [field for record in records[at : at + size] for field in record]
                connection.execute(_insert(size), values)
                at += size
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def _insert(size: int) -> str:
    return "INSERT INTO record (received_us, nas_id, source, datagram) VALUES " + ",".join(
        ["(?,?,?,?)"] * size
    )


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=32)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA busy_timeout=5000")
    connection.executescript(_SCHEMA)
    return connection


def _open_or_begin_anew(
    path: Path, on_trouble: Callable[[str | None], None]
) -> tuple[sqlite3.Connection, str]:
    """The journal; one that is damaged is put aside whole, because subscribers must be able to sign in."""
    try:
        return _open_known(path)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as trouble:
        aside = _free_name(path)
        for end in ("", "-wal", "-shm"):
            part = path.with_name(path.name + end)
            if part.exists():
                part.rename(aside.with_name(aside.name + end))
        on_trouble(f"{path.name} is damaged ({trouble}); it was put aside as {aside.name}")
        on_trouble(None)
        return _open_known(path)


def damaged_journals(folder: Path) -> list[str]:
    """The names of journals in ``folder`` that were put aside."""
    return sorted(one.name for one in folder.glob("*.damaged*") if not one.name.endswith(("-wal", "-shm")))


def _free_name(path: Path) -> Path:
    """Where a damaged journal is put, never over another one: reports may be in it and nowhere else."""
    names = (path.with_name(f"{path.stem}.damaged{number or ''}") for number in count())
    return next(name for name in names if not name.exists())


def _open_known(path: Path) -> tuple[sqlite3.Connection, str]:
    """The journal and its id; one whose id cannot be read is as damaged as one that cannot be opened."""
    connection = _open(path)
    try:
        return connection, _identity(connection)
    except sqlite3.Error:
        connection.close()
        raise


def _identity(connection: sqlite3.Connection) -> str:
    """The journal's own id, made once: a journal that was lost and begun anew is another one."""
    row = connection.execute("SELECT id FROM journal").fetchone()
    if row is None:
        row = (uuid.uuid4().hex,)
        connection.execute("INSERT INTO journal (id) VALUES (?)", row)
    return str(row[0])


class JournalReader:
    """The other end: reads what was committed, beside the writer, from any process that can open the file.

    ``id`` is empty for a file that its writer is only just beginning: there is nothing to read yet.
    """

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, check_same_thread=False
        )
        self._connection.execute("PRAGMA query_only=ON")
        self._connection.execute("PRAGMA busy_timeout=5000")
        try:
            self.id = self._read_id()
        except sqlite3.Error:
            self._connection.close()
            raise

    def _read_id(self) -> str:
        """The journal's id; empty while its writer has not got to writing it. Raises ``sqlite3.Error``."""
        tables = self._connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'journal'").fetchone()
        row = self._connection.execute("SELECT id FROM journal").fetchone() if tables else None
        return "" if row is None else str(row[0])

    def version(self) -> int:
        """Another number whenever the writer has committed since."""
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def after(self, seq: int, limit: int) -> list[StoredRecord]:
        """The next records, in order."""
        rows = self._connection.execute(
            "SELECT seq, received_us, nas_id, source, datagram FROM record"
            " WHERE seq > ? ORDER BY seq LIMIT ?",
            (seq, limit),
        )
        return [StoredRecord(*row) for row in rows]

    def from_source(self, source: str, seq: int) -> list[StoredRecord]:
        """All records after ``seq`` that came from ``source``, in order."""
        rows = self._connection.execute(
            "SELECT seq, received_us, nas_id, source, datagram FROM record"
            " WHERE seq > ? AND source = ? ORDER BY seq",
            (seq, source),
        )
        return [StoredRecord(*row) for row in rows]

    def count_after(self, seq: int) -> int:
        """How many records wait to be taken over."""
        return int(
            self._connection.execute("SELECT count(*) FROM record WHERE seq > ?", (seq,)).fetchone()[0]
        )

    def waiting_after(self, seq: int) -> tuple[int, int | None]:
        """How many records there are beyond ``seq``, and when the first came (microseconds since 1970).

        Told from the ends, for there may be millions: numbers that were skipped count as records.
        """
        first = self._connection.execute(
            "SELECT seq, received_us FROM record WHERE seq > ? ORDER BY seq LIMIT 1", (seq,)
        ).fetchone()
        if first is None:
            return 0, None
        last = self._connection.execute("SELECT max(seq) FROM record").fetchone()
        return int(last[0]) - int(first[0]) + 1, int(first[1])

    def close(self) -> None:
        """Let the file go."""
        self._connection.close()
