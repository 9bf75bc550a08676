"""Tables: the double-entry ledger."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Date, ForeignKey, Index, String, Table, Text, UniqueConstraint

from billing.store.schema.base import metadata
from core.store.columns import BigId, Instant

ledger_entry = Table(
    "billing_ledger_entry",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("booked_on", Date, nullable=False),
    Column("source_kind", String(20), nullable=False),  # invoice, payment, allocation, reversal, write_off
    Column("source_id", String(40), nullable=False),
    Column("description", Text, nullable=False),
    Column("recorded_at", Instant, nullable=False),
    UniqueConstraint("source_kind", "source_id"),
)

posting = Table(
    "billing_posting",
    metadata,
    Column("seq", BigId, primary_key=True, autoincrement=True),
    Column("entry_id", String(40), ForeignKey("billing_ledger_entry.id"), nullable=False, index=True),
    Column("ledger_account", String(60), nullable=False),  # receivable, revenue:recurring, tax:…, cash:…
    Column("account_id", String(40), ForeignKey("billing_account.id")),  # whose receivable
    Column("currency", String(3), nullable=False),
    Column(
        "amount_minor", BigInteger, nullable=False
    ),  # debit positive, credit negative; an entry sums to zero
)

Index("ix_billing_posting_account", posting.c.account_id, posting.c.ledger_account)
