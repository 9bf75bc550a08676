"""Legal entities on screen, with what they have numbered and how many customers they have."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.store import entity_rows, number_rows


@dataclass(frozen=True, slots=True)
class EntityRow:
    """An entity; ``invoices`` and ``credit_notes`` are how many numbers its series have given."""

    id: str
    name: str
    invoice_prefix: str
    credit_note_prefix: str
    invoices: int
    credit_notes: int
    accounts: int


async def entity_list(connection: AsyncConnection) -> list[EntityRow]:
    """By name; without the house."""
    given = await entity_rows.numbers_given(connection)
    accounts = await entity_rows.accounts_of_each(connection)
    return [
        EntityRow(
            one.id, one.name, one.invoice_prefix, one.credit_note_prefix,
            given.get((number_rows.INVOICE_SERIES, one.id), 0),
            given.get((number_rows.CREDIT_NOTE_SERIES, one.id), 0), accounts.get(one.id, 0),
        )
        for one in await entity_rows.list_entities(connection)
    ]  # fmt: skip


async def entity_choices(connection: AsyncConnection) -> list[tuple[str, str]]:
    """For a form."""
    return [(one.id, one.name) for one in await entity_rows.list_entities(connection)]
