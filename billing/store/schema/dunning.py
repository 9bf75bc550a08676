"""Tables: ladders, stages and their trail."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Boolean, Column, Date, ForeignKey, String, Table

from billing.store.schema.base import metadata
from core.store.columns import BigId, Instant

dunning_policy = Table(
    "billing_dunning_policy",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("name", String(80), nullable=False, unique=True),
    Column("ladder", JSON, nullable=False),  # [{"stage":"reminded","days_overdue":3}, …]
    Column("minimum_balance_minor", BigInteger, nullable=False, default=0),
    Column("skip_weekends", Boolean, nullable=False, default=True),  # no suspension on Saturday or Sunday
)

dunning_state = Table(
    "billing_dunning_state",
    metadata,
    Column("account_id", String(40), ForeignKey("billing_account.id"), primary_key=True),
    Column("stage", String(12), nullable=False, index=True),  # clear, reminded, restricted, suspended, ended
    Column("since", Instant, nullable=False),
    Column("evaluated_on", Date, nullable=False),
    Column("promise_until", Date),  # a promise to pay defers worsening
    Column("immune", Boolean, nullable=False, default=False),
)

dunning_event = Table(
    "billing_dunning_event",
    metadata,
    Column("seq", BigId, primary_key=True, autoincrement=True),
    Column("account_id", String(40), ForeignKey("billing_account.id"), nullable=False, index=True),
    Column("on_date", Date, nullable=False),
    Column("from_stage", String(12), nullable=False),
    Column("to_stage", String(12), nullable=False),
    Column("because", JSON, nullable=False),
    Column("at", Instant, nullable=False),
)
