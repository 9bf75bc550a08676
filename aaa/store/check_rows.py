"""Rows that the checks of metering compare."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.store.tables import meter, meter_reading, nas, session


async def checking_meters(connection: AsyncConnection) -> Sequence[Row[Any]]:
    """The SNMP meters that do not bill, each beside the RADIUS usage of its service."""
    statement = select(meter).where(
        meter.c.source == "snmp", meter.c.bills.is_(False), meter.c.service_id.is_not(None)
    )
    return (await connection.execute(statement.order_by(meter.c.key))).all()


async def reading_span(connection: AsyncConnection, meter_id: str) -> tuple[datetime, datetime] | None:
    """When the first and the last reading of a meter were taken."""
    at = meter_reading.c.at
    statement = select(func.min(at, type_=at.type).label("first"), func.max(at, type_=at.type).label("last"))
    row = (await connection.execute(statement.where(meter_reading.c.meter_id == meter_id))).one()
    return None if row.first is None else (row.first, row.last)


async def radius_span(connection: AsyncConnection, service_id: str) -> tuple[datetime, datetime] | None:
    """From the first RADIUS session of a service until the last report of one."""
    statement = select(
        func.min(session.c.started_at, type_=session.c.started_at.type).label("first"),
        func.max(session.c.last_event_at, type_=session.c.last_event_at.type).label("last"),
    ).where(session.c.service_id == service_id)
    row = (await connection.execute(statement)).one()
    return None if row.first is None else (row.first, row.last)


async def traffic_of_nases(connection: AsyncConnection, since: datetime) -> Sequence[Row[Any]]:
    """Each NAS with how many sessions it had since then that carried octets, and their sums."""
    statement = (
        select(
            nas.c.id, nas.c.name, nas.c.octets_reversed,
            func.count(session.c.id).label("sessions"),
            func.sum(session.c.octets_in).label("octets_in"),
            func.sum(session.c.octets_out).label("octets_out"),
        )
        .join(session, session.c.nas_id == nas.c.id)
        .where(session.c.last_event_at >= since, session.c.octets_in + session.c.octets_out > 0)
        .group_by(nas.c.id, nas.c.name, nas.c.octets_reversed)
        .order_by(nas.c.name)
    )  # fmt: skip
    return (await connection.execute(statement)).all()
