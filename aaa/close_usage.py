"""Close the usage of a period: split it at the borders, freeze it, and prove later what it was made of.

Frozen records never change. Octets that become known after a close begin at its end: they are usage of the
period that is open then.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.domain.usage import Interval, split_interval, spread
from aaa.recut import record_values
from aaa.store import usage_rows
from core.periods import start_of_day
from core.store.columns import to_microseconds
from core.work import Work


@dataclass(frozen=True, slots=True)
class ClosedUsage:
    """The frozen usage of one service for one claim. ``digest`` is SHA-256 over its records in order."""

    close_id: str
    octets_in: int
    octets_out: int
    records: int
    digest: str


@dataclass(frozen=True, slots=True)
class ReadingEvidence:
    """One meter reading: the absolute totals, the raw counters as received, and what was decided of them."""

    at: datetime
    octets_in: int
    octets_out: int
    raw_in: int | None
    raw_out: int | None
    received_at: datetime
    decision: str
    evidence: dict[str, Any]


@dataclass(frozen=True, slots=True)
class UsageEvidence:
    """One frozen usage record with the meter it came from and the two readings it lies between.

    ``opening`` is None when the session began before the first report that was received of it.
    """

    start_at: datetime
    end_at: datetime
    octets_in: int
    octets_out: int
    interpolated: bool
    meter_id: str
    meter_source: str
    meter_key: str
    opening: ReadingEvidence | None
    closing: ReadingEvidence | None


async def close_usage(
    work: Work, *, service_id: str, from_at: datetime, until_at: datetime, claim: str
) -> ClosedUsage:
    """Freeze the service's usage in ``[from_at, until_at)`` for ``claim``; the claim again gives the same.

    Raises ``ValueError`` for a span that is empty or not over yet, or a claim that was made for another span;
    ``LookupError`` for an unknown service.
    """
    if not from_at < until_at <= work.now:
        raise ValueError(f"usage from {from_at} until {until_at} cannot be closed at {work.now}")
    await usage_rows.take_metering_lane(work.connection)
    if not await usage_rows.service_exists(work.connection, service_id):
        raise LookupError(f"there is no service {service_id}")
    standing = await usage_rows.close_row(work.connection, service_id, claim)
    if standing is None:
        return await _close(work, service_id, from_at, until_at, claim)
    if (standing.from_at, standing.until_at) != (from_at, until_at):
        raise ValueError(f"{claim} closed {standing.from_at} until {standing.until_at}, not this span")
    return _closed(standing)


async def _close(
    work: Work, service_id: str, from_at: datetime, until_at: datetime, claim: str
) -> ClosedUsage:
    for border in (from_at, until_at):
        await _split_at(work.connection, service_id, border)
    close_id = work.ids.new("ucl")
    await usage_rows.freeze_records(work.connection, service_id, from_at, until_at, close_id)
    records = await usage_rows.records_of_close(work.connection, close_id)
    values = {
        "id": close_id, "service_id": service_id, "claim": claim, "from_at": from_at, "until_at": until_at,
        "octets_in": sum(row.octets_in for row in records),
        "octets_out": sum(row.octets_out for row in records),
        "records": len(records), "digest": digest_of(records), "closed_at": work.now,
    }  # fmt: skip
    await usage_rows.insert_close(work.connection, values)
    return ClosedUsage(
        close_id, values["octets_in"], values["octets_out"], values["records"], values["digest"]
    )  # fmt: skip


def _closed(row: Row[Any]) -> ClosedUsage:
    return ClosedUsage(row.id, row.octets_in, row.octets_out, row.records, row.digest)


async def _split_at(connection: AsyncConnection, service_id: str, border: datetime) -> None:
    rows = await usage_rows.records_across(connection, service_id, border)
    halves = [(row, *split_interval(_interval(row), border)) for row in rows]
    await usage_rows.amend_records(
        connection,
        [record_values(service_id, row.meter_id, first) | {"id": row.id} for row, first, _ in halves],
    )
    await usage_rows.insert_records(
        connection, [record_values(service_id, row.meter_id, second) for row, _, second in halves]
    )


def _interval(row: Row[Any]) -> Interval:
    return Interval(row.start_at, row.end_at, row.octets_in, row.octets_out, row.interpolated)


def digest_of(records: Iterable[Row[Any]]) -> str:
    """SHA-256 over one line a record: meter, start, end (microseconds since 1970), octets, interpolated."""
    digest = hashlib.sha256()
    for row in records:
        start, end = to_microseconds(row.start_at), to_microseconds(row.end_at)
        line = f"{row.meter_id}|{start}|{end}|{row.octets_in}|{row.octets_out}|{int(row.interpolated)}\n"
        digest.update(line.encode())
    return digest.hexdigest()


async def verify_close(connection: AsyncConnection, close_id: str) -> bool:
    """Whether the frozen records of a close are still what its digest says."""
    row = await usage_rows.close_by_id(connection, close_id)
    if row is None:
        return False
    records = await usage_rows.records_of_close(connection, close_id)
    return len(records) == row.records and digest_of(records) == str(row.digest)


async def usage_between(
    connection: AsyncConnection, service_id: str, from_at: datetime, until_at: datetime
) -> tuple[int, int]:
    """Octets in and out of a service in the span, live; records across a border count by time."""
    inside = await usage_rows.total_inside(connection, service_id, from_at, until_at)
    crossing = await usage_rows.records_crossing(connection, service_id, from_at, until_at)
    ((octets_in, octets_out),) = spread(map(_interval, crossing), [from_at, until_at])
    return inside[0] + octets_in, inside[1] + octets_out


async def usage_of_many(
    connection: AsyncConnection, spans: Sequence[tuple[str, datetime, datetime]]
) -> list[tuple[int, int]]:
    """``usage_between`` of many ``(service, from, until)``, in their order: a few queries for each span."""
    by_span: dict[tuple[datetime, datetime], set[str]] = {}
    for service_id, from_at, until_at in spans:
        by_span.setdefault((from_at, until_at), set()).add(service_id)
    found: dict[tuple[str, datetime, datetime], tuple[int, int]] = {}
    for (from_at, until_at), service_ids in by_span.items():
        inside = await usage_rows.totals_inside(connection, service_ids, from_at, until_at)
        crossing = await usage_rows.all_crossing(connection, service_ids, from_at, until_at)
        for service_id in service_ids:
            total_in, total_out = inside.get(service_id, (0, 0))
            records = map(_interval, crossing.get(service_id, ()))
            ((octets_in, octets_out),) = spread(records, [from_at, until_at])
            found[service_id, from_at, until_at] = (total_in + octets_in, total_out + octets_out)
    return [found[one] for one in spans]


async def slices_between(
    connection: AsyncConnection, service_id: str, from_at: datetime, until_at: datetime
) -> list[tuple[datetime, datetime, int, int]]:
    """``(start, end, octets in, octets out)`` of the span, live; records across its ends are cut by time.

    Together they are what ``usage_between`` gives.
    """
    found = []
    for row in await usage_rows.records_between(connection, service_id, from_at, until_at):
        ((octets_in, octets_out),) = spread([_interval(row)], [from_at, until_at])
        if octets_in or octets_out:
            start, end = max(row.start_at, from_at), min(row.end_at, until_at)
            found.append((start, end, octets_in, octets_out))
    return found


async def slices_of_closes(
    connection: AsyncConnection, close_ids: Sequence[str]
) -> dict[str, list[tuple[datetime, datetime, int, int]]]:
    """``(start, end, octets in, octets out)`` of the frozen records of each close, in order.

    A close holds no record across its ends, but one that came late begins at its start.
    """
    found = await usage_rows.records_of_closes(connection, close_ids)
    return {close_id: found.get(close_id, []) for close_id in close_ids}


async def fastest_rates(
    connection: AsyncConnection, service_ids: Sequence[str]
) -> dict[str, tuple[int, int]]:
    """``(down, up)`` in bit/s: the fastest that each service's profile lets it be; unknown ones left out."""
    return await usage_rows.fastest_rates(connection, service_ids)


