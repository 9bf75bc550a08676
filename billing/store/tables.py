"""Tables of the billing room: what is sold, owed, paid and overdue."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
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

from core.store.columns import BigId, Instant, new_metadata

metadata = new_metadata()

account = Table(
    "billing_account",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("number", String(40), nullable=False, unique=True),  # what the customer quotes
    Column("name", String(160), nullable=False),
    Column("email", String(254)),
    Column("phone", String(40)),
    Column("street", String(200)),
    Column("city", String(100)),
    Column("region", String(40)),  # state or province; picks the tax
    Column("postal_code", String(20)),
    Column("country", String(2), nullable=False),
    Column("currency", String(3), nullable=False),
    Column("time_zone", String(64), nullable=False),
    Column("anchor_day", Integer, nullable=False),
    Column("payment_terms_days", Integer, nullable=False),
    Column("dunning_policy_id", String(40), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("closed_on", Date),
    Column(
        "next_cycle_on", Date, index=True
    ),  # first day of the first cycle not invoiced; None: nothing to bill
    CheckConstraint("anchor_day BETWEEN 1 AND 31", name="anchor_day"),
)

plan = Table(
    "billing_plan",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("code", String(40), nullable=False, unique=True),
    Column("name", String(120), nullable=False),
    Column("created_at", Instant, nullable=False),
)

plan_version = Table(  # never changes once written; a new price is a new version
    "billing_plan_version",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("plan_id", String(40), ForeignKey("billing_plan.id"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("price_minor", BigInteger, nullable=False),  # for one month, in advance, net of tax
    Column("allowance_octets", BigInteger),  # None: unlimited
    Column("overage_tiers", JSON, nullable=False),  # see billing.domain.charge_models
    Column("metered", String(10), nullable=False),  # sum, down, up
    Column("tax_class", String(40), nullable=False),
    Column("service_profile_id", String(40), nullable=False),  # opaque here
    Column("created_at", Instant, nullable=False),
    UniqueConstraint("plan_id", "version"),
)

subscription = Table(
    "billing_subscription",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("account_id", String(40), ForeignKey("billing_account.id"), nullable=False, index=True),
    Column("service_id", String(40), nullable=False, index=True),  # opaque here
    Column("plan_version_id", String(40), ForeignKey("billing_plan_version.id"), nullable=False),
    Column("starts_on", Date, nullable=False),  # local dates of the account
    Column("ends_on", Date),  # exclusive
    Column("created_at", Instant, nullable=False),
)

tax_rate = Table(
    "billing_tax_rate",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("name", String(80), nullable=False),
    Column("tax_class", String(40), nullable=False),
    Column("country", String(2), nullable=False),
    Column("region", String(40)),  # None: the whole country
    Column("rate_ppm", Integer, nullable=False),  # parts per million: 7.25 % is 72500
    Column("valid_from", Date, nullable=False),
    Column("valid_until", Date),
)

bill_run = Table(
    "billing_bill_run",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("through", Date, nullable=False),  # every cycle turning up to and on this local date
    Column("started_at", Instant, nullable=False),
    Column("finished_at", Instant),
    Column("invoices", Integer, nullable=False, default=0),
    Column("parked", JSON, nullable=False),  # [{"account_id":…, "reason":…}]
)

invoice = Table(
    "billing_invoice",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("number", String(40), unique=True),  # gapless per series, given when finalised
    Column("account_id", String(40), ForeignKey("billing_account.id"), nullable=False),
    Column("cycle_start", Date, nullable=False),  # the cycle that this invoice opens
    Column("cycle_end", Date, nullable=False),
    Column("issued_on", Date, nullable=False),
    Column("due_on", Date, nullable=False, index=True),
    Column("currency", String(3), nullable=False),
    Column("net_minor", BigInteger, nullable=False),
    Column("tax_minor", BigInteger, nullable=False),
    Column("total_minor", BigInteger, nullable=False),
    Column("open_minor", BigInteger, nullable=False),  # total less allocations; the ledger is the proof
    Column("status", String(12), nullable=False, index=True),  # finalised, paid, credited
    Column("bill_to", JSON, nullable=False),  # name and address as they were
    Column("bill_run_id", String(40), ForeignKey("billing_bill_run.id")),
    Column("created_at", Instant, nullable=False),
    UniqueConstraint("account_id", "cycle_start"),
)

invoice_line = Table(
    "billing_invoice_line",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("invoice_id", String(40), ForeignKey("billing_invoice.id"), nullable=False, index=True),
    Column("position", Integer, nullable=False),
    Column("kind", String(12), nullable=False),  # recurring, usage, tax, adjustment
    Column("description", Text, nullable=False),
    Column("quantity", String(60)),
    Column("amount_minor", BigInteger, nullable=False),
    Column("subscription_id", String(40), ForeignKey("billing_subscription.id")),
    Column("period_start", Date),
    Column("period_end", Date),
    Column("explanation", JSON, nullable=False),  # how the amount came to be, as data
    UniqueConstraint("invoice_id", "position"),
)
Index("ix_billing_invoice_line_subscription", invoice_line.c.subscription_id, invoice_line.c.period_start)

rated_charge = Table(
    "billing_rated_charge",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("subscription_id", String(40), ForeignKey("billing_subscription.id"), nullable=False),
    Column("plan_version_id", String(40), ForeignKey("billing_plan_version.id"), nullable=False),
    Column("period_start", Date, nullable=False),
    Column("period_end", Date, nullable=False),
    Column("usage_close_id", String(40), nullable=False),  # opaque here: the closed usage that was priced
    Column("octets_in", BigInteger, nullable=False),
    Column("octets_out", BigInteger, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("explanation", JSON, nullable=False),
    Column("invoice_line_id", String(40), ForeignKey("billing_invoice_line.id")),
    UniqueConstraint("subscription_id", "period_start"),
)

number_series = Table(
    "billing_number_series",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("prefix", String(20), nullable=False),
    Column("next_number", BigInteger, nullable=False),
)

ledger_entry = Table(
    "billing_ledger_entry",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("booked_on", Date, nullable=False),
    Column("source_kind", String(20), nullable=False),  # invoice, payment, allocation, reversal, write_off
    Column("source_id", String(40), nullable=False),
    Column("description", Text, nullable=False),
    Column("recorded_at", Instant, nullable=False),
    UniqueConstraint("source_kind", "source_id"),
)

posting = Table(
    "billing_posting",
    metadata,
    Column("seq", BigId, primary_key=True, autoincrement=True),
    Column("entry_id", String(40), ForeignKey("billing_ledger_entry.id"), nullable=False, index=True),
    Column("ledger_account", String(60), nullable=False),  # receivable, revenue:recurring, tax:…, cash:…
    Column("account_id", String(40), ForeignKey("billing_account.id")),  # whose receivable
    Column("currency", String(3), nullable=False),
    Column(
        "amount_minor", BigInteger, nullable=False
    ),  # debit positive, credit negative; an entry sums to zero
)
Index("ix_billing_posting_account", posting.c.account_id, posting.c.ledger_account)

payment = Table(
    "billing_payment",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("account_id", String(40), ForeignKey("billing_account.id"), nullable=False, index=True),
    Column("idempotency_key", String(120), nullable=False, unique=True),  # the caller's id of this payment
    Column("method", String(20), nullable=False),  # cash, cheque, transfer, card
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("received_on", Date, nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("recorded_by", String(80), nullable=False),
    Column("note", Text),
    Column("unallocated_minor", BigInteger, nullable=False),
    Column("reversed_at", Instant),
    Column("reversal_reason", Text),
)

allocation = Table(
    "billing_allocation",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("payment_id", String(40), ForeignKey("billing_payment.id"), nullable=False, index=True),
    Column("invoice_id", String(40), ForeignKey("billing_invoice.id"), nullable=False, index=True),
    Column(
        "amount_minor", BigInteger, nullable=False
    ),  # negative rows undo an allocation; rows are never edited
    Column("at", Instant, nullable=False),
)

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

clock_trust = Table(
    "billing_clock_trust",
    metadata,
    Column("id", String(10), primary_key=True),  # "clock": there is one
    Column("at", Instant, nullable=False),
    Column("by", String(80), nullable=False),  # the actor
    Column("how", String(20), nullable=False),  # synchronised, vouched
)
