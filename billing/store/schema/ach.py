"""Tables: debits by ACH file, from the customer's bank account to what the bank sends back."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    ForeignKey,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from billing.store.schema.base import metadata
from core.store.columns import Instant

ach_originator = Table(
    "billing_ach_originator",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("name", String(80), nullable=False, unique=True),
    Column("profile", JSON, nullable=False),  # what the bank told: routing numbers, names, company id
    Column("created_at", Instant, nullable=False),
)

bank_account = Table(
    "billing_bank_account",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("account_id", String(40), ForeignKey("billing_account.id"), nullable=False, index=True),
    Column("holder_name", String(80), nullable=False),
    Column("account_type", String(10), nullable=False),  # checking, savings
    Column("routing_number", String(9), nullable=False),
    Column("number_sealed", Text, nullable=False),
    Column("last_four", String(4), nullable=False),
    Column("mark", String(64), nullable=False, index=True),  # keyed fingerprint of routing and account number
    Column("sec_code", String(3), nullable=False),  # PPD, CCD, WEB
    Column("authorised_on", Date, nullable=False),
    Column("mandate", String(200), nullable=False),  # where the authorisation is kept: form, call, web
    Column("autopay", Boolean, nullable=False),
    Column("usable_from", Date),  # None while a prenote is still to be sent
    Column("recorded_at", Instant, nullable=False),
    Column("recorded_by", String(80), nullable=False),
    Column("ended_at", Instant),
    Column("ended_because", Text),
    Column("replaces", String(40)),  # the row that a notification of change corrected
)

ach_batch = Table(
    "billing_ach_batch",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("originator_id", String(40), ForeignKey("billing_ach_originator.id"), nullable=False),
    Column("state", String(10), nullable=False, index=True),  # draft, approved, sent, cancelled
    Column("effective_on", Date, nullable=False),
    Column("same_day", Boolean, nullable=False),
    Column("drafted_at", Instant, nullable=False),
    Column("drafted_by", String(80), nullable=False),
    Column("approved_at", Instant),
    Column("approved_by", String(80)),
    Column("sent_at", Instant),
    Column("sent_by", String(80)),
    Column("settles_on", Date),  # the banking day from which the money is no longer in transit
    Column("file_name", String(80)),
    Column("file_made_on", Date),
    Column("file_modifier", String(1)),
    Column("file_sha256", String(64)),
    Column("file_sealed", Text),  # the octets as they were made: account numbers are in them
    UniqueConstraint("originator_id", "file_made_on", "file_modifier"),
)

ach_entry = Table(
    "billing_ach_entry",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("batch_id", String(40), ForeignKey("billing_ach_batch.id"), nullable=False, index=True),
    Column("account_id", String(40), ForeignKey("billing_account.id"), nullable=False, index=True),
    Column("bank_account_id", String(40), ForeignKey("billing_bank_account.id"), nullable=False),
    Column("kind", String(10), nullable=False),  # debit, prenote
    Column("amount_minor", BigInteger, nullable=False),
    Column("invoices", JSON, nullable=False),  # ids of the invoices it is for
    Column("state", String(10), nullable=False, index=True),  # drafted, removed, in_flight, settled, returned
    Column("trace_number", String(15), unique=True),
    Column("payment_id", String(40), ForeignKey("billing_payment.id")),
)

bank_file = Table(
    "billing_bank_file",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("kind", String(12), nullable=False),  # ach_return, mt940, camt053, csv
    Column("sha256", String(64), nullable=False),
    Column("name", String(120), nullable=False),
    Column("octets", Integer, nullable=False),
    Column("imported_at", Instant, nullable=False),
    Column("imported_by", String(80), nullable=False),
    Column("summary", JSON, nullable=False),
    UniqueConstraint("kind", "sha256"),
)

ach_return = Table(
    "billing_ach_return",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("bank_file_id", String(40), ForeignKey("billing_bank_file.id"), nullable=False, index=True),
    Column("entry_id", String(40), ForeignKey("billing_ach_entry.id"), index=True),  # None: not ours
    Column("answer", String(10), nullable=False),  # return, change, other
    Column("code", String(3), nullable=False),
    Column("original_trace", String(15), nullable=False),
    Column("return_trace", String(15), nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("sent_on", Date, nullable=False),
    Column("outcome", String(12), nullable=False),  # reversed, corrected, by_hand, unknown, late, again
    Column("told", Text, nullable=False),  # in words, without account numbers
    Column("recorded_at", Instant, nullable=False),
    UniqueConstraint("original_trace", "code", "return_trace"),
)
