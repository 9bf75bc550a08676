"""The conditions of a login in words, and whether a sign-in from somewhere fulfils them now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.authorize import Accept, Reject
from aaa.directory import KnownNas, Login
from aaa.domain.conditions import Attachment, Conditions
from aaa.domain.identity import normalise_mac, spelled_mac
from aaa.meet_conditions import Known, meet_conditions, window_is_open
from aaa.store import directory_rows
from radius.sign_in.live_devices import alive_devices, online


@dataclass(frozen=True, slots=True)
class Whence:
    """When an explained sign-in comes, and from where; None: from where it may."""

    now: datetime
    calling_station: str | None = None
    port: str | None = None


async def judge_conditions(
    connection: AsyncConnection, verdict: Accept, nas: KnownNas | None, whence: Whence
) -> Accept | Reject:
    """The verdict for a login that has proved itself, as ``radius.sign_in.admission`` would give it."""
    login, conditions = verdict.login, verdict.login.conditions
    if conditions is None:
        return verdict
    usual = conditions.macs[0] if conditions.macs else None
    mac = normalise_mac(whence.calling_station) if whence.calling_station else usual
    at = Attachment(
        nas.id if nas else conditions.port_nas_id or "", mac, whence.port or str(conditions.port or "")
    )
    known = Known(conditions.macs, window_is_open(conditions, whence.now))
    if conditions.devices:
        rows = await directory_rows.online_devices(connection, [login.service.id])
        alive = alive_devices([online(row) for row in rows], mac, whence.now)
        known = Known(known.bound, known.window, list(alive.values()) if mac else [])
    met = meet_conditions(login, conditions, at, known)
    return met if isinstance(met, Reject) else verdict


def conditions_in_words(login: Login | None, now: datetime | None, nases: Mapping[str, str]) -> list[str]:
    """What a sign-in has to fulfil beside its proof, a line for each; ``nases`` are names by id."""
    conditions = login.conditions if login else None
    if conditions is None:
        return []
    words = []
    if conditions.binding != "off":
        words.append("CPE " + (", ".join(map(spelled_mac, conditions.macs)) or _unbound(conditions)))
    if conditions.binding != "off" and now is not None and window_is_open(conditions, now):
        words.append(f"or another CPE, once, until {conditions.replace_until:%Y-%m-%d %H:%M}Z (swap)")
    if conditions.port is not None or conditions.port_nas_id is not None:
        place = conditions.port_nas_id
        nas = "any NAS" if place is None else f"NAS {nases.get(place, place)}"
        words.append(f"{f'port {conditions.port}' if conditions.port else 'any port'} of {nas}")
    if conditions.devices:
        words.append(f"at most {conditions.devices} online; one more is refused while they are alive")
    return words


def _unbound(conditions: Conditions) -> str:
    return "none: list one" if conditions.binding == "list" else "the first one seen, which will be bound"
