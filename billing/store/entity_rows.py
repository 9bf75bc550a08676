"""Legal entities: rows to values and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.store.rows import insert_if_absent
from billing.store.tables import account, legal_entity, number_series


@dataclass(frozen=True, slots=True)
class LegalEntity:
    """A firm or brand that invoices in its own name, with the prefixes of its two series."""

    id: str
    name: str
    invoice_prefix: str
    credit_note_prefix: str


_ENTITY = (
    legal_entity.c.id, legal_entity.c.name, legal_entity.c.invoice_prefix, legal_entity.c.credit_note_prefix,
)  # fmt: skip


async def insert_entity(connection: AsyncConnection, values: Mapping[str, Any]) -> bool:
    """A new one; False when its id is taken."""
    return await insert_if_absent(connection, legal_entity, dict(values))


async def update_entity(connection: AsyncConnection, entity_id: str, values: Mapping[str, Any]) -> None:
    """What an operator changed."""
    await connection.execute(update(legal_entity).where(legal_entity.c.id == entity_id).values(**values))


async def list_entities(connection: AsyncConnection) -> list[LegalEntity]:
    """All of them, by name."""
    query = select(*_ENTITY).order_by(legal_entity.c.name, legal_entity.c.id)
    return [LegalEntity(*row) for row in await connection.execute(query)]


async def find_entity(connection: AsyncConnection, entity_id: str) -> LegalEntity | None:
    """The one with that id."""
    row = (await connection.execute(select(*_ENTITY).where(legal_entity.c.id == entity_id))).one_or_none()
    return None if row is None else LegalEntity(*row)


async def prefix_taken(connection: AsyncConnection, prefix: str, but_of: str = "") -> bool:
    """Whether another entity, or a series that has begun, numbers with this prefix."""
    entities = select(legal_entity.c.id).where(
        or_(legal_entity.c.invoice_prefix == prefix, legal_entity.c.credit_note_prefix == prefix),
        legal_entity.c.id != but_of,
    )
    if (await connection.execute(entities)).first() is not None:
        return True
    series = select(number_series.c.name).where(number_series.c.prefix == prefix)
    if but_of:
        series = series.where(number_series.c.name.not_like(f"%:{but_of}"))
    return (await connection.execute(series)).first() is not None


async def numbers_given(connection: AsyncConnection) -> dict[tuple[str, str], int]:
    """How many numbers each series of an entity has given, by kind and entity."""
    query = select(number_series.c.name, number_series.c.next_number).where(number_series.c.name.like("%:%"))
    found: dict[tuple[str, str], int] = {}
    for row in await connection.execute(query):
        kind, _, entity_id = row.name.partition(":")
        found[kind, entity_id] = int(row.next_number) - 1
    return found


async def accounts_of_each(connection: AsyncConnection) -> dict[str | None, int]:
    """How many open accounts each entity has; None: the house."""
    query = (
        select(account.c.entity_id, func.count())
        .where(account.c.closed_on.is_(None))
        .group_by(account.c.entity_id)
    )
    return {row[0]: int(row[1]) for row in await connection.execute(query)}
