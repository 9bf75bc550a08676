"""payer changes and former cycles

Revision: 0035, after: 0034
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None


def upgrade() -> None:

    op.create_table(
        "billing_payer_change",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("account_id", sa.String(length=40), nullable=False),
        sa.Column("payer_id", sa.String(length=40), nullable=True),
        sa.Column("from_on", sa.Date(), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.Column("recorded_by", sa.String(length=80), nullable=False),
        sa.Column("applied_at", sa.BigInteger(), nullable=True),
        sa.Column("withdrawn_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["account_id"], ["billing_account.id"], name=op.f("fk_billing_payer_change_account_id")
        ),
        sa.ForeignKeyConstraint(
            ["payer_id"], ["billing_account.id"], name=op.f("fk_billing_payer_change_payer_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_billing_payer_change")),
    )
    with op.batch_alter_table("billing_payer_change", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_billing_payer_change_account_id"), ["account_id"], unique=False)

    with op.batch_alter_table("billing_account", schema=None) as batch_op:
        batch_op.add_column(sa.Column("former_cycles", sa.JSON(), nullable=True))


def downgrade() -> None:

    with op.batch_alter_table("billing_account", schema=None) as batch_op:
        batch_op.drop_column("former_cycles")

    with op.batch_alter_table("billing_payer_change", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_billing_payer_change_account_id"))

    op.drop_table("billing_payer_change")
