"""contracts are looked at by day

Revision: 0036, after: 0035
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "billing_contract_event",
        sa.Column("subscription_id", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("term_end", sa.Date(), nullable=False),
        sa.Column("bound_until", sa.Date(), nullable=True),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["subscription_id"],
            ["billing_subscription.id"],
            name=op.f("fk_billing_contract_event_subscription_id"),
        ),
        sa.PrimaryKeyConstraint(
            "subscription_id", "kind", "term_end", name=op.f("pk_billing_contract_event")
        ),
    )
    with op.batch_alter_table("billing_subscription", schema=None) as batch_op:
        batch_op.add_column(sa.Column("contract_turn_on", sa.Date(), nullable=True))
        batch_op.create_index(
            batch_op.f("ix_billing_subscription_contract_turn_on"), ["contract_turn_on"], unique=False
        )
    # whoever is bound is looked at once
    op.execute(
        "UPDATE billing_subscription SET contract_turn_on = starts_on WHERE contract_until IS NOT NULL"
    )


def downgrade() -> None:
    with op.batch_alter_table("billing_subscription", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_billing_subscription_contract_turn_on"))
        batch_op.drop_column("contract_turn_on")

    op.drop_table("billing_contract_event")
