"""Tables: who found the clock right."""

from __future__ import annotations

from sqlalchemy import Column, String, Table

from billing.store.schema.base import metadata
from core.store.columns import Instant

clock_trust = Table(
    "billing_clock_trust",
    metadata,
    Column("id", String(10), primary_key=True),  # "clock": there is one
    Column("at", Instant, nullable=False),
    Column("by", String(80), nullable=False),  # the actor
    Column("how", String(20), nullable=False),  # synchronised, vouched
)
