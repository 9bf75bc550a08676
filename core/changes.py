"""Whether anything was committed to the database since somebody last looked: polling without reading.

A look costs a tenth of the smallest transaction. Who follows the database looks often, and reads only when
the count has gone up; it goes up for every commit of anybody, and for every look that failed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from core.clock import Clock
from core.database import Database

_NEVER_S: Final = float("-inf")


class Changes:
    """What one process knows of commits."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._mark: object = None
        self._one_at_a_time = asyncio.Lock()
        self.count = 0
        """Goes up when there may be something new."""
        self.seen_s = _NEVER_S
        """When the last look began that the database answered; monotonic. All before it is in ``count``."""

    async def look(self) -> None:
        """Ask the database. Raises what it raises, and then counts as a change."""
        async with self._one_at_a_time:
            began_s = self._clock.monotonic_s()
            try:
                mark = await self._database.commit_mark()
            except BaseException:
                self._mark = None
                self.count += 1
                raise
            if mark != self._mark:
                self._mark = mark
                self.count += 1
            self.seen_s = began_s

    def touch(self) -> None:
        """Something else has changed that decides what is read: everybody reads again."""
        self.count += 1


def when_changed(
    changes: Changes,
    clock: Clock,
    act: Callable[[], Awaitable[None]],
    at_least_s: float,
    is_busy: Callable[[], bool] = lambda: False,
) -> Callable[[], Awaitable[None]]:
    """``act``, left out while nothing was committed since it last succeeded, for at most ``at_least_s``.

    ``is_busy``: whether it has something to do of its own.
    """
    done, next_s = -1, _NEVER_S

    async def turn() -> None:
        nonlocal done, next_s
        count, now_s = changes.count, clock.monotonic_s()
        if count == done and now_s < next_s and not is_busy():
            return
        await act()
        done, next_s = count, now_s + at_least_s

    return turn


def counted_when_changed(
    changes: Changes, clock: Clock, act: Callable[[], Awaitable[int]], at_least_s: float
) -> Callable[[], Awaitable[int]]:
    """``act``, which says how much it has done, after a look of its own; left out as above, it has done 0."""
    did = 0

    async def counted() -> None:
        nonlocal did
        did = await act()

    turn = when_changed(changes, clock, counted, at_least_s)

    async def look_and_turn() -> int:
        nonlocal did
        await changes.look()
        did = 0
        await turn()
        return did

    return look_and_turn
