"""Close sessions that their NAS, when asked about them, said it does not have."""

from __future__ import annotations

from collections.abc import Sequence

from aaa.config import DEFAULT_SETTINGS, AaaSettings
from aaa.session_book import SessionBook
from aaa.store import session_rows, usage_rows
from aaa.watch_addresses import AddressWatch
from core.work import Work


async def close_lost_sessions(
    work: Work, session_ids: Sequence[str], settings: AaaSettings = DEFAULT_SETTINGS
) -> int:
    """Close those of the sessions that are open, as of their last reports; returns how many.

    The close is marked as inferred: a later interim update opens the session again, a later Stop amends it.
    """
    await usage_rows.take_metering_lane(work.connection)
    rows = await session_rows.sessions_with_ids(work.connection, session_ids)
    book, addresses = SessionBook(work, settings), AddressWatch(work)
    lost = [session for session in book.take(rows) if session.is_open]
    for session in lost:
        session.close(session.last_event_at, "nas_lost_it", inferred=True)
        addresses.touch(session.service_id)
    await addresses.before()
    await book.flush()
    await addresses.after()
    return len(lost)
