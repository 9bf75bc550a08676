"""Rows of meters, readings and usage records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, delete, func, insert, literal, select, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.store.repositories import chunks
from aaa.store.tables import (
    meter,
    meter_reading,
    service,
    service_profile,
    usage_close,
    usage_record,
)
from core.database import take_lane

Rows = Sequence[Mapping[str, Any]]

_SET_METER_STATE = update(meter).where(meter.c.id == bindparam("b_id")).values(state=bindparam("b_state"))
_RERESOLVE = (
    update(meter_reading)
    .where(meter_reading.c.id == bindparam("b_id"))
    .values(
        octets_in=bindparam("b_in"), octets_out=bindparam("b_out"), decision=bindparam("b_decision"),
        evidence=bindparam("b_evidence"),
    )
)  # fmt: skip
_AMEND = (
    update(usage_record)
    .where(usage_record.c.id == bindparam("b_id"))
    .values(
        start_at=bindparam("b_start"), end_at=bindparam("b_end"), octets_in=bindparam("b_in"),
        octets_out=bindparam("b_out"), interpolated=bindparam("b_interpolated"),
    )
)  # fmt: skip


async def insert_meters(connection: AsyncConnection, rows: Rows) -> None:
    """New meters."""
    if rows:
        await connection.execute(insert(meter), [dict(row) for row in rows])


async def update_meter(connection: AsyncConnection, meter_id: str, values: Mapping[str, Any]) -> None:
    """Change columns of a meter."""
    await connection.execute(update(meter).where(meter.c.id == meter_id).values(**values))


async def set_meter_states(connection: AsyncConnection, states: Mapping[str, Any]) -> None:
    """What each meter's resolver has to remember."""
    if states:
        parameters = [{"b_id": meter_id, "b_state": state} for meter_id, state in states.items()]
        await connection.execute(_SET_METER_STATE, parameters)


async def meters_by_key(connection: AsyncConnection, keys: Iterable[str]) -> dict[str, Row[Any]]:
    """The meters with those keys."""
    found: dict[str, Row[Any]] = {}
    for some in chunks(keys):
        found |= {
            row.key: row for row in await connection.execute(select(meter).where(meter.c.key.in_(some)))
        }
    return found


async def meter_rows(connection: AsyncConnection, meter_ids: Iterable[str]) -> dict[str, Row[Any]]:
    """The meters with those ids."""
    found: dict[str, Row[Any]] = {}
    for some in chunks(meter_ids):
        found |= {row.id: row for row in await connection.execute(select(meter).where(meter.c.id.in_(some)))}
    return found


async def insert_readings(connection: AsyncConnection, rows: Rows) -> None:
    """New readings."""
    if rows:
        await connection.execute(insert(meter_reading), [dict(row) for row in rows])


async def reresolve_readings(connection: AsyncConnection, rows: Rows) -> None:
    """New totals and decisions of readings after a late report came among them; raw counters never change."""
    if rows:
        parameters = [
            {
                "b_id": row["id"], "b_in": row["octets_in"], "b_out": row["octets_out"],
                "b_decision": row["decision"], "b_evidence": row["evidence"],
            }
            for row in rows
        ]  # fmt: skip
        await connection.execute(_RERESOLVE, parameters)


async def readings_since(
    connection: AsyncConnection, since: Mapping[str, datetime | None]
) -> dict[str, list[Row[Any]]]:
    """The readings of each meter from an instant on (None: all of them) in the order of time."""
    found: dict[str, list[Row[Any]]] = {}
    at = meter_reading.c.at
    for some, first in _by_start(since):
        statement = select(meter_reading).where(meter_reading.c.meter_id.in_(some))
        if first is not None:
            statement = statement.where(at >= first)
        statement = statement.order_by(
            meter_reading.c.meter_id, at, meter_reading.c.raw_in, meter_reading.c.raw_out
        )
        for row in await connection.execute(statement):
            found.setdefault(row.meter_id, []).append(row)
    return found


def _by_start(since: Mapping[str, datetime | None]) -> Iterable[tuple[list[str], datetime | None]]:
    """Keys in chunks, those with like instants together, each chunk with the earliest instant in it."""
    ordered = sorted(since, key=lambda key: (since[key] is not None, since[key] or 0, key))
    for some in chunks(ordered):
        yield some, since[some[0]]


async def readings_around(
    connection: AsyncConnection, meter_id: str, from_at: datetime, until_at: datetime
) -> Sequence[Row[Any]]:
    """The readings of a meter in the span, with the last one before and the first one after it."""
    at = meter_reading.c.at
    mine = meter_reading.c.meter_id == meter_id
    first = select(func.max(at)).where(mine, at <= from_at).scalar_subquery()
    last = select(func.min(at)).where(mine, at >= until_at).scalar_subquery()
    statement = select(meter_reading).where(
        mine,
        at >= func.coalesce(first, literal(from_at, at.type)),
        at <= func.coalesce(last, literal(until_at, at.type)),
    )
    return (await connection.execute(statement.order_by(at, meter_reading.c.id))).all()


