"""Close sessions whose Stop never came."""

from __future__ import annotations

from aaa.config import DEFAULT_SETTINGS, AaaSettings
from aaa.session_book import SessionBook
from aaa.store import session_rows, usage_rows
from aaa.watch_addresses import AddressWatch
from core.work import Work


async def reap_sessions(work: Work, settings: AaaSettings = DEFAULT_SETTINGS) -> int:
    """Close every session silent for three interim intervals, as of its last report; returns how many.

    The close is marked as inferred: a later interim update opens the session again, a later Stop amends it.
    """
    await usage_rows.take_metering_lane(work.connection)
    rows = await session_rows.silent_sessions(work.connection, work.now, settings.reap_after_intervals)
    book, addresses = SessionBook(work, settings), AddressWatch(work)
    for session in book.take(rows):
        session.close(session.last_event_at, "lost_stop", inferred=True)
        addresses.touch(session.service_id)
    await addresses.before()
    await book.flush()
    await addresses.after()
    return len(rows)
