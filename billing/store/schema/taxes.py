"""Tables: taxes and their rates."""

from __future__ import annotations

from sqlalchemy import Column, Date, Integer, String, Table

from billing.store.schema.base import metadata

tax_rate = Table(
    "billing_tax_rate",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("name", String(80), nullable=False),
    Column("tax_class", String(40), nullable=False),
    Column("country", String(2), nullable=False),
    Column("region", String(40)),  # None: the whole country
    Column("rate_ppm", Integer, nullable=False),  # parts per million: 7.25 % is 72500
    Column("valid_from", Date, nullable=False),
    Column("valid_until", Date),
)
