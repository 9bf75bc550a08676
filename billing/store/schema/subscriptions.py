"""Tables: who bought what, when."""

from __future__ import annotations

from sqlalchemy import Column, Date, ForeignKey, String, Table

from billing.store.schema.base import metadata
from core.store.columns import Instant

subscription = Table(
    "billing_subscription",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("account_id", String(40), ForeignKey("billing_account.id"), nullable=False, index=True),
    Column("service_id", String(40), nullable=False, index=True),  # opaque here
    Column("plan_version_id", String(40), ForeignKey("billing_plan_version.id"), nullable=False),
    Column("starts_on", Date, nullable=False),  # local dates of the account
    Column("ends_on", Date),  # exclusive
    Column("created_at", Instant, nullable=False),
)
