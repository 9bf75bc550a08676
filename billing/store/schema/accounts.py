"""Tables: who pays, and for whom."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    CheckConstraint,
    Column,
    Date,
    ForeignKey,
    Integer,
    String,
    Table,
)

from billing.store.schema.base import metadata
from core.store.columns import Instant

account = Table(
    "billing_account",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("number", String(40), nullable=False, unique=True),  # what the customer quotes
    Column("name", String(160), nullable=False),
    Column("email", String(254)),
    Column("phone", String(40)),
    Column("street", String(200)),
    Column("city", String(100)),
    Column("region", String(40)),  # state or province; picks the tax
    Column("postal_code", String(20)),
    Column("country", String(2), nullable=False),
    Column("currency", String(3), nullable=False),
    Column("time_zone", String(64), nullable=False),
    Column("anchor_day", Integer, nullable=False),
    Column("payment_terms_days", Integer, nullable=False),
    Column("dunning_policy_id", String(40), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("closed_on", Date),
    Column("next_cycle_on", Date, index=True),  # first cycle not invoiced; None: nothing to bill
    Column("account_class", String(40), nullable=False, default="standard"),  # picks policies
    Column("payer_account_id", String(40), ForeignKey("billing_account.id"), index=True),  # None: pays itself
    Column("entity_id", String(40)),  # the legal entity that invoices; None: the house itself
    Column("cycle_unit", String(8), nullable=False, default="month"),  # day, week, month, quarter, year
    Column("cycle_count", Integer, nullable=False, default=1),
    Column("cycle_from", Date),  # the day from which cycles are counted; None: by anchor_day alone
    Column("invoice_offset_days", Integer, nullable=False, default=0),  # after its cycle turns
    Column("locale", String(20)),  # babel; None: the house's own
    Column("delivery", String(10), nullable=False, default="email"),  # email, paper, none
    Column("former_cycles", JSON),  # how cycles turned before that was changed; None: always as now
    CheckConstraint("anchor_day BETWEEN 1 AND 31", name="anchor_day"),
)

payer_change = Table(  # who pays for an account from which day on; never edited
    "billing_payer_change",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("account_id", String(40), ForeignKey("billing_account.id"), nullable=False, index=True),
    Column("payer_id", String(40), ForeignKey("billing_account.id")),  # None: it pays itself again
    Column("from_on", Date, nullable=False),  # local date of the account
    Column("recorded_at", Instant, nullable=False),
    Column("recorded_by", String(80), nullable=False),
    Column("applied_at", Instant),  # None: its day is to come
    Column("withdrawn_at", Instant),  # another word was given before its day came
)

legal_entity = (
    Table(  # a firm or brand that invoices in its own name; its looks and mail servers go by its id
        "billing_legal_entity",
        metadata,
        Column("id", String(20), primary_key=True),  # a short name: it is in ledger exports and number series
        Column("name", String(120), nullable=False),
        Column("invoice_prefix", String(20), nullable=False, unique=True),
        Column("credit_note_prefix", String(20), nullable=False, unique=True),
        Column("created_at", Instant, nullable=False),
        Column("created_by", String(80), nullable=False),
    )
)
