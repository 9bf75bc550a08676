"""Rows of accounting sessions, read and written many at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Select, Update, bindparam, cast, insert, select, type_coerce, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.domain.session import AddressMove
from aaa.store.repositories import chunks
from aaa.store.tables import credential, meter, service, service_profile, session, session_address
from core.database import insert_for
from core.store.columns import to_microseconds

COUNTING = ("last_event_at", "last_received_at", "octets_in", "octets_out", "gigawords_seen")
"""Columns that every report moves. None is indexed: an interim update, which is nearly every report, then
costs no index a change."""
CHANGING = (
    "key", "calling_station", "mac", "nas_port_id", "nas_address", "nas_own_address", "framed_ip",
    "framed_ipv6_address", "framed_ipv6_prefix", "delegated_ipv6_prefix", "started_at", "start_seen",
    "stopped_at", "close_cause", "close_inferred", *COUNTING,
)  # fmt: skip
"""Columns that accounting changes; ``generation`` is not among them: moving a live session sets it."""
LOADED = (
    "id", "key", "nas_id", "acct_session_id", "username", "service_id", "meter_id", "calling_station",
    "nas_port_id", "framed_ip", "started_at", "last_event_at", "last_received_at", "interim_interval_s",
    "start_seen", "stopped_at", "close_cause", "close_inferred", "generation", "incarnation", "nas_address",
    "nas_own_address", "mac", "framed_ipv6_address", "framed_ipv6_prefix", "delegated_ipv6_prefix",
    "octets_in", "octets_out", "gigawords_seen",
)  # fmt: skip
"""The columns of a loaded session in their order; behind them comes its meter's state."""


def _update(columns: Sequence[str]) -> Update:
    changes: dict[str, Any] = {column: bindparam(f"b_{column}") for column in columns}
    return update(session).where(session.c.id == bindparam("b_id")).values(changes)


_UPDATE_COUNTING, _UPDATE_CHANGING = _update(COUNTING), _update(CHANGING)


def _with_state() -> Select[Any]:
    columns = [session.c[name] for name in LOADED]
    return select(*columns, meter.c.state.label("meter_state")).outerjoin(
        meter, meter.c.id == session.c.meter_id
    )


async def sessions_by_key(connection: AsyncConnection, keys: Iterable[str]) -> list[Row[Any]]:
    """The sessions with those keys, each with its meter's state."""
    found: list[Row[Any]] = []
    for some in chunks(keys):
        found += (await connection.execute(_with_state().where(session.c.key.in_(some)))).all()
    return found


async def sessions_with_ids(connection: AsyncConnection, ids: Iterable[str]) -> list[Row[Any]]:
    """The sessions with those ids, each with its meter's state."""
    found: list[Row[Any]] = []
    for some in chunks(ids):
        found += (await connection.execute(_with_state().where(session.c.id.in_(some)))).all()
    return found


async def open_sessions_of_nases(connection: AsyncConnection, nas_ids: Iterable[str]) -> list[Row[Any]]:
    """The sessions without a Stop on those NASes."""
    found: list[Row[Any]] = []
    for some in chunks(nas_ids):
        statement = _with_state().where(session.c.nas_id.in_(some), session.c.stopped_at.is_(None))
        found += (await connection.execute(statement)).all()
    return found


async def open_sessions_of_services(
    connection: AsyncConnection, service_ids: Iterable[str]
) -> list[Row[Any]]:
    """The sessions without a Stop of those services."""
    found: list[Row[Any]] = []
    for some in chunks(service_ids):
        statement = _with_state().where(session.c.service_id.in_(some), session.c.stopped_at.is_(None))
        found += (await connection.execute(statement)).all()
    return found


async def open_sessions_at(
    connection: AsyncConnection, nas_ids: Iterable[str], addresses: Iterable[str]
) -> list[Row[Any]]:
    """The sessions without a Stop that have one of those addresses on one of those NASes."""
    nases = list(dict.fromkeys(nas_ids))
    found: list[Row[Any]] = []
    for some in chunks(addresses):
        statement = _with_state().where(
            session.c.framed_ip.in_(some), session.c.nas_id.in_(nases), session.c.stopped_at.is_(None)
        )
        found += (await connection.execute(statement)).all()
    return found


async def silent_sessions(connection: AsyncConnection, now: datetime, intervals: int) -> list[Row[Any]]:
    """The open sessions that nothing was heard of for so many of their interim intervals."""
    heard = type_coerce(session.c.last_received_at, BigInteger)
    interval = cast(session.c.interim_interval_s, BigInteger)  # 12 minutes three times are more than an int4
    deadline = heard + interval * (intervals * 1_000_000)
    statement = _with_state().where(session.c.stopped_at.is_(None), deadline < to_microseconds(now))
    return list((await connection.execute(statement)).all())


async def insert_sessions(connection: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> None:
    """New sessions."""
    if rows:
        await connection.execute(insert(session), [dict(row) for row in rows])


async def update_sessions(connection: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the ``CHANGING`` columns of sessions; every row has ``b_id`` and ``b_COLUMN`` for each."""
    if rows:
        await connection.execute(_UPDATE_CHANGING, rows)


async def update_counts(connection: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the ``COUNTING`` columns alone, of sessions in which nothing else has changed."""
    if rows:
        await connection.execute(_UPDATE_COUNTING, rows)


async def keep_address_moves(connection: AsyncConnection, moves: Sequence[tuple[str, AddressMove]]) -> None:
    """Sessions came to other addresses: until when they had the ones before, and since when the new ones."""
    for session_id, move in moves:
        standing = update(session_address).where(
            session_address.c.session_id == session_id, session_address.c.kind == move.kind,
            session_address.c.last_seen_at.is_(None),
        )  # fmt: skip
        ended = await connection.execute(standing.values(last_seen_at=move.before_until))
        key: dict[str, Any] = {"session_id": session_id, "kind": move.kind}
        rows = [key | {"first_seen_at": move.at, "network": move.network, "last_seen_at": None}]
        if ended.rowcount == 0 and move.before is not None:
            since, until = move.before_since, move.before_until
            rows.append(key | {"first_seen_at": since, "network": move.before, "last_seen_at": until})
        statement = insert_for(connection, session_address)
        again = {name: statement.excluded[name] for name in ("network", "last_seen_at")}
        keys = ["session_id", "kind", "first_seen_at"]
        await connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=again), rows)


async def services_by_username(connection: AsyncConnection, usernames: Iterable[str]) -> dict[str, str]:
    """Which service each user name signs in to."""
    found: dict[str, str] = {}
    for some in chunks(usernames):
        statement = select(credential.c.username, credential.c.service_id).where(
            credential.c.username.in_(some)
        )
        found |= {row.username: row.service_id for row in await connection.execute(statement)}
    return found


async def lines_of(connection: AsyncConnection, service_ids: Iterable[str]) -> dict[str, Row[Any]]:
    """Interim interval and rates of each service that exists."""
    found: dict[str, Row[Any]] = {}
    for some in chunks(service_ids):
        statement = (
            select(
                service.c.id, service_profile.c.interim_interval_s,
                service_profile.c.rate_up_bps, service_profile.c.rate_down_bps,
                service_profile.c.burst_up_bps, service_profile.c.burst_down_bps,
            )
            .join(service_profile, service_profile.c.id == service.c.profile_id)
            .where(service.c.id.in_(some))
        )  # fmt: skip
        found |= {row.id: row for row in await connection.execute(statement)}
    return found
