"""Tables: bill runs, invoices, lines, number series."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Date,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from billing.store.schema.base import metadata
from core.store.columns import Instant

bill_run = Table(
    "billing_bill_run",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("through", Date, nullable=False),  # every cycle turning up to and on this local date
    Column("started_at", Instant, nullable=False),
    Column("finished_at", Instant),
    Column("invoices", Integer, nullable=False, default=0),
    Column("parked", JSON, nullable=False),  # [{"account_id":…, "reason":…}]
)

invoice = Table(
    "billing_invoice",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("number", String(40), unique=True),  # gapless per series, given when finalised
    Column("account_id", String(40), ForeignKey("billing_account.id"), nullable=False),
    Column("cycle_start", Date, nullable=False),  # the cycle that this invoice opens
    Column("cycle_end", Date, nullable=False),
    Column("issued_on", Date, nullable=False),
    Column("due_on", Date, nullable=False, index=True),
    Column("currency", String(3), nullable=False),
    Column("net_minor", BigInteger, nullable=False),
    Column("tax_minor", BigInteger, nullable=False),
    Column("total_minor", BigInteger, nullable=False),
    Column("open_minor", BigInteger, nullable=False),  # total less allocations; the ledger is the proof
    Column("status", String(12), nullable=False, index=True),  # finalised, paid, credited
    Column("bill_to", JSON, nullable=False),  # name and address as they were
    Column("bill_run_id", String(40), ForeignKey("billing_bill_run.id")),
    Column("created_at", Instant, nullable=False),
    UniqueConstraint("account_id", "cycle_start"),
)

invoice_line = Table(
    "billing_invoice_line",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("invoice_id", String(40), ForeignKey("billing_invoice.id"), nullable=False, index=True),
    Column("position", Integer, nullable=False),
    Column("kind", String(12), nullable=False),  # recurring, usage, tax, adjustment
    Column("description", Text, nullable=False),
    Column("quantity", String(60)),
    Column("amount_minor", BigInteger, nullable=False),
    Column("subscription_id", String(40), ForeignKey("billing_subscription.id")),
    Column("period_start", Date),
    Column("period_end", Date),
    Column("explanation", JSON, nullable=False),  # how the amount came to be, as data
    UniqueConstraint("invoice_id", "position"),
)

Index("ix_billing_invoice_line_subscription", invoice_line.c.subscription_id, invoice_line.c.period_start)

number_series = Table(
    "billing_number_series",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("prefix", String(20), nullable=False),
    Column("next_number", BigInteger, nullable=False),
)
