"""Which live sessions an order to many is for: those under a profile, on a NAS, on NASes of a dialect."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.store import directory_rows


@dataclass(frozen=True, slots=True)
class LiveScope:
    """All that are not None have to hold; with none, it is every open session that has a service."""

    profile_id: str | None = None
    nas_id: str | None = None
    dialect: str | None = None


@dataclass(frozen=True, slots=True)
class LiveLine:
    """One open session in the scope."""

    id: str
    username: str
    nas_id: str
    nas: str


@dataclass(frozen=True, slots=True)
class Reapplied:
    """What came of one session.

    ``outcome``: moved, nothing_live (its NAS has it no more), refused, silent, or not_asked, when its terms
    cannot be told in a CoA or its NAS had just been silent; ``detail`` says why.
    """

    session_id: str
    username: str
    nas: str
    outcome: str
    detail: str


@dataclass(frozen=True, slots=True)
class ReappliedPage:
    """A page. ``next_after`` is where the next begins, None after the last; ``left``: how many are behind."""

    sessions: list[Reapplied]
    next_after: str | None
    left: int


async def live_sessions_in(
    connection: AsyncConnection, scope: LiveScope, after: str, limit: int
) -> list[LiveLine]:
    """The next open sessions, in the order of their ids, behind the id ``after``."""
    rows = await directory_rows.live_sessions_in(
        connection, scope.profile_id, scope.nas_id, scope.dialect, after, limit
    )
    return [LiveLine(row.id, row.username, row.nas_id, row.nas) for row in rows]


async def count_live_sessions(connection: AsyncConnection, scope: LiveScope, after: str = "") -> int:
    """How many there are behind the id ``after``."""
    return await directory_rows.count_live_sessions(
        connection, scope.profile_id, scope.nas_id, scope.dialect, after
    )
