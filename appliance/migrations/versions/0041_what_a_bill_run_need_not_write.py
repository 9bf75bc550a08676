"""what a bill run need not write

A rated charge's explanation is its invoice line's, word for word. The lines of an invoice are found by the
unique key over invoice and position; sides of the house itself are never looked for by account.

Revision: 0041, after: 0040
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0041"
down_revision = "0040"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_billing_invoice_line_invoice_id", table_name="billing_invoice_line")
    op.drop_column("billing_rated_charge", "explanation")
    op.drop_index("ix_billing_posting_account", table_name="billing_posting")
    op.create_index(
        "ix_billing_posting_account", "billing_posting", ["account_id", "ledger_account"],
        sqlite_where=sa.text("account_id IS NOT NULL"),
        postgresql_where=sa.text("account_id IS NOT NULL"),
    )  # fmt: skip


def downgrade() -> None:
    op.drop_index("ix_billing_posting_account", table_name="billing_posting")
    op.create_index("ix_billing_posting_account", "billing_posting", ["account_id", "ledger_account"])
    op.add_column("billing_rated_charge", sa.Column("explanation", sa.JSON(), nullable=True))
    op.execute(
        "UPDATE billing_rated_charge SET explanation = (SELECT explanation FROM billing_invoice_line"
        " WHERE billing_invoice_line.id = billing_rated_charge.invoice_line_id)"
    )
    with op.batch_alter_table("billing_rated_charge") as batch_op:
        batch_op.alter_column("explanation", existing_type=sa.JSON(), nullable=False)
    op.create_index("ix_billing_invoice_line_invoice_id", "billing_invoice_line", ["invoice_id"])
