"""Record what NASes report: sessions, meter readings and usage records, in one transaction a batch.

Idempotent, and indifferent to the order of arrival: the same reports in any order, with repeats, leave the
same usage. A batch costs a fixed number of statements whatever its size.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from aaa.config import DEFAULT_SETTINGS, AaaSettings
from aaa.domain.accounting import AccountingEvent, AccountingKind
from aaa.domain.class_token import ClassToken, decode_class
from aaa.domain.decision import Decision
from aaa.domain.identity import normalise_mac
from aaa.domain.realm import without_own_realm
from aaa.domain.session import (
    Session,
    began_at,
    is_repeat,
    is_reused,
    names_one_place,
    proves_alive,
    session_key,
    take_event,
)
from aaa.session_book import SessionBook
from aaa.store import realm_rows, session_rows, usage_rows
from aaa.watch_addresses import AddressWatch
from core.health import HealthIssue, open_issue
from core.work import Work

_REBOOTS = (AccountingKind.NAS_ON, AccountingKind.NAS_OFF)
_ORDER = {kind: rank for rank, kind in enumerate(dict.fromkeys((*_REBOOTS, *AccountingKind)))}


@dataclass(slots=True)
class AccountingOutcome:
    """What a batch did, in numbers of reports or sessions."""

    recorded: int = 0
    repeats: int = 0
    late: int = 0
    opened: int = 0
    closed: int = 0
    reopened: int = 0
    unknown: int = 0  # sessions opened without a service: nobody has that user name
    quarantined: int = 0


@dataclass(frozen=True, slots=True)
class _Report:
    event: AccountingEvent
    token: ClassToken | None
    key: str


async def record_accounting(
    work: Work,
    events: Sequence[AccountingEvent],
    class_key: bytes,
    settings: AaaSettings = DEFAULT_SETTINGS,
) -> AccountingOutcome:
    """Record a batch of any size; around a thousand reports a call is best."""
    reports = _reports(events, class_key)
    outcome = AccountingOutcome()
    if not reports:
        return outcome
    batch = _Batch(work, SessionBook(work, settings), AddressWatch(work), outcome)
    await batch.load(reports)
    for report in reports:
        batch.record(report)
    await batch.finish()
    return outcome


def _reports(events: Sequence[AccountingEvent], class_key: bytes) -> list[_Report]:
    """In the order in which they happened, each with our Class and the key of its session."""
    tokens: dict[bytes, ClassToken | None] = {}
    reports = []
    for event in map(_clean, events):
        if event.class_token not in tokens:
            tokens[event.class_token] = decode_class(event.class_token, class_key)
        token = tokens[event.class_token]
        reports.append(_Report(event, token, session_key(event, "" if token is None else token.sign_in)))
    reports.sort(key=lambda one: (one.event.occurred_at, _ORDER[one.event.kind], one.event.received_at))
    return reports


def _clean(event: AccountingEvent) -> AccountingEvent:
    """The event with texts that every database takes."""
    texts: dict[str, Any] = {
        "acct_session_id": _text(event.acct_session_id, 253), "username": _text(event.username, 253),
        "framed_ip": _text(event.framed_ip, 45),
        "framed_ipv6_address": _text(event.framed_ipv6_address, 45),
        "framed_ipv6_prefix": _text(event.framed_ipv6_prefix, 49),
        "delegated_ipv6_prefix": _text(event.delegated_ipv6_prefix, 49),
        "calling_station": _text(event.calling_station, 64),
        "nas_port_id": _text(event.nas_port_id, 253), "terminate_cause": _text(event.terminate_cause, 40),
    }  # fmt: skip
    changed = {name: text for name, text in texts.items() if text != getattr(event, name)}
    return replace(event, **changed) if changed else event


def _text(text: str | None, longest: int) -> str | None:
    if text is None or (len(text) <= longest and text.isascii() and "\0" not in text):
        return text
    return text.encode(errors="replace").decode().replace("\0", "\ufffd")[:longest]


class _Batch:
    """One batch being worked in."""

    def __init__(
        self, work: Work, book: SessionBook, addresses: AddressWatch, outcome: AccountingOutcome
    ) -> None:
        self._work = work
        self._book = book
        self._addresses = addresses
        self._outcome = outcome
        self._services: dict[str, str] = {}

    async def load(self, reports: Sequence[_Report]) -> None:
        """Read everything the reports may touch."""
        await usage_rows.take_metering_lane(self._work.connection)
        rebooted = [one.event.nas_id for one in reports if one.event.kind in _REBOOTS]
        sessions = [one for one in reports if one.event.kind not in _REBOOTS]
        await self._book.load_keys(one.key for one in sessions)
        await self._book.load_nases(rebooted)
        await self._book.load_places({
            (one.event.nas_id, str(one.event.framed_ip)) for one in sessions if self._takes_a_place(one)
        })  # fmt: skip
        await self._load_services([one for one in sessions if self._may_open(one)])

    def _may_open(self, report: _Report) -> bool:
        session = self._book.at_key(report.key)
        return session is None or (report.token is None and is_reused(session, report.event))

    def _takes_a_place(self, report: _Report) -> bool:
        """Whether the report puts its session at an address where it was not."""
        session, framed_ip = self._book.at_key(report.key), report.event.framed_ip
        if report.event.kind is AccountingKind.STOP or not names_one_place(framed_ip):
            return False
        return session is None or session.framed_ip != framed_ip or self._may_open(report)

    async def _load_services(self, opening: Sequence[_Report]) -> None:
        names = {one.event.username for one in opening if one.token is None}
        names |= {mac for mac in map(normalise_mac, names) if mac is not None}
        bare = await self._without_own_realm(names)
        known = await session_rows.services_by_username(self._work.connection, names | set(bare.values()))
        own = {name: known[short] for name, short in bare.items() if short in known}
        self._services = own | known
        services = {self._claimed_service(one) for one in opening} - {None}
        claimed = [service_id for service_id in services if service_id is not None]
        await self._book.load_open(claimed)
        await self._book.load_lines(claimed)

    async def _without_own_realm(self, names: Collection[str]) -> dict[str, str]:
        """The names that are in a realm, without it where it is ours."""
        if not any("@" in name or "\\" in name for name in names):
            return {}
        own, foreign = await realm_rows.realms_in_use(self._work.connection)
        return {name: without_own_realm(name.encode(), own, foreign).decode() for name in names}

    def _claimed_service(self, report: _Report) -> str | None:
        """Whose session it is: our Class says so, else the user name does."""
        if report.token is not None:
            return report.token.service_id
        username = report.event.username
        return self._services.get(username) or self._services.get(normalise_mac(username) or "")

    def record(self, report: _Report) -> None:
        """Work one report in."""
        if report.event.kind in _REBOOTS:
            self._close_all(report.event)
            return
        session = self._find(report)
        if session is None:
            session = self._open(report)
        elif is_repeat(session, report.event):
            self._outcome.repeats += 1
            return
        self._take(session, report.event)

    def _find(self, report: _Report) -> Session | None:
        """The session of the report; None when it is a new one."""
        session = self._book.at_key(report.key)
        if session is None or report.token is not None:
            return session
        if not is_reused(session, report.event):
            return self._earlier(session, report)
        if session.is_open:
            self._close(session, began_at(report.event) or report.event.occurred_at, "nas_reboot")
        return self._open(report, self._book.retire(session))

    def _earlier(self, session: Session, report: _Report) -> Session:
        """The session of this id that was running when the report's session began."""
        began = began_at(report.event) or report.event.occurred_at
        for incarnation in range(session.incarnation - 1, -1, -1):
            if began >= session.started_at:
                break
            session = self._book.at_key(f"{report.key}/{incarnation}") or session
        return session

    def _open(self, report: _Report, incarnation: int = 0) -> Session:
        claimed = self._claimed_service(report)
        service_id = claimed if claimed is not None and self._book.has_service(claimed) else None
        generation = None if report.token is None else report.token.generation
        session = self._book.open_session(report.event, report.key, service_id, generation)
        session.incarnation = incarnation
        self._outcome.opened += 1
        self._outcome.unknown += service_id is None
        self._addresses.touch(service_id)
        self._addresses.signed_in(service_id, generation)
        if report.event.kind is not AccountingKind.STOP:
            self._supersede(session)
        return session

    def _supersede(self, session: Session) -> None:
        """Of the sessions from one CPE only the youngest is open, unless news of an older one came since.

        So it is with sessions at one address of one NAS: a block left there would hit the next customer.
        """
        for rival in [*self._book.rivals(session), *self._book.former_holders(session)]:
            older, younger = sorted((rival, session), key=lambda one: one.started_at)
            if older.last_event_at <= younger.started_at and older.is_open:
                self._close(older, younger.started_at, "superseded")

    def _take(self, session: Session, event: AccountingEvent) -> None:
        was_open, address = session.is_open, session.framed_ip
        self._outcome.reopened += proves_alive(session, event)
        take_event(session, event)
        self._book.add_report(session, event)
        self._outcome.recorded += 1
        self._outcome.closed += was_open and not session.is_open
        if (was_open, address) != (session.is_open, session.framed_ip):
            self._addresses.touch(session.service_id)
        if session.is_open and address != session.framed_ip:
            self._book.note_place(session)
            self._supersede(session)

    def _close(self, session: Session, at: datetime, cause: str) -> None:
        session.close(at, cause, inferred=True)
        self._outcome.closed += 1
        self._addresses.touch(session.service_id)

    def _close_all(self, event: AccountingEvent) -> None:
        """Accounting-On or -Off (RFC 2866 section 5.1): the NAS knows nothing of sessions begun before."""
        self._outcome.recorded += 1
        for session in self._book.on_nas(event.nas_id):
            if session.is_open and session.started_at < event.occurred_at >= session.last_event_at:
                self._close(session, event.occurred_at, "nas_reboot")

    async def finish(self) -> None:
        """Write, tell of addresses that changed, and warn of counters nobody can have."""
        await self._addresses.before()
        touched = self._book.touched
        await self._book.flush()
        await self._addresses.after()
        self._outcome.late = sum(
            1 for one in touched for reading in one.fresh if reading.evidence.get("late")
        )
        suspicious = [one for one in touched if any(r.decision is Decision.QUARANTINED for r in one.fresh)]
        self._outcome.quarantined = len(suspicious)
        for nas_id in sorted({session.nas_id for session in suspicious}):
            await open_issue(self._work, _quarantine_issue(nas_id))


def _quarantine_issue(nas_id: str) -> HealthIssue:
    return HealthIssue(
        f"aaa.accounting_quarantined:{nas_id}",
        "warning",
        f"{nas_id} reported more octets than any line carries; they were not counted",
        "look at the readings marked quarantined, and at the software version of the device",
    )
