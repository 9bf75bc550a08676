"""Tables: messages to subscribers, their templates, the server that takes them, addresses that bounced."""

from __future__ import annotations

from sqlalchemy import JSON, Column, ForeignKey, Index, Integer, String, Table, Text

from billing.store.schema.base import metadata
from core.store.columns import Instant, partial_index

mail_server = Table(
    "billing_mail_server",
    metadata,
    Column("brand", String(40), primary_key=True),  # empty: the house's own
    Column("host", String(253), nullable=False),
    Column("port", Integer, nullable=False),
    Column("security", String(10), nullable=False),  # starttls, tls, none
    Column("username", String(254)),
    Column("password_sealed", Text),
    Column("from_address", String(254), nullable=False),
    Column("from_name", String(120), nullable=False),
    Column("reply_to", String(254)),
    Column("bounce_address", String(254)),  # a signed mark is put behind its local part: +mark
    Column("per_minute", Integer, nullable=False),
    Column("kinds", JSON, nullable=False),  # names of the templates that are sent
    Column("changed_at", Instant, nullable=False),
)

mail_template = Table(  # the operator's own words over the built-in ones
    "billing_mail_template",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("language", String(8), primary_key=True),
    Column("subject", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("html", Text),  # None: made of the body
    Column("changed_at", Instant, nullable=False),
    Column("changed_by", String(80), nullable=False),
)

mail_message = Table(
    "billing_mail_message",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("source", String(160), nullable=False, unique=True),  # what it tells of: a fact twice mails once
    Column("account_id", String(40), ForeignKey("billing_account.id")),
    Column("brand", String(40), nullable=False),
    Column("template", String(40), nullable=False),
    Column("locale", String(20), nullable=False),
    Column("channel", String(8), nullable=False, default="email"),  # email, letter
    Column("to_address", String(254), nullable=False),  # empty: a letter
    Column("params", JSON, nullable=False),  # what the template is told; it is rendered when it is sent
    Column("attachments", JSON, nullable=False),  # [{"kind": "invoice", "id": …}]
    Column("subject", Text),  # as it was sent
    Column("state", String(10), nullable=False),  # queued, sent, failed, bounced, cancelled
    Column("attempts", Integer, nullable=False),
    Column("next_try_at", Instant),
    Column("reason", Text),  # why it is where it is
    Column("created_at", Instant, nullable=False),
    Column("ended_at", Instant),  # sent, given up, bounced or cancelled
)

Index("ix_billing_mail_message_account", mail_message.c.account_id, mail_message.c.id)
Index("ix_billing_mail_message_state", mail_message.c.state, mail_message.c.id)
partial_index(
    "ix_billing_mail_message_due", mail_message.c.next_try_at, where=mail_message.c.state == "queued"
)
Index("ix_billing_mail_message_ended", mail_message.c.ended_at)

mail_dead_address = Table(  # it bounced for good: nothing is sent there until it is changed or let go
    "billing_mail_dead_address",
    metadata,
    Column("address", String(254), primary_key=True),  # in lower case
    Column("since", Instant, nullable=False),
    Column("reason", Text, nullable=False),
    Column("message_id", String(40)),
)
