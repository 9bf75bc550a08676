"""equipment goes and comes back

Revision: 0039, after: 0038
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0039"
down_revision = "0038"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "billing_equipment_loan",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("account_id", sa.String(length=40), nullable=False),
        sa.Column("subscription_id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("serial", sa.String(length=80), nullable=False),
        sa.Column("value_minor", sa.BigInteger(), nullable=False),
        sa.Column("lent_on", sa.Date(), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.Column("recorded_by", sa.String(length=80), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["billing_account.id"], name=op.f("fk_billing_equipment_loan_account_id")
        ),
        sa.ForeignKeyConstraint(
            ["subscription_id"],
            ["billing_subscription.id"],
            name=op.f("fk_billing_equipment_loan_subscription_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_billing_equipment_loan")),
    )
    with op.batch_alter_table("billing_equipment_loan", schema=None) as batch_op:
        for name in ("account_id", "serial", "subscription_id"):
            batch_op.create_index(batch_op.f(f"ix_billing_equipment_loan_{name}"), [name], unique=False)

    op.create_table(
        "billing_equipment_return",
        sa.Column("loan_id", sa.String(length=40), nullable=False),
        sa.Column("returned_on", sa.Date(), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.Column("recorded_by", sa.String(length=80), nullable=False),
        sa.ForeignKeyConstraint(
            ["loan_id"], ["billing_equipment_loan.id"], name=op.f("fk_billing_equipment_return_loan_id")
        ),
        sa.PrimaryKeyConstraint("loan_id", name=op.f("pk_billing_equipment_return")),
    )


def downgrade() -> None:
    op.drop_table("billing_equipment_return")
    op.drop_table("billing_equipment_loan")
