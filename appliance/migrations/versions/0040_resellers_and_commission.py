"""resellers and commission

Revision: 0040, after: 0039
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0040"
down_revision = "0039"
branch_labels = None
depends_on = None


def upgrade() -> None:

    op.create_table(
        "billing_reseller",
        sa.Column("id", sa.String(length=20), nullable=False),
        sa.Column("name", sa.String(length=160), nullable=False),
        sa.Column("email", sa.String(length=254), nullable=True),
        sa.Column("phone", sa.String(length=40), nullable=True),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("entity_id", sa.String(length=20), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(length=80), nullable=False),
        sa.ForeignKeyConstraint(
            ["entity_id"], ["billing_legal_entity.id"], name=op.f("fk_billing_reseller_entity_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_billing_reseller")),
    )
    op.create_table(
        "billing_commission_payout",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("reseller_id", sa.String(length=20), nullable=False),
        sa.Column("idempotency_key", sa.String(length=120), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("method", sa.String(length=20), nullable=False),
        sa.Column("reference", sa.String(length=140), nullable=True),
        sa.Column("paid_on", sa.Date(), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.Column("recorded_by", sa.String(length=80), nullable=False),
        sa.ForeignKeyConstraint(
            ["reseller_id"], ["billing_reseller.id"], name=op.f("fk_billing_commission_payout_reseller_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_billing_commission_payout")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_billing_commission_payout_idempotency_key")),
    )
    with op.batch_alter_table("billing_commission_payout", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_billing_commission_payout_reseller_id"), ["reseller_id"], unique=False
        )

    op.create_table(
        "billing_commission_statement",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("reseller_id", sa.String(length=20), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("from_on", sa.Date(), nullable=False),
        sa.Column("until_on", sa.Date(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("posted_at", sa.BigInteger(), nullable=False),
        sa.Column("posted_by", sa.String(length=80), nullable=False),
        sa.ForeignKeyConstraint(
            ["reseller_id"], ["billing_reseller.id"], name=op.f("fk_billing_commission_statement_reseller_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_billing_commission_statement")),
        sa.UniqueConstraint(
            "reseller_id", "number", name=op.f("uq_billing_commission_statement_reseller_id_number")
        ),
        sa.UniqueConstraint(
            "reseller_id", "until_on", name=op.f("uq_billing_commission_statement_reseller_id_until_on")
        ),
    )
    op.create_table(
        "billing_reseller_account",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("reseller_id", sa.String(length=20), nullable=False),
        sa.Column("account_id", sa.String(length=40), nullable=False),
        sa.Column("from_on", sa.Date(), nullable=False),
        sa.Column("until_on", sa.Date(), nullable=True),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.Column("recorded_by", sa.String(length=80), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_by", sa.String(length=80), nullable=True),
        sa.ForeignKeyConstraint(
            ["account_id"], ["billing_account.id"], name=op.f("fk_billing_reseller_account_account_id")
        ),
        sa.ForeignKeyConstraint(
            ["reseller_id"], ["billing_reseller.id"], name=op.f("fk_billing_reseller_account_reseller_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_billing_reseller_account")),
    )
    with op.batch_alter_table("billing_reseller_account", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_billing_reseller_account_account_id"), ["account_id"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_billing_reseller_account_reseller_id"), ["reseller_id"], unique=False
        )

    op.create_table(
        "billing_reseller_terms",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("reseller_id", sa.String(length=20), nullable=False),
        sa.Column("valid_from", sa.Date(), nullable=False),
        sa.Column("basis", sa.String(length=10), nullable=False),
        sa.Column("percent_ppm", sa.Integer(), nullable=False),
        sa.Column("flat_minor", sa.BigInteger(), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.Column("recorded_by", sa.String(length=80), nullable=False),
        sa.ForeignKeyConstraint(
            ["reseller_id"], ["billing_reseller.id"], name=op.f("fk_billing_reseller_terms_reseller_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_billing_reseller_terms")),
    )
    with op.batch_alter_table("billing_reseller_terms", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_billing_reseller_terms_reseller_id"), ["reseller_id"], unique=False
        )

    op.create_table(
        "billing_commission_line",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("statement_id", sa.String(length=40), nullable=False),
        sa.Column("reseller_id", sa.String(length=20), nullable=False),
        sa.Column("source_kind", sa.String(length=12), nullable=False),
        sa.Column("source_id", sa.String(length=40), nullable=False),
        sa.Column("account_id", sa.String(length=40), nullable=False),
        sa.Column("happened_on", sa.Date(), nullable=False),
        sa.Column("earned_on", sa.Date(), nullable=False),
        sa.Column("net_minor", sa.BigInteger(), nullable=False),
        sa.Column("commission_minor", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["billing_account.id"], name=op.f("fk_billing_commission_line_account_id")
        ),
        sa.ForeignKeyConstraint(
            ["reseller_id"], ["billing_reseller.id"], name=op.f("fk_billing_commission_line_reseller_id")
        ),
        sa.ForeignKeyConstraint(
            ["statement_id"],
            ["billing_commission_statement.id"],
            name=op.f("fk_billing_commission_line_statement_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_billing_commission_line")),
        sa.UniqueConstraint(
            "reseller_id",
            "source_kind",
            "source_id",
            "account_id",
            name=op.f("uq_billing_commission_line_reseller_id_source_kind_source_id_account_id"),
        ),
    )
    with op.batch_alter_table("billing_commission_line", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_billing_commission_line_statement_id"), ["statement_id"], unique=False
        )


def downgrade() -> None:

    with op.batch_alter_table("billing_commission_line", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_billing_commission_line_statement_id"))

    op.drop_table("billing_commission_line")
    with op.batch_alter_table("billing_reseller_terms", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_billing_reseller_terms_reseller_id"))

    op.drop_table("billing_reseller_terms")
    with op.batch_alter_table("billing_reseller_account", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_billing_reseller_account_reseller_id"))
        batch_op.drop_index(batch_op.f("ix_billing_reseller_account_account_id"))

    op.drop_table("billing_reseller_account")
    op.drop_table("billing_commission_statement")
    with op.batch_alter_table("billing_commission_payout", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_billing_commission_payout_reseller_id"))

    op.drop_table("billing_commission_payout")
    op.drop_table("billing_reseller")
