"""The sessions that a batch of accounting touches: loaded with few statements, worked on, written back."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.engine import Row

from aaa.config import AaaSettings
from aaa.domain.accounting import AccountingEvent
from aaa.domain.identity import normalise_mac
from aaa.domain.session import FreshReading, Session, began_at, names_one_place, report_of, same_line
from aaa.domain.session_meter import Line, Report, SessionMeter, raw_value, resolve_report
from aaa.domain.usage import Point, follow
from aaa.follow_leases import follow_sessions
from aaa.recut import record_values, recut_sessions
from aaa.store import session_rows, usage_rows
from aaa.store.session_rows import CHANGING, COUNTING
from core.work import Work


class SessionBook:
    """Every session there is one object of, whichever way it was found."""

    def __init__(self, work: Work, settings: AaaSettings) -> None:
        self._work = work
        self._settings = settings
        self._by_id: dict[str, Session] = {}
        self._by_key: dict[str, Session] = {}
        self._open_of_service: dict[str, list[Session]] = {}
        self._open_of_nas: dict[str, list[Session]] = {}
        self._open_at: dict[tuple[str, str], list[Session]] = {}
        self._lines: dict[str, Line] = {}
        self._interim_s: dict[str, int] = {}
        self._borders: dict[str, datetime] = {}

    @property
    def touched(self) -> list[Session]:
        """The sessions this batch changed or added to."""
        return [one for one in self._by_id.values() if one.changed or one.fresh]

    async def load_keys(self, keys: Iterable[str]) -> None:
        """The sessions with those keys, and the earlier ones whose id was used again."""
        rows = await session_rows.sessions_by_key(self._work.connection, keys)
        self.take(rows)
        retired = [f"{row.key}/{earlier}" for row in rows for earlier in range(row.incarnation)]
        self.take(await session_rows.sessions_by_key(self._work.connection, retired))

    async def load_nases(self, nas_ids: Iterable[str]) -> None:
        """The open sessions of NASes that said Accounting-On or -Off."""
        self.take(await session_rows.open_sessions_of_nases(self._work.connection, nas_ids))

    async def load_open(self, service_ids: Iterable[str]) -> None:
        """The open sessions of services, among which a new one may close an older."""
        self.take(await session_rows.open_sessions_of_services(self._work.connection, service_ids))

    async def load_places(self, places: Collection[tuple[str, str]]) -> None:
        """The open sessions at those (NAS, address): a NAS gives an address to one session at a time."""
        nas_ids, addresses = [place[0] for place in places], [place[1] for place in places]
        self.take(await session_rows.open_sessions_at(self._work.connection, nas_ids, addresses))

    async def load_lines(self, service_ids: Iterable[str]) -> None:
        """Rates, interim intervals and borders of services, and of every session loaded so far."""
        wanted = [*service_ids, *(one.service_id for one in self._by_id.values() if one.service_id)]
        for service_id, row in (await session_rows.lines_of(self._work.connection, wanted)).items():
            self._interim_s[service_id] = row.interim_interval_s
            self._lines[service_id] = Line(
                max(row.rate_up_bps, row.burst_up_bps or 0),
                max(row.rate_down_bps, row.burst_down_bps or 0),
                self._settings.line_rate_bps,
            )
        self._borders = await usage_rows.border_of_each(self._work.connection, wanted)

    def has_service(self, service_id: str) -> bool:
        """Whether the service exists; its line was asked for."""
        return service_id in self._lines

    def at_key(self, key: str) -> Session | None:
        """The newest session of the key."""
        return self._by_key.get(key)

    def on_nas(self, nas_id: str) -> list[Session]:
        """The sessions of a NAS, as far as they are loaded or new."""
        return self._open_of_nas.get(nas_id, [])

    def open_session(
        self, event: AccountingEvent, key: str, service_id: str | None, generation: int | None
    ) -> Session:
        """A new session, not yet with its first report."""
        interim_s = self._interim_s.get(service_id or "", 300)
        session = Session(
            id=self._work.ids.new("ses"), key=key, nas_id=event.nas_id, acct_session_id=event.acct_session_id,
            username=event.username, service_id=service_id, meter_id=self._work.ids.new("mtr"),
            calling_station=event.calling_station, nas_port_id=event.nas_port_id, framed_ip=event.framed_ip,
            framed_ipv6_address=event.framed_ipv6_address, framed_ipv6_prefix=event.framed_ipv6_prefix,
            delegated_ipv6_prefix=event.delegated_ipv6_prefix, mac=_mac_of(event.calling_station),
            started_at=began_at(event) or event.occurred_at, last_event_at=event.occurred_at,
            last_received_at=event.received_at, interim_interval_s=interim_s, start_seen=False,
            generation=generation, is_new=True, changed=True,
        )  # fmt: skip
        self._keep(session)
        return session

    def retire(self, session: Session) -> int:
        """Free the key of a session whose id is used again; returns the incarnation of its successor."""
        del self._by_key[session.key]
        session.key = f"{session.key}/{session.incarnation}"
        session.changed = True
        self._by_key[session.key] = session
        return session.incarnation + 1

    def rivals(self, session: Session) -> list[Session]:
        """The other open sessions from the same CPE on the same service."""
        return [
            other
            for other in self._open_of_service.get(session.service_id or "", [])
            if other is not session and other.is_open and same_line(session, other, session.mac, other.mac)
        ]

    def former_holders(self, session: Session) -> list[Session]:
        """Open sessions of other services that have the session's address on the same NAS."""
        return [
            other
            for other in self._open_at.get((session.nas_id, session.framed_ip or ""), [])
            if other.is_open
            and other.service_id != session.service_id
            and other.framed_ip == session.framed_ip
        ]

    def note_place(self, session: Session) -> None:
        """The session has an address: it can be found there."""
        if names_one_place(session.framed_ip):
            self._open_at.setdefault((session.nas_id, str(session.framed_ip)), []).append(session)

    def add_report(self, session: Session, event: AccountingEvent) -> None:
        """Put the event's counters behind the session's last ones, or aside until the meter is cut anew."""
        report = report_of(event)
        late = _is_late(session, report.at)
        reading = FreshReading(report, event.received_at, _evidence(event, report, late=late))
        session.fresh.append(reading)
        border = self._borders.get(session.service_id or "")
        behind_border = border is not None and report.at <= border
        if late or behind_border or session.late:
            session.late = True
        else:
            self._follow(session, reading, border)
        session.last_event_at = max(session.last_event_at, report.at)
        session.last_received_at = max(session.last_received_at, event.received_at)
        session.changed = True

    def _follow(self, session: Session, reading: FreshReading, border: datetime | None) -> None:
        before, report = session.meter, reading.report
        line = self._lines.get(session.service_id or "", Line())
        after, reading.decision = resolve_report(before, report, line)
        reading.octets_in, reading.octets_out = after.way_in.total, after.way_out.total
        session.meter = after
        if session.service_id is None:
            return
        previous = None if before.at is None else Point(before.at, before.way_in.total, before.way_out.total)
        interval = follow(
            previous, Point(report.at, after.way_in.total, after.way_out.total, report.age_s), border
        )
        if interval is not None:
            session.intervals.append(interval)

    async def flush(self) -> None:
        """Write everything back: sessions, meters, readings, usage records."""
        connection = self._work.connection
        touched = self.touched
        late = [session for session in touched if session.late]
        amendment = await recut_sessions(connection, late, self._lines, self._borders) if late else None
        new = [session for session in touched if session.is_new]
        standing = [session for session in touched if not session.is_new]
        only_counted = [one for one in standing if _identity(one) == one.stored_identity]
        await session_rows.update_counts(connection, [_bound(one, COUNTING) for one in only_counted])
        moved = [one for one in standing if _identity(one) != one.stored_identity]
        await session_rows.update_sessions(connection, [_bound(one, CHANGING) for one in moved])
        await usage_rows.insert_meters(connection, [self._meter_row(session) for session in new])
        await session_rows.insert_sessions(connection, [_row(session) for session in new])
        moves = [(session.id, move) for session in touched for move in session.address_moves]
        await session_rows.keep_address_moves(connection, moves)
        states = {one.meter_id: one.meter.as_json() for one in standing}
        stored = {one.meter_id: one.stored_state for one in touched}
        changed = {meter_id: state for meter_id, state in states.items() if state != stored[meter_id]}
        await usage_rows.set_meter_states(connection, changed)
        if amendment is not None:
            await amendment.apply(connection)
        await usage_rows.insert_readings(connection, [_reading(s, r) for s in touched for r in s.fresh])
        await usage_rows.insert_records(
            connection,
            [
                record_values(session.service_id, session.meter_id, interval)
                for session in touched
                if session.service_id is not None
                for interval in session.intervals
            ],
        )
        await follow_sessions(self._work, [*new, *moved])

    def _meter_row(self, session: Session) -> dict[str, Any]:
        return {
            "id": session.meter_id, "service_id": session.service_id, "source": "radius",
            "key": f"session|{session.id}", "bills": True, "created_at": self._work.now,
            "state": session.meter.as_json(),
        }  # fmt: skip

    def take(self, rows: Sequence[Row[Any]]) -> list[Session]:
        """The working copies of rows; one that is there already stays what it is."""
        for row in rows:
            if row.id not in self._by_id:
                self._keep(_session(row))
        return [self._by_id[row.id] for row in rows]

    def _keep(self, session: Session) -> None:
        self._by_id[session.id] = session
        self._by_key[session.key] = session
        if session.is_open:
            self._open_of_nas.setdefault(session.nas_id, []).append(session)
            self.note_place(session)
            if session.service_id is not None:
                self._open_of_service.setdefault(session.service_id, []).append(session)


