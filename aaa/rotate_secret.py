"""Give a NAS another RADIUS secret without a gap: for a while its devices may use the new or the old one.

The rotation ends at its time, or, for a NAS with one address, soon after that was first seen to use the new
secret: the grace is for a device that is set back because something else went wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_network
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.domain import checks
from aaa.register_nas import watch_secret
from aaa.store import repositories, secret_rows
from core.refusal import Refusal
from core.secrets import Sealer, Secret, random_password
from core.work import Work

SHORTEST_KEEP = timedelta(minutes=1)
LONGEST_KEEP = timedelta(days=30)
USUAL_KEEP = timedelta(hours=24)
GRACE = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class SecretUse:
    """One address was seen to use one of the two secrets."""

    nas_id: str
    address: str
    is_old: bool


@dataclass(frozen=True, slots=True)
class Rotation:
    """A rotation under way: until when the old secret counts, and who was last seen to use which."""

    until: datetime
    on_old: tuple[str, ...]
    on_new: tuple[str, ...]
    unseen: bool
    """True when no device of the NAS has been heard since the rotation began."""


async def rotate_secret(
    work: Work,
    sealer: Sealer,
    nas_id: str,
    *,
    secret: Secret | None = None,
    keep_old: timedelta = USUAL_KEEP,
) -> Secret | Refusal:
    """Set a new secret, random unless given, and let the old one count for ``keep_old``; returns the new.

    While an earlier rotation has not reached the NAS, its new secret is replaced and the old one stays.
    """
    await repositories.take_directory_lane(work.connection)
    row = await repositories.nas_row(work.connection, nas_id)
    if row is None:
        return Refusal("nas.unknown", f"there is no NAS {nas_id}; look it up by its name", "nas_id")
    chosen = secret or Secret(random_password(6))
    refusal = _check(chosen, keep_old) or await _check_earlier(work, row)
    if refusal is not None:
        return refusal
    old = row.secret_sealed
    if row.old_secret_sealed is not None and not await _seen_on_new(work, nas_id):
        old = row.old_secret_sealed
    until = work.now + keep_old
    await secret_rows.begin(work.connection, nas_id, (sealer.seal(chosen, "nas.secret"), old), until)
    await repositories.append_directory_change(work.connection, "nas", nas_id, work.now)
    await watch_secret(work, nas_id, row.name, chosen)
    await work.audit("nas.rotate_secret", nas_id, old_until=until.isoformat())
    return chosen


def _check(secret: Secret, keep_old: timedelta) -> Refusal | None:
    if not SHORTEST_KEEP <= keep_old <= LONGEST_KEEP:
        return Refusal(
            "keep_old.range", "the old secret can be kept from 1 minute to 30 days; 24 hours are usual",
            "keep_old",
        )  # fmt: skip
    return checks.check_secret(len(secret.reveal()))


async def _check_earlier(work: Work, row: Any) -> Refusal | None:
    if row.old_secret_sealed is None or ip_network(row.network).num_addresses == 1:
        return None
    uses = await secret_rows.uses_of(work.connection, row.id)
    if any(_uses_old(one) for one in uses) and any(not _uses_old(one) for one in uses):
        return Refusal(
            "nas.rotation", f"some devices of {row.name} use the old secret and some the new one; enter the "
            "new one in all of them, or retire the old one first", "secret",
        )  # fmt: skip
    return None


async def _seen_on_new(work: Work, nas_id: str) -> bool:
    return any(not _uses_old(one) for one in await secret_rows.uses_of(work.connection, nas_id))


def _uses_old(use: Any) -> bool:
    return use.new_at is None or (use.old_at is not None and use.old_at > use.new_at)


async def rotation_of(connection: AsyncConnection, nas_id: str) -> Rotation | None:
    """The rotation under way at a NAS, if any."""
    row = await repositories.nas_row(connection, nas_id)
    if row is None or row.old_secret_sealed is None:
        return None
    uses = await secret_rows.uses_of(connection, nas_id)
    return Rotation(
        row.old_secret_until,
        tuple(one.address for one in uses if _uses_old(one)),
        tuple(one.address for one in uses if not _uses_old(one)),
        unseen=not uses,
    )


async def retire_old_secret(work: Work, nas_id: str) -> Refusal | None:
    """End the rotation now: from the next second on the old secret gets silence."""
    await repositories.take_directory_lane(work.connection)
    row = await repositories.nas_row(work.connection, nas_id)
    if row is None:
        return Refusal("nas.unknown", f"there is no NAS {nas_id}; look it up by its name", "nas_id")
    if row.old_secret_sealed is None:
        return Refusal("nas.no_rotation", f"no secret of {row.name} is being rotated", "nas_id")
    await _end(work, row, "retired")
    return None


@dataclass(frozen=True, slots=True)
class Ended:
    """A rotation that came to its end, with the addresses that were last seen to use the old secret."""

    nas_id: str
    name: str
    left_behind: tuple[str, ...]


async def retire_expired_secrets(work: Work) -> list[Ended]:
    """End the rotations whose time is over."""
    await repositories.take_directory_lane(work.connection)
    found = await secret_rows.over(work.connection, work.now)
    return [Ended(row.id, row.name, await _end(work, row, "expired")) for row in found]


async def _end(work: Work, row: Any, how: str) -> tuple[str, ...]:
    uses = await secret_rows.uses_of(work.connection, row.id)
    left_behind = [one.address for one in uses if _uses_old(one)]
    await secret_rows.end(work.connection, row.id)
    await repositories.append_directory_change(work.connection, "nas", row.id, work.now)
    await work.audit(f"nas.old_secret_{how}", row.id, still_used_by=left_behind[:20])
    return tuple(left_behind)


async def note_secret_uses(work: Work, seen: Sequence[SecretUse]) -> None:
    """Keep who was seen to use which secret; the first use of the new one begins the grace."""
    await repositories.take_directory_lane(work.connection)
    rotating = await secret_rows.rotating(work.connection, sorted({one.nas_id for one in seen}))
    for row in rotating:
        known = {one.address: _uses_old(one) for one in await secret_rows.uses_of(work.connection, row.id)}
        mine = [one for one in seen if one.nas_id == row.id]
        for one in mine:
            await secret_rows.note_use(work.connection, row.id, one.address, work.now, is_old=one.is_old)
        moved = [one for one in mine if not one.is_old and known.get(one.address, True)]
        if moved:
            await _moved(work, row)


async def _moved(work: Work, row: Any) -> None:
    """An address has come to the new secret: every worker learns it."""
    if ip_network(row.network).num_addresses == 1:
        await secret_rows.shorten(work.connection, row.id, work.now + GRACE)
    await repositories.append_directory_change(work.connection, "nas", row.id, work.now)
