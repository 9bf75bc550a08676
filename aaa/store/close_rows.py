"""Rows of closed usage, and of the usage records that closes hold: many services at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    Text,
    and_,
    case,
    cast,
    func,
    literal,
    or_,
    select,
)
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.domain.closing import Span
from aaa.store.repositories import CHUNK, chunks
from aaa.store.tables import service, usage_close, usage_record
from core.store.among import among
from core.store.columns import from_microseconds, to_microseconds
from core.store.many_rows import insert_many

_FIRST_LOOK = 32
_RECORDS_AT_ONCE = 50_000
"""Of about as many records one statement makes text: some megabytes, whatever the interim interval is."""
_ORDER = (usage_record.c.start_at, usage_record.c.end_at, usage_record.c.meter_id, usage_record.c.id)


async def existing_services(connection: AsyncConnection, service_ids: Iterable[str]) -> set[str]:
    """Those of the services that there are."""
    found: set[str] = set()
    for some in chunks(service_ids):
        found.update(
            (
                await connection.execute(select(service.c.id).where(among(connection, service.c.id, some)))
            ).scalars()
        )
    return found


async def closes_of_claims(
    connection: AsyncConnection, claims: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], Row[Any]]:
    """The closes made for these (service, claim)."""
    wanted = set(claims)
    found = {}
    for some in chunks(sorted(claim for _, claim in wanted)):
        for row in await connection.execute(
            select(usage_close).where(among(connection, usage_close.c.claim, some))
        ):
            if (row.service_id, row.claim) in wanted:
                found[row.service_id, row.claim] = row
    return found


async def spans_closed_since(
    connection: AsyncConnection, service_ids: Iterable[str], since: datetime
) -> dict[str, list[Span]]:
    """The spans of each service's closes that end at ``since`` or later."""
    found: dict[str, list[Span]] = {}
    columns = (usage_close.c.service_id, usage_close.c.from_at, usage_close.c.until_at)
    for some in chunks(service_ids):
        statement = select(*columns).where(
            among(connection, usage_close.c.service_id, some), usage_close.c.until_at >= since
        )
        for service_id, from_at, until_at in await connection.execute(statement):
            found.setdefault(service_id, []).append((from_at, until_at))
    return found


async def close_by_id(connection: AsyncConnection, close_id: str) -> Row[Any] | None:
    """The closed usage with that id."""
    return (await connection.execute(select(usage_close).where(usage_close.c.id == close_id))).one_or_none()


