"""Between the leases in memory and the database: follow what changes, set addresses aside ahead of need.

A process gives away only what is set aside under its own name, and holds a lock on a file of that name as
long as it lives: when the lock is free and the journal has come into the database, the rest of its stock is
free at once. A process of which nothing is heard loses its stock when its time is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sqlite3
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from aaa.directory import Directory
from aaa.lease_addresses import Giver, Grant, Reservation, dismiss, give_back, report_for_duty, reserve
from aaa.store import pool_rows
from core.changes import Changes
from core.files import is_locked
from core.log import logger
from core.work import Workplace
from radius.accounting.journal import JournalReader
from radius.leases.leasing import SOURCE, Leasing, grants_of
from radius.serving.place import Place

_MOST_AHEAD = 1_024
_PAGE = 2_000
_READ_AGAIN_S = 1.0
_LOOK_AT_OTHERS_S = 5.0
_LOOK_SOON_S = 0.5
_TELL_S = 20.0
_FRESH_S = 2.0
_PATIENCE_S = 10.0
_RENEW_BEFORE = timedelta(minutes=30)
_WANTED_LATELY = timedelta(seconds=10)
_log = logger("radius")


@dataclass(slots=True)
class _Balance:
    """What the stock lacks and what it has too much of, by pool. ``starving``: pools with nothing at all."""

    wanted: dict[str, int] = field(default_factory=dict)
    starving: set[str] = field(default_factory=set)
    surplus: list[str] = field(default_factory=list)


class LeaseTurns:
    """One process's turns over the leases."""

    def __init__(
        self,
        leasing: Leasing,
        workplace: Workplace,
        journal_path: Path,
        place: Place,
        hold_h: float,
        *,
        changes: Changes | None = None,
    ) -> None:
        """With ``changes`` a turn that nobody asked for reads only when something was committed."""
        self._leasing = leasing
        self._workplace = workplace
        self._clock = workplace.clock
        self._journal_path = journal_path
        self._place = place
        self._hold = timedelta(hours=hold_h)
        self._name = uuid.uuid4().hex[:12]
        self._journal_id = ""
        self._lock = -1
        self._told_version = -1
        self._tell_at_s = self._look_at_s = 0.0
        self._answered: dict[str, datetime] = {}
        self._woken = asyncio.Event()
        self._changes = changes
        self._followed = -1
        self._read_again_s = 0.0
        leasing.wake = self._woken.set

    @property
    def owner(self) -> str:
        """The name under which addresses are set aside for this process."""
        return f"{self._journal_id}/{self._name}"

    def begin(self, journal_id: str) -> None:
        """The journal is open: from now on we can be known by it. Until then nothing is given away."""
        self._journal_id = journal_id

    def _show_life(self) -> None:
        """Hold the lock from now on. Raises ``OSError``."""
        if self._lock < 0:
            descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._lock = descriptor

    @property
    def _lock_path(self) -> Path:
        return _lock_path(self._journal_path.parent, self._name)

    async def close(self) -> None:
        """Give back what was not given away, if the database is there to hear it."""
        if self._lock < 0:
            return
        self._leasing.until = None
        free = [one for stock in self._leasing.stocks.values() for one in stock.free]
        with contextlib.suppress(Exception):  # whoever looks after us finds the lock free
            async with asyncio.timeout(2), self._workplace.work("system:radius") as work:
                await give_back(work, self.owner, free)
        self._lock_path.unlink(missing_ok=True)
        self.drop_lock()

    def drop_lock(self) -> None:
        """Be as if this process had ended."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    async def prepare(self, directory: Directory) -> None:
        """Have a stock before the first sign-in is answered, if the database is there."""
        self._leasing.use(directory)
        if directory.pools:
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    await self._take_turn()
            except Exception as trouble:  # noqa: BLE001 - sign-ins without a pool must not wait for those with one
                _log.warning("leases_not_loaded", error=f"{type(trouble).__name__}: {trouble}")

    async def turn(self, pause_s: float) -> None:
        """Wait for something to do, then do it. Raises what the database raises."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._woken.wait()
        woken = self._woken.is_set()
        self._woken.clear()
        if not self._leasing.stocks and self._leasing.until is None:
            return
        if woken or not self._is_up_to_date():
            await self._take_turn()

    def _is_up_to_date(self) -> bool:
        """Whether nothing was committed since the last turn, which is not long ago: then what we know is as
        fresh as the look that found so."""
        changes = self._changes
        if changes is None or changes.count != self._followed:
            return False
        if self._clock.monotonic_s() >= self._read_again_s:
            return False
        self._leasing.fresh_until_s = max(self._leasing.fresh_until_s, changes.seen_s + _FRESH_S)
        return True

    async def _take_turn(self) -> None:
        if not self._journal_id:
            return
        count = -1 if self._changes is None else self._changes.count
        self._followed = -1
        try:
            if self._leasing.until is None:
                await self._begin_anew()
            pools = await self._follow()
            await self._look_after_stock(pools)
            if self._place.leads:
                await self._look_at_others_in_time(pools)
            self._followed, self._read_again_s = count, self._clock.monotonic_s() + _READ_AGAIN_S
        except Exception:
            self._leasing.note_empty([one for one, stock in self._leasing.stocks.items() if not stock.free])
            raise

    async def _begin_anew(self) -> None:
        """Read every lease there is, with what waits in the journals of this machine."""
        self._leasing.clear()
        await asyncio.to_thread(self._show_life)
        async with self._workplace.reading() as connection:
            version, after = await pool_rows.newest_version(connection), ""
            paths = await asyncio.to_thread(self._journals)
            positions = {one: await pool_rows.journal_position_of(connection, one) for one in paths}
            while page := await pool_rows.held_leases(connection, after, _PAGE):
                for row in page:
                    self._leasing.apply(row, self.owner)
                after = page[-1].network
                await asyncio.sleep(0)
        for journal_id, path in paths.items():
            with contextlib.suppress(sqlite3.Error):  # what it says is still set aside for who wrote it
                for grant in await asyncio.to_thread(_waiting_grants, path, positions[journal_id]):
                    self._leasing.hear(grant)
        until = self._clock.now() + self._hold
        async with self._workplace.work("system:radius") as work:
            await report_for_duty(work, Giver(self.owner, self._journal_id, until), version)
        self._leasing.version = self._told_version = version
        self._leasing.until = until
        _log.info("leases_loaded", leases=self._leasing.known, owner=self.owner)

    async def _follow(self) -> Sequence[Any]:
        """Take over what has changed; the pools as they stand."""
        async with self._workplace.reading() as connection:
            began_s = self._clock.monotonic_s()
            while rows := await pool_rows.leases_after(connection, self._leasing.version, _PAGE):
                for row in rows:
                    self._leasing.apply(row, self.owner)
                self._leasing.version = rows[-1].version
            self._leasing.fresh_until_s = began_s + _FRESH_S
            if not await pool_rows.is_worker(connection, self.owner):
                self._leasing.clear()  # our time was over, or the database is another one
            return await pool_rows.pools(connection)

    async def _look_after_stock(self, pools: Sequence[Any]) -> None:
        if self._leasing.until is None:
            return
        balance = self._balance(pools)
        now_s, now = self._clock.monotonic_s(), self._clock.now()
        if now_s >= self._tell_at_s or balance.wanted:
            await self._confirm()
        tells = now_s >= self._tell_at_s and self._leasing.vouched_version != self._told_version
        renews = self._leasing.until - now < self._hold - _RENEW_BEFORE
        if not (balance.wanted or balance.surplus or tells or renews):
            return
        self._leasing.let_go(balance.surplus)
        got, until, version = Reservation({}, ()), now + self._hold, self._leasing.vouched_version
        async with self._workplace.work("system:radius") as work:
            await report_for_duty(work, Giver(self.owner, self._journal_id, until), version)
            if balance.surplus:
                await give_back(work, self.owner, balance.surplus)
            if balance.wanted:
                got = await reserve(work, self.owner, balance.wanted, balance.starving)
        self._leasing.until, self._told_version, self._tell_at_s = until, version, now_s + _TELL_S
        self._leasing.stock_up(got.networks)
        self._leasing.note_empty(got.empty)

    async def _confirm(self) -> None:
        """Look which of our gifts the database has by now."""
        given = self._leasing.in_journal
        if given:
            async with self._workplace.reading() as connection:
                position = await pool_rows.journal_position_of(connection, self._journal_id)
            waiting = await asyncio.to_thread(_waiting_grants, self._journal_path, position)
            still = {one.network for one in waiting}
            self._leasing.confirm({network: at for network, at in given.items() if network not in still})

    def _balance(self, pools: Sequence[Any]) -> _Balance:
        found, now_s, now = _Balance(), self._clock.monotonic_s(), self._clock.now()
        for row in pools:
            stock = self._leasing.stocks.get(row.id)
            if stock is None:
                continue
            if stock.pool.draining:
                found.surplus += stock.free
                continue
            gone = [one for one in stock.free if not stock.pool.gives(one)] if stock.changed else []
            stock.changed = False
            found.surplus += gone
            if stock.free and self._is_asked_for(row, now):
                kept = [one for one in stock.free if one not in gone]
                found.surplus += kept[len(kept) // 2 :]
            elif len(stock.free) < stock.low and now_s >= stock.empty_until_s:
                found.wanted[row.id] = _MOST_AHEAD - len(stock.free)
                if not stock.free and stock.missed:
                    found.starving.add(row.id)
        return found

    def _is_asked_for(self, row: Any, now: datetime) -> bool:
        """Whether another process has found nothing left of the pool, and we have not answered that yet."""
        if row.wanted_at is None or row.wanted_by == self.owner or now - row.wanted_at > _WANTED_LATELY:
            return False
        if self._answered.get(row.id) == row.wanted_at:
            return False
        self._answered[row.id] = row.wanted_at
        return True

    async def _look_at_others_in_time(self, pools: Sequence[Any]) -> None:
        """Now and then, and soon while somebody finds nothing: it may lie with a process that is gone."""
        now_s, now = self._clock.monotonic_s(), self._clock.now()
        lacking = any(one.wanted_at is not None and now - one.wanted_at < _WANTED_LATELY for one in pools)
        if now_s >= self._look_at_s - (_LOOK_AT_OTHERS_S - _LOOK_SOON_S if lacking else 0.0):
            self._look_at_s = now_s + _LOOK_AT_OTHERS_S
            await self._look_at_others()

    async def _look_at_others(self) -> None:
        """Free the stock of processes of this machine that are gone and whose gifts are all on record."""
        async with self._workplace.reading() as connection:
            others = [one for one in await pool_rows.workers(connection) if one.owner != self.owner]
        if not others:
            return
        paths = await asyncio.to_thread(self._journals)
        for other in others:
            path = paths.get(other.journal_id)
            lock = _lock_path(self._journal_path.parent, other.owner.partition("/")[2])
            if path is None or not await asyncio.to_thread(_is_free, lock):
                continue
            async with self._workplace.reading() as connection:
                position = await pool_rows.journal_position_of(connection, other.journal_id)
            if await asyncio.to_thread(_waiting_grants, path, position):
                continue
            async with self._workplace.work("system:radius") as work:
                freed = await dismiss(work, other.owner, exactly=True)
            await asyncio.to_thread(lock.unlink, missing_ok=True)
            _log.info("leases_of_process_freed", owner=other.owner, freed=freed)

    def _journals(self) -> dict[str, Path]:
        """The journals of this machine, by their ids."""
        found = {}
        for path in sorted(self._journal_path.parent.glob("*.sqlite")):
            with contextlib.suppress(sqlite3.Error):
                reader = JournalReader(path)
                try:
                    if reader.id:  # else it is none, or only just being made
                        found[reader.id] = path
                finally:
                    reader.close()
        return found


def _waiting_grants(path: Path, position: int) -> list[Grant]:
    """What a journal says was given away and the database may not know yet."""
    reader = JournalReader(path)
    try:
        records = reader.from_source(SOURCE, position)
    finally:
        reader.close()
    found = []
    for record in records:
        with contextlib.suppress(ValueError, TypeError):  # ingestion sets it aside, and says so
            found += grants_of(record.received_us, record.nas_id, record.datagram)
    return found


def _is_free(lock: Path) -> bool:
    """Whether nobody holds the lock any more."""
    try:
        return not is_locked(lock)
    except FileNotFoundError:
        return True


def _lock_path(folder: Path, name: str) -> Path:
    return folder / f"radius-leases.{name}.lock"
