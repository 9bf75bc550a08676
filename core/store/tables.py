"""Tables every room writes to: facts, audit, health issues."""

from __future__ import annotations

from sqlalchemy import JSON, Column, Integer, String, Table, Text

from core.store.columns import BigId, Instant, new_metadata, partial_index

metadata = new_metadata()

fact = Table(
    "core_fact",
    metadata,
    Column("seq", BigId, primary_key=True, autoincrement=True),
    Column("kind", String(80), nullable=False),
    Column("subject", String(64), nullable=False),
    Column("payload", JSON, nullable=False),
    Column("occurred_at", Instant, nullable=False),
    Column("dispatched_at", Instant),
    Column("attempts", Integer, nullable=False, default=0),
    Column("next_attempt_at", Instant),
    Column("last_error", Text),
)
partial_index(
    "ix_core_fact_undispatched",
    fact.c.seq,
    where=fact.c.dispatched_at.is_(None),
)

audit = Table(
    "core_audit",
    metadata,
    Column("seq", BigId, primary_key=True, autoincrement=True),
    Column("at", Instant, nullable=False),
    Column("actor", String(80), nullable=False),
    Column("action", String(80), nullable=False),
    Column("subject", String(64), nullable=False, index=True),
    Column("detail", JSON, nullable=False),
)

health_issue = Table(
    "core_health_issue",
    metadata,
    Column("key", String(160), primary_key=True),
    Column("severity", String(10), nullable=False),
    Column("title", Text, nullable=False),
    Column("remedy", Text, nullable=False),
    Column("opened_at", Instant, nullable=False),
    Column("last_seen_at", Instant, nullable=False),
    Column("closed_at", Instant),
    Column("occurrences", Integer, nullable=False, default=1),
)
