"""Long work that a page starts and other pages watch: one act at a time, in the background."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from core.log import logger

log = logger("ui")


class OneAtATime:
    """Starts acts and remembers how the last one went. ``trouble`` says in words why there is no result."""

    def __init__(self) -> None:
        self._acting: asyncio.Task[None] | None = None
        self._act = ""
        self.trouble: str | None = None

    @property
    def acting(self) -> str:
        """What goes on that was started here, or nothing."""
        return self._act if self._acting is not None and not self._acting.done() else ""

    def _begin(self) -> None:
        """What is forgotten when an act begins."""
        self.trouble = None

    async def _start(self, act: str, work: Callable[[], Awaitable[None]], patience_s: float) -> bool:
        if self.acting and self.acting != act:
            return False
        if not self.acting:
            self._begin()
            self._act = act
            self._acting = asyncio.create_task(self._guarded(work))
        if self._acting is not None:
            await asyncio.wait([self._acting], timeout=patience_s)
        return True

    async def close(self) -> None:
        """Stop at shutdown; a run that is cut short is finished by the next one."""
        if self._acting is not None:
            self._acting.cancel()
            await asyncio.gather(self._acting, return_exceptions=True)

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception as trouble:
            log.exception("background_act_failed", act=self._act, error=type(trouble).__name__)
            self.trouble = "It stopped with an error. What was finished is kept; start it again to go on."
