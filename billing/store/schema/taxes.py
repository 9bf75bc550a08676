"""Tables: taxes and their rates, rules and the certificates that free from them."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    ForeignKey,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
)

from billing.store.schema.base import metadata
from core.store.columns import Instant, partial_index

tax_rule = Table(  # written once; what ends or replaces a rule withdraws its row and writes others
    "billing_tax_rule",
    metadata,
    Column("id", String(40), primary_key=True),
    Column(
        "scope", String(64), nullable=False
    ),  # digest of what may not be taxed twice: name, reach, classes
    Column("name", String(80), nullable=False),
    Column("effect", String(10), nullable=False),  # tax, surcharge
    Column("country", String(2), nullable=False),
    Column("region", String(40)),  # None: the whole country
    Column("county", String(80)),
    Column("city", String(100)),
    Column("district", String(80)),
    Column("postal_codes", JSON, nullable=False),  # [] or some: 87501, 875*, 87501..87599
    Column("authority", String(50)),  # whom it is owed to; None: the jurisdiction
    Column("tax_classes", JSON, nullable=False),  # []: all
    Column("line_kinds", JSON, nullable=False),  # []: all
    Column("method", String(10), nullable=False),  # percent, per_line, per_unit
    Column("rate_ppm", Integer, nullable=False),  # percent: parts per million
    Column("unit_millionths", BigInteger, nullable=False),  # else: millionths of the minor unit
    Column("currency", String(3)),  # of a fixed amount
    Column("share_ppm", Integer, nullable=False),  # the part of a line that is taxable
    Column("on_top_of", JSON, nullable=False),  # names of taxes whose amounts are in the base
    Column("taxable", Boolean, nullable=False),  # a surcharge that taxes are asked on
    Column("rounding", String(10), nullable=False),  # half_up, half_even, down, up
    Column("rounded_per", String(10), nullable=False),  # line, invoice
    Column("valid_from", Date, nullable=False),
    Column("valid_until", Date),  # exclusive
    Column("replaces_id", String(40)),  # the row this one was cut or copied from
    Column("recorded_at", Instant, nullable=False),
    Column("recorded_by", String(80), nullable=False),
    Column("withdrawn_at", Instant),  # from this instant on the row is history: drafts as of earlier read it
    Column("withdrawn_by", String(80)),
    CheckConstraint("rate_ppm >= 0 AND unit_millionths >= 0 AND share_ppm >= 0", name="amounts"),
)

partial_index(
    "uq_billing_tax_rule_scope",
    tax_rule.c.scope,
    tax_rule.c.valid_from,
    where=tax_rule.c.withdrawn_at.is_(None),
    unique=True,
)

tax_exemption = Table(
    "billing_tax_exemption",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("account_id", String(40), ForeignKey("billing_account.id"), nullable=False, index=True),
    Column("certificate", String(80), nullable=False),  # its number
    Column("taxes", JSON, nullable=False),  # names; []: all
    Column("authorities", JSON, nullable=False),  # authorities or jurisdictions; []: all
    Column("tax_classes", JSON, nullable=False),  # []: all
    Column("share_ppm", Integer, nullable=False),  # of the base: 1000000 is all of it
    Column("issued_on", Date),
    Column("valid_from", Date, nullable=False),
    Column("valid_until", Date),  # exclusive
    Column("note", Text),
    Column("recorded_at", Instant, nullable=False),
    Column("recorded_by", String(80), nullable=False),
    Column("withdrawn_at", Instant),
    Column("withdrawn_by", String(80)),
    Column("withdrawn_because", String(200)),
)

tax_certificate_scan = Table(
    "billing_tax_certificate_scan",
    metadata,
    Column("exemption_id", String(40), ForeignKey("billing_tax_exemption.id"), primary_key=True),
    Column("media_type", String(40), nullable=False),  # application/pdf, image/png, image/jpeg
    Column("content", LargeBinary, nullable=False),
    Column("recorded_at", Instant, nullable=False),
    Column("recorded_by", String(80), nullable=False),
)

tax_engine = Table(  # one row: the engine outside, if there is one
    "billing_tax_engine",
    metadata,
    Column("name", String(20), primary_key=True),
    Column("base_url", String(200), nullable=False),
    Column("token_sealed", Text, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("timeout_ms", Integer, nullable=False),
    Column("changed_at", Instant, nullable=False),
    Column("changed_by", String(80), nullable=False),
)
