"""Passwords of credentials: a new one, the hash of one, and keeping only the hash of one that is known."""

from __future__ import annotations

import asyncio
from typing import Any

from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa import service_terms as terms
from aaa.domain import checks
from aaa.domain.password_hash import KEPT_AS, PasswordHash, hash_of
from aaa.store import repositories
from core.refusal import Refusal
from core.secrets import Sealer, SealError, Secret
from core.work import Work


async def set_password(work: Work, sealer: Sealer, *, username: str, password: Secret) -> Refusal | None:
    """Give a PPPoE user a new password, kept so that every method works with it."""
    await repositories.take_directory_lane(work.connection)
    row = await _pppoe_user(work, username)
    if isinstance(row, Refusal):
        return row
    if not password.reveal():
        return terms.no_password()
    await _store(work, sealer, row, password)
    await terms.service_changed(work, row.service_id, "credential.password", username=username)
    return None


async def set_password_hash(work: Work, sealer: Sealer, *, username: str, given: Secret) -> Refusal | None:
    """Give a PPPoE user the password of which ``given`` is a hash, as another system exported it."""
    await repositories.take_directory_lane(work.connection)
    row = await _pppoe_user(work, username)
    if isinstance(row, Refusal):
        return row
    hashed = terms.usable_hash(given)
    if isinstance(hashed, Refusal):
        return hashed
    await _store(work, sealer, row, hashed)
    await terms.service_changed(
        work, row.service_id, "credential.password", username=username, kept_as=hashed.scheme
    )
    return None


async def keep_only_hash(work: Work, sealer: Sealer, *, username: str, scheme: str) -> Refusal | None:
    """Drop the password of a PPPoE user and keep a hash of it: ``argon2id``, or ``nt`` for MS-CHAP.

    It cannot be undone but by setting a password. Asked for the hash that is kept already, nothing changes.
    """
    checked = checks.check_choice(scheme, "scheme", KEPT_AS)
    if isinstance(checked, Refusal):
        return checked
    await repositories.take_directory_lane(work.connection)
    row = await _pppoe_user(work, username)
    if isinstance(row, Refusal):
        return row
    if row.password_sealed is None:
        return None if row.hash_scheme == scheme else _no_password_known(username, row.hash_scheme)
    try:
        password = sealer.open(row.password_sealed, "credential.password")
    except SealError as trouble:
        return Refusal(
            "password.closed",
            f"the password of {username} cannot be read: {trouble}; set it again",
            "username",
        )
    hashed = await asyncio.to_thread(hash_of, password.reveal(), scheme)
    await _store(work, sealer, row, hashed)
    await terms.service_changed(
        work, row.service_id, "credential.hash_only", username=username, kept_as=scheme
    )
    return None


async def users_with_passwords(connection: AsyncConnection) -> list[str]:
    """The PPPoE users whose passwords can be read, by name."""
    return await repositories.usernames_with_passwords(connection)


async def _pppoe_user(work: Work, username: str) -> Row[Any] | Refusal:
    row = await repositories.credential_row(work.connection, username)
    if row is None or row.kind != "pppoe":
        return Refusal(
            "username.unknown", f"there is no PPPoE user {username}; check the spelling", "username"
        )
    return row


async def _store(work: Work, sealer: Sealer, row: Row[Any], kept: Secret | PasswordHash) -> None:
    values = terms.kept_password(sealer, kept)
    await repositories.update_credential(work.connection, row.username, values)


def _no_password_known(username: str, scheme: str | None) -> Refusal:
    what = f"only a hash ({scheme}) of" if scheme else "nothing of"
    message = f"{what} the password of {username} is kept; set a new password first"
    return Refusal("password.unknown", message, "username")
