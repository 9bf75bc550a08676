"""Rows of operators, their sign-ins and their failed attempts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from ui.permissions import Role
from ui.store.tables import operator, sign_in, sign_in_failure


@dataclass(frozen=True, slots=True)
class Operator:
    """A staff member at the panel."""

    id: str
    name: str
    role: Role
    password_hash: str
    must_change_password: bool
    enabled: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class SignIn:
    """A live sign-in of an operator."""

    token_digest: str
    csrf_token: str
    created_at: datetime
    last_seen_at: datetime
    operator: Operator


_OPERATOR_COLUMNS = (
    operator.c.id, operator.c.name, operator.c.role, operator.c.password_hash,
    operator.c.must_change_password, operator.c.enabled, operator.c.created_at,
)  # fmt: skip


def _operator(row: tuple[str, str, str, str, bool, bool, datetime]) -> Operator:
    identity, name, role, password_hash, must_change, enabled, created_at = row
    return Operator(identity, name, Role(role), password_hash, must_change, enabled, created_at)


async def operator_by_name(connection: AsyncConnection, name: str) -> Operator | None:
    """The operator called ``name`` (names are kept in lower case)."""
    query = select(*_OPERATOR_COLUMNS).where(operator.c.name == name)
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else _operator(tuple(row))


async def operator_by_id(connection: AsyncConnection, operator_id: str) -> Operator | None:
    """The operator with that id."""
    query = select(*_OPERATOR_COLUMNS).where(operator.c.id == operator_id)
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else _operator(tuple(row))


async def all_operators(connection: AsyncConnection) -> list[Operator]:
    """Every operator by name."""
    rows = await connection.execute(select(*_OPERATOR_COLUMNS).order_by(operator.c.name))
    return [_operator(tuple(row)) for row in rows]


async def enabled_owners(connection: AsyncConnection) -> int:
    """How many owners can sign in."""
    query = select(func.count()).where(operator.c.role == Role.OWNER, operator.c.enabled.is_(True))
    return (await connection.execute(query)).scalar_one()


async def add_operator(connection: AsyncConnection, new: Operator) -> None:
    """Insert an operator."""
    await connection.execute(
        insert(operator).values(
            id=new.id, name=new.name, role=str(new.role), password_hash=new.password_hash,
            must_change_password=new.must_change_password, enabled=new.enabled, created_at=new.created_at,
        )
    )  # fmt: skip


async def set_password(
    connection: AsyncConnection, operator_id: str, password_hash: str, *, must_change: bool
) -> None:
    """Replace an operator's password."""
    await connection.execute(
        update(operator)
        .where(operator.c.id == operator_id)
        .values(password_hash=password_hash, must_change_password=must_change)
    )


async def set_enabled(connection: AsyncConnection, operator_id: str, enabled: bool) -> None:
    """Let an operator in, or keep him out."""
    await connection.execute(update(operator).where(operator.c.id == operator_id).values(enabled=enabled))


async def add_sign_in(
    connection: AsyncConnection, token_digest: str, operator_id: str, csrf_token: str, now: datetime
) -> None:
    """Insert a sign-in."""
    await connection.execute(
        insert(sign_in).values(
            token_digest=token_digest, operator_id=operator_id, csrf_token=csrf_token,
            created_at=now, last_seen_at=now,
        )
    )  # fmt: skip


async def live_sign_in(connection: AsyncConnection, token_digest: str) -> SignIn | None:
    """The sign-in of a cookie that has not been ended, of an operator who is enabled."""
    query = (
        select(sign_in.c.csrf_token, sign_in.c.created_at, sign_in.c.last_seen_at, *_OPERATOR_COLUMNS)
        .join(operator, operator.c.id == sign_in.c.operator_id)
        .where(
            sign_in.c.token_digest == token_digest, sign_in.c.ended_at.is_(None), operator.c.enabled.is_(True)
        )
    )
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        return None
    csrf_token, created_at, last_seen_at, *rest = row
    return SignIn(token_digest, csrf_token, created_at, last_seen_at, _operator(tuple(rest)))


async def touch_sign_in(connection: AsyncConnection, token_digest: str, now: datetime) -> None:
    """Note that the operator is still there."""
    await connection.execute(
        update(sign_in).where(sign_in.c.token_digest == token_digest).values(last_seen_at=now)
    )


async def end_sign_in(connection: AsyncConnection, token_digest: str, now: datetime) -> None:
    """End one sign-in."""
    await connection.execute(
        update(sign_in)
        .where(sign_in.c.token_digest == token_digest, sign_in.c.ended_at.is_(None))
        .values(ended_at=now)
    )


async def end_sign_ins_of(connection: AsyncConnection, operator_id: str, now: datetime) -> None:
    """End every sign-in of an operator."""
    await connection.execute(
        update(sign_in)
        .where(sign_in.c.operator_id == operator_id, sign_in.c.ended_at.is_(None))
        .values(ended_at=now)
    )


async def forget_sign_ins_before(connection: AsyncConnection, instant: datetime) -> None:
    """Remove sign-ins made before ``instant``."""
    await connection.execute(delete(sign_in).where(sign_in.c.created_at < instant))


async def failures_since(connection: AsyncConnection, key: str, since: datetime) -> int:
    """Failed attempts under ``key`` in the window that began after ``since``."""
    query = select(sign_in_failure.c.failures).where(
        sign_in_failure.c.key == key, sign_in_failure.c.window_started_at > since
    )
    return (await connection.execute(query)).scalar_one_or_none() or 0


async def count_failure(connection: AsyncConnection, key: str, now: datetime, since: datetime) -> None:
    """Count one failed attempt; windows that began before ``since`` are forgotten."""
    await connection.execute(delete(sign_in_failure).where(sign_in_failure.c.window_started_at <= since))
    counted = await connection.execute(
        update(sign_in_failure)
        .where(sign_in_failure.c.key == key)
        .values(failures=sign_in_failure.c.failures + 1)
    )
    if counted.rowcount == 0:
        await connection.execute(insert(sign_in_failure).values(key=key, failures=1, window_started_at=now))


async def forget_failures(connection: AsyncConnection, key: str) -> None:
    """Forget the failed attempts under ``key``."""
    await connection.execute(delete(sign_in_failure).where(sign_in_failure.c.key == key))


async def forgive_failure(connection: AsyncConnection, key: str) -> None:
    """Take one failed attempt back."""
    await connection.execute(
        update(sign_in_failure)
        .where(sign_in_failure.c.key == key, sign_in_failure.c.failures > 0)
        .values(failures=sign_in_failure.c.failures - 1)
    )
