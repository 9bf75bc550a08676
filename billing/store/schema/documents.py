"""Tables: what documents look like, and since when. Rows are written once: what is issued keeps its look."""

from __future__ import annotations

from sqlalchemy import JSON, Column, Index, LargeBinary, String, Table

from billing.store.schema.base import metadata
from core.store.columns import Instant

document_file = Table(  # a logo or a template, as it was given; never changed
    "billing_document_file",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("name", String(60), nullable=False),  # logo, invoice.typ …
    Column("media_type", String(40), nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("created_by", String(80), nullable=False),
)

document_look = Table(  # the latest before an invoice was written down is the one it is printed in, for good
    "billing_document_look",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("brand", String(40), nullable=False),  # empty: the house's own
    Column("since", Instant, nullable=False),
    Column("said", JSON, nullable=False),  # what was set in the panel; the rest comes from the settings file
    Column("content", JSON, nullable=False),  # all of it, as it was in force: see billing.documents.look
    Column("by", String(80), nullable=False),
)

Index("ix_billing_document_look_brand", document_look.c.brand, document_look.c.since)
