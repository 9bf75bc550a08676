"""What a radius process does beside answering: turn after turn, however often one fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from core.log import logger

_log = logger("radius")


class Turn(NamedTuple):
    """One thing that is done again and again, with the pause between."""

    name: str
    pause_s: float
    act: Callable[[], Awaitable[None]]


async def repeat(turn: Turn, stop: asyncio.Event) -> None:
    """Until ``stop``; says once that it began to fail and once that it works again."""
    failing = False
    while not stop.is_set():
        try:
            await turn.act()
        except Exception as trouble:  # noqa: BLE001 - the boundary of one turn
            if not failing:
                failing = True
                error = f"{type(trouble).__name__}: {trouble}"
                _log.warning("radius_turn_failing", turn=turn.name, error=error)
        else:
            if failing:
                failing = False
                _log.info("radius_turn_works_again", turn=turn.name)
        await pause(stop, turn.pause_s)


async def pause(stop: asyncio.Event, seconds: float) -> None:
    """Real time passes, or the end comes."""
    try:
        async with asyncio.timeout(seconds):  # unlike wait_for it makes no task for each pause
            await stop.wait()
    except TimeoutError:
        return
