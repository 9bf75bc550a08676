"""Tables of the panel: operators and their sign-ins."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, ForeignKey, Integer, String, Table, Text

from core.store.columns import Instant, new_metadata

metadata = new_metadata()

operator = Table(
    "ui_operator",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("name", String(80), nullable=False, unique=True),
    Column("password_hash", Text, nullable=False),  # argon2id
    Column("must_change_password", Boolean, nullable=False),
    Column("role", String(20), nullable=False),  # owner, billing, network, viewer
    Column("enabled", Boolean, nullable=False, default=True),
    Column("created_at", Instant, nullable=False),
)

sign_in = Table(
    "ui_sign_in",
    metadata,
    Column(
        "token_digest", String(64), primary_key=True
    ),  # SHA-256 of the cookie; the cookie itself is not kept
    Column("operator_id", String(40), ForeignKey("ui_operator.id"), nullable=False, index=True),
    Column("csrf_token", String(64), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("last_seen_at", Instant, nullable=False),
    Column("ended_at", Instant),
)

sign_in_failure = Table(
    "ui_sign_in_failure",
    metadata,
    Column("key", String(120), primary_key=True),  # "operator:NAME" or "address:IP"
    Column("failures", Integer, nullable=False),
    Column("window_started_at", Instant, nullable=False),
)

api_token = Table(
    "ui_api_token",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("name", String(80), nullable=False, unique=True),
    Column("token_digest", String(64), nullable=False, unique=True),  # SHA-256; the token itself is not kept
    Column("scope", String(10), nullable=False),  # read, act
    Column("created_at", Instant, nullable=False),
    Column("created_by", String(80), nullable=False),
    Column("last_used_at", Instant),
    Column("revoked_at", Instant),
    Column("revoked_by", String(80)),
)