async def usage_by_day(
    connection: AsyncConnection, service_id: str, from_date: date, until_date: date, zone: str
) -> list[tuple[date, int, int]]:
    """Octets of each local day from ``from_date`` to before ``until_date``; days have 23, 24 or 25 hours."""
    days = [from_date + timedelta(days=offset) for offset in range((until_date - from_date).days)]
    if not days:
        return []
    borders = [start_of_day(day, zone) for day in (*days, until_date)]
    rows = await usage_rows.records_between(connection, service_id, borders[0], borders[-1])
    spans = spread(map(_interval, rows), borders)
    return [(day, octets_in, octets_out) for day, (octets_in, octets_out) in zip(days, spans, strict=True)]


async def evidence_of(connection: AsyncConnection, close_id: str) -> list[UsageEvidence]:
    """Every record of a close with its meter and the readings around it, raw counters included."""
    close = await usage_rows.close_by_id(connection, close_id)
    if close is None:
        return []
    records = await usage_rows.records_of_close(connection, close_id)
    meters = await usage_rows.meter_rows(connection, (row.meter_id for row in records))
    evidence = []
    readings = {
        meter_id: await usage_rows.readings_around(connection, meter_id, close.from_at, close.until_at)
        for meter_id in meters
    }
    for row in records:
        meter = meters[row.meter_id]
        opening, closing = _around(readings[row.meter_id], row.start_at, row.end_at)
        evidence.append(
            UsageEvidence(
                row.start_at, row.end_at, row.octets_in, row.octets_out, row.interpolated,
                row.meter_id, meter.source, meter.key, opening, closing,
            )
        )  # fmt: skip
    return evidence


def _around(
    readings: Sequence[Row[Any]], start_at: datetime, end_at: datetime
) -> tuple[ReadingEvidence | None, ReadingEvidence | None]:
    """The last reading at or before the start, and the first at or after the end (else the last there is)."""
    times = [row.at for row in readings]
    before = bisect_right(times, start_at) - 1
    after = min(bisect_left(times, end_at), len(readings) - 1)
    opening = _reading(readings[before]) if before >= 0 and before != after else None
    return opening, _reading(readings[after]) if after >= 0 else None


def _reading(row: Row[Any]) -> ReadingEvidence:
    raw_in, raw_out = (None if raw < 0 else raw for raw in (row.raw_in, row.raw_out))
    return ReadingEvidence(
        row.at, row.octets_in, row.octets_out, raw_in, raw_out, row.received_at, row.decision, row.evidence
    )
