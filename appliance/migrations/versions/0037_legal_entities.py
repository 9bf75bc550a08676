"""legal entities

Revision: 0037, after: 0036
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0037"
down_revision = "0036"
branch_labels = None
depends_on = None


def upgrade() -> None:

    op.create_table(
        "billing_legal_entity",
        sa.Column("id", sa.String(length=20), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("invoice_prefix", sa.String(length=20), nullable=False),
        sa.Column("credit_note_prefix", sa.String(length=20), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(length=80), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_billing_legal_entity")),
        sa.UniqueConstraint("credit_note_prefix", name=op.f("uq_billing_legal_entity_credit_note_prefix")),
        sa.UniqueConstraint("invoice_prefix", name=op.f("uq_billing_legal_entity_invoice_prefix")),
    )


def downgrade() -> None:

    op.drop_table("billing_legal_entity")
