"""Operators' logins to network gear: given with a password of their own, taken away, and on record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.domain import checks
from aaa.domain.authentication import Credential
from aaa.domain.gear import LEVELS, GearLogin, GearOwner
from aaa.domain.nt_hash import md4, nt_hash
from aaa.store import gear_rows, repositories
from core.refusal import Refusal
from core.secrets import Sealer, SealError, Secret, random_password
from core.work import Work

_PURPOSE = "gear.password"


async def give_gear_login(
    work: Work, sealer: Sealer, *, operator_id: str, name: str, level: str
) -> Secret | Refusal:
    """Give an operator a login to network gear under his name; returns its password, shown once.

    A login he has is replaced: another level, another password.
    """
    await repositories.take_directory_lane(work.connection)
    refusal = checks.check_choice(level, "level", LEVELS)
    if isinstance(refusal, Refusal):
        return refusal
    if await gear_rows.is_a_subscribers(work.connection, name):
        return Refusal(
            "gear.name_taken", f"a subscriber signs in as {name}; give the operator another name", "name"
        )
    password = Secret(random_password(5))
    await gear_rows.put(
        work.connection,
        {
            "operator_id": operator_id, "name": name, "password_sealed": sealer.seal(password, _PURPOSE),
            "level": level, "enabled": True, "created_at": work.now, "changed_at": work.now,
        },
    )  # fmt: skip
    await repositories.append_directory_change(work.connection, "gear", operator_id, work.now)
    await work.audit("gear_login.given", operator_id, name=name, level=level)
    return password


async def take_gear_login(work: Work, operator_id: str) -> Refusal | None:
    """Take an operator's login to network gear away; servers follow within a second."""
    await repositories.take_directory_lane(work.connection)
    if not await gear_rows.take_away(work.connection, operator_id):
        return Refusal("gear.none", "this operator has no login to network gear", "operator")
    await repositories.append_directory_change(work.connection, "gear", operator_id, work.now)
    await work.audit("gear_login.taken", operator_id)
    return None


async def follow_operator(work: Work, operator_id: str, *, enabled: bool) -> None:
    """An operator is kept out, or let in again: so is his login to network gear, if he has one."""
    await repositories.take_directory_lane(work.connection)
    if await gear_rows.set_enabled(work.connection, operator_id, enabled=enabled):
        await repositories.append_directory_change(work.connection, "gear", operator_id, work.now)


async def levels_of(connection: AsyncConnection) -> dict[str, str]:
    """Who has a login to network gear, by operator id, with its level."""
    return {row.operator_id: row.level for row in await gear_rows.logins(connection)}


async def load_gear(
    connection: AsyncConnection, sealer: Sealer
) -> tuple[Mapping[bytes, GearLogin], list[str]]:
    """The logins that count, by name, and what could not be opened, for the operator."""
    found: dict[bytes, GearLogin] = {}
    troubles = []
    for row in await gear_rows.logins(connection):
        if not row.enabled:
            continue
        try:
            password = sealer.open(row.password_sealed, _PURPOSE).reveal()
        except SealError as trouble:
            troubles.append(f"{row.name} cannot sign in to network gear: {trouble}; give a new login")
            continue
        once = nt_hash(password)
        credential = Credential(row.name, "gear", password.encode(), once, md4([once])[0])
        found[row.name.encode()] = GearLogin(credential, row.level, GearOwner(row.operator_id))
    return found, troubles


@dataclass(frozen=True, slots=True)
class GearSignIn:
    """Somebody tried to sign in to a device. ``from_address``: the station the device named."""

    key: str
    at: datetime
    name: str
    operator_id: str | None
    nas_id: str
    nas_address: str
    from_address: str
    service_type: int
    granted: bool
    level: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class GearSignInLine:
    """The same as it is shown."""

    at: datetime
    name: str
    nas: str
    nas_address: str
    from_address: str
    granted: bool
    level: str
    reason: str


async def record_gear_sign_ins(work: Work, signs: Sequence[GearSignIn]) -> None:
    """Keep them; the same one again changes nothing."""
    await gear_rows.record(work.connection, [_row(one) for one in signs])


def _row(one: GearSignIn) -> dict[str, Any]:
    return {
        "record_key": one.key, "at": one.at, "name": _fitting(one.name, 80), "operator_id": one.operator_id,
        "nas_id": one.nas_id, "nas_address": one.nas_address, "from_address": _fitting(one.from_address, 64),
        "service_type": one.service_type, "granted": one.granted, "level": one.level,
        "reason": _fitting(one.reason, 200),
    }  # fmt: skip


def _fitting(text: str, longest: int) -> str:
    """PostgreSQL takes no NUL in a text."""
    return text.replace("\0", "\ufffd")[:longest]


async def gear_sign_ins(connection: AsyncConnection, limit: int) -> list[GearSignInLine]:
    """The latest sign-ins to network gear, newest first."""
    return [
        GearSignInLine(
            row.at, row.name, row.nas_name or row.nas_id, row.nas_address, row.from_address, row.granted,
            row.level or "", row.reason,
        )
        for row in await gear_rows.sign_ins(connection, limit)
    ]  # fmt: skip
