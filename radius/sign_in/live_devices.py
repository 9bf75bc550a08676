"""Which devices of limited services are online, in memory: a sign-in beyond the limit is refused at once.

Most services are not limited so, and nothing is kept of them. Of the others the open sessions come from the
database every second; what this process sees itself (sign-ins, and accounting as it reaches the disk) counts
from the moment it is seen. A device is alive while it was heard of within three interim intervals, so what
died without a Stop holds nobody back for long; one device dialling again is never a second one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

from aaa.directory import Directory
from aaa.domain.class_token import decode_class
from aaa.domain.identity import normalise_mac, spelled_mac
from aaa.store import directory_rows
from core.clock import Clock
from core.work import Workplace
from radius.accounting.journal import Record
from radius.packet.codec import Attr, MalformedPacket, locate, value_at

_ALIVE_INTERVALS = 3
_A_MOMENT = timedelta(seconds=60)
"""Between a sign-in and the first word of its session, and between a Stop and the database knowing it."""
_KEPT_OF_ONE = 1_000
_START, _STOP, _INTERIM = 1, 2, 3

SessionKey = tuple[str, str]
"""NAS and Acct-Session-Id."""


@dataclass(frozen=True, slots=True)
class Online:
    """A session with its device, alive until then unless it is heard of again."""

    key: SessionKey
    service_id: str
    mac: str | None
    words: str
    alive_until: datetime


class LiveDevices:
    """The live devices of limited services, as one process knows them."""

    def __init__(self, clock: Clock, class_key: bytes) -> None:
        self._clock = clock
        self._class_key = class_key
        self.watching = False
        """Whether any service is limited so that it has to be known who is online."""
        self._interims: dict[str, int] = {}
        self._on_record: dict[str, list[Online]] = {}
        self._heard: dict[str, dict[SessionKey, Online]] = {}
        self._signed_in: dict[str, dict[str | None, datetime]] = {}
        self._stopped: dict[SessionKey, datetime] = {}

    def use(self, directory: Directory) -> None:
        """Watch the services that this directory limits."""
        if directory.limited or self._interims:
            self._interims = {
                service_id: directory.logins[names[0]].service.interim_interval_s
                for service_id in directory.limited
                if (names := directory.usernames_of.get(service_id))
            }
            self.watching = bool(self._interims)

    def others_alive(self, service_id: str, mac: str | None) -> list[str]:
        """The service's live devices but the one that asks, in words."""
        now = self._clock.now()
        devices = alive_devices(self._sessions(service_id), mac, now)
        for other, at in self._signed_in.get(service_id, {}).items():
            if other != mac and now - at < _A_MOMENT:
                devices.setdefault(
                    other, f"{spelled_mac(other) or 'a device without a MAC'}, in at {at:%H:%M:%S}Z"
                )
        return list(devices.values())

    def _sessions(self, service_id: str) -> Iterator[Online]:
        known = chain(self._on_record.get(service_id, ()), self._heard.get(service_id, {}).values())
        return (one for one in known if one.key not in self._stopped)

    def signed_in(self, service_id: str, mac: str | None) -> None:
        """A device has just been let in."""
        self._signed_in.setdefault(service_id, {})[mac] = self._clock.now()

    def note(self, record: Record) -> None:
        """Take notice of an accounting record that has reached the disk."""
        try:
            packet = record.datagram
            first, _ = locate(packet)
            kind = int.from_bytes(value_at(packet, first[Attr.ACCT_STATUS_TYPE]), "big")
            session_id = value_at(packet, first[Attr.ACCT_SESSION_ID]).decode("utf-8", "replace")
            token = decode_class(value_at(packet, first[Attr.CLASS]), self._class_key)
        except (KeyError, MalformedPacket):
            return
        if token is None or token.service_id not in self._interims:
            return
        at = first.get(Attr.CALLING_STATION_ID)
        mac = None if at is None else normalise_mac(value_at(packet, at).decode("utf-8", "replace"))
        key = (record.nas_id, session_id)
        if kind == _STOP:
            self._heard.get(token.service_id, {}).pop(key, None)
            self._signed_in.get(token.service_id, {}).pop(mac, None)
            self._stopped[key] = self._clock.now()
        elif kind in {_START, _INTERIM}:
            self._stopped.pop(key, None)
            until = self._clock.now() + _lifetime(self._interims[token.service_id])
            words = f"{mac or session_id} on {record.nas_id}"
            sessions = self._heard.setdefault(token.service_id, {})
            if len(sessions) < _KEPT_OF_ONE:
                sessions[key] = Online(key, token.service_id, mac, words, until)

    async def refresh(self, workplace: Workplace) -> None:
        """Read who is online, and forget what has passed."""
        now = self._clock.now()
        self._forget(now)
        found: dict[str, list[Online]] = {}
        if self._interims:
            async with workplace.reading() as connection:
                for row in await directory_rows.online_devices(connection, list(self._interims)):
                    found.setdefault(row.service_id, []).append(online(row))
        self._on_record = found

    def _forget(self, now: datetime) -> None:
        heard = (
            (service_id, {key: one for key, one in sessions.items() if one.alive_until > now})
            for service_id, sessions in self._heard.items()
        )
        self._heard = {service_id: sessions for service_id, sessions in heard if sessions}
        lately = (
            (service_id, {mac: at for mac, at in devices.items() if now - at < _A_MOMENT})
            for service_id, devices in self._signed_in.items()
        )
        self._signed_in = {service_id: devices for service_id, devices in lately if devices}
        self._stopped = {key: at for key, at in self._stopped.items() if now - at < _A_MOMENT}


def alive_devices(sessions: Iterable[Online], mac: str | None, now: datetime) -> dict[object, str]:
    """The live devices among these sessions, but for the one with ``mac``, in words."""
    devices: dict[object, str] = {}
    for one in sessions:
        if one.alive_until > now and (mac is None or one.mac != mac):
            devices[one.mac or one.key] = one.words
    return devices


def online(row: Any) -> Online:
    """A session as the database has it."""
    station = row.calling_station or row.acct_session_id
    words = f"{station} on {row.nas_name or row.nas_id} since {row.started_at:%Y-%m-%d %H:%M}Z"
    return Online(
        (row.nas_id, row.acct_session_id), row.service_id, normalise_mac(row.calling_station or ""), words,
        row.last_received_at + _lifetime(row.interim_interval_s),
    )  # fmt: skip


def _lifetime(interim_interval_s: int) -> timedelta:
    return timedelta(seconds=_ALIVE_INTERVALS * max(interim_interval_s, 60))
