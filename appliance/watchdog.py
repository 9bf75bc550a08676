"""Feeding the service manager's watchdog only while every loop of the role goes on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from appliance.readiness import notify, watchdog_period_s
from core.log import logger

_log = logger("appliance")


class Beats:
    """By when each loop of a process must show again that it goes on, on the monotonic clock."""

    def __init__(self) -> None:
        self._due_s: dict[str, float] = {}

    def expect(self, loop: str, limit_s: float) -> Callable[[], None]:
        """From now on ``loop`` must beat at least every ``limit_s`` seconds; returns what it is to call."""

        def beat() -> None:
            self._due_s[loop] = time.monotonic() + limit_s

        beat()
        return beat

    def stuck(self) -> list[str]:
        """The loops that have been silent for longer than their limit."""
        now_s = time.monotonic()
        return [loop for loop, due_s in self._due_s.items() if now_s > due_s]


async def feed_watchdog(beats: Beats) -> None:
    """Until a loop is stuck: then nothing more, and the service manager ends the process and starts another.

    An event loop that hangs feeds nothing either.
    """
    period_s = watchdog_period_s()
    while period_s is not None:
        if stuck := beats.stuck():
            _log.error("loop_stuck", loops=stuck)
            notify(f"STATUS=stuck, to be killed by the watchdog: {', '.join(stuck)}")
            return
        notify("WATCHDOG=1")
        await asyncio.sleep(period_s)
