"""Between the lock-out in memory and the database: who signed in before, what is held back, who is let go."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from itertools import islice

from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.lockouts import GEAR_MARK, HeldSighting, write_held
from aaa.store import lockout_rows
from core.work import Workplace
from radius.guard.lockout import HeldBack, KnownLogin, Lockout

_ASKED_AT_ONCE = 50
_DEVICES = 200
_ADOPTED = 500
_WELL_BEFORE = timedelta(minutes=10)
"""A device counts as known when its session began so long before its login was guessed at."""
_HEARD_FOR = timedelta(minutes=2)
"""How long after an operator's word it is still read: a transaction commits after the instant it names."""


Stations = Callable[[AsyncConnection, str, str, datetime, int], Awaitable[list[str]]]
"""Which devices a NAS let in under a name before an instant, at most so many."""


Logins = Callable[[], Mapping[bytes, KnownLogin]]
"""The logins that are guarded, as they are now."""


class LockoutWatch:
    """One turn a second, which makes many processes hold back as one.

    ``mark`` begins what is written of these logins, where the same name may also be another kind's.
    """

    def __init__(
        self,
        lockout: Lockout,
        logins: Logins,
        stations: Stations = lockout_rows.stations_of,
        mark: str = "",
    ) -> None:
        self._lockout = lockout
        self._logins = logins
        self._stations = stations
        self._mark = mark

    @property
    def is_busy(self) -> bool:
        """Whether anybody is guessing, or a word of ours has to be told: then a turn has work to do."""
        return bool(self._lockout.watched or self._lockout.freed)

    async def turn(self, workplace: Workplace) -> None:
        """Learn what others hold back, who is known, and what operators let go; write down what is ours."""
        lockout = self._lockout
        await self._free(workplace)
        await self._read(workplace)
        await self._free(workplace)
        now, now_s = workplace.clock.now(), workplace.clock.monotonic_s()
        lockout.forget(now_s)
        changed = [(line, place) for line, place in lockout.held(now_s) if place.changed]
        if not changed:
            return
        for _, place in changed:
            place.changed, place.since = False, place.since or now
        sightings = [
            HeldSighting(
                line.nas_id, line.identity, self._mark + line.station, line.service_id, line.failures,
                place.since or now, now + timedelta(seconds=line.wait_s),
            )
            for line, place in changed
        ]  # fmt: skip
        try:
            async with workplace.work("system:radius") as work:
                await write_held(work, sightings)
        except Exception:
            for _, place in changed:
                place.changed = True
            raise

    async def _free(self, workplace: Workplace) -> None:
        """Tell all processes of logins that have another password by now."""
        freed, self._lockout.freed = self._lockout.freed, set()
        if freed:
            async with workplace.work("system:radius") as work:
                for identity in sorted(freed):
                    await lockout_rows.let_go(work.connection, identity, None, work.now, work.actor)

    async def _read(self, workplace: Workplace) -> None:
        lockout, now, now_s = self._lockout, workplace.clock.now(), workplace.clock.monotonic_s()
        async with workplace.reading() as connection:
            for row in await lockout_rows.held(connection, now, _ADOPTED):
                if self._is_ours(row.calling_station):
                    line = HeldBack(
                        row.nas_id, row.identity, row.calling_station.removeprefix(self._mark),
                        row.service_id, row.failures, (row.until - now).total_seconds(), row.since,
                    )  # fmt: skip
                    lockout.adopt(self._logins(), line, now_s)
            if not lockout.watched:
                return
            for row in await lockout_rows.let_go_since(connection, now - _HEARD_FOR):
                if self._is_ours(row.calling_station):
                    station = row.calling_station.removeprefix(self._mark)
                    lockout.let_go(row.identity, row.nas_id, station, row.let_go_at)
            for nas_id, username in list(islice(lockout.unasked(), _ASKED_AT_ONCE)):
                stations = await self._stations(connection, nas_id, username, now - _WELL_BEFORE, _DEVICES)
                lockout.learn_known(nas_id, username, stations)

    def _is_ours(self, station: str) -> bool:
        """Whether a written station is of this kind of logins."""
        return station.startswith(self._mark) if self._mark else not station.startswith(GEAR_MARK)
