"""Reads: sessions online and past, as pages of a list, and one with everything that is known of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.domain.close_cause import why_closed
from aaa.domain.identity import spelled_mac
from aaa.domain.session import ADDRESS_KINDS
from aaa.domain.session_filter import SessionFilter
from aaa.store import session_search
from aaa.store.session_search import Position
from core.refusal import Refusal
from core.store.columns import from_microseconds, to_microseconds
from core.work import Workplace

PAGE = 50
_EXPORT_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class SessionView:
    """One accounting session; octets are the subscriber's: down is what he received."""

    id: str
    username: str
    service_id: str | None
    service: str
    account_id: str | None = field(metadata={"csv": False})
    nas_id: str = field(metadata={"csv": False})
    nas: str
    nas_address: str
    nas_port_id: str
    calling_station: str
    mac: str
    framed_ip: str
    framed_ipv6_address: str
    framed_ipv6_prefix: str
    delegated_ipv6_prefix: str
    started_at: datetime
    start_seen: bool
    stopped_at: datetime | None
    last_event_at: datetime
    last_received_at: datetime
    close_cause: str
    close_inferred: bool
    why: str
    octets_down: int
    octets_up: int
    interim_interval_s: int
    acct_session_id: str
    generation: int | None
    meter_id: str | None = field(metadata={"csv": False})

    @property
    def is_open(self) -> bool:
        """No Stop was told or inferred."""
        return self.stopped_at is None

    @property
    def lasted(self) -> timedelta:
        """From start to stop, or to the last word of it."""
        return (self.stopped_at or self.last_event_at) - self.started_at

    @property
    def addresses(self) -> list[str]:
        """Its newest addresses and prefixes."""
        mine = (self.framed_ip, self.framed_ipv6_address, self.framed_ipv6_prefix, self.delegated_ipv6_prefix)
        return [one for one in mine if one]


@dataclass(frozen=True, slots=True)
class SessionPage:
    """Sessions, newest first, and the mark of the next page if there are more."""

    rows: list[SessionView]
    next_after: str | None


@dataclass(frozen=True, slots=True)
class AddressSpan:
    """The session was reported with ``network`` from ``first_seen_at`` on; None: as long as it runs."""

    kind: str
    network: str
    first_seen_at: datetime
    last_seen_at: datetime | None


@dataclass(frozen=True, slots=True)
class Reading:
    """One report of the session: counters as received and as they were understood."""

    at: datetime
    received_at: datetime
    octets_down: int
    octets_up: int
    raw_down: int | None
    raw_up: int | None
    decision: str
    evidence: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Exchange:
    """One order to the NAS about a session, and its answer (RFC 5176)."""

    id: str
    at: datetime
    actor: str
    request: str  # coa, disconnect
    sent: str
    answer: str  # ack, nak, silent, not_sent
    error_cause: int | None
    detail: str
    tries: int
    ms: int


@dataclass(frozen=True, slots=True)
class SessionDetail:
    """A session with what it is known by: reports (the newest ``PAGE``), addresses over time, orders."""

    session: SessionView
    spans: list[AddressSpan]
    readings: list[Reading]
    reading_count: int
    exchanges: list[Exchange]


def mark_of(view: SessionView) -> str:
    """The mark behind which the next page begins."""
    return f"{to_microseconds(view.started_at)}.{view.id}"


def read_mark(mark: str) -> Position | Refusal | None:
    """The position a mark stands for; None for the first page."""
    if not mark:
        return None
    instant, dot, session_id = mark.partition(".")
    if not (dot and session_id and instant.isascii() and instant.isdigit() and len(instant) <= 18):
        return Refusal(
            "after.malformed", "this is no mark of a page; leave it out to begin at the first", "after"
        )
    return Position(from_microseconds(int(instant)), session_id[:40])


async def list_sessions(
    connection: AsyncConnection, wanted: SessionFilter, *, after: Position | None = None, limit: int = PAGE
) -> SessionPage:
    """One page of the sessions wanted, newest start first."""
    rows = await session_search.session_page(connection, wanted, after, limit + 1)
    views = [view_of(row) for row in rows[:limit]]
    return SessionPage(views, mark_of(views[-1]) if len(rows) > limit else None)


