"""Gapless number series: rows to values and back."""

from __future__ import annotations

from sqlalchemy import or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.store.rows import insert_if_absent
from billing.store.tables import (
    number_series,
)
from core.database import take_lane

INVOICE_SERIES = "invoice"
CREDIT_NOTE_SERIES = "credit_note"


ACCOUNT_SERIES = "account"


async def take_numbers(connection: AsyncConnection, series: str, prefix: str, count: int) -> list[str]:
    """The next ``count`` numbers of a series, without a gap: they are given back if the transaction fails."""
    if count == 0:
        return []
    await take_lane(connection, "number_series")
    await insert_if_absent(connection, number_series, {"name": series, "prefix": prefix, "next_number": 1})
    row = (
        await connection.execute(
            select(number_series).where(number_series.c.name == series).with_for_update()
        )
    ).one()
    await connection.execute(
        update(number_series)
        .where(number_series.c.name == series)
        .values(next_number=row.next_number + count)
    )
    return [_numbered(row.prefix, row.next_number + step) for step in range(count)]


async def document_numbers_given(connection: AsyncConnection) -> list[str]:
    """Every number that any series of invoices or credit notes has given so far."""
    names = [number_series.c.name.startswith(kind) for kind in (INVOICE_SERIES, CREDIT_NOTE_SERIES)]
    rows = await connection.execute(select(number_series).where(or_(*names)))
    return [_numbered(row.prefix, one) for row in rows for one in range(1, row.next_number)]


def _numbered(prefix: str, number: int) -> str:
    return f"{prefix}{number:06d}"
