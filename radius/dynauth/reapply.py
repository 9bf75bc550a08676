"""Bring many live sessions to their present terms by CoA, a page at a time, without ending any.

A reply template that is changed moves nobody by itself: what it says may be wrong, and where a changed
profile moves sessions, a CoA that is refused becomes a Disconnect. Here an operator asks, a page is bounded
in sessions and in time, and what came of each is told. Whoever asks goes on behind ``next_after``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Final

from aaa.live_scope import (
    LiveLine,
    LiveScope,
    Reapplied,
    ReappliedPage,
    count_live_sessions,
    live_sessions_in,
)
from core.refusal import Refusal
from core.work import Workplace
from radius.dynauth.live_session import LiveSessions

SESSIONS_OF_A_PAGE: Final = 200
AT_ONCE: Final = 6
"""Orders under way at the same time; each waits in a thread."""
BEGUN_WITHIN_S: Final = 15.0
"""After so long no further session of the page is asked: NASes that are silent take ten seconds each."""


class Reapplying:
    """One page under way."""

    def __init__(self, workplace: Workplace, sessions: LiveSessions, actor: str) -> None:
        self._workplace = workplace
        self._sessions = sessions
        self._actor = actor
        self._silent: set[str] = set()

    async def page(self, scope: LiveScope, after: str = "", limit: int = SESSIONS_OF_A_PAGE) -> ReappliedPage:
        """Ask the NASes of the next sessions in the scope."""
        async with self._workplace.reading() as connection:
            lines = await live_sessions_in(connection, scope, after, limit)
        done: dict[str, Reapplied] = {}
        ends_at = self._workplace.clock.monotonic_s() + BEGUN_WITHIN_S
        waiting = iter(lines)
        async with asyncio.TaskGroup() as group:
            for _ in range(min(AT_ONCE, len(lines))):
                group.create_task(self._work_through(waiting, done, ends_at))
        found = [done[line.id] for line in lines if line.id in done]
        reached = found[-1].session_id if found else after
        async with self._workplace.work(self._actor) as work:
            left = await count_live_sessions(work.connection, scope, reached)
            if found:
                counts: dict[str, int] = {}
                for one in found:
                    counts[one.outcome] = counts.get(one.outcome, 0) + 1
                subject = scope.profile_id or scope.nas_id or scope.dialect or "every reply"
                await work.audit("sessions.reapply", subject, nas=scope.nas_id, left=left, **counts)
        return ReappliedPage(found, reached if left else None, left)

    async def _work_through(
        self, waiting: Iterator[LiveLine], done: dict[str, Reapplied], ends_at: float
    ) -> None:
        """Take the next one, again and again; what is begun is finished, so the rest is what is behind."""
        for line in waiting:
            outcome, detail = await self._one(line)
            done[line.id] = Reapplied(line.id, line.username, line.nas, outcome, detail)
            if self._workplace.clock.monotonic_s() >= ends_at:
                return

    async def _one(self, line: LiveLine) -> tuple[str, str]:
        if line.nas_id in self._silent:
            return "not_asked", f"{line.nas} did not answer for a session before this one"
        found = await self._sessions.reapply(line.id, self._actor)
        if isinstance(found, Refusal):
            return ("nothing_live" if found.code == "session.not_live" else "not_asked"), found.message
        if found.outcome == "silent":
            self._silent.add(line.nas_id)
        return found.outcome, found.detail
