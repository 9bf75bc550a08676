"""Tables: the double-entry ledger, the closing of its days, and the operator's own account codes.

Entries, postings and closing acts are only ever inserted; migrations put triggers on them that refuse the
rest. A migration that rebuilds one of them in SQLite has to put its triggers on again.
"""

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
from billing.store.schema.invoices import invoice_line
from core.store.columns import BigId, Instant, partial_index

ledger_entry = Table(
    "billing_ledger_entry",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("booked_on", Date, nullable=False),
    Column("happened_on", Date),  # the day it belongs to, when that was closed and it was booked later
    Column("supplement", Integer, nullable=False, default=0),  # how often its day was closed before
    Column("source_kind", String(20), nullable=False),  # invoice, payment, allocation, reversal, write_off, …
    Column("source_id", String(40), nullable=False),
    Column("description", Text, nullable=False),
    Column("entity_id", String(40)),  # the legal entity; None: the house's own
    Column("recorded_at", Instant, nullable=False),
    Column("digest", String(64)),  # see billing.domain.ledger.entry_digest; None: booked before there was one
    UniqueConstraint("source_kind", "source_id"),
)

Index("ix_billing_ledger_entry_day", ledger_entry.c.booked_on, ledger_entry.c.id)

posting = Table(
    "billing_posting",
    metadata,
    Column("seq", BigId, primary_key=True, autoincrement=True),
    Column("entry_id", String(40), ForeignKey("billing_ledger_entry.id"), nullable=False, index=True),
    Column("ledger_account", String(60), nullable=False),  # see billing.domain.chart
    Column("account_id", String(40), ForeignKey("billing_account.id")),  # whose receivable
    Column("currency", String(3), nullable=False),
    Column(
        "amount_minor", BigInteger, nullable=False
    ),  # debit positive, credit negative; an entry sums to zero
)

partial_index(  # four sides of five are the house's own
    "ix_billing_posting_account", posting.c.account_id, posting.c.ledger_account,
    where=posting.c.account_id.is_not(None),
)  # fmt: skip

partial_index(  # recognition reads what was billed in advance from this alone
    "ix_billing_invoice_line_deferred", invoice_line.c.period_end, invoice_line.c.period_start,
    invoice_line.c.revenue, invoice_line.c.amount_minor, invoice_line.c.invoice_id,
    where=invoice_line.c.deferred.is_(True),
)  # fmt: skip

closing_act = Table(  # one chain: each act's hash is over the one before it
    "billing_closing_act",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),  # 1, 2, 3 … without a gap
    Column("kind", String(8), nullable=False),  # day, lock, reopen
    Column("day", Date, nullable=False),  # the day; the last day locked; the first day reopened
    Column("until", Date),  # the last day reopened
    Column("supplement", Integer, nullable=False),  # of a day: its first close is 0
    Column("entries", Integer, nullable=False),
    Column("postings", Integer, nullable=False),
    Column("sums", JSON, nullable=False),  # {currency: {ledger account: minor units}} of this close
    Column("reason", Text),
    Column("recorded_at", Instant, nullable=False),
    Column("recorded_by", String(80), nullable=False),
    Column("previous_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    Index("ix_billing_closing_act_kind", "kind", "day"),
)
partial_index(
    "uq_billing_closing_act_day", closing_act.c.day, closing_act.c.supplement,
    where=closing_act.c.kind == "day", unique=True,
)  # fmt: skip

ledger_code = Table(  # what the operator's own books call a ledger account
    "billing_ledger_code",
    metadata,
    Column("ledger_account", String(60), primary_key=True),  # one account, or the heading of several (tax)
    Column("code", String(120), nullable=False),
    Column("changed_at", Instant, nullable=False),
    Column("changed_by", String(80), nullable=False),
)
