"""Tables: priced usage."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, Date, ForeignKey, String, Table, UniqueConstraint

from billing.store.schema.base import metadata

rated_charge = Table(
    "billing_rated_charge",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("subscription_id", String(40), ForeignKey("billing_subscription.id"), nullable=False),
    Column("plan_version_id", String(40), ForeignKey("billing_plan_version.id"), nullable=False),
    Column("item_code", String(40), nullable=False, default="usage"),
    Column("period_start", Date, nullable=False),
    Column("period_end", Date, nullable=False),
    Column("usage_close_id", String(40), nullable=False),  # opaque here: the closed usage that was priced
    Column("octets_in", BigInteger, nullable=False),
    Column("octets_out", BigInteger, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("explanation", JSON, nullable=False),
    Column("invoice_line_id", String(40), ForeignKey("billing_invoice_line.id")),
    UniqueConstraint("subscription_id", "item_code", "period_start"),
)
