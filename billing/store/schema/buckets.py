"""Tables: what buckets hold beside their allowance, top-ups, and how far usage has come."""

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
)

from billing.store.schema.base import metadata
from core.store.columns import BigId, Instant, partial_index

bucket_movement = Table(  # insert only: a lot is the sum of its movements
    "billing_bucket_movement",
    metadata,
    Column("seq", BigId, primary_key=True, autoincrement=True),
    Column("source", String(64), nullable=False, unique=True),  # what moved it: the same again is the same
    Column("bucket", String(140), nullable=False, index=True),  # see billing.domain.rating.parts
    Column("lot", String(180), nullable=False),
    Column("lot_kind", String(10), nullable=False),  # rolled, top_up
    Column("kind", String(12), nullable=False),  # rolled_over, topped_up, used, expired, over_cap
    Column("amount", BigInteger, nullable=False),  # of what the terms count; below zero it goes. Rated again,
    # a rating's rows are its differences: what it had taken and does not take now comes back
    Column("on_date", Date, nullable=False),
    Column("opens_on", Date, nullable=False),
    Column("closes_on", Date, nullable=False),  # exclusive
    Column("rated_from", Date),  # first day of the rated part that moved it; None: no rating did
    Column("rated_for", Date),  # first day of the cycle that the invoice of that rating opens
    Column("recorded_at", Instant, nullable=False),
)

top_up = Table(  # insert only
    "billing_top_up",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("source", String(120), nullable=False, unique=True),  # the buyer's key: the same again is the same
    Column("account_id", String(40), ForeignKey("billing_account.id"), nullable=False, index=True),
    Column("subscription_id", String(40), ForeignKey("billing_subscription.id"), nullable=False),
    Column("item_code", String(40), nullable=False),
    Column("bucket", String(140), nullable=False, index=True),
    Column("code", String(40), nullable=False),
    Column("name", String(80), nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("price_minor", BigInteger, nullable=False),
    Column("how", String(10), nullable=False),  # operator, portal, automatic
    Column("opens_on", Date, nullable=False),
    Column("closes_on", Date, nullable=False),  # exclusive
    Column("charge_id", String(40), ForeignKey("billing_charge.id")),  # None: it was free
    Column("bought_at", Instant, nullable=False),
    Column("bought_by", String(80), nullable=False),
)

quota_state = Table(  # where a bucket stood when it was last looked at
    "billing_quota_state",
    metadata,
    Column("bucket", String(140), primary_key=True),
    Column("account_id", String(40), ForeignKey("billing_account.id"), nullable=False, index=True),
    Column("terms_key", String(64), nullable=False),  # of whose terms: others are looked at at once
    Column("window_start", Date, nullable=False),
    Column("window_end", Date, nullable=False),
    Column("used", BigInteger, nullable=False),
    Column("included", BigInteger),  # None: unlimited
    Column("effect", String(20)),  # the strongest of the caps that are reached; None: none is
    Column("held", JSON, nullable=False),  # {service id: [effect, reason]}
    Column("looked_at", Instant, nullable=False),
    Column("look_at", Instant, nullable=False, index=True),
)

quota_event = Table(  # insert only
    "billing_quota_event",
    metadata,
    Column("seq", BigId, primary_key=True, autoincrement=True),
    Column("bucket", String(140), nullable=False),
    Column("account_id", String(40), ForeignKey("billing_account.id"), nullable=False),
    Column("window_start", Date, nullable=False),
    Column("kind", String(10), nullable=False),  # alert, reached, cleared
    Column("threshold", Integer, nullable=False, default=0),  # percents of an alert
    Column("used", BigInteger, nullable=False),
    Column("included", BigInteger),
    Column("effect", String(20)),
    Column("at", Instant, nullable=False),
)

Index("ix_billing_quota_event_bucket", quota_event.c.bucket, quota_event.c.window_start)
Index("ix_billing_quota_event_account", quota_event.c.account_id, quota_event.c.seq)

partial_index(  # one alert for each threshold and window
    "uq_billing_quota_event_alert",
    quota_event.c.bucket,
    quota_event.c.window_start,
    quota_event.c.threshold,
    where=quota_event.c.kind == "alert",
    unique=True,
)
partial_index("ix_billing_quota_state_capped", quota_state.c.bucket, where=quota_state.c.effect.is_not(None))
