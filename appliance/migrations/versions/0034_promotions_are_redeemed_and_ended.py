"""promotions are redeemed and ended

Revision: 0034, after: 0033
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "billing_promotion_end",
        sa.Column("use_id", sa.String(length=40), nullable=False),
        sa.Column("ends_on", sa.Date(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.Column("recorded_by", sa.String(length=80), nullable=False),
        sa.ForeignKeyConstraint(
            ["use_id"], ["billing_promotion_use.id"], name=op.f("fk_billing_promotion_end_use_id")
        ),
        sa.PrimaryKeyConstraint("use_id", name=op.f("pk_billing_promotion_end")),
    )
    with op.batch_alter_table("billing_promotion", schema=None) as batch_op:
        batch_op.add_column(sa.Column("item_codes", sa.JSON(), server_default="[]", nullable=False))
        batch_op.add_column(sa.Column("periods", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("new_only", sa.Boolean(), server_default=sa.false(), nullable=False))
        batch_op.add_column(sa.Column("referred_minor", sa.BigInteger(), nullable=True))
        batch_op.add_column(
            sa.Column("created_by", sa.String(length=80), server_default="system:migration", nullable=False)
        )

    with op.batch_alter_table("billing_promotion_use", schema=None) as batch_op:
        batch_op.add_column(sa.Column("account_id", sa.String(length=40), nullable=True))
        batch_op.add_column(
            sa.Column("recorded_by", sa.String(length=80), server_default="system:migration", nullable=False)
        )
    op.execute(
        "UPDATE billing_promotion_use SET account_id = (SELECT s.account_id FROM billing_subscription s "
        "WHERE s.id = billing_promotion_use.subscription_id)"
    )
    with op.batch_alter_table("billing_promotion_use", schema=None) as batch_op:
        batch_op.alter_column("account_id", existing_type=sa.String(length=40), nullable=False)
        batch_op.drop_constraint(
            batch_op.f("uq_billing_promotion_use_promotion_id_subscription_id"), type_="unique"
        )
        batch_op.create_index(batch_op.f("ix_billing_promotion_use_account_id"), ["account_id"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_billing_promotion_use_referred_by"), ["referred_by"], unique=False
        )
        batch_op.create_unique_constraint(
            batch_op.f("uq_billing_promotion_use_promotion_id_account_id"), ["promotion_id", "account_id"]
        )
        batch_op.create_foreign_key(
            batch_op.f("fk_billing_promotion_use_account_id"), "billing_account", ["account_id"], ["id"]
        )


def downgrade() -> None:
    with op.batch_alter_table("billing_promotion_use", schema=None) as batch_op:
        batch_op.drop_constraint(batch_op.f("fk_billing_promotion_use_account_id"), type_="foreignkey")
        batch_op.drop_constraint(
            batch_op.f("uq_billing_promotion_use_promotion_id_account_id"), type_="unique"
        )
        batch_op.drop_index(batch_op.f("ix_billing_promotion_use_referred_by"))
        batch_op.drop_index(batch_op.f("ix_billing_promotion_use_account_id"))
        batch_op.create_unique_constraint(
            batch_op.f("uq_billing_promotion_use_promotion_id_subscription_id"),
            ["promotion_id", "subscription_id"],
        )
        batch_op.drop_column("recorded_by")
        batch_op.drop_column("account_id")

    with op.batch_alter_table("billing_promotion", schema=None) as batch_op:
        batch_op.drop_column("created_by")
        batch_op.drop_column("referred_minor")
        batch_op.drop_column("new_only")
        batch_op.drop_column("periods")
        batch_op.drop_column("item_codes")

    op.drop_table("billing_promotion_end")
