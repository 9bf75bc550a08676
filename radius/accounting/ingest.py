"""From the local journals into the database: decode, record, move the cursor, all in one transaction.

A crash between two records or two systems loses and doubles nothing: the cursor of a journal moves in the
transaction that records its events. A record nobody can use is set aside in a file beside the journal,
counted and reported; the others pass it by.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from sqlalchemy.exc import (
    DatabaseError,
    DataError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    SQLAlchemyError,
)

from aaa.config import DEFAULT_SETTINGS, AaaSettings
from aaa.domain.accounting import AccountingEvent
from aaa.lease_addresses import Grant, record_grants
from aaa.record_accounting import record_accounting
from aaa.store import directory_rows
from core.clock import Clock
from core.health import HealthIssue, open_issue
from core.log import logger
from core.secrets import Sealer
from core.store.columns import from_microseconds
from core.work import Workplace
from radius.accounting.decode import AccountingOrigin, decode_accounting
from radius.accounting.journal import JournalReader, StoredRecord
from radius.leases.leasing import SOURCE, grants_of
from radius.packet.codec import MalformedPacket
from radius.proxying.proxied_reports import queue_reports

_AT_ONCE = 1_000
_IDLE_S = 0.2
_TROUBLE_S = 2.0
_READ_AGAIN_S = 5.0
_OUTAGE_STATES = ("08", "25", "40", "53", "55", "57", "58")
"""PostgreSQL error classes that say nothing about the record: connection, rollback, resources, shutdown."""
_log = logger("radius")
Decoded = AccountingEvent | list[Grant] | str | None
"""What a record tells: of a session, of addresses given away, why it makes no sense, or nothing."""


class Overtaken(Exception):  # noqa: N818 - what happened
    """Another reader has taken over these records."""


async def ingest_once(
    journal_path: Path, workplace: Workplace, sealer: Sealer, limits: AaaSettings = DEFAULT_SETTINGS
) -> int:
    """Take over the next records of one journal; returns how many. 0: nothing waits."""
    reader = await asyncio.to_thread(JournalReader, journal_path)
    try:
        if not reader.id:
            return 0
        return await _Ingestion(reader, journal_path, workplace, sealer, limits).take_over()
    finally:
        reader.close()


async def run_ingest(  # noqa: PLR0917 - the same order for every role
    journal_dir: Path,
    workplace: Workplace,
    sealer: Sealer,
    stop: asyncio.Event,
    limits: AaaSettings = DEFAULT_SETTINGS,
    beat: Callable[[], None] = lambda: None,
) -> None:
    """Take over every journal in the directory until ``stop``, also after the database was away.

    ``beat`` is called before each turn.
    """
    failing, journals = False, _Journals(journal_dir, workplace.clock)
    gc.freeze()  # a batch makes many objects; what the process has loaded need not be walked again for each
    try:
        while not stop.is_set():
            beat()
            try:
                taken = await _ingest_all(journals, workplace, sealer, limits)
                pause_s = 0.0 if taken else _IDLE_S
                if failing:
                    failing = False
                    _log.info("ingest_works_again")
            except (SQLAlchemyError, sqlite3.Error, OSError, Overtaken) as trouble:
                pause_s = _TROUBLE_S
                if not failing:
                    failing = True
                    _log.warning("ingest_failing", error=f"{type(trouble).__name__}: {trouble}")
            await _pause(stop, pause_s)
    finally:
        journals.close()


async def _ingest_all(journals: _Journals, workplace: Workplace, sealer: Sealer, limits: AaaSettings) -> int:
    taken = 0
    for path, version in await asyncio.to_thread(journals.with_news):
        some = await ingest_once(path, workplace, sealer, limits)
        if not some:
            journals.note_read(path, version)
        taken += some
    return taken


class _Journals:
    """The journals of a directory, and which of them have been written to since nothing waited in them.

    Each is kept open for that question alone. Now and then all are read, whatever the answer.
    """

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._open: dict[Path, tuple[int, JournalReader]] = {}
        self._read: dict[Path, int] = {}
        self._all_again_s = 0.0

    def with_news(self) -> list[tuple[Path, int]]:
        """Those to read, each with what ``note_read`` is to be told. Raises as reading one does."""
        now_s = self._clock.monotonic_s()
        if now_s >= self._all_again_s:
            self._read.clear()
            self._all_again_s = now_s + _READ_AGAIN_S
        paths = sorted(self._folder.glob("*.sqlite"))
        for gone in self._open.keys() - set(paths):
            self._let_go(gone)
        versions = [(path, self._version(path)) for path in paths]
        return [(path, version) for path, version in versions if self._read.get(path) != version]

    def note_read(self, path: Path, version: int) -> None:
        """Nothing waits there that was written before ``version`` was asked for."""
        self._read[path] = version

    def _version(self, path: Path) -> int:
        inode = path.stat().st_ino
        known = self._open.get(path)
        if known is None or known[0] != inode:
            self._let_go(path)
            known = self._open[path] = inode, JournalReader(path)
        try:
            return known[1].version()
        except sqlite3.Error:
            self._let_go(path)
            raise

    def _let_go(self, path: Path) -> None:
        self._read.pop(path, None)
        known = self._open.pop(path, None)
        if known is not None:
            known[1].close()

    def close(self) -> None:
        """Let all files go."""
        for path in list(self._open):
            self._let_go(path)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    if seconds == 0:
        await asyncio.sleep(0)
        return
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return


class _Ingestion:
    """One journal's next records on their way."""

    def __init__(
        self,
        reader: JournalReader,
        path: Path,
        workplace: Workplace,
        sealer: Sealer,
        limits: AaaSettings,
    ) -> None:
        self._reader = reader
        self._path = path
        self._workplace = workplace
        self._limits = limits
        self._class_key = sealer.derive_key("class-token")
        self._reversed: set[str] = set()

    async def take_over(self) -> int:
        async with self._workplace.reading() as connection:
            position = await directory_rows.journal_position(connection, self._reader.id)
            records = await asyncio.to_thread(self._reader.after, position, _AT_ONCE)
            if not records:
                return 0
            nases = await directory_rows.all_nas_rows(connection)
        self._reversed = {row.id for row in nases if row.octets_reversed}
        decoded = [(record, self._decode(record)) for record in records]
        try:
            await self._record(position, decoded)
        except (InterfaceError, Overtaken, OSError):
            raise
        except Exception as trouble:  # the boundary of one group: the record at fault is sought
            if _is_outage(trouble):
                raise
            await self._record_singly(position, decoded)
        return len(records)

    def _decode(self, record: StoredRecord) -> Decoded:
        received_at = from_microseconds(record.received_us)
        is_reversed = record.nas_id in self._reversed
        origin = AccountingOrigin(record.nas_id, record.source, received_at, is_reversed)
        try:
            if record.source == SOURCE:
                return grants_of(record.received_us, record.nas_id, record.datagram)
            return decode_accounting(record.datagram, origin)
        except (MalformedPacket, ValueError, OverflowError) as trouble:
            return f"{type(trouble).__name__}: {trouble}"

    async def _record(self, position: int, decoded: Sequence[tuple[StoredRecord, Decoded]]) -> None:
        events = [event for _, event in decoded if isinstance(event, AccountingEvent)]
        grants = [one for _, told in decoded if isinstance(told, list) for one in told]
        poison = [(record, event) for record, event in decoded if isinstance(event, str)]
        last = decoded[-1][0].seq
        async with self._workplace.work("system:ingest") as work:
            moved = await directory_rows.move_journal_position(
                work.connection, self._reader.id, position, last, work.now
            )
            if not moved:
                raise Overtaken("another process takes over this journal")
            await record_grants(work, grants)
            if events:
                await record_accounting(work, events, self._class_key, self._limits)
                await queue_reports(
                    work,
                    (
                        (record.datagram, event)
                        for record, event in decoded
                        if isinstance(event, AccountingEvent)
                    ),
                )
            if poison:
                await asyncio.to_thread(self._set_aside, poison)
                await open_issue(work, _issue(self._path, poison[0][1]))

    async def _record_singly(self, position: int, decoded: Sequence[tuple[StoredRecord, Decoded]]) -> None:
        """A group failed: each record alone, and the one that fails again is set aside."""
        for record, event in decoded:
            try:
                await self._record(position, [(record, event)])
            except (InterfaceError, Overtaken, OSError):
                raise
            except Exception as trouble:  # the boundary of one record
                if _is_outage(trouble):
                    raise
                await self._record(position, [(record, f"{type(trouble).__name__}: {trouble}")])
            position = record.seq

    def _set_aside(self, poison: Sequence[tuple[StoredRecord, str]]) -> None:
        lines = [
            json.dumps({
                "journal": self._reader.id, "seq": record.seq, "received_us": record.received_us,
                "nas_id": record.nas_id, "source": record.source, "reason": reason,
                "datagram": record.datagram.hex(),
            })
            for record, reason in poison
        ]  # fmt: skip
        with set_aside_path(self._path).open("a") as file:
            file.write("\n".join(lines) + "\n")
            file.flush()
            os.fsync(file.fileno())
        for record, reason in poison:
            _log.error("accounting_record_set_aside", seq=record.seq, nas_id=record.nas_id, reason=reason)


def set_aside_path(journal_path: Path) -> Path:
    """Where records nobody could use lie, one JSON object a line. A crash may leave one there twice."""
    return journal_path.with_suffix(".set-aside.jsonl")


def _is_outage(trouble: Exception) -> bool:
    """Whether the database is at fault and not the record."""
    if isinstance(trouble, DataError | IntegrityError):
        return False
    if isinstance(trouble, DBAPIError):
        state = str(getattr(trouble.orig, "sqlstate", None) or "")
        return isinstance(trouble, DatabaseError) or state.startswith(_OUTAGE_STATES)
    return isinstance(trouble, TimeoutError)


def _issue(journal_path: Path, reason: str) -> HealthIssue:
    return HealthIssue(
        f"radius.set_aside:{journal_path.stem}",
        "warning",
        f"accounting records were set aside: {reason}",
        f"look at {set_aside_path(journal_path).name} beside the journal; report it with the device's model",
    )
