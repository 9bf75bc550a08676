"""Tables: resellers, their dated terms and accounts, what they earned and were paid."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Date, ForeignKey, Integer, String, Table, UniqueConstraint

from billing.store.schema.base import metadata
from core.store.columns import Instant

reseller = Table(
    "billing_reseller",
    metadata,
    Column("id", String(20), primary_key=True),  # a short name: ledger accounts carry it
    Column("name", String(160), nullable=False),
    Column("email", String(254)),
    Column("phone", String(40)),
    Column("currency", String(3), nullable=False),
    Column("entity_id", String(20), ForeignKey("billing_legal_entity.id")),  # whom it sells for; None: house
    Column("created_at", Instant, nullable=False),
    Column("created_by", String(80), nullable=False),
)

reseller_terms = Table(  # never edited: other terms are another row
    "billing_reseller_terms",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("reseller_id", String(20), ForeignKey("billing_reseller.id"), nullable=False, index=True),
    Column("valid_from", Date, nullable=False),
    Column("basis", String(10), nullable=False),  # collected, invoiced
    Column("percent_ppm", Integer, nullable=False),
    Column("flat_minor", BigInteger, nullable=False),  # for each account and month
    Column("recorded_at", Instant, nullable=False),
    Column("recorded_by", String(80), nullable=False),
)

reseller_account = Table(
    "billing_reseller_account",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("reseller_id", String(20), ForeignKey("billing_reseller.id"), nullable=False, index=True),
    Column("account_id", String(40), ForeignKey("billing_account.id"), nullable=False, index=True),
    Column("from_on", Date, nullable=False),
    Column("until_on", Date),  # exclusive; None: for good
    Column("recorded_at", Instant, nullable=False),
    Column("recorded_by", String(80), nullable=False),
    Column("ended_at", Instant),
    Column("ended_by", String(80)),
)

commission_statement = Table(  # one for each period, in order, without a gap between them
    "billing_commission_statement",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("reseller_id", String(20), ForeignKey("billing_reseller.id"), nullable=False),
    Column("number", Integer, nullable=False),  # 1, 2, 3 …
    Column("from_on", Date, nullable=False),
    Column("until_on", Date, nullable=False),  # exclusive
    Column("currency", String(3), nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("posted_at", Instant, nullable=False),
    Column("posted_by", String(80), nullable=False),
    UniqueConstraint("reseller_id", "number"),
    UniqueConstraint("reseller_id", "until_on"),
)

commission_line = Table(
    "billing_commission_line",
    metadata,
    Column("id", String(40), primary_key=True),
    Column(
        "statement_id", String(40), ForeignKey("billing_commission_statement.id"), nullable=False, index=True
    ),
    Column("reseller_id", String(20), ForeignKey("billing_reseller.id"), nullable=False),
    Column("source_kind", String(12), nullable=False),  # invoice, allocation, refund, month
    Column("source_id", String(40), nullable=False),
    Column("account_id", String(40), ForeignKey("billing_account.id"), nullable=False),
    Column("happened_on", Date, nullable=False),
    Column("earned_on", Date, nullable=False),  # whose terms and assignment count
    Column("net_minor", BigInteger, nullable=False),
    Column("commission_minor", BigInteger, nullable=False),
    UniqueConstraint("reseller_id", "source_kind", "source_id", "account_id"),  # each earns once
)

commission_payout = Table(
    "billing_commission_payout",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("reseller_id", String(20), ForeignKey("billing_reseller.id"), nullable=False, index=True),
    Column("idempotency_key", String(120), nullable=False, unique=True),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("method", String(20), nullable=False),
    Column("reference", String(140)),
    Column("paid_on", Date, nullable=False),
    Column("recorded_at", Instant, nullable=False),
    Column("recorded_by", String(80), nullable=False),
)
