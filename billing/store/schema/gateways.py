"""Tables: payments through gateways. A card or bank account is a sealed token here and never a number."""

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
from core.store.columns import BigId, Instant, partial_index

IN_FLIGHT = ("begun", "sent", "unknown", "in_flight")
"""States of a charge of which nobody knows yet whether money comes."""

gateway = Table(
    "billing_gateway",
    metadata,
    Column("name", String(20), primary_key=True),  # stripe, authorizenet
    Column("enabled", Boolean, nullable=False),
    Column("login", String(80)),  # Authorize.net's API login id; no secret
    Column("key_sealed", Text, nullable=False),
    Column("webhook_key_sealed", Text),
    Column("base_url", String(200)),  # None: the gateway itself; else a sandbox that speaks like it
    Column("changed_at", Instant, nullable=False),
    Column("changed_by", String(80), nullable=False),
)

gateway_customer = Table(
    "billing_gateway_customer",
    metadata,
    Column("gateway", String(20), primary_key=True),
    Column("account_id", String(40), ForeignKey("billing_account.id"), primary_key=True),
    Column("reference", String(80), nullable=False),  # the gateway's id of this customer
    Column("created_at", Instant, nullable=False),
    UniqueConstraint("gateway", "reference"),
)

payment_method = Table(
    "billing_payment_method",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("account_id", String(40), ForeignKey("billing_account.id"), nullable=False, index=True),
    Column("gateway", String(20), nullable=False),
    Column("token_sealed", Text, nullable=False),
    Column("token_digest", String(64), nullable=False),  # keyed, so that the same token is found again
    Column("kind", String(10), nullable=False),  # card, bank
    Column("brand", String(40), nullable=False),  # as the gateway says: visa, bank
    Column("last4", String(4), nullable=False),
    Column("expires_on", Date),  # the last day on which a card is good, as the gateway says
    Column("is_default", Boolean, nullable=False),
    Column("added_at", Instant, nullable=False),
    Column("added_by", String(80), nullable=False),
    Column("removed_at", Instant),
    Column("removed_by", String(80)),
    UniqueConstraint("gateway", "token_digest"),
)

hosted_page = Table(
    "billing_hosted_page",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("key", String(20), nullable=False, unique=True),  # ours, short enough for every gateway
    Column("account_id", String(40), ForeignKey("billing_account.id"), nullable=False, index=True),
    Column("gateway", String(20), nullable=False),
    Column("purpose", String(10), nullable=False),  # save, pay
    Column("amount_minor", BigInteger),  # of a page to pay at
    Column("currency", String(3), nullable=False),
    Column("invoice_id", String(40), ForeignKey("billing_invoice.id")),
    Column("autopay", Boolean, nullable=False),  # the customer asked for automatic payment with what he saves
    Column("reference", String(200)),  # the gateway's id of the page, where it has one
    Column("state", String(12), nullable=False),  # open, done, expired
    Column("opened_at", Instant, nullable=False),
    Column("opened_by", String(80), nullable=False),
    Column("look_at", Instant, index=True),  # when it is looked up next; None: no more
    Column("looks", Integer, nullable=False),
)

gateway_charge = Table(
    "billing_gateway_charge",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("key", String(20), nullable=False, unique=True),  # the idempotency key that the gateway sees
    Column("account_id", String(40), ForeignKey("billing_account.id"), nullable=False),
    Column("gateway", String(20), nullable=False),
    Column("method_id", String(40), ForeignKey("billing_payment_method.id")),  # None: typed at a hosted page
    Column("page_id", String(40), ForeignKey("billing_hosted_page.id")),
    Column("invoice_id", String(40), ForeignKey("billing_invoice.id"), index=True),
    Column("cause", String(12), nullable=False),  # autopay, operator, customer
    Column("source_key", String(120), unique=True),  # what asked for it, once: autopay:INVOICE:TRY, page:KEY
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("begun_at", Instant, nullable=False),
    Column("begun_by", String(80), nullable=False),
    # What follows is the newest step, kept here to be found by.
    Column("state", String(12), nullable=False),
    Column("state_at", Instant, nullable=False),
    Column("reference", String(80)),  # the gateway's id of the charge
    Column("decline_kind", String(10)),  # soft, hard
    Column("decline_code", String(60)),  # the gateway's own word
    Column("said", Text),  # what it means, for people
    Column("payment_id", String(40), ForeignKey("billing_payment.id")),
    Column("look_at", Instant, index=True),  # when it is looked up next; None: no more
    Column("looks", Integer, nullable=False),
)
Index("ix_billing_gateway_charge_account", gateway_charge.c.account_id, gateway_charge.c.begun_at)
Index("ix_billing_gateway_charge_reference", gateway_charge.c.gateway, gateway_charge.c.reference)
partial_index(
    "ix_billing_gateway_charge_in_flight",
    gateway_charge.c.account_id,
    where=gateway_charge.c.state.in_(IN_FLIGHT),
)

gateway_charge_step = Table(
    "billing_gateway_charge_step",
    metadata,
    Column("seq", BigId, primary_key=True, autoincrement=True),
    Column("charge_id", String(40), ForeignKey("billing_gateway_charge.id"), nullable=False, index=True),
    Column("state", String(12), nullable=False),
    Column("at", Instant, nullable=False),
    Column("told_by", String(120), nullable=False),  # answer, look_up, event:ID, page, operator:NAME
    Column("reference", String(80)),
    Column("decline_code", String(60)),
    Column("said", Text),
)

gateway_event = Table(
    "billing_gateway_event",
    metadata,
    Column("seq", BigId, primary_key=True, autoincrement=True),
    Column("gateway", String(20), nullable=False),
    Column("event_id", String(80), nullable=False),
    Column("kind", String(80), nullable=False),
    Column("content", JSON, nullable=False),  # what we use of it: ids, amounts, states; no name, no number
    Column("received_at", Instant, nullable=False),
    Column("handled_at", Instant),
    Column("outcome", Text),  # what it changed, or why it waits
    Column("tries", Integer, nullable=False),
    Column("try_at", Instant, index=True),  # when it is tried again; None: handled
    UniqueConstraint("gateway", "event_id"),
)

autopay = Table(
    "billing_autopay",
    metadata,
    Column("account_id", String(40), ForeignKey("billing_account.id"), primary_key=True),
    Column("enabled", Boolean, nullable=False),
    Column("method_id", String(40), ForeignKey("billing_payment_method.id")),  # None: the account's default
    Column("day_rule", String(12), nullable=False),  # after_issue, before_due
    Column("days", Integer, nullable=False),
    Column("changed_at", Instant, nullable=False),
    Column("changed_by", String(80), nullable=False),
)
