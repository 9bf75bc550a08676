"""One accounting session while a batch of reports is worked into it: when it opens, closes, opens again.

Rules of RFC 2866, and of what NASes really do: a Start or an interim update after a real Stop is late news
and opens nothing; after a close that was only inferred it proves the session alive; a real Stop amends what
was inferred.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any

from aaa.domain.accounting import AccountingEvent, AccountingKind
from aaa.domain.decision import Decision
from aaa.domain.identity import normalise_mac
from aaa.domain.session_meter import Report, SessionMeter
from aaa.domain.usage import Interval

REPEAT_SLACK_S = 2  # Acct-Delay-Time has whole seconds, so one report sent twice differs by as much
REUSE_SLACK_S = 60


@dataclass(slots=True)
class FreshReading:
    """A report of this batch, resolved unless it came late."""

    report: Report
    received_at: datetime
    evidence: dict[str, Any]
    octets_in: int = 0
    octets_out: int = 0
    decision: Decision = Decision.FIRST


ADDRESS_KINDS = {
    "ipv4": "framed_ip", "ipv6": "framed_ipv6_address", "prefix": "framed_ipv6_prefix",
    "delegated": "delegated_ipv6_prefix",
}  # fmt: skip
"""What a session may have an address by, and the field of sessions and events that holds the newest."""
_IPV6_FIELDS = tuple(field for kind, field in ADDRESS_KINDS.items() if kind != "ipv4")


@dataclass(frozen=True, slots=True)
class AddressMove:
    """From ``at`` on the session has ``network``; until ``before_until`` it had ``before`` (None: nothing).

    ``before_since`` is when the session came to ``before`` if it had that from its beginning.
    """

    kind: str
    at: datetime
    network: str
    before: str | None
    before_since: datetime
    before_until: datetime


@dataclass(slots=True)
class Session:
    """The working copy of a session's row and its meter."""

    id: str
    key: str
    nas_id: str
    acct_session_id: str
    username: str
    service_id: str | None
    meter_id: str
    calling_station: str | None
    nas_port_id: str | None
    framed_ip: str | None
    started_at: datetime
    last_event_at: datetime
    last_received_at: datetime
    interim_interval_s: int
    start_seen: bool = True
    stopped_at: datetime | None = None
    close_cause: str | None = None
    close_inferred: bool = False
    generation: int | None = None
    incarnation: int = 0
    nas_address: str | None = None
    nas_own_address: str | None = None
    mac: str | None = None
    framed_ipv6_address: str | None = None
    framed_ipv6_prefix: str | None = None
    delegated_ipv6_prefix: str | None = None
    meter: SessionMeter = field(default_factory=SessionMeter)
    stored_state: dict[str, Any] = field(default_factory=dict)
    stored_identity: tuple[Any, ...] = ()  # what the row holds besides its counts
    is_new: bool = False
    changed: bool = False
    late: bool = False  # a report belongs before others: the whole meter is resolved again
    fresh: list[FreshReading] = field(default_factory=list)
    intervals: list[Interval] = field(default_factory=list)
    address_moves: list[AddressMove] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        return self.stopped_at is None

    @property
    def has_octets(self) -> bool:
        return self.meter.way_in.total > 0 or self.meter.way_out.total > 0

    def close(self, at: datetime, cause: str, *, inferred: bool) -> None:
        """Close, or amend an inferred close."""
        self.stopped_at = max(at, self.started_at)
        self.close_cause = cause
        self.close_inferred = inferred
        self.changed = True

    def reopen(self) -> None:
        """The close that was inferred is proved wrong."""
        self.stopped_at = self.close_cause = None
        self.close_inferred = False
        self.changed = True


def session_key(event: AccountingEvent, sign_in: str) -> str:
    """NAS, Acct-Session-Id, user and our own Class: what one session has and no other."""
    parts = (event.nas_id, event.acct_session_id, event.username, sign_in)
    return blake2b("\x1f".join(parts).encode(), digest_size=16).hexdigest()


def report_of(event: AccountingEvent) -> Report:
    """The event's counters; a Start is age 0 and has zeros if it has none."""
    if event.kind is AccountingKind.START:
        return Report(
            event.occurred_at, event.octets_in or 0, event.octets_out or 0, event.gigawords_present, age_s=0
        )
    return Report(
        event.occurred_at, event.octets_in, event.octets_out, event.gigawords_present, event.session_time_s
    )


