"""Accounting reports of other realms: kept here like all others, and sent on to their home servers.

A report is put on its way in the transaction that takes it over from the journal, and leaves the table when a
home server has answered. So none is lost while that one is away; one may arrive twice. Reports of one session
are sent one after the other, those of others beside them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from aaa.directory_realms import HomeServer, Realm, load_realms
from aaa.domain.accounting import AccountingEvent
from aaa.domain.realm import ANY, split_realm
from aaa.store import directory_rows, realm_rows
from core.database import take_lane
from core.health import HealthIssue, close_issue, open_issue
from core.log import logger
from core.secrets import Sealer
from core.work import Work, Workplace
from radius.packet.codec import (
    ACCOUNTING_REQUEST,
    ACCOUNTING_RESPONSE,
    Attr,
    MalformedPacket,
    attribute,
    integer,
)
from radius.packet.shared_secret import SharedSecret
from radius.proxying.packets import attributes_of, is_reply

_AT_ONCE = 128
_LANES = 32
"""Sessions whose reports are on the wire together."""
_IDLE_S = 1.0
_AGAIN = timedelta(seconds=30)
_SILENT_S = 10.0
_OLDEST = timedelta(days=7)
_TELL_AFTER = timedelta(minutes=15)
_LARGEST_REPORT = 4_000  # what a packet may have, less what we add
_log = logger("radius")


async def queue_reports(work: Work, reports: Iterable[tuple[bytes, AccountingEvent]]) -> None:
    """Put the reports of forwarded realms on their way, in the transaction that records them."""
    realms = await realm_rows.realms_with_reports(work.connection)
    if not realms:
        return
    found = [(datagram, event, split_realm(event.username.encode())) for datagram, event in reports]
    foreign = [(datagram, event, parts[1]) for datagram, event, parts in found if parts is not None]
    unnamed = [event.username for _, event, name in foreign if name not in realms]
    ours: set[str] = set()
    if ANY in realms and unnamed:
        ours = await directory_rows.known_usernames(work.connection, unnamed)
        own, _ = await realm_rows.realms_in_use(work.connection)
        foreign = [one for one in foreign if one[2] not in own]
    rows = []
    for datagram, event, name in foreign:
        realm_id = realms.get(name) or (realms.get(ANY) if event.username not in ours else None)
        if realm_id is not None and len(datagram) <= _LARGEST_REPORT:
            rows.append(
                {
                    "realm_id": realm_id, "lane": _lane(event), "datagram": datagram,
                    "received_at": event.received_at, "due_at": work.now, "tries": 0,
                }
            )  # fmt: skip
    await realm_rows.queue_reports(work.connection, rows)


def _lane(event: AccountingEvent) -> str:
    named = "\0".join((event.nas_id, event.acct_session_id, event.username))
    return sha256(named.encode()).hexdigest()[:16]


async def run_reports(
    workplace: Workplace, sealer: Sealer, stop: asyncio.Event, beat: Callable[[], None] = lambda: None
) -> None:
    """Send what waits until ``stop``; ``beat`` is called before each turn."""
    sender, failing = ReportSender(workplace, sealer), False
    while not stop.is_set():
        beat()
        try:
            busy = await sender.turn()
            failing = False
        except (SQLAlchemyError, OSError) as trouble:
            busy = False
            if not failing:
                failing = True
                _log.warning("reports_not_forwarded", error=f"{type(trouble).__name__}: {trouble}")
        if not busy:
            try:
                await asyncio.wait_for(stop.wait(), _IDLE_S)
            except TimeoutError:
                continue


class ReportSender:
    """Sends the reports that are due, for one process."""

    def __init__(self, workplace: Workplace, sealer: Sealer) -> None:
        self._workplace = workplace
        self._sealer = sealer
        self._silent_until_s: dict[str, float] = {}
        self._told: set[str] = set()

    async def turn(self) -> bool:
        """Send some of each realm; whether there is more to send at once."""
        async with self._workplace.reading() as connection:
            waiting = await realm_rows.waiting_reports(connection)
            realms = await load_realms(connection, self._sealer, lambda _: None) if waiting else None
        if realms is not None:
            by_id = {one.id: one for one in realms.by_name.values()}
            sent = [await self._send_some(by_id[one]) for one in waiting if one in by_id]
        else:
            sent = []
        await self._tell(waiting)
        return any(sent)

    async def _send_some(self, realm: Realm) -> bool:
        monotonic_s = self._workplace.clock.monotonic_s
        if monotonic_s() < self._silent_until_s.get(realm.id, 0.0):
            return False
        rows = await self._claim(realm)
        if not rows:
            return False
        arrived = await _deliver(realm, rows, self._workplace.clock.now())
        if arrived:
            async with self._workplace.work("system:radius") as work:
                await realm_rows.forget_reports(work.connection, arrived)
        else:
            self._silent_until_s[realm.id] = monotonic_s() + _SILENT_S
        return bool(arrived)

    async def _claim(self, realm: Realm) -> Sequence[Any]:
        """Take the next reports: no other process sends them until they are due again."""
        async with self._workplace.work("system:radius") as work:
            await take_lane(work.connection, "proxied-reports")
            rows = await realm_rows.due_reports(work.connection, realm.id, work.now, _AT_ONCE)
            await realm_rows.put_off_reports(work.connection, [row.seq for row in rows], work.now + _AGAIN)
        return rows

    async def _tell(self, waiting: Mapping[str, tuple[int, datetime]]) -> None:
        now = self._workplace.clock.now()
        late = {one: number for one, (number, since) in waiting.items() if now - since > _TELL_AFTER}
        too_old = any(now - since > _OLDEST for _, since in waiting.values())
        if late.keys() == self._told and not too_old:
            return
        async with self._workplace.work("system:radius") as work:
            if too_old:
                dropped = await realm_rows.drop_reports_before(work.connection, now - _OLDEST)
                _log.error("reports_dropped", number=dropped, older_than_days=_OLDEST.days)
            for realm_id in late.keys() - self._told:
                await open_issue(
                    work,
                    HealthIssue(
                        f"radius.reports_wait:{realm_id}", "warning",
                        f"{late[realm_id]} accounting reports wait for their home server",
                        "Look at the home servers of the realm (hilltop realm list): are they up, do they "
                        "take accounting, have they the same secret? Reports are kept for seven days.",
                    ),
                )  # fmt: skip
            for realm_id in self._told - late.keys():
                await close_issue(work, f"radius.reports_wait:{realm_id}")
        self._told = set(late)


async def _deliver(realm: Realm, rows: Sequence[Any], now: datetime) -> list[int]:
    """Send these, sessions side by side; returns those that a home server has taken."""
    lanes: dict[str, list[Any]] = {}
    for row in rows:
        lanes.setdefault(row.lane, []).append(row)
    places = asyncio.Semaphore(_LANES)
    arrived: list[int] = []

    async def one_by_one(lane: list[Any]) -> None:
        async with places:
            for row in lane:
                if not await _taken(realm, row, now):
                    return  # what comes after it waits with it
                arrived.append(row.seq)

    await asyncio.gather(*(one_by_one(lane) for lane in lanes.values()))
    return arrived


async def _taken(realm: Realm, row: Any, now: datetime) -> bool:
    """Whether one of the realm's servers has answered this report."""
    delay_s = max(0, int((now - row.received_at).total_seconds()))
    for server in realm.servers:
        if server.accounting_port is None:
            continue
        secret = SharedSecret(server.secret.reveal().encode())
        try:
            request = forward_report(row.datagram, secret, delay_s=delay_s, strip=realm.strip)
        except (MalformedPacket, ValueError):
            return True  # nobody could ever take it
        if await _ask(server, request, secret):
            return True
    return False