async def every_session(workplace: Workplace, wanted: SessionFilter) -> AsyncIterator[Sequence[SessionView]]:
    """Page after page of all that is wanted, each from a short read, for exports of any size."""
    after: Position | None = None
    while True:
        async with workplace.reading() as connection:
            page = await list_sessions(connection, wanted, after=after, limit=_EXPORT_PAGE)
        yield page.rows
        if page.next_after is None:
            return
        last = page.rows[-1]
        after = Position(last.started_at, last.id)


async def session_detail(connection: AsyncConnection, session_id: str) -> SessionDetail | None:
    """The session with its reports, addresses and orders; None for an unknown id."""
    row = await session_search.one_session(connection, session_id)
    if row is None:
        return None
    view, meter_id = view_of(row), row.meter_id or ""
    spans = await spans_of(connection, [view])
    return SessionDetail(
        view,
        spans[view.id],
        [reading_of(one) for one in await session_search.readings_of(connection, meter_id, PAGE)],
        await session_search.reading_count(connection, meter_id),
        await exchanges_of(connection, session_id),
    )


async def exchanges_of(connection: AsyncConnection, session_id: str) -> list[Exchange]:
    """The last orders about a session, newest first."""
    rows = await session_search.exchanges_of(connection, session_id)
    return [
        Exchange(
            row.id, row.at, row.actor, row.request, row.sent, row.answer, row.error_cause, row.detail,
            row.tries, row.ms,
        )
        for row in rows
    ]  # fmt: skip


async def spans_of(connection: AsyncConnection, views: Sequence[SessionView]) -> dict[str, list[AddressSpan]]:
    """Which addresses each session was reported with, and between which reports."""
    moves: dict[str, list[AddressSpan]] = {view.id: [] for view in views}
    for row in await session_search.addresses_over_time(connection, list(moves)):
        span = AddressSpan(row.kind, row.network, row.first_seen_at, row.last_seen_at)
        moves[row.session_id].append(span)
    order = list(ADDRESS_KINDS)
    return {
        view.id: sorted(
            [*_constant(view, moves[view.id]), *moves[view.id]],
            key=lambda span: (order.index(span.kind), span.first_seen_at),
        )
        for view in views
    }


def _constant(view: SessionView, moves: Sequence[AddressSpan]) -> list[AddressSpan]:
    """The addresses that the session had from its beginning to its end."""
    newest = {
        "ipv4": view.framed_ip, "ipv6": view.framed_ipv6_address, "prefix": view.framed_ipv6_prefix,
        "delegated": view.delegated_ipv6_prefix,
    }  # fmt: skip
    moved = {move.kind for move in moves}
    return [
        AddressSpan(kind, network, view.started_at, None)
        for kind, network in newest.items()
        if network and kind not in moved
    ]


def view_of(row: Row[Any]) -> SessionView:
    """A row of ``session_search`` in our words."""
    return SessionView(
        id=row.id, username=row.username, service_id=row.service_id, service=row.service_label or "",
        account_id=row.account_id, nas_id=row.nas_id, nas=row.nas_name or row.nas_id,
        nas_address=row.nas_address or "", nas_port_id=row.nas_port_id or "",
        calling_station=row.calling_station or "", mac=spelled_mac(row.mac), framed_ip=row.framed_ip or "",
        framed_ipv6_address=row.framed_ipv6_address or "", framed_ipv6_prefix=row.framed_ipv6_prefix or "",
        delegated_ipv6_prefix=row.delegated_ipv6_prefix or "", started_at=row.started_at,
        start_seen=row.start_seen, stopped_at=row.stopped_at, last_event_at=row.last_event_at,
        last_received_at=row.last_received_at, close_cause=row.close_cause or "",
        close_inferred=row.close_inferred, why=why_closed(row.close_cause, inferred=row.close_inferred),
        octets_down=row.octets_out, octets_up=row.octets_in, interim_interval_s=row.interim_interval_s,
        acct_session_id=row.acct_session_id, generation=row.generation, meter_id=row.meter_id,
    )  # fmt: skip


def reading_of(row: Row[Any]) -> Reading:
    """A row of a meter reading in our words."""
    return Reading(
        row.at, row.received_at, row.octets_out, row.octets_in,
        None if row.raw_out < 0 else row.raw_out, None if row.raw_in < 0 else row.raw_in,
        row.decision, row.evidence,
    )  # fmt: skip