async def insert_closes(connection: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> None:
    """New closed usage; ``pieces`` of a row are spans, and are kept only when they are not the whole span."""
    kept = [{**row, "pieces": _kept(row, row["pieces"])} for row in rows]
    await insert_many(connection, usage_close, kept)


def _kept(row: Mapping[str, Any], pieces: Sequence[Span]) -> list[list[int]] | None:
    if list(pieces) == [(row["from_at"], row["until_at"])]:
        return None
    return [[to_microseconds(start), to_microseconds(end)] for start, end in pieces]


def _pieces(close: Row[Any]) -> list[Span]:
    if close.pieces is None:
        return [(close.from_at, close.until_at)]
    return [(from_microseconds(start), from_microseconds(end)) for start, end in close.pieces]


def _begins_in(piece: Span) -> ColumnElement[bool]:
    return and_(usage_record.c.start_at >= piece[0], usage_record.c.start_at < piece[1])


async def records_of_close(connection: AsyncConnection, close: Row[Any]) -> Sequence[Row[Any]]:
    """The frozen records of a close, by start, end and meter."""
    pieces = _pieces(close)
    if not pieces:
        return []
    statement = select(usage_record).where(
        usage_record.c.service_id == close.service_id, or_(*map(_begins_in, pieces))
    )
    return (await connection.execute(statement.order_by(*_ORDER))).all()


async def slices_of_closes(
    connection: AsyncConnection, close_ids: Sequence[str]
) -> dict[str, list[tuple[datetime, datetime, int, int]]]:
    """``(start, end, octets in, octets out)`` of each close's records, by start; none of an unknown close."""
    found: dict[str, list[tuple[datetime, datetime, int, int]]] = {close_id: [] for close_id in close_ids}
    holder: dict[Span, dict[str, str]] = {}
    for some in chunks(close_ids):
        for close in await connection.execute(
            select(usage_close).where(among(connection, usage_close.c.id, some))
        ):
            for piece in _pieces(close):
                holder.setdefault(piece, {})[close.service_id] = close.id
    record = usage_record.c
    columns = (record.service_id, record.start_at, record.end_at, record.octets_in, record.octets_out)
    for piece in sorted(holder):
        close_of = holder[piece]
        for some in chunks(close_of):
            statement = select(*columns).where(among(connection, record.service_id, some), _begins_in(piece))
            for service_id, *one in await connection.execute(statement.order_by(*_ORDER)):
                found[close_of[service_id]].append(tuple(one))
    return found


@dataclass(frozen=True, slots=True)
class Measured:
    """The records of a service that begin in a span, together; ``crossing`` are those that end behind it.

    ``lines`` (see ``aaa.domain.closing``) stand in no order; there are none when they were not asked for.
    """

    service_id: str
    octets_in: int
    octets_out: int
    lines: str
    crossing: list[int]


@dataclass(slots=True)
class Pace:
    """How many services are looked at in one statement: as many as have some fifty thousand records."""

    at_once: int = _FIRST_LOOK

    def follow(self, records: int, services: int) -> None:
        """As the services of the last statement were, so are the next ones taken to be."""
        self.at_once = min(CHUNK, max(1, _RECORDS_AT_ONCE * services // max(1, records)))


async def measure(
    connection: AsyncConnection, span: Span, service_ids: Iterable[str], *, lines_at: Pace | None
) -> AsyncIterator[list[Measured]]:
    """What each service used in the span, some services at a time; one without records is left out.

    ``lines_at``: the pace at which lines are made; None: none are wanted.
    """
    record = usage_record.c
    statement = select(
        func.count(),
        record.service_id,
        func.sum(record.octets_in),
        func.sum(record.octets_out),
        literal("") if lines_at is None else func.aggregate_strings(_line(connection), "\n"),
        func.aggregate_strings(cast(case((record.end_at > span[1], record.id)), Text), ","),
    ).where(_begins_in(span))
    left = list(dict.fromkeys(service_ids))
    while left:
        at_once = CHUNK if lines_at is None else lines_at.at_once
        some, left = left[:at_once], left[at_once:]
        of_these = statement.where(among(connection, record.service_id, some)).group_by(record.service_id)
        rows = (await connection.execute(of_these)).all()
        yield [
            Measured(service_id, int(octets_in), int(octets_out), lines, _ids(crossing))
            for _, service_id, octets_in, octets_out, lines, crossing in rows
        ]
        if lines_at is not None:
            lines_at.follow(sum(row[0] for row in rows), len(some))


def _ids(text: str | None) -> list[int]:
    return [int(one) for one in text.split(",")] if text else []


def _line(connection: AsyncConnection) -> ColumnElement[str]:
    record = usage_record.c
    fields = (record.meter_id, record.start_at, record.end_at, record.octets_in, record.octets_out)
    interpolated = cast(record.interpolated, Integer)
    if connection.dialect.name == "postgresql":
        return func.concat_ws("|", *fields, interpolated, type_=Text)
    return func.printf("%s|%d|%d|%d|%d|%d", *fields, interpolated, type_=Text)


async def records_by_id(connection: AsyncConnection, record_ids: Sequence[int]) -> list[Row[Any]]:
    """The usage records with those ids."""
    found: list[Row[Any]] = []
    for start in range(0, len(record_ids), CHUNK):
        some = record_ids[start : start + CHUNK]
        found += await connection.execute(select(usage_record).where(usage_record.c.id.in_(some)))
    return found


async def records_across(
    connection: AsyncConnection, border: datetime, service_ids: Iterable[str]
) -> list[Row[Any]]:
    """The usage records of services that begin before ``border`` and end after it.

    What begins before the end of an earlier close ends there too, so the look goes no further back.
    """
    found: list[Row[Any]] = []
    for some in chunks(service_ids):
        found += await connection.execute(_across(border).where(among(connection, service.c.id, some)))
    return found


def _across(border: datetime) -> Select[Any]:
    at = literal(border, usage_close.c.until_at.type)
    last_end = (
        select(func.max(usage_close.c.until_at))
        .where(usage_close.c.service_id == service.c.id, usage_close.c.until_at <= at)
        .correlate(service)
        .scalar_subquery()
    )
    record = usage_record.c
    return (
        select(usage_record)
        .select_from(service)
        .join(usage_record, record.service_id == service.c.id)
        .where(
            record.start_at >= func.coalesce(last_end, literal(0, BigInteger)),
            record.start_at < at,
            record.end_at > at,
        )
    )