async def border_of_each(connection: AsyncConnection, service_ids: Iterable[str]) -> dict[str, datetime]:
    """Where the last closed period of each service ends; services without one are left out."""
    found: dict[str, datetime] = {}
    for some in chunks(service_ids):
        statement = (
            select(
                usage_close.c.service_id,
                func.max(usage_close.c.until_at, type_=usage_close.c.until_at.type).label("border"),
            )
            .where(usage_close.c.service_id.in_(some))
            .group_by(usage_close.c.service_id)
        )
        found |= {row.service_id: row.border for row in await connection.execute(statement)}
    return found


async def insert_records(connection: AsyncConnection, rows: Rows) -> None:
    """New usage records."""
    if rows:
        await connection.execute(insert(usage_record), [dict(row) for row in rows])


async def amend_records(connection: AsyncConnection, rows: Rows) -> None:
    """Change usage records that no close has frozen."""
    if rows:
        parameters = [
            {
                "b_id": row["id"], "b_start": row["start_at"], "b_end": row["end_at"],
                "b_in": row["octets_in"], "b_out": row["octets_out"], "b_interpolated": row["interpolated"],
            }
            for row in rows
        ]  # fmt: skip
        await connection.execute(_AMEND, parameters)


async def delete_records(connection: AsyncConnection, record_ids: Sequence[int]) -> None:
    """Take away usage records that no close has frozen; they are cut anew."""
    for start in range(0, len(record_ids), 500):
        some = record_ids[start : start + 500]
        await connection.execute(delete(usage_record).where(usage_record.c.id.in_(some)))


async def records_since(
    connection: AsyncConnection, since: Mapping[str, datetime | None]
) -> dict[str, list[Row[Any]]]:
    """The usage records of each meter that begin at an instant or later (None: all), in the order of time."""
    found: dict[str, list[Row[Any]]] = {}
    for some, first in _by_start(since):
        statement = select(usage_record).where(usage_record.c.meter_id.in_(some))
        if first is not None:
            statement = statement.where(usage_record.c.start_at >= first)
        statement = statement.order_by(
            usage_record.c.meter_id, usage_record.c.start_at, usage_record.c.end_at
        )
        for row in await connection.execute(statement):
            start = since[row.meter_id]
            if start is None or row.start_at >= start:
                found.setdefault(row.meter_id, []).append(row)
    return found


async def octets_before(
    connection: AsyncConnection, borders: Mapping[str, datetime]
) -> dict[str, tuple[int, int]]:
    """(in, out) of each meter's usage records that begin before its border; left out where there are none."""
    found: dict[str, tuple[int, int]] = {}
    record = usage_record.c
    for border in sorted(set(borders.values())):
        for some in chunks(meter_id for meter_id, one in borders.items() if one == border):
            statement = select(record.meter_id, func.sum(record.octets_in), func.sum(record.octets_out))
            statement = statement.where(record.meter_id.in_(some), record.start_at < border)
            for row in await connection.execute(statement.group_by(record.meter_id)):
                found[row[0]] = (int(row[1]), int(row[2]))
    return found


async def records_between(
    connection: AsyncConnection, service_id: str, from_at: datetime, until_at: datetime
) -> Sequence[Row[Any]]:
    """The usage records of a service that touch ``[from_at, until_at)``."""
    statement = select(usage_record).where(
        usage_record.c.service_id == service_id,
        usage_record.c.start_at < until_at,
        (usage_record.c.end_at > from_at) | (usage_record.c.start_at >= from_at),
    )
    return (
        await connection.execute(
            statement.order_by(usage_record.c.start_at, usage_record.c.end_at, usage_record.c.meter_id)
        )
    ).all()


async def take_metering_lane(connection: AsyncConnection) -> None:
    """One writer of sessions, meters and usage at a time, on PostgreSQL as on SQLite.

    Taken before anything is read that will be written. A report, a close and the reaper then never write over
    each other, and none can wait for another that waits for it, in whatever order they touch services.
    """
    await take_lane(connection, "metering")


async def record_at(connection: AsyncConnection, meter_id: str, at: datetime) -> Row[Any] | None:
    """The record of an instant."""
    statement = select(usage_record).where(
        usage_record.c.meter_id == meter_id, usage_record.c.start_at == at, usage_record.c.end_at == at
    )
    return (await connection.execute(statement)).one_or_none()


async def fastest_rates(
    connection: AsyncConnection, service_ids: Iterable[str]
) -> dict[str, tuple[int, int]]:
    """``(down, up)`` in bit/s: the fastest that each service's profile ever lets it be."""
    found: dict[str, tuple[int, int]] = {}
    profile = service_profile.c
    for some in chunks(service_ids):
        statement = (
            select(
                service.c.id,
                func.coalesce(profile.burst_down_bps, profile.rate_down_bps),
                func.coalesce(profile.burst_up_bps, profile.rate_up_bps),
            )
            .join(service_profile, profile.id == service.c.profile_id)
            .where(service.c.id.in_(some))
        )
        found |= {row[0]: (int(row[1]), int(row[2])) for row in await connection.execute(statement)}
    return found
