"""The rows that a directory is made of, copied whole into another database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from hashlib import sha256
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.store.tables import (
    authority,
    certificate,
    cpe,
    credential,
    directory_change,
    entitlement,
    gear_login,
    home_server,
    ip_pool,
    metadata,
    nas,
    nas_secret_use,
    profile_rule,
    realm,
    realm_server,
    reply_template,
    service,
    service_prefix,
    service_profile,
)

TABLES = (
    nas, nas_secret_use, service_profile, profile_rule, reply_template, service, service_prefix, credential,
    cpe, entitlement, authority, certificate, home_server, realm, realm_server, gear_login,
    ip_pool,
)  # fmt: skip
"""What ``aaa.directory`` reads, beside the newest number of the change feed."""
_AT_ONCE = 1_000


def layout() -> str:
    """A digest of the tables' columns: an image of another layout is of another release."""
    columns = [f"{one.table.name}.{one.name} {one.type!r}" for table in TABLES for one in table.columns]
    return sha256("\n".join(columns).encode()).hexdigest()[:32]


async def prepare(connection: AsyncConnection) -> None:
    """Make the tables in an empty database."""
    wanted = [*TABLES, directory_change]
    await connection.run_sync(lambda sync: metadata.create_all(sync, tables=wanted))


async def pages(connection: AsyncConnection) -> AsyncIterator[tuple[Any, Sequence[dict[str, Any]]]]:
    """(table, rows) of everything, a page at a time, the newest change last."""
    for table in TABLES:
        result = await connection.stream(select(table))
        async for page in result.mappings().partitions(_AT_ONCE):
            yield table, [dict(row) for row in page]
    newest = select(directory_change).order_by(directory_change.c.seq.desc()).limit(1)
    yield directory_change, [dict(row) for row in (await connection.execute(newest)).mappings()]


async def put(connection: AsyncConnection, table: Any, rows: Sequence[dict[str, Any]]) -> None:
    """Insert a page."""
    if rows:
        await connection.execute(insert(table), list(rows))
