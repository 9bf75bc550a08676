"""Tables: what is sold."""

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
    UniqueConstraint,
)

from billing.store.schema.base import metadata
from core.store.columns import Instant

plan = Table(
    "billing_plan",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("code", String(40), nullable=False, unique=True),
    Column("name", String(120), nullable=False),
    Column("kind", String(10), nullable=False, default="plan"),  # plan, addon, bundle
    Column("created_at", Instant, nullable=False),
)

plan_version = Table(  # never changes once written; a new price is a new version
    "billing_plan_version",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("plan_id", String(40), ForeignKey("billing_plan.id"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("items", JSON, nullable=False),  # see billing.domain.items
    Column("contract", JSON),  # term, early end, renewal; None: none
    Column("service_profile_id", String(40)),  # opaque here; None: touches no line
    Column("offered_from", Date),
    Column("offered_until", Date),  # exclusive; None: until a newer version
    Column("created_at", Instant, nullable=False),
    UniqueConstraint("plan_id", "version"),
)

promotion = Table(
    "billing_promotion",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("code", String(40), nullable=False, unique=True),  # what the customer quotes
    Column("name", String(120), nullable=False),
    Column("percent_ppm", Integer),  # either a share of the price …
    Column("amount_minor", BigInteger),  # … or so much off each period
    Column("currency", String(3)),
    Column("item_kinds", JSON, nullable=False),  # which items it reduces
    Column("item_codes", JSON, nullable=False),  # … and of those only these; empty: all
    Column("plan_codes", JSON, nullable=False),  # empty: every plan
    Column("months", Integer),  # how long from its first day on; None: for good, or by periods
    Column("periods", Integer),  # how many periods of each item
    Column("redeem_from", Date),
    Column("redeem_until", Date),  # exclusive
    Column("max_uses", Integer),
    Column("new_only", Boolean, nullable=False),  # only for who has just subscribed
    Column("referral_minor", BigInteger),  # credit for the account that brought this one
    Column("referred_minor", BigInteger),  # … and for the one that was brought
    Column("created_at", Instant, nullable=False),
    Column("created_by", String(80), nullable=False),
    Column("withdrawn_at", Instant),
)
