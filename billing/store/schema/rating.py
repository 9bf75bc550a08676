"""Tables: priced usage."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, Date, ForeignKey, String, Table

from billing.store.schema.base import metadata
from core.store.columns import partial_index

rated_charge = Table(  # insert only: what a part was charged is the sum over its rows
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
    Column("invoice_line_id", String(40), ForeignKey("billing_invoice_line.id")),  # it has the explanation
    Column("closes", JSON(none_as_null=True)),  # [[close id, from, until, octets in, out]] of a part made of
    # other closes than the one with just its days; None: it is made of that one
)
partial_index(
    "uq_billing_rated_charge_part", rated_charge.c.subscription_id, rated_charge.c.item_code,
    rated_charge.c.period_start, where=rated_charge.c.closes.is_(None), unique=True,
)  # fmt: skip
partial_index(
    "ix_billing_rated_charge_again", rated_charge.c.subscription_id,
    where=rated_charge.c.closes.is_not(None),
)  # fmt: skip
