"""Tables: what the house's bank accounts received, and whose it is."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
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
from core.store.columns import BigId, Instant

house_account = Table(
    "billing_house_account",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("name", String(80), nullable=False, unique=True),
    Column("identification", String(60), nullable=False),  # as statements name it: IBAN, number; may be empty
    Column("currency", String(3), nullable=False),
    Column("csv_mapping", JSON),  # None: no CSV from this bank
    Column("created_at", Instant, nullable=False),
)

bank_statement = Table(
    "billing_bank_statement",
    metadata,
    Column("id", String(40), primary_key=True),
    Column(
        "house_account_id", String(40), ForeignKey("billing_house_account.id"), nullable=False, index=True
    ),
    Column("bank_file_id", String(40), ForeignKey("billing_bank_file.id"), nullable=False),
    Column("reference", String(60), nullable=False),
    Column("opened_on", Date),
    Column("closed_on", Date),
    Column("opening_minor", BigInteger),
    Column("closing_minor", BigInteger),
    Column("lines", Integer, nullable=False),
    Column("new_lines", Integer, nullable=False),
    Column("recorded_at", Instant, nullable=False),
)

bank_line = Table(
    "billing_bank_line",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("house_account_id", String(40), ForeignKey("billing_house_account.id"), nullable=False),
    Column("statement_id", String(40), ForeignKey("billing_bank_statement.id"), nullable=False, index=True),
    Column("line_key", String(80), nullable=False),  # what the bank says of it, with a number for true twins
    Column("booked_on", Date, nullable=False),
    Column("value_on", Date),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("reversal", Boolean, nullable=False),
    Column("bank_reference", String(140), nullable=False),
    Column("end_to_end_id", String(140), nullable=False),
    Column("remittance", Text, nullable=False),
    Column("payer_name", String(140), nullable=False),
    Column("payer_shown", String(40), nullable=False),  # the account's first two and last four characters
    Column("payer_mark", String(64), index=True),  # keyed fingerprint of the account, else of the name
    Column("state", String(10), nullable=False),  # open, assigned, ignored
    Column("recorded_at", Instant, nullable=False),
    UniqueConstraint("house_account_id", "line_key"),
)
Index("ix_billing_bank_line_state", bank_line.c.state, bank_line.c.booked_on)

bank_line_decision = Table(
    "billing_bank_line_decision",
    metadata,
    Column("seq", BigId, primary_key=True, autoincrement=True),
    Column("line_id", String(40), ForeignKey("billing_bank_line.id"), nullable=False, index=True),
    Column("kind", String(10), nullable=False),  # matched, assigned, reversed, ignored, undone
    Column("because", Text, nullable=False),
    Column("parts", JSON, nullable=False),  # [{"account_id":…, "payment_id":…, "amount_minor":…}]
    Column("at", Instant, nullable=False),
    Column("by", String(80), nullable=False),
)

payer_rule = Table(
    "billing_payer_rule",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("payer_mark", String(64), nullable=False, index=True),
    Column("payer_name", String(140), nullable=False),
    Column("payer_shown", String(40), nullable=False),
    Column("account_id", String(40), ForeignKey("billing_account.id"), nullable=False, index=True),
    Column("line_id", String(40), ForeignKey("billing_bank_line.id"), nullable=False),  # learnt from
    Column("learnt_at", Instant, nullable=False),
    Column("learnt_by", String(80), nullable=False),
    Column("withdrawn_at", Instant),
    Column("withdrawn_by", String(80)),
)
