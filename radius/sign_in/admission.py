"""Admission: the conditions of logins on the way of a request, and what was learned until it is on record.

A CPE seen first counts from that moment in this process, and is written down by the next turn. Another
process may have seen another first: in the database the first writer wins, and every process takes over what
stands there when its directory has come so far. While the database is away nothing is forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aaa.authorize import Reject
from aaa.bind_cpe import LearnedCpe, record_learned
from aaa.directory import Directory, Login
from aaa.domain.conditions import MAC_ALONE, Attachment, Conditions
from aaa.domain.identity import normalise_mac
from aaa.meet_conditions import Known, Met, meet_conditions, window_is_open
from core.clock import Clock, SystemClock
from core.work import Workplace
from radius.nas.attachment import is_over_ppp, read_attachment
from radius.sign_in.live_devices import LiveDevices

_WRITTEN_AT_ONCE = 200


@dataclass(slots=True)
class _Learned:
    bound: tuple[str, ...]
    record: LearnedCpe
    known_from_seq: int | None = None
    """The change from which on a directory holds what the database made of it; None: not written yet."""


class Admission:
    """The conditions of one process's sign-ins."""

    def __init__(self, clock: Clock, devices: LiveDevices) -> None:
        self._clock = clock
        self._devices = devices
        self._learned: dict[str, _Learned] = {}

    @classmethod
    def alone(cls) -> Admission:
        """Of a pipeline that is not part of a server: nothing it learns goes on record."""
        clock = SystemClock()
        return cls(clock, LiveDevices(clock, b""))

    def refusal(
        self, login: Login, packet: bytes, first: Mapping[int, int], nas_id: str, station: bytes | None
    ) -> Reject | None:
        """The condition that a login does not fulfil which has proved itself; ``first``: as located."""
        conditions = login.conditions
        if conditions is None or (conditions is MAC_ALONE and not is_over_ppp(packet, first)):
            return None
        own = self._learned.get(login.credential.username)
        bound = conditions.macs if own is None else own.bound
        mac = None if station is None else normalise_mac(station.decode("utf-8", "replace"))
        if mac is not None and mac in bound and conditions.is_about_cpe_alone:
            return None
        return self._judge(login, conditions, read_attachment(packet, first, nas_id, mac), own)

    def _judge(
        self, login: Login, conditions: Conditions, at: Attachment, own: _Learned | None
    ) -> Reject | None:
        known = Known(
            conditions.macs if own is None else own.bound,
            window_is_open(conditions, self._clock.now()) and (own is None or not own.record.instead_of),
            self._devices.others_alive(login.service.id, at.mac) if conditions.devices else (),
        )
        outcome = meet_conditions(login, conditions, at, known)
        if isinstance(outcome, Reject):
            return outcome
        if outcome.learned is not None:
            self._learn(login, conditions, known.bound, outcome, at.nas_id)
        if conditions.devices:
            self._devices.signed_in(login.service.id, at.mac)
        return None

    def _learn(
        self, login: Login, conditions: Conditions, bound: tuple[str, ...], found: Met, nas_id: str
    ) -> None:
        assert found.learned is not None  # noqa: S101 - the caller has looked
        record = LearnedCpe(
            login.credential.username, login.service.id, found.learned, nas_id, self._clock.now(),
            found.instead_of, conditions.replace_until if found.instead_of else None,
        )  # fmt: skip
        kept = tuple(mac for mac in bound if mac not in found.instead_of)
        self._learned[record.username] = _Learned((*kept, record.mac), record)

    async def flush(self, workplace: Workplace) -> None:
        """Write what was learned, some at a time; what fails is tried again at the next turn."""
        while some := [one for one in self._learned.values() if one.known_from_seq is None][
            :_WRITTEN_AT_ONCE
        ]:
            async with workplace.work("system:radius") as work:
                seq = await record_learned(work, [one.record for one in some])
            for one in some:
                one.known_from_seq = seq

    def use(self, directory: Directory) -> None:
        """Forget what this directory holds by itself."""
        if not self._learned:
            return
        self._learned = {
            username: one
            for username, one in self._learned.items()
            if one.known_from_seq is None or one.known_from_seq > directory.seq
        }

    @property
    def unwritten(self) -> int:
        """How many CPEs were learned and are not on record yet."""
        return sum(one.known_from_seq is None for one in self._learned.values())