def began_at(event: AccountingEvent) -> datetime | None:
    """When the session of this event began, as far as the event tells."""
    if event.kind is AccountingKind.START:
        return event.occurred_at
    if event.session_time_s is None:
        return None
    return event.occurred_at - timedelta(seconds=event.session_time_s)


def is_reused(session: Session, event: AccountingEvent) -> bool:
    """The NAS gave the id to another session: this one begins well after the last news of ``session``.

    Only asked without a Class, which tells sessions apart by itself.
    """
    began = began_at(event)
    if began is None or (session.is_open and not session.has_octets):
        return False
    return began > session.last_event_at + timedelta(seconds=REUSE_SLACK_S)


def is_repeat(session: Session, event: AccountingEvent) -> bool:
    """The event tells nothing that the session does not show already."""
    if proves_alive(session, event):
        return False
    match event.kind:
        case AccountingKind.START:
            return session.start_seen and event.occurred_at >= session.started_at
        case AccountingKind.INTERIM:
            return _near(event.occurred_at, session.last_event_at) and _same_counters(session, event)
        case AccountingKind.STOP:
            stopped = session.stopped_at is not None and not session.close_inferred
            return (
                stopped and _near(event.occurred_at, session.last_event_at) and _same_counters(session, event)
            )
        case AccountingKind.NAS_ON | AccountingKind.NAS_OFF:
            return False


def proves_alive(session: Session, event: AccountingEvent) -> bool:
    """A Start or interim update that happened after a close which was only inferred."""
    return (
        session.close_inferred
        and session.stopped_at is not None
        and event.kind is not AccountingKind.STOP
        and event.occurred_at > session.stopped_at
    )


def take_event(session: Session, event: AccountingEvent) -> None:
    """Open again, close or amend, and take what the event tells besides its counters."""
    session.changed = True
    if event.kind is AccountingKind.STOP and (session.is_open or session.close_inferred):
        session.close(event.occurred_at, event.terminate_cause or "Unspecified", inferred=False)
    elif proves_alive(session, event):
        session.reopen()
    if event.kind is AccountingKind.START:
        earliest = min(session.started_at, event.occurred_at)
        session.started_at = earliest if session.start_seen else event.occurred_at
        session.start_seen = True
        session.nas_address = event.evidence.get("source", session.nas_address)
        session.nas_own_address = event.evidence.get("nas_ip_address", session.nas_own_address)
    if event.occurred_at >= session.last_event_at:
        _take_addresses(session, event)
    if session.calling_station is None and event.calling_station is not None:
        session.calling_station = event.calling_station
        session.mac = normalise_mac(event.calling_station)
    session.nas_port_id = session.nas_port_id or event.nas_port_id


def _take_addresses(session: Session, event: AccountingEvent) -> None:
    """The event's addresses are the session's newest; what that ends or begins late is remembered."""
    if event.framed_ip is not None and event.framed_ip != session.framed_ip:
        _move_address(session, event, "ipv4")
    for name in _IPV6_FIELDS:
        network = getattr(event, name)
        if network is not None and network != getattr(session, name):
            _move_address(session, event, next(kind for kind, one in ADDRESS_KINDS.items() if one == name))


def _move_address(session: Session, event: AccountingEvent, kind: str) -> None:
    name = ADDRESS_KINDS[kind]
    before, network = getattr(session, name), getattr(event, name)
    is_first_report = session.meter.at is None and not session.fresh
    if event.occurred_at > session.started_at and not is_first_report:
        session.address_moves.append(
            AddressMove(kind, event.occurred_at, network, before, session.started_at, session.last_event_at)
        )
    setattr(session, name, network)


def same_line(one: Session, other: Session, one_mac: str | None, other_mac: str | None) -> bool:
    """Both sessions come from the same CPE: its MAC, or where one has none, the port of the same NAS."""
    if one_mac is not None and other_mac is not None:
        return one_mac == other_mac
    return one.nas_id == other.nas_id and one.nas_port_id is not None and one.nas_port_id == other.nas_port_id


def names_one_place(framed_ip: str | None) -> bool:
    """Whether an address is one subscriber's: not absent, and none of those that say "choose one" (RFC 2865
    section 5.8)."""
    return framed_ip not in (None, "", "0.0.0.0", "255.255.255.254", "255.255.255.255")  # noqa: S104


def _near(one: datetime, other: datetime) -> bool:
    return abs((one - other).total_seconds()) <= REPEAT_SLACK_S


def _same_counters(session: Session, event: AccountingEvent) -> bool:
    said_in = event.octets_in in (None, session.meter.way_in.raw)
    return said_in and event.octets_out in (None, session.meter.way_out.raw)