def forward_report(datagram: bytes, secret: SharedSecret, *, delay_s: int, strip: bool) -> bytes:
    """The Accounting-Request for a home server: Acct-Delay-Time grown by the time it was kept here."""
    kept, delay = b"", delay_s
    for kind, value in attributes_of(datagram):
        if kind == Attr.ACCT_DELAY_TIME and len(value) == 4:
            delay += int.from_bytes(value, "big")
        elif kind == Attr.USER_NAME and strip:
            parts = split_realm(value)
            kept += attribute(kind, value if parts is None else parts[0])
        elif kind != Attr.MESSAGE_AUTHENTICATOR:
            kept += attribute(kind, value)
    kept += attribute(Attr.ACCT_DELAY_TIME, integer(delay)) + attribute(Attr.PROXY_STATE, os.urandom(8))
    length = 20 + len(kept)
    if length > 4096:
        raise MalformedPacket("the report does not fit")
    header = bytes((ACCOUNTING_REQUEST, os.urandom(1)[0], length >> 8, length & 255))
    return secret.sign_request(header, kept)


@dataclass(slots=True)
class _Answer(asyncio.DatagramProtocol):
    """Waits on a socket of its own, so that its identifier cannot meet another's."""

    request: bytes
    secret: SharedSecret
    heard: asyncio.Future[bool]

    def datagram_received(self, data: bytes, addr: Any) -> None:
        reply = is_reply(data, self.request, self.secret, must_sign=False)
        if reply is not None and reply[0] == ACCOUNTING_RESPONSE and not self.heard.done():
            self.heard.set_result(True)

    def error_received(self, exc: Exception) -> None:
        if not self.heard.done():
            self.heard.set_result(False)  # nobody listens there


async def _ask(server: HomeServer, request: bytes, secret: SharedSecret) -> bool:
    loop = asyncio.get_running_loop()
    answer = _Answer(request, secret, loop.create_future())
    try:
        transport, _ = await loop.create_datagram_endpoint(
            lambda: answer, remote_addr=(server.address, server.accounting_port or 0)
        )
    except OSError:
        return False
    try:
        for _ in range(server.tries):
            transport.sendto(request)
            try:
                return await asyncio.wait_for(asyncio.shield(answer.heard), server.timeout_s)
            except TimeoutError:
                continue
        return False
    finally:
        transport.close()