def _mac_of(calling_station: str | None) -> str | None:
    return None if calling_station is None else normalise_mac(calling_station)


def _is_late(session: Session, at: datetime) -> bool:
    return session.meter.at is not None and at <= session.meter.at


def _evidence(event: AccountingEvent, report: Report, *, late: bool) -> dict[str, Any]:
    evidence: dict[str, Any] = {**event.evidence, "kind": event.kind.value}
    if report.wide:
        evidence["wide"] = True
    if report.age_s is not None:
        evidence["age_s"] = report.age_s
    if late:
        evidence["late"] = True
    return evidence


def _reading(session: Session, reading: FreshReading) -> dict[str, Any]:
    report = reading.report
    return {
        "meter_id": session.meter_id, "at": report.at, "octets_in": reading.octets_in,
        "octets_out": reading.octets_out, "raw_in": raw_value(report.octets_in),
        "raw_out": raw_value(report.octets_out), "received_at": reading.received_at,
        "decision": reading.decision.value, "evidence": reading.evidence,
    }  # fmt: skip


def _row(session: Session) -> dict[str, Any]:
    return {
        "id": session.id, "key": session.key, "nas_id": session.nas_id,
        "acct_session_id": session.acct_session_id, "username": session.username,
        "service_id": session.service_id, "meter_id": session.meter_id,
        "calling_station": session.calling_station, "mac": session.mac, "nas_port_id": session.nas_port_id,
        "framed_ip": session.framed_ip, "framed_ipv6_address": session.framed_ipv6_address,
        "framed_ipv6_prefix": session.framed_ipv6_prefix,
        "delegated_ipv6_prefix": session.delegated_ipv6_prefix,
        "started_at": session.started_at, "start_seen": session.start_seen,
        "last_event_at": session.last_event_at, "last_received_at": session.last_received_at,
        "stopped_at": session.stopped_at, "close_cause": session.close_cause,
        "close_inferred": session.close_inferred, "octets_in": session.meter.way_in.total,
        "octets_out": session.meter.way_out.total, "gigawords_seen": session.meter.wide,
        "interim_interval_s": session.interim_interval_s, "generation": session.generation,
        "incarnation": session.incarnation, "nas_address": session.nas_address,
        "nas_own_address": session.nas_own_address,
    }  # fmt: skip


def _session(row: Row[Any]) -> Session:
    """The row's columns are ``session_rows.LOADED``, in the order of the session's own fields."""
    *fields, octets_in, octets_out, wide, state = tuple(row)
    session = Session(*fields)
    meter = SessionMeter.plain(session.last_event_at, octets_in, octets_out, wide)
    session.stored_state = state or {}
    session.meter = meter.restored(session.stored_state)
    session.stored_identity = _identity(session)
    return session


def _identity(session: Session) -> tuple[Any, ...]:
    """What accounting changes in a session besides its counts."""
    return (
        session.key, session.calling_station, session.nas_port_id, session.framed_ip, session.started_at,
        session.start_seen, session.stopped_at, session.close_cause, session.close_inferred,
        session.nas_address, session.nas_own_address, session.framed_ipv6_address,
        session.framed_ipv6_prefix, session.delegated_ipv6_prefix,
    )  # fmt: skip


def _bound(session: Session, columns: Sequence[str]) -> dict[str, Any]:
    row = _row(session)
    return {"b_id": session.id} | {f"b_{column}": row[column] for column in columns}
