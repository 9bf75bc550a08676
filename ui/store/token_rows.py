"""Rows of API tokens. A token itself is never here, only its digest."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from ui.store.tables import api_token


@dataclass(frozen=True, slots=True)
class ApiToken:
    """One token as others may see it."""

    id: str
    name: str
    scope: str  # read, act
    created_at: datetime
    created_by: str
    last_used_at: datetime | None
    revoked_at: datetime | None
    revoked_by: str | None


_COLUMNS = (
    api_token.c.id, api_token.c.name, api_token.c.scope, api_token.c.created_at, api_token.c.created_by,
    api_token.c.last_used_at, api_token.c.revoked_at, api_token.c.revoked_by,
)  # fmt: skip


async def tokens(connection: AsyncConnection) -> list[ApiToken]:
    """Every token that was ever made, those in force first."""
    query = select(*_COLUMNS).order_by(api_token.c.revoked_at.is_not(None), api_token.c.name)
    return [ApiToken(*row) for row in await connection.execute(query)]


async def living_token(connection: AsyncConnection, digest: str) -> ApiToken | None:
    """The token with that digest, if it is in force."""
    query = select(*_COLUMNS).where(api_token.c.token_digest == digest, api_token.c.revoked_at.is_(None))
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else ApiToken(*row)


async def token_called(connection: AsyncConnection, text: str) -> ApiToken | None:
    """The token with that id or name."""
    query = select(*_COLUMNS).where((api_token.c.id == text) | (api_token.c.name == text))
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else ApiToken(*row)


async def add_token(connection: AsyncConnection, token: ApiToken, digest: str) -> None:
    """A new token."""
    await connection.execute(
        insert(api_token).values(
            id=token.id, name=token.name, token_digest=digest, scope=token.scope,
            created_at=token.created_at, created_by=token.created_by,
        )
    )  # fmt: skip


async def revoke(connection: AsyncConnection, token_id: str, at: datetime, by: str) -> None:
    """The token is in force no more."""
    await connection.execute(
        update(api_token).where(api_token.c.id == token_id).values(revoked_at=at, revoked_by=by)
    )


async def note_use(connection: AsyncConnection, token_id: str, at: datetime) -> None:
    """The token was used."""
    await connection.execute(update(api_token).where(api_token.c.id == token_id).values(last_used_at=at))
