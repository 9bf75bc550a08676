"""Tables: who bought what, when."""

from __future__ import annotations

from sqlalchemy import (
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

subscription = Table(
    "billing_subscription",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("account_id", String(40), ForeignKey("billing_account.id"), nullable=False, index=True),
    Column("service_id", String(40), index=True),  # opaque here; None: goes with no line
    Column("plan_version_id", String(40), ForeignKey("billing_plan_version.id"), nullable=False),
    Column("starts_on", Date, nullable=False),  # local dates of the account
    Column("ends_on", Date),  # exclusive
    Column("parent_id", String(40), ForeignKey("billing_subscription.id"), index=True),  # an add-on's plan
    Column("quantity", Integer, nullable=False, default=1),
    Column("paused_on", Date),  # the newest pause that has no end yet
    Column("country", String(2)),  # where the service is; None: at the account's address
    Column("region", String(40)),
    Column("county", String(80)),
    Column("city", String(100)),
    Column("postal_code", String(20)),
    Column("contract_until", Date),  # exclusive; None: no term, or it is over
    Column("contract_turn_on", Date, index=True),  # the next day to look at its contract
    Column("next_change_on", Date, index=True),  # the next day on which a change takes effect
    Column("recalculate_from", Date),  # the earliest day changed since the last invoice
    Column("created_at", Instant, nullable=False),
)

subscription_change = Table(  # never edited: what was wrong is withdrawn by another row
    "billing_subscription_change",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("subscription_id", String(40), ForeignKey("billing_subscription.id"), nullable=False, index=True),
    Column("effective_on", Date, nullable=False),
    Column("kind", String(10), nullable=False),  # start, plan, quantity, pause, resume, end, withdraw, again
    Column("plan_version_id", String(40), ForeignKey("billing_plan_version.id")),
    Column("quantity", Integer),
    Column("withdraws_id", String(40), ForeignKey("billing_subscription_change.id")),
    Column("reason", Text),
    Column("recorded_at", Instant, nullable=False),
    Column("recorded_by", String(80), nullable=False),
)

contract_event = Table(  # what became of a contract: noticed, renewed, ends, runs_on
    "billing_contract_event",
    metadata,
    Column("subscription_id", String(40), ForeignKey("billing_subscription.id"), primary_key=True),
    Column("kind", String(10), primary_key=True),
    Column("term_end", Date, primary_key=True),  # exclusive: the end of the term that it is about
    Column("bound_until", Date),  # from then on; None: free
    Column("recorded_at", Instant, nullable=False),
)

promotion_use = Table(
    "billing_promotion_use",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("promotion_id", String(40), ForeignKey("billing_promotion.id"), nullable=False, index=True),
    Column("subscription_id", String(40), ForeignKey("billing_subscription.id"), nullable=False, index=True),
    Column("account_id", String(40), ForeignKey("billing_account.id"), nullable=False, index=True),
    Column("from_on", Date, nullable=False),
    Column("until_on", Date),  # exclusive; None: for good, or as many periods as the promotion has
    Column("referred_by", String(40), ForeignKey("billing_account.id"), index=True),
    Column("recorded_at", Instant, nullable=False),
    Column("recorded_by", String(80), nullable=False),
    UniqueConstraint("promotion_id", "account_id"),
)

promotion_end = Table(  # a use that was ended before its time
    "billing_promotion_end",
    metadata,
    Column("use_id", String(40), ForeignKey("billing_promotion_use.id"), primary_key=True),
    Column("ends_on", Date, nullable=False),  # exclusive
    Column("reason", Text, nullable=False),
    Column("recorded_at", Instant, nullable=False),
    Column("recorded_by", String(80), nullable=False),
)
