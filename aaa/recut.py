"""Work late reports into meters: resolve reports again in the order of time, and cut the open usage anew.

Readings in any order, with repeats, so give the same usage. What begins before the border (the end of the
last closed period) stays as it is; octets found too late for it become usage of the open period.

A session may have a reading every minute for months, so the fold begins again at a *base*: a reading a few
intervals before the late report whose state can be told from its row alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.domain.decision import Decision
from aaa.domain.session import REPEAT_SLACK_S, FreshReading, Session
from aaa.domain.session_meter import (
    Line,
    Report,
    SessionMeter,
    Way,
    raw_value,
    report_order,
    resolve_report,
)
from aaa.domain.usage import Interval, Point, cut_usage
from aaa.store import usage_rows

_BIRTH = SessionMeter()
_LOOK_BACK_INTERVALS = 4
_REPEAT_SLACK = timedelta(seconds=REPEAT_SLACK_S)


@dataclass(slots=True)
class _Stored:
    """A reading in the database, and what it says."""

    row: Row[Any]
    report: Report


@dataclass(slots=True)
class _Reresolved:
    changed: list[dict[str, Any]]
    points: list[Point]


@dataclass(frozen=True, slots=True)
class _Past:
    """Where a meter stood before the reports to be worked in; without a base that is at its birth."""

    stored: list[_Stored]
    base: Point | None = None
    meter: SessionMeter = _BIRTH

    def floor(self, border: datetime | None) -> datetime | None:
        """Where usage is cut anew from: the base, or the border when that is later."""
        if self.base is None:
            return border
        return self.base.at if border is None else max(self.base.at, border)


async def recut_sessions(
    connection: AsyncConnection,
    sessions: Sequence[Session],
    lines: Mapping[str, Line],
    borders: Mapping[str, datetime],
) -> Amendment:
    """Resolve each session's meter again; ``fresh`` then holds what is new, resolved.

    The amendment of the usage records is to be applied when new meters are in the database.
    """
    pasts = await _pasts(connection, sessions)
    border_of = {one.meter_id: borders.get(one.service_id or "") for one in sessions}
    floors = {meter_id: past.floor(border_of[meter_id]) for meter_id, past in pasts.items()}
    records = await usage_rows.records_since(connection, floors)
    closed = {meter_id: border for meter_id, border in border_of.items() if border is not None}
    before = await usage_rows.octets_before(connection, closed)
    changed: list[dict[str, Any]] = []
    amendment = Amendment()
    for session in sessions:
        past, floor = pasts[session.meter_id], floors[session.meter_id]
        outcome = _reresolve(session, past, lines.get(session.service_id or "", Line()))
        changed += outcome.changed
        if session.service_id is not None:
            known, standing = before.get(session.meter_id, (0, 0)), records.get(session.meter_id, [])
            if past.base is not None and floor != border_of[session.meter_id]:
                # a close may have given its period more than a reading tells that came too late for it
                known = (max(past.base.octets_in, known[0]), max(past.base.octets_out, known[1]))
                # what was used in the very instant of the base is in its total, and its record stays
                standing = [row for row in standing if row.end_at > past.base.at]
            cut = cut_usage(outcome.points, floor, *known)
            amendment.plan(session.service_id, session.meter_id, standing, cut)
        session.intervals = []
    await usage_rows.reresolve_readings(connection, changed)
    return amendment


async def _pasts(connection: AsyncConnection, sessions: Sequence[Session]) -> dict[str, _Past]:
    """Each meter's base and the readings behind it; every reading where no base is found."""
    standing = [session for session in sessions if not session.is_new]
    near = await usage_rows.readings_since(connection, {one.meter_id: _look_from(one) for one in standing})
    pasts = {one.meter_id: _past(one, near.get(one.meter_id, [])) for one in standing}
    baseless = {meter_id: None for meter_id, past in pasts.items() if past.base is None}
    for meter_id, rows in (await usage_rows.readings_since(connection, baseless)).items():
        pasts[meter_id] = _Past([_stored(row) for row in rows])
    return {one.meter_id: pasts.get(one.meter_id, _Past([])) for one in sessions}


def _earliest(session: Session) -> datetime:
    return min(reading.report.at for reading in session.fresh) - _REPEAT_SLACK


def _look_from(session: Session) -> datetime:
    return _earliest(session) - timedelta(seconds=_LOOK_BACK_INTERVALS * session.interim_interval_s)


def _past(session: Session, rows: Sequence[Row[Any]]) -> _Past:
    """The newest reading before every fresh one that shows the whole state of its meter, and what follows."""
    earliest = _earliest(session)
    for index in range(len(rows) - 1, -1, -1):
        row = rows[index]
        is_last_of_its_instant = index + 1 == len(rows) or rows[index + 1].at > row.at
        if row.at < earliest and is_last_of_its_instant and _tells_all(row, session.meter.wide):
            way_in = Way(row.octets_in, row.raw_in, row.octets_in - row.raw_in)
            way_out = Way(row.octets_out, row.raw_out, row.octets_out - row.raw_out)
            meter = SessionMeter(row.at, way_in, way_out, bool(row.evidence.get("wide")))
            base = Point(row.at, row.octets_in, row.octets_out)
            return _Past([_stored(later) for later in rows[index + 1 :]], base, meter)
    return _Past([])


def _tells_all(row: Row[Any], wide: bool) -> bool:
    """Both counters rose, so what lies between counter and total is the turns; and its width is known."""
    counted = row.decision == Decision.ADVANCE and row.raw_in >= 0 and row.raw_out >= 0
    return counted and (not wide or bool(row.evidence.get("wide")))


def _stored(row: Row[Any]) -> _Stored:
    counters = [None if raw < 0 else raw for raw in (row.raw_in, row.raw_out)]
    evidence = row.evidence
    report = Report(row.at, counters[0], counters[1], bool(evidence.get("wide")), evidence.get("age_s"))
    return _Stored(row, report)


def _reresolve(session: Session, past: _Past, line: Line) -> _Reresolved:
    """Fold stored and fresh reports in the order of time; the session's meter becomes the last state."""
    fresh = _without_repeats(session.fresh, past.stored)
    everything: list[_Stored | FreshReading] = [*past.stored, *fresh]
    everything.sort(key=lambda one: report_order(one.report))
    meter, outcome = past.meter, _Reresolved([], [] if past.base is None else [past.base])
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
