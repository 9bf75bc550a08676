"""Bind logins to CPEs and ports: what is learned, what operators say, and the window for a swap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa import service_terms as terms
from aaa.domain import checks
from aaa.domain.conditions import BINDINGS
from aaa.domain.identity import normalise_mac, spelled_mac
from aaa.domain.line import NotALine, read_pattern
from aaa.store import cpe_rows, directory_rows, repositories
from core.refusal import Refusal
from core.work import Work

SHORTEST_WINDOW = timedelta(minutes=1)
LONGEST_WINDOW = timedelta(days=7)
USUAL_WINDOW = timedelta(hours=2)
MOST_BOUND = 32


@dataclass(frozen=True, slots=True)
class LearnedCpe:
    """A CPE that was seen to sign in, first or ``instead_of`` those that a replacement window let go.

    ``window``: the end of that window, by which it is told from a later one.
    """

    username: str
    service_id: str
    mac: str
    nas_id: str
    at: datetime
    instead_of: tuple[str, ...] = ()
    window: datetime | None = None


@dataclass(frozen=True, slots=True)
class CpeRecord:
    """A device that a login is or was bound to."""

    username: str
    mac: str
    source: str  # learned, operator
    nas_id: str | None
    since: datetime
    retired_at: datetime | None
    retired_because: str | None

    @property
    def label(self) -> str:
        """The MAC as its label has it."""
        return spelled_mac(self.mac)


async def record_learned(work: Work, learned: Sequence[LearnedCpe]) -> int:
    """Put learned CPEs on record; returns the change by which every directory knows what stands.

    The first writer wins: a login that was bound meanwhile, a window that was used or closed, and a login
    that is gone stay as they are. However many CPEs are seen first, it is a handful of statements; the rows
    themselves are the trail of who learned them where.
    """
    await repositories.take_directory_lane(work.connection)
    owners = await cpe_rows.services_of(work.connection, [one.username for one in learned])
    mine = [one for one in learned if owners.get(one.username) == one.service_id]
    for one in mine:
        if one.instead_of:
            await _replace(work, one)
    await _learn(work, [one for one in mine if not one.instead_of])
    return await directory_rows.newest_change(work.connection)


async def _learn(work: Work, learned: Sequence[LearnedCpe]) -> None:
    bound = await cpe_rows.bound_to(work.connection, [one.username for one in learned])
    first = {one.username: one for one in reversed(learned) if one.username not in bound}
    rows = [_values(work, one.service_id, one.username, one.mac, one.nas_id) for one in first.values()]
    await cpe_rows.insert_cpes(work.connection, rows)
    changed = sorted({one.service_id for one in first.values()})
    await cpe_rows.services_changed(work.connection, changed, work.now)


async def _replace(work: Work, one: LearnedCpe) -> None:
    row = await repositories.credential_row(work.connection, one.username)
    if row is None or row.replace_until is None or row.replace_until != one.window:
        return
    await cpe_rows.retire_cpes(
        work.connection, one.username, one.instead_of, work.now, f"replaced by {one.mac}"
    )
    values = _values(work, one.service_id, one.username, one.mac, one.nas_id)
    await cpe_rows.insert_cpes(work.connection, [values])
    closed = {"replace_until": None, "replace_mac": None}
    await repositories.update_credential(work.connection, one.username, closed)
    await terms.service_changed(
        work, one.service_id, "cpe.replace", username=one.username, mac=one.mac, nas=one.nas_id,
        instead_of=list(one.instead_of),
    )  # fmt: skip


def _values(work: Work, service_id: str, username: str, mac: str, nas_id: str | None) -> dict[str, Any]:
    """The row of a device; where it was first seen, when it was learned."""
    return {
        "id": work.ids.new("cpe"), "service_id": service_id, "username": username, "mac": mac,
        "source": "operator" if nas_id is None else "learned", "nas_id": nas_id, "since": work.now,
    }  # fmt: skip


async def set_binding(work: Work, username: str, binding: str | None) -> Refusal | None:
    """Bind a login to the first CPE seen (``learn``), to those listed (``list``) or not at all (``off``).

    None: as the settings have it for everybody. What was bound stays on record, and counts again with
    ``learn`` or ``list``.
    """
    checked = None if binding is None else checks.check_choice(binding, "binding", BINDINGS)
    if isinstance(checked, Refusal):
        return checked
    row = await _bindable(work, username)
    if isinstance(row, Refusal):
        return row
    await repositories.update_credential(work.connection, username, {"binding": checked})
    await terms.service_changed(work, row.service_id, "cpe.binding", username=username, binding=checked)
    return None


async def bind_cpe(work: Work, username: str, mac: str) -> Refusal | None:
    """Add a CPE to those a login is bound to; binding it again changes nothing."""
    row = await _bindable(work, username)
    if isinstance(row, Refusal):
        return row
    normal = _mac(mac)
    if isinstance(normal, Refusal):
        return normal
    bound = await _bound(work, username)
    if normal in bound:
        return None
    if len(bound) >= MOST_BOUND:
        return Refusal("cpe.too_many", f"{username} is bound to {MOST_BOUND} CPEs; release some first", "mac")
    values = _values(work, row.service_id, username, normal, None)
    await cpe_rows.insert_cpes(work.connection, [values])
    await terms.service_changed(work, row.service_id, "cpe.bind", username=username, mac=normal)
    return None


async def release_cpe(work: Work, username: str, mac: str | None) -> Refusal | None:
    """A CPE (None: every one) is bound no longer; when none is left, ``learn`` binds the next one seen."""
    row = await _bindable(work, username)
    if isinstance(row, Refusal):
        return row
    bound = await _bound(work, username)
    if mac is None:
        await cpe_rows.retire_all(work.connection, username, work.now, f"released by {work.actor}")
    else:
        normal = _mac(mac)
        if isinstance(normal, Refusal):
            return normal
        if normal not in bound:
            known = _spelled(bound) or "no CPE"
            words = f"{username} is bound to {known}, not to {spelled_mac(normal)}"
            return Refusal("cpe.unknown", words, "mac")
        await cpe_rows.retire_cpes(work.connection, username, [normal], work.now, f"released by {work.actor}")
    await terms.service_changed(work, row.service_id, "cpe.release", username=username, mac=mac or "all")
    return None


async def open_replacement(
    work: Work, username: str, for_how_long: timedelta = USUAL_WINDOW, old_mac: str | None = None
) -> datetime | Refusal:
    """Let the next other CPE take the place of the bound one (``old_mac``, when several are); until when.

    Opened again, the window is a new one.
    """
    if not SHORTEST_WINDOW <= for_how_long <= LONGEST_WINDOW:
        return Refusal(
            "for.range", "a replacement window is open for a minute at least and seven days at most", "for"
        )
    row = await _bindable(work, username)
    if isinstance(row, Refusal):
        return row
    bound = await _bound(work, username)
    old = None if old_mac is None else _mac(old_mac)
    if isinstance(old, Refusal):
        return old
    refusal = _check_replaceable(username, bound, old)
    if refusal is not None:
        return refusal
    until = work.now + for_how_long
    await repositories.update_credential(
        work.connection, username, {"replace_until": until, "replace_mac": old}
    )
    await terms.service_changed(
        work, row.service_id, "cpe.window", username=username, until=until.isoformat(), old=old
    )
    return until


def _check_replaceable(username: str, bound: Sequence[str], old: str | None) -> Refusal | None:
    if not bound:
        return Refusal(
            "cpe.none",
            f"{username} is bound to no CPE, so any may sign in; bind it first if that is not meant",
            "username",
        )
    if old is None and len(bound) > 1:
        return Refusal(
            "cpe.several", f"{username} is bound to {_spelled(bound)}; say which one is replaced", "old"
        )
    if old is not None and old not in bound:
        words = f"{username} is bound to {_spelled(bound)}, not to {spelled_mac(old)}"
        return Refusal("cpe.unknown", words, "old")
    return None


async def close_replacement(work: Work, username: str) -> Refusal | None:
    """Close the window before its time."""
    row = await _bindable(work, username)
    if isinstance(row, Refusal):
        return row
    closed = {"replace_until": None, "replace_mac": None}
    await repositories.update_credential(work.connection, username, closed)
    await terms.service_changed(work, row.service_id, "cpe.window", username=username, until=None)
    return None


async def bind_port(
    work: Work, username: str, *, nas_id: str | None = None, port: str | None = None
) -> Refusal | None:
    """Bind a login to a NAS, to a port with its VLANs (``aaa.domain.line``), or to both; to neither: free."""
    row = await _bindable(work, username, kinds=("pppoe", "mac", "circuit"))
    if isinstance(row, Refusal):
        return row
    try:
        pattern = None if port is None else str(read_pattern(port))
    except NotALine as trouble:
        return Refusal("port.malformed", str(trouble), "port")
    if nas_id is not None and await repositories.nas_row(work.connection, nas_id) is None:
        return Refusal("nas.unknown", f"there is no NAS {nas_id}; look it up by its name", "nas")
    await repositories.update_credential(
        work.connection, username, {"port_nas_id": nas_id, "port_pattern": pattern}
    )
    await terms.service_changed(
        work, row.service_id, "credential.port", username=username, nas=nas_id, port=pattern
    )
    return None


async def cpes_of_service(connection: AsyncConnection, service_id: str, limit: int = 100) -> list[CpeRecord]:
    """The devices a service's logins are and were bound to: those bound first, then the latest."""
    return [
        CpeRecord(
            row.username, row.mac, row.source, row.nas_id, row.since, row.retired_at, row.retired_because
        )
        for row in await cpe_rows.cpes_of_service(connection, service_id, limit)
    ]


async def _bound(work: Work, username: str) -> tuple[str, ...]:
    return (await cpe_rows.bound_to(work.connection, [username])).get(username, ())


async def _bindable(
    work: Work, username: str, kinds: Sequence[str] = ("pppoe", "circuit", "port")
) -> Row[Any] | Refusal:
    await repositories.take_directory_lane(work.connection)
    row = await repositories.credential_row(work.connection, username)
    if row is None:
        return Refusal("username.unknown", f"nobody signs in as {username}; check the spelling", "username")
    if row.kind not in kinds:
        return Refusal(
            "username.kind", f"{username} is a login by {row.kind} and cannot be bound to that", "username"
        )
    return row


def _spelled(macs: Sequence[str]) -> str:
    return ", ".join(spelled_mac(one) for one in macs)


def _mac(text: str) -> str | Refusal:
    return normalise_mac(text) or Refusal(
        "mac.malformed", f"{text!r} is not a MAC; write it like 00:e1:0c:38:c8:f8", "mac"
    )
