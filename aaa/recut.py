"""Work late reports into meters: resolve all reports again in the order of time, and cut the open usage anew.

Readings in any order, with repeats, so give the same usage. What begins before the border (the end of the
last closed period) stays as it is; octets found too late for it become usage of the open period.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.domain.session import REPEAT_SLACK_S, FreshReading, Session
from aaa.domain.session_meter import Line, Report, SessionMeter, raw_value, report_order, resolve_report
from aaa.domain.usage import Interval, Point, cut_usage
from aaa.store import usage_rows


@dataclass(slots=True)
class _Stored:
    """A reading in the database, and what it says."""

    row: Row[Any]
    report: Report


@dataclass(slots=True)
class _Reresolved:
    changed: list[dict[str, Any]]
    points: list[Point]


async def recut_sessions(
    connection: AsyncConnection,
    sessions: Sequence[Session],
    lines: Mapping[str, Line],
    borders: Mapping[str, datetime],
) -> Amendment:
    """Resolve each session's meter again; ``fresh`` then holds what is new, resolved.

    The amendment of the usage records is to be applied when new meters are in the database.
    """
    meter_ids = [session.meter_id for session in sessions]
    readings = await usage_rows.readings_of(connection, meter_ids)
    records = await usage_rows.records_of_meters(connection, meter_ids)
    changed: list[dict[str, Any]] = []
    amendment = Amendment()
    for session in sessions:
        line = lines.get(session.service_id or "", Line())
        outcome = _reresolve(session, [_stored(row) for row in readings.get(session.meter_id, [])], line)
        changed += outcome.changed
        if session.service_id is not None:
            border = borders.get(session.service_id)
            standing = records.get(session.meter_id, [])
            before_in, before_out = _before(standing, border)
            cut = cut_usage(outcome.points, border, before_in, before_out)
            amendment.plan(session.service_id, session.meter_id, _open(standing, border), cut)
        session.intervals = []
    await usage_rows.reresolve_readings(connection, changed)
    return amendment


def _stored(row: Row[Any]) -> _Stored:
    counters = [None if raw < 0 else raw for raw in (row.raw_in, row.raw_out)]
    evidence = row.evidence
    report = Report(row.at, counters[0], counters[1], bool(evidence.get("wide")), evidence.get("age_s"))
    return _Stored(row, report)


def _reresolve(session: Session, stored: Sequence[_Stored], line: Line) -> _Reresolved:
    """Fold stored and fresh reports in the order of time; the session's meter becomes the last state."""
    fresh = _without_repeats(session.fresh, stored)
    everything: list[_Stored | FreshReading] = [*stored, *fresh]
    everything.sort(key=lambda one: report_order(one.report))
    meter, outcome = SessionMeter(), _Reresolved([], [])
    for one in everything:
        meter, decision = resolve_report(meter, one.report, line)
        total_in, total_out = meter.way_in.total, meter.way_out.total
        if isinstance(one, FreshReading):
            one.octets_in, one.octets_out, one.decision = total_in, total_out, decision
        elif (one.row.octets_in, one.row.octets_out, one.row.decision) != (total_in, total_out, decision):
            outcome.changed.append(_changed(one.row, total_in, total_out, decision))
        outcome.points.append(Point(one.report.at, total_in, total_out, one.report.age_s))
    session.meter = meter
    session.fresh = fresh
    return outcome


def _changed(row: Row[Any], octets_in: int, octets_out: int, decision: str) -> dict[str, Any]:
    was = [row.octets_in, row.octets_out, row.decision]
    return {
        "id": row.id, "octets_in": octets_in, "octets_out": octets_out, "decision": str(decision),
        "evidence": row.evidence | {"was": was},
    }  # fmt: skip


def _without_repeats(fresh: Iterable[FreshReading], stored: Sequence[_Stored]) -> list[FreshReading]:
    """The fresh reports that no stored or earlier fresh one has said already."""
    said: dict[tuple[int, int, int | None], list[datetime]] = {}
    for one in stored:
        said.setdefault(_content(one.report), []).append(one.report.at)
    kept = []
    for reading in fresh:
        times = said.setdefault(_content(reading.report), [])
        if not any(abs((at - reading.report.at).total_seconds()) <= REPEAT_SLACK_S for at in times):
            kept.append(reading)
            times.append(reading.report.at)
    return kept


def _content(report: Report) -> tuple[int, int, int | None]:
    return raw_value(report.octets_in), raw_value(report.octets_out), report.age_s


def _before(records: Iterable[Row[Any]], border: datetime | None) -> tuple[int, int]:
    before = [row for row in records if border is not None and row.start_at < border]
    return sum(row.octets_in for row in before), sum(row.octets_out for row in before)


def _open(records: Iterable[Row[Any]], border: datetime | None) -> list[Row[Any]]:
    return [row for row in records if border is None or row.start_at >= border]


class Amendment:
    """The changes that turn standing records of several meters into the intervals cut anew."""

    def __init__(self) -> None:
        self._gone: list[int] = []
        self._amended: list[dict[str, Any]] = []
        self._new: list[dict[str, Any]] = []

    def plan(
        self, service_id: str, meter_id: str, standing: Iterable[Row[Any]], wanted: Iterable[Interval]
    ) -> None:
        """Keep records that are right, amend those with the same span, drop the rest, add what is new."""
        left = {(row.start_at, row.end_at): row for row in standing}
        for interval in wanted:
            row = left.pop((interval.start, interval.end), None)
            values = record_values(service_id, meter_id, interval)
            if row is None:
                self._new.append(values)
            elif (row.octets_in, row.octets_out, row.interpolated) != (
                interval.octets_in, interval.octets_out, interval.interpolated,
            ):  # fmt: skip
                self._amended.append(values | {"id": row.id})
        self._gone += [row.id for row in left.values()]

    async def apply(self, connection: AsyncConnection) -> None:
        """Write the changes."""
        await usage_rows.delete_records(connection, self._gone)
        await usage_rows.amend_records(connection, self._amended)
        await usage_rows.insert_records(connection, self._new)


def record_values(service_id: str, meter_id: str, interval: Interval) -> dict[str, Any]:
    """The row of an interval."""
    return {
        "service_id": service_id, "meter_id": meter_id, "start_at": interval.start, "end_at": interval.end,
        "octets_in": interval.octets_in, "octets_out": interval.octets_out,
        "interpolated": interval.interpolated,
    }  # fmt: skip
