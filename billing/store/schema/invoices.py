"""Tables: bill runs with what they parked and drafted, invoices, lines, number series."""

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
from core.store.columns import Instant, partial_index

bill_run = Table(
    "billing_bill_run",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("through", Date, nullable=False),  # every cycle turning up to and on this local date
    Column("started_at", Instant, nullable=False),
    Column("finished_at", Instant),
    Column("invoices", Integer, nullable=False, default=0),
    Column("drafts", Integer, nullable=False, default=0),  # written to wait for approval
    Column("accounts", Integer, nullable=False, default=0),  # were due when it was last begun
    Column("done", Integer, nullable=False, default=0),  # of these; parked ones are apart
    Column("worked_since", Instant),  # when it was last begun; None: it is not known
    Column("parked", JSON, nullable=False),  # [{"account_id":…, "reason":…}]
)

parked = Table(  # what the last try to bill an account met; gone as soon as one succeeds
    "billing_parked",
    metadata,
    Column("account_id", String(40), ForeignKey("billing_account.id"), primary_key=True),
    Column("run_id", String(40), nullable=False),  # of the last try
    Column("reason", Text, nullable=False),
    Column("since", Instant, nullable=False),
    Column("tried_at", Instant, nullable=False),
    Column("tries", Integer, nullable=False),
)

draft = Table(  # an invoice to be that waits for a person; its approval drafts anew and compares digests
    "billing_draft",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("account_id", String(40), ForeignKey("billing_account.id"), nullable=False),
    Column("run_id", String(40)),
    Column("entity_id", String(40)),
    Column("cycle_start", Date, nullable=False),
    Column("cycle_end", Date, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("net_minor", BigInteger, nullable=False),
    Column("tax_minor", BigInteger, nullable=False),
    Column("total_minor", BigInteger, nullable=False),
    Column("lines", JSON, nullable=False),  # [{"kind":…, "description":…, "quantity":…, "amount_minor":…}]
    Column("digest", String(64), nullable=False),  # of all that the invoice would say but number and days
    Column("state", String(10), nullable=False),  # waiting, rejected, approved, replaced
    Column("drafted_at", Instant, nullable=False),
    Column("decided_at", Instant),
    Column("decided_by", String(80)),
    Column("reason", Text),
    Column("invoice_id", String(40)),
    Index("ix_billing_draft_state", "state", "id"),
    Index("ix_billing_draft_account", "account_id", "id"),
)
partial_index(
    "uq_billing_draft_open", draft.c.account_id,
    where=draft.c.state.in_(["waiting", "rejected"]), unique=True,
)  # fmt: skip

invoice = Table(
    "billing_invoice",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("number", String(40), unique=True),  # gapless per series, given when finalised
    Column("kind", String(12), nullable=False, default="invoice"),  # invoice, charges, credit_note
    Column("account_id", String(40), ForeignKey("billing_account.id"), nullable=False),
    Column("entity_id", String(40)),
    Column("corrects_id", String(40), ForeignKey("billing_invoice.id"), index=True),  # of a credit note
    Column("cycle_start", Date, nullable=False),  # the cycle that this invoice opens
    Column("cycle_end", Date, nullable=False),
    Column("issued_on", Date, nullable=False),
    Column("due_on", Date, nullable=False, index=True),
    Column("currency", String(3), nullable=False),
    Column("net_minor", BigInteger, nullable=False),
    Column("tax_minor", BigInteger, nullable=False),
    Column("total_minor", BigInteger, nullable=False),
    Column("open_minor", BigInteger, nullable=False),  # total less allocations; the ledger is the proof
    Column("status", String(12), nullable=False, index=True),  # finalised, paid, credited, written_off
    Column("bill_to", JSON, nullable=False),  # name and address as they were
    Column("bill_run_id", String(40), ForeignKey("billing_bill_run.id")),
    Column("taxed_outside", Boolean, nullable=False, default=False),  # an engine said its taxes
    Column("created_at", Instant, nullable=False),
    Index("ix_billing_invoice_account", "account_id", "issued_on"),
)
partial_index(
    "uq_billing_invoice_cycle", invoice.c.account_id, invoice.c.cycle_start,
    where=invoice.c.kind == "invoice", unique=True,
)  # fmt: skip

invoice_line = Table(
    "billing_invoice_line",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("invoice_id", String(40), ForeignKey("billing_invoice.id"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("kind", String(12), nullable=False),  # see billing.domain.invoicing.lines
    Column("description", Text, nullable=False),
    Column("quantity", String(60)),
    Column("amount_minor", BigInteger, nullable=False),
    Column("subscription_id", String(40), ForeignKey("billing_subscription.id")),
    Column("plan_version_id", String(40)),
    Column("item_code", String(40)),  # which item of the plan version, or of what else
    Column("charged_for", Date),  # first day of the item's own period: what was charged for it before
    Column("charge_id", String(40), ForeignKey("billing_charge.id")),  # the one-off charge it is made of
    Column("quoted_minor", BigInteger, nullable=False, default=0),  # as priced, with tax if included
    Column("tax_class", String(40)),  # None: not taxed
    Column("tax_included", Boolean, nullable=False, default=False),
    Column("tax_date", Date),  # the day that picked the tax rules
    Column("revenue", String(40)),  # the name of its revenue in the ledger; None: tax
    Column("deferred", Boolean, nullable=False, default=False),  # earned day by day over its period
    Column("period_start", Date),
    Column("period_end", Date),
    Column("explanation", JSON, nullable=False),  # how the amount came to be, as data
    UniqueConstraint("invoice_id", "position"),
)

Index("ix_billing_invoice_line_charged", invoice_line.c.subscription_id, invoice_line.c.charged_for)
partial_index(
    "uq_billing_invoice_line_charge", invoice_line.c.charge_id,
    where=invoice_line.c.charge_id.is_not(None), unique=True,
)  # fmt: skip

charge = Table(  # asked for once, by hand or by another room; billed with the next invoice
    "billing_charge",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("account_id", String(40), ForeignKey("billing_account.id"), nullable=False, index=True),
    Column("subscription_id", String(40), ForeignKey("billing_subscription.id")),
    Column("kind", String(20), nullable=False),  # late_fee, top_up, early_end, credit, …
    Column("description", Text, nullable=False),
    Column("quantity", String(60)),
    Column("quoted_minor", BigInteger, nullable=False),  # negative: a credit
    Column("tax_included", Boolean, nullable=False),
    Column("tax_class", String(40), nullable=False),
    Column("revenue", String(40), nullable=False),
    Column("happened_on", Date, nullable=False),
    Column("bill_from", Date, nullable=False),  # not on an invoice issued before this day
    Column("period_end", Date),  # exclusive, when it is for a time from happened_on on
    Column("source", String(120), nullable=False, unique=True),  # the same event twice charges once
    Column("explanation", JSON, nullable=False),
    Column("recorded_at", Instant, nullable=False),
    Column("recorded_by", String(80), nullable=False),
    Column("withdrawn_at", Instant),
)

number_series = Table(
    "billing_number_series",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("prefix", String(20), nullable=False),
    Column("next_number", BigInteger, nullable=False),
)
