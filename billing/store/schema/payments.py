"""Tables: money received and what it pays."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Date, ForeignKey, String, Table, Text

from billing.store.schema.base import metadata
from core.store.columns import Instant

payment = Table(
    "billing_payment",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("account_id", String(40), ForeignKey("billing_account.id"), nullable=False, index=True),
    Column("idempotency_key", String(120), nullable=False, unique=True),  # the caller's id of this payment
    Column("method", String(20), nullable=False),  # cash, cheque, transfer, card
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("received_on", Date, nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("recorded_by", String(80), nullable=False),
    Column("note", Text),
    Column("unallocated_minor", BigInteger, nullable=False),
    Column("reversed_at", Instant),
    Column("reversal_reason", Text),
)

allocation = Table(
    "billing_allocation",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("payment_id", String(40), ForeignKey("billing_payment.id"), nullable=False, index=True),
    Column("invoice_id", String(40), ForeignKey("billing_invoice.id"), nullable=False, index=True),
    Column(
        "amount_minor", BigInteger, nullable=False
    ),  # negative rows undo an allocation; rows are never edited
    Column("at", Instant, nullable=False),
)
