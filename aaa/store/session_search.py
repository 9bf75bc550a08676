"""Sessions newest first, a page at a time, however many there are.

Each alternative of a search ("this service or that one", "this address in any of the four columns") is read
by the index that leads with it and gives its own next page; the pages are merged: no count, no offset.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    and_,
    func,
    literal,
    or_,
    select,
    true,
    tuple_,
    type_coerce,
)
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.domain.session_filter import Place, SessionFilter
from aaa.store.tables import (
    dynauth_exchange,
    meter_reading,
    nas,
    service,
    session,
    session_address,
    usage_record,
)
from core.store.columns import Instant

Rows = Sequence[Row[Any]]
_IPV6_COLUMNS = (session.c.framed_ipv6_prefix, session.c.delegated_ipv6_prefix)


@dataclass(frozen=True, slots=True)
class Position:
    """The last session of a page: the next page begins behind it."""

    started_at: datetime
    session_id: str


def _sessions() -> Select[Any]:
    return (
        select(
            session, nas.c.name.label("nas_name"), nas.c.site_id, service.c.label.label("service_label"),
            service.c.account_id,
        )
        .select_from(session)
        .outerjoin(nas, nas.c.id == session.c.nas_id)
        .outerjoin(service, service.c.id == session.c.service_id)
    )  # fmt: skip


def _at(value: datetime) -> ColumnElement[Any]:
    return literal(value, Instant)


def _common(wanted: SessionFilter) -> list[ColumnElement[bool]]:
    """What every alternative has to fulfil."""
    conditions: list[ColumnElement[bool]] = []
    if wanted.state == "online":
        conditions.append(session.c.stopped_at.is_(None))
    elif wanted.state == "closed":
        conditions.append(session.c.stopped_at.is_not(None))
    if wanted.mac is not None:
        conditions.append(session.c.mac == wanted.mac)
    if wanted.cause is not None:
        conditions.append(session.c.close_cause == wanted.cause)
    if wanted.until_at is not None:
        conditions.append(session.c.started_at < _at(wanted.until_at))
    if wanted.from_at is not None:
        conditions.append(session.c.started_at >= _at(wanted.from_at))
    return conditions


def _alternatives(wanted: SessionFilter) -> list[ColumnElement[bool]]:
    """Conditions of which one must hold, each narrow enough for an index."""
    who = [session.c.service_id == service_id for service_id in wanted.service_ids]
    if wanted.username is not None:
        who.append(session.c.username == wanted.username)
    where = [] if wanted.nas_ids is None else [session.c.nas_id == nas_id for nas_id in wanted.nas_ids]
    if wanted.place is not None:
        rest = and_(or_(*who) if who else true(), or_(*where) if wanted.nas_ids is not None else true())
        return [and_(one, rest) for one in place_conditions(wanted.place)]
    if who:
        rest = or_(*where) if wanted.nas_ids is not None else true()
        return [and_(one, rest) for one in who]
    return where if wanted.nas_ids is not None else [true()]


def place_conditions(place: Place) -> list[ColumnElement[bool]]:
    """The ways in which a session can have had an address."""
    had = select(session_address.c.session_id).where(session_address.c.network.in_(place.networks))
    conditions: list[ColumnElement[bool]] = [session.c.id.in_(had)]
    if place.version == 4:
        return [session.c.framed_ip == place.text, *conditions]
    held = [column.in_(place.networks) for column in _IPV6_COLUMNS]
    return [session.c.framed_ipv6_address == place.text, *held, *conditions]


def _start(place: Place | None) -> ColumnElement[Any]:
    """When a session started, to order by.

    An IPv6 address is in any of a hundred prefixes, each of them on few sessions. A planner that reckons with
    finding them soon reads all sessions in order of their start: this is not what its index is ordered by.
    """
    if place is None or place.version == 4:
        return session.c.started_at
    return type_coerce(session.c.started_at, BigInteger) + 0


async def session_page(
    connection: AsyncConnection, wanted: SessionFilter, after: Position | None, limit: int
) -> list[Row[Any]]:
    """At most ``limit`` sessions behind ``after``, newest first."""
    common = _common(wanted)
    if after is not None:
        behind = tuple_(session.c.started_at, session.c.id) < tuple_(
            _at(after.started_at), literal(after.session_id)
        )
        common.append(behind)
    found: dict[str, Row[Any]] = {}
    for one in _alternatives(wanted):
        statement = _sessions().where(one, *common)
        statement = statement.order_by(_start(wanted.place).desc(), session.c.id.desc()).limit(limit)
        found |= {row.id: row for row in (await connection.execute(statement)).all()}
    newest_first = sorted(found.values(), key=lambda row: (row.started_at, row.id), reverse=True)
    return newest_first[:limit]


async def sessions_at(
    connection: AsyncConnection, place: Place, ended_after: datetime, started_before: datetime
) -> list[Row[Any]]:
    """Every session that had the address at any time and ran within the span, oldest first."""
    found: dict[str, Row[Any]] = {}
    for one in place_conditions(place):
        statement = _sessions().where(
            one, session.c.started_at <= _at(started_before),
            or_(session.c.stopped_at.is_(None), session.c.stopped_at >= _at(ended_after)),
        )  # fmt: skip
        found |= {row.id: row for row in (await connection.execute(statement)).all()}
    return sorted(found.values(), key=lambda row: (row.started_at, row.id))


async def sessions_of_service_at(
    connection: AsyncConnection, service_id: str, ended_after: datetime, started_before: datetime
) -> list[Row[Any]]:
    """Every session of a service that ran within the span, oldest first."""
    statement = _sessions().where(
        session.c.service_id == service_id, session.c.started_at <= _at(started_before),
        or_(session.c.stopped_at.is_(None), session.c.stopped_at >= _at(ended_after)),
    )  # fmt: skip
    return list((await connection.execute(statement.order_by(session.c.started_at, session.c.id))).all())


async def neighbours_at(
    connection: AsyncConnection, place: Place, at: datetime, nas_id: str | None = None
) -> tuple[Row[Any] | None, Row[Any] | None]:
    """The last session with the address that ended before ``at``, and the first that began after it."""
    before: list[Row[Any]] = []
    after: list[Row[Any]] = []
    there = true() if nas_id is None else session.c.nas_id == nas_id
    for condition in place_conditions(place):
        one = and_(condition, there)
        ended = _sessions().where(one, session.c.started_at <= _at(at), session.c.stopped_at < _at(at))
        before += (await connection.execute(ended.order_by(_start(place).desc()).limit(1))).all()
        began = _sessions().where(one, session.c.started_at > _at(at))
        after += (await connection.execute(began.order_by(_start(place)).limit(1))).all()
    return (
        max(before, key=lambda row: row.stopped_at, default=None),
        min(after, key=lambda row: row.started_at, default=None),
    )


async def one_session(connection: AsyncConnection, session_id: str) -> Row[Any] | None:
    """The session with that id."""
    found: Row[Any] | None
    found = (await connection.execute(_sessions().where(session.c.id == session_id))).one_or_none()
    return found


async def sessions_called(connection: AsyncConnection, acct_session_id: str, limit: int) -> Rows:
    """The open sessions whose NAS calls them so."""
    statement = _sessions().where(
        session.c.acct_session_id == acct_session_id, session.c.stopped_at.is_(None)
    )
    found: Rows = (await connection.execute(statement.limit(limit))).all()
    return found


async def online_count(connection: AsyncConnection) -> int:
    """How many sessions are open."""
    statement = select(func.count(literal(1))).where(session.c.stopped_at.is_(None))
    return int((await connection.execute(statement.select_from(session))).scalar_one())


async def addresses_over_time(connection: AsyncConnection, session_ids: Sequence[str]) -> Rows:
    """The address moves of sessions, in order."""
    statement = select(session_address).where(session_address.c.session_id.in_(list(session_ids)))
    ordered = statement.order_by(session_address.c.session_id, session_address.c.first_seen_at)
    return (await connection.execute(ordered)).all()


async def readings_of(connection: AsyncConnection, meter_id: str, limit: int) -> Rows:
    """Meter readings, newest first."""
    statement = select(meter_reading).where(meter_reading.c.meter_id == meter_id)
    ordered = statement.order_by(meter_reading.c.at.desc(), meter_reading.c.id.desc()).limit(limit)
    return (await connection.execute(ordered)).all()


async def readings_around(connection: AsyncConnection, meter_id: str, at: datetime) -> list[Row[Any]]:
    """The last reading up to ``at`` and the first after it."""
    mine = select(meter_reading).where(meter_reading.c.meter_id == meter_id)
    before = mine.where(meter_reading.c.at <= _at(at)).order_by(meter_reading.c.at.desc()).limit(1)
    after = mine.where(meter_reading.c.at > _at(at)).order_by(meter_reading.c.at).limit(1)
    return [*(await connection.execute(before)).all(), *(await connection.execute(after)).all()]


async def reading_count(connection: AsyncConnection, meter_id: str) -> int:
    """How many readings a meter has."""
    statement = select(func.count(literal(1))).where(meter_reading.c.meter_id == meter_id)
    return int((await connection.execute(statement.select_from(meter_reading))).scalar_one())


async def records_of(connection: AsyncConnection, meter_id: str, limit: int) -> Rows:
    """Usage records of a meter, newest first."""
    statement = select(usage_record).where(usage_record.c.meter_id == meter_id)
    return (await connection.execute(statement.order_by(usage_record.c.start_at.desc()).limit(limit))).all()


async def exchanges_of(connection: AsyncConnection, session_id: str) -> Rows:
    """What was asked of the NAS about a session, newest first."""
    statement = select(dynauth_exchange).where(dynauth_exchange.c.session_id == session_id)
    ordered = statement.order_by(dynauth_exchange.c.at.desc(), dynauth_exchange.c.id.desc())
    return (await connection.execute(ordered)).all()


async def nas_ids_of_site(connection: AsyncConnection, site_id: str) -> list[str]:
    """The NASes of a tower."""
    return list((await connection.execute(select(nas.c.id).where(nas.c.site_id == site_id))).scalars())


async def causes_known(connection: AsyncConnection) -> list[str]:
    """The causes that sessions were closed for, found by leaping along their index."""
    causes: list[str] = []
    last = ""
    while True:
        statement = select(func.min(session.c.close_cause)).where(session.c.close_cause > last)
        following = (await connection.execute(statement)).scalar_one_or_none()
        if following is None or len(causes) >= 100:
            return causes
        causes.append(following)
        last = following
