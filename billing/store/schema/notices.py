"""Tables: text messages, and who carries them."""

from __future__ import annotations

from sqlalchemy import JSON, Column, ForeignKey, Integer, String, Table, Text

from billing.store.schema.base import metadata
from core.store.columns import Instant, partial_index

sms_gateway = Table(
    "billing_sms_gateway",
    metadata,
    Column("name", String(40), primary_key=True),  # there is one: default
    Column("url", Text, nullable=False),
    Column("body_kind", String(4), nullable=False),  # json, form
    Column("body", JSON, nullable=False),  # names to texts; {to} and {text} are put in
    Column("texts", JSON, nullable=False),  # the operator's own words by template
    Column("auth_header", String(80), nullable=False),
    Column("auth_sealed", Text),  # the header's whole value
    Column("changed_at", Instant, nullable=False),
)

sms_message = Table(
    "billing_sms_message",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("source", String(160), nullable=False, unique=True),  # a fact twice is told once
    Column("account_id", String(40), ForeignKey("billing_account.id"), nullable=False, index=True),
    Column("template", String(40), nullable=False),
    Column("to_number", String(40), nullable=False),
    Column("text", Text, nullable=False),
    Column("state", String(10), nullable=False),  # queued, sent, failed, cancelled
    Column("attempts", Integer, nullable=False),
    Column("next_try_at", Instant),
    Column("reason", Text),
    Column("created_at", Instant, nullable=False),
    Column("ended_at", Instant),
)
partial_index("ix_billing_sms_message_due", sms_message.c.next_try_at, where=sms_message.c.state == "queued")
