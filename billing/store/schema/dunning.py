"""Tables: ladders and their versions, stages and their trail, exceptions, approvals, debts given up."""

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

dunning_policy = Table(
    "billing_dunning_policy",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("name", String(80), nullable=False, unique=True),
)

dunning_policy_version = Table(  # never changes: another day, another version
    "billing_dunning_policy_version",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("policy_id", String(40), ForeignKey("billing_dunning_policy.id"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("valid_from", Date, nullable=False),  # of two with one day the later version counts
    Column("terms", JSON, nullable=False),  # see billing.domain.dunning_terms
    Column("created_at", Instant, nullable=False),
    Column("created_by", String(80), nullable=False),
    UniqueConstraint("policy_id", "version"),
)

dunning_class_policy = Table(  # which policy accounts of a class have that have none of their own
    "billing_dunning_class_policy",
    metadata,
    Column("account_class", String(40), primary_key=True),
    Column("policy_id", String(40), ForeignKey("billing_dunning_policy.id"), nullable=False),
)

dunning_state = Table(
    "billing_dunning_state",
    metadata,
    Column("account_id", String(40), ForeignKey("billing_account.id"), primary_key=True),
    Column("stage", String(12), nullable=False, index=True),  # clear, reminded, restricted, suspended, ended
    Column("since", Instant, nullable=False),
    Column("evaluated_on", Date, nullable=False),
    Column("promise_until", Date),  # of the open promise: it defers worsening
    Column("immune", Boolean, nullable=False, default=False),
    Column("immune_until", Date),  # last day; None: until it is taken back
    Column("immune_reason", Text),
    Column("own_policy", Boolean, nullable=False, default=False),  # the account's own, not its class's
    Column("reached", Integer),  # days_overdue of the last rung passed; None: as the stage says
    Column("cut_minor", BigInteger),  # what was overdue when it was cut
    Column("respite_until", Date),  # a part is paid: no cut up to this day
    Column("look_again_at", Instant),  # today is not done with: a cut waits for its hour
)
partial_index(
    "ix_billing_dunning_state_look_again", dunning_state.c.look_again_at,
    where=dunning_state.c.look_again_at.is_not(None),
)  # fmt: skip

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
    Column("policy_version_id", String(40)),  # what it was decided by
    Column("policy_id", String(40)),
    Column("cut_on", Date),  # the local night in which the service was cut; None: it was not
)
Index("ix_billing_dunning_event_cut", dunning_event.c.cut_on, dunning_event.c.policy_id)

promise = Table(
    "billing_promise",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("account_id", String(40), ForeignKey("billing_account.id"), nullable=False, index=True),
    Column("until", Date, nullable=False),  # last day
    Column("promised_minor", BigInteger, nullable=False),
    Column("note", Text),
    Column("state", String(10), nullable=False),  # open, kept, broken, replaced, withdrawn
    Column("made_at", Instant, nullable=False),
    Column("made_by", String(80), nullable=False),
    Column("ended_at", Instant),
)
partial_index("uq_billing_promise_open", promise.c.account_id, where=promise.c.state == "open", unique=True)

dispute = Table(
    "billing_dispute",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("account_id", String(40), ForeignKey("billing_account.id"), nullable=False, index=True),
    Column("invoice_id", String(40), ForeignKey("billing_invoice.id")),  # None: of the account
    Column("amount_minor", BigInteger),  # None: all of it
    Column("reason", Text, nullable=False),
    Column("from_on", Date, nullable=False),
    Column("until_on", Date),  # exclusive; None: until it is settled
    Column("outcome", String(10)),  # upheld, rejected, withdrawn; None: open
    Column("outcome_note", Text),
    Column("placed_at", Instant, nullable=False),
    Column("placed_by", String(80), nullable=False),
    Column("ended_at", Instant),
)

deferral = Table(  # what else defers worsening: an open outage, a ticket; lifted by who placed it
    "billing_deferral",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("source", String(120), nullable=False),  # such as ticket:…, outage:…
    Column("account_id", String(40), ForeignKey("billing_account.id"), nullable=False, index=True),
    Column("service_id", String(40)),  # the line that it came by; None: the account itself
    Column("reason", Text, nullable=False),
    Column("from_on", Date, nullable=False),
    Column("until_on", Date),  # exclusive; None: until it is lifted
    Column("placed_at", Instant, nullable=False),
    Column("placed_by", String(80), nullable=False),
    Column("lifted_at", Instant),
)
partial_index(
    "uq_billing_deferral_open", deferral.c.source, deferral.c.account_id,
    where=deferral.c.lifted_at.is_(None), unique=True,
)  # fmt: skip

dunning_approval = Table(
    "billing_dunning_approval",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("account_id", String(40), ForeignKey("billing_account.id"), nullable=False, index=True),
    Column("kind", String(10), nullable=False),  # stage, write_off
    Column("subject", String(40), nullable=False),  # the stage, or the invoice to be written off
    Column("because", Text, nullable=False),
    Column("overdue_minor", BigInteger, nullable=False),
    Column("asked_on", Date, nullable=False),
    Column("expires_on", Date, nullable=False),  # last day on which it waits, or on which the word counts
    Column("state", String(10), nullable=False),  # waiting, approved, declined, expired, withdrawn, done
    Column("asked_at", Instant, nullable=False),
    Column("decided_at", Instant),
    Column("decided_by", String(80)),
    Column("note", Text),
)
partial_index(
    "uq_billing_dunning_approval_live", dunning_approval.c.account_id, dunning_approval.c.kind,
    dunning_approval.c.subject, where=dunning_approval.c.state.in_(["waiting", "approved", "declined"]),
    unique=True,
)  # fmt: skip

write_off = Table(  # never edited: what came in after all is a negative row
    "billing_write_off",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("invoice_id", String(40), ForeignKey("billing_invoice.id"), nullable=False, index=True),
    Column("account_id", String(40), ForeignKey("billing_account.id"), nullable=False, index=True),
    Column("amount_minor", BigInteger, nullable=False),
    Column("forgiven", Boolean, nullable=False),  # the debt no longer keeps the account from its service
    Column("reason", Text, nullable=False),
    Column("on_date", Date, nullable=False),
    Column("recorded_at", Instant, nullable=False),
    Column("recorded_by", String(80), nullable=False),
)
