"""Between the lock-out in memory and the database: who signed in before, what is held back, who is let go."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from itertools import islice

from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.lockouts import HeldSighting, write_held
from aaa.store import lockout_rows
from core.work import Workplace
from radius.lockout import Lockout

_ASKED_AT_ONCE = 50
_DEVICES = 200
_WELL_BEFORE = timedelta(minutes=10)
"""A device counts as known when its session began so long before its login was guessed at."""
_HEARD_FOR = timedelta(minutes=2)
"""How long after an operator's word it is still read: a transaction commits after the instant it names."""


Stations = Callable[[AsyncConnection, str, str, datetime, int], Awaitable[list[str]]]
"""Which devices a NAS let in under a name before an instant, at most so many."""


class LockoutWatch:
    """One turn a second; without anything watched it costs nothing."""

    def __init__(self, lockout: Lockout, stations: Stations = lockout_rows.stations_of) -> None:
        self._lockout = lockout
        self._stations = stations

    async def turn(self, workplace: Workplace) -> None:
        """Learn known devices and what operators let go; write down what is held back."""
        lockout = self._lockout
        if not lockout.watched:
            return
        await self._read(workplace)
        now, now_s = workplace.clock.now(), workplace.clock.monotonic_s()
        lockout.forget(now_s)
        changed = [(line, place) for line, place in lockout.held(now_s) if place.changed]
        if not changed:
            return
        for _, place in changed:
            place.changed, place.since = False, place.since or now
        sightings = [
            HeldSighting(
                line.nas_id, line.identity, line.station, line.service_id, line.failures,
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

    async def _read(self, workplace: Workplace) -> None:
        lockout, now = self._lockout, workplace.clock.now()
        async with workplace.reading() as connection:
            for row in await lockout_rows.let_go_since(connection, now - _HEARD_FOR):
                lockout.let_go(row.identity, row.nas_id, row.calling_station, row.let_go_at)
            for nas_id, username in list(islice(lockout.unasked(), _ASKED_AT_ONCE)):
                stations = await self._stations(connection, nas_id, username, now - _WELL_BEFORE, _DEVICES)
                lockout.learn_known(nas_id, username, stations)
