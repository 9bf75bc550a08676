"""Tables: money received, what it pays, and where else it goes."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    ForeignKey,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)

from billing.store.schema.base import metadata
from core.store.columns import BigId, Instant

payment = Table(
    "billing_payment",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("account_id", String(40), ForeignKey("billing_account.id"), nullable=False, index=True),
    Column("idempotency_key", String(120), nullable=False, unique=True),  # the caller's id of this payment
    Column("method", String(20), nullable=False),  # cash, cheque, transfer, card, ach; credit, deposit
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("received_on", Date, nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("recorded_by", String(80), nullable=False),
    Column("note", Text),
    Column("unallocated_minor", BigInteger, nullable=False),
    Column("reversed_at", Instant),  # since when nothing of it is left
    Column("reversal_reason", Text),
    Column("reference", String(140)),  # cheque number, bank reference
    Column("landed_in", String(60)),  # ledger account it came into; None: cash:<method>
    Column("by_hand", Boolean, nullable=False, server_default=false()),  # its rest is allocated by hand alone
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
    Column("source", String(120), unique=True),  # the order of a person or program; None: by rule
)

allocation_rule = Table(
    "billing_allocation_rule",
    metadata,
    Column("seq", BigId, primary_key=True, autoincrement=True),
    Column("scope", String(10), nullable=False),  # house, class, account; the newest row of a scope counts
    Column("scope_id", String(40), nullable=False),  # name of the class, id of the account; empty: house
    Column("rule", String(16)),  # None: the wider scope decides again
    Column("recorded_at", Instant, nullable=False),
    Column("recorded_by", String(80), nullable=False),
)

credit_use = Table(  # a payment's amount = allocations + these + its unallocated rest, always
    "billing_credit_use",
    metadata,
    Column("seq", BigId, primary_key=True, autoincrement=True),
    Column("payment_id", String(40), ForeignKey("billing_payment.id"), nullable=False, index=True),
    Column("kind", String(12), nullable=False),  # reversal, refund, deposit
    Column("source_id", String(40), nullable=False, index=True),
    Column("amount_minor", BigInteger, nullable=False),  # negative: it came back
    Column("at", Instant, nullable=False),
)

reversal = Table(
    "billing_reversal",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("payment_id", String(40), ForeignKey("billing_payment.id"), nullable=False, index=True),
    Column("kind", String(12), nullable=False),  # mistake, nsf, chargeback, ach_return; won
    Column("amount_minor", BigInteger, nullable=False),  # negative: a dispute was won
    Column("reason", Text, nullable=False),
    Column("source", String(120), nullable=False, unique=True),  # the same news twice takes back once
    Column("undoes", String(40), ForeignKey("billing_reversal.id"), unique=True),
    Column("happened_on", Date, nullable=False),
    Column("recorded_at", Instant, nullable=False),
    Column("recorded_by", String(80), nullable=False),
)

settlement = Table(
    "billing_settlement",
    metadata,
    Column("payment_id", String(40), ForeignKey("billing_payment.id"), primary_key=True),
    Column("settled_on", Date, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),  # what had not been taken back till then
    Column("recorded_at", Instant, nullable=False),
)

refund = Table(
    "billing_refund",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("idempotency_key", String(120), nullable=False, unique=True),
    Column("account_id", String(40), ForeignKey("billing_account.id"), nullable=False, index=True),
    Column("payment_id", String(40), ForeignKey("billing_payment.id")),  # None: of the account's credit
    Column("method", String(20), nullable=False),  # cash, cheque, transfer, gateway
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("reason", Text, nullable=False),
    Column("ordered_on", Date, nullable=False),
    Column("recorded_at", Instant, nullable=False),
    Column("recorded_by", String(80), nullable=False),
)

refund_outcome = Table(
    "billing_refund_outcome",
    metadata,
    Column("refund_id", String(40), ForeignKey("billing_refund.id"), primary_key=True),
    Column("outcome", String(8), nullable=False),  # paid, failed
    Column("reference", String(140)),  # number of the cheque, the gateway's id
    Column("told", Text),
    Column("recorded_at", Instant, nullable=False),
    Column("recorded_by", String(80), nullable=False),
)

deposit = Table(
    "billing_deposit",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("idempotency_key", String(120), nullable=False, unique=True),
    Column("account_id", String(40), ForeignKey("billing_account.id"), nullable=False, index=True),
    Column("subscription_id", String(40), ForeignKey("billing_subscription.id")),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("reason", Text, nullable=False),
    Column("taken_on", Date, nullable=False),
    Column("recorded_at", Instant, nullable=False),
    Column("recorded_by", String(80), nullable=False),
)

deposit_release = Table(
    "billing_deposit_release",
    metadata,
    Column("payment_id", String(40), ForeignKey("billing_payment.id"), primary_key=True),  # what it became
    Column("deposit_id", String(40), nullable=False, index=True),  # a deposit, or an invoice's deposit line
    Column("amount_minor", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("recorded_at", Instant, nullable=False),
    Column("recorded_by", String(80), nullable=False),
)

deposit_slip = Table(  # what is carried to the bank together
    "billing_deposit_slip",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("number", String(40), nullable=False, unique=True),
    Column("method", String(20), nullable=False),  # cash, cheque
    Column("currency", String(3), nullable=False),
    Column("drawn_on", Date, nullable=False),
    Column("recorded_at", Instant, nullable=False),
    Column("recorded_by", String(80), nullable=False),
)

deposit_slip_item = Table(
    "billing_deposit_slip_item",
    metadata,
    Column("payment_id", String(40), ForeignKey("billing_payment.id"), primary_key=True),
    Column("slip_id", String(40), ForeignKey("billing_deposit_slip.id"), nullable=False),
    Column("position", BigInteger, nullable=False),
    UniqueConstraint("slip_id", "position"),
)
