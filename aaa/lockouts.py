"""Who is held back after wrong passwords: written down by the servers, let go by operators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.domain.identity import normalise_mac, spelled_mac
from aaa.store import lockout_rows
from core.refusal import Refusal
from core.work import Work

KEPT_AFTER = timedelta(hours=1)
_SHOWN = 500
GEAR_MARK = "gear "
"""Begins the station of a login to network gear: an operator may have a subscriber's name."""


@dataclass(frozen=True, slots=True)
class Held:
    """One login held back at one NAS. ``calling_station`` is empty for every device not known there."""

    nas_id: str
    nas: str
    identity: str
    calling_station: str
    service_id: str | None
    failures: int
    since: datetime
    until: datetime

    @property
    def device(self) -> str:
        """Where its wrong passwords come from, in words."""
        station = self.calling_station.removeprefix(GEAR_MARK)
        where = spelled_mac(normalise_mac(station)) or station or "any not known there"
        return f"network gear, from {where}" if station != self.calling_station else where


async def held_back(connection: AsyncConnection, now: datetime) -> list[Held]:
    """What is held back now, the longest first; at most five hundred."""
    return [
        Held(
            row.nas_id, row.nas_name, row.identity, row.calling_station, row.service_id, row.failures,
            row.since, row.until,
        )
        for row in await lockout_rows.held(connection, now, _SHOWN)
    ]  # fmt: skip


async def let_go(work: Work, identity: str, nas_id: str | None = None) -> Refusal | None:
    """Look at the next password of this login again, everywhere or at one NAS; servers follow in a second."""
    places = await lockout_rows.let_go(work.connection, identity, nas_id, work.now, work.actor[:80])
    if not places:
        return Refusal("lockout.none", f"{identity} is not held back; it may be over by now", "identity")
    await work.audit("lockout.let_go", identity[:80], nas_id=nas_id, places=places)
    return None


@dataclass(frozen=True, slots=True)
class HeldSighting:
    """A server holds this back until ``until``."""

    nas_id: str
    identity: str
    calling_station: str
    service_id: str | None
    failures: int
    since: datetime
    until: datetime


async def write_held(work: Work, sightings: Sequence[HeldSighting]) -> None:
    """Keep what a server holds back, for the operator, and forget what has long been over."""
    rows = [
        {
            "nas_id": one.nas_id, "identity": one.identity[:253], "calling_station": one.calling_station,
            "service_id": one.service_id, "failures": one.failures, "since": one.since, "until": one.until,
        }
        for one in sightings
    ]  # fmt: skip
    await lockout_rows.keep(work.connection, rows)
    await lockout_rows.forget_before(work.connection, work.now - KEPT_AFTER)
