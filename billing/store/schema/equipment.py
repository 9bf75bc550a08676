"""Tables: what of ours stands at customers' places."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Date, ForeignKey, String, Table, Text

from billing.store.schema.base import metadata
from core.store.columns import Instant

equipment_loan = Table(
    "billing_equipment_loan",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("account_id", String(40), ForeignKey("billing_account.id"), nullable=False, index=True),
    Column("subscription_id", String(40), ForeignKey("billing_subscription.id"), nullable=False, index=True),
    Column("name", String(120), nullable=False),
    Column("serial", String(80), nullable=False, index=True),
    Column("value_minor", BigInteger, nullable=False),  # asked for when it never comes back; 0: nothing
    Column("lent_on", Date, nullable=False),  # local dates of the account
    Column("recorded_at", Instant, nullable=False),
    Column("recorded_by", String(80), nullable=False),
)

equipment_return = Table(
    "billing_equipment_return",
    metadata,
    Column("loan_id", String(40), ForeignKey("billing_equipment_loan.id"), primary_key=True),
    Column("returned_on", Date, nullable=False),  # the first day on which it is not rented
    Column("note", Text),
    Column("recorded_at", Instant, nullable=False),
    Column("recorded_by", String(80), nullable=False),
)
