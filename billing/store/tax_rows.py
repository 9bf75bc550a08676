"""Tax rates: rows to values and back."""

from __future__ import annotations

from datetime import date
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.catalogue import TaxRate
from billing.store.tables import (
    tax_rate,
)

_RATE = [
    tax_rate.c[name]
    for name in (
        "id", "name", "tax_class", "country", "region", "rate_ppm", "valid_from", "valid_until",
    )
]  # fmt: skip


async def tax_rates(connection: AsyncConnection) -> list[TaxRate]:
    """Every tax rate ever set."""
    query = select(*_RATE).order_by(tax_rate.c.country, tax_rate.c.name, tax_rate.c.valid_from)
    return [TaxRate(*row) for row in await connection.execute(query)]


async def insert_tax_rate(connection: AsyncConnection, values: dict[str, Any]) -> None:
    """A new dated rate."""
    await connection.execute(insert(tax_rate).values(values))


async def end_tax_rate(connection: AsyncConnection, rate_id: str, valid_until: date) -> None:
    """The day on which the rate no longer holds."""
    await connection.execute(update(tax_rate).where(tax_rate.c.id == rate_id).values(valid_until=valid_until))
