"""days are closed and entries have a digest

Revision: 0023, after: 0022

Entries, postings and closing acts are only inserted from here on: triggers refuse the rest, and a booking on a
closed day. A later migration that rebuilds one of these tables in SQLite drops its triggers with it and has to
make them again; one that has to change rows drops them first.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

_TABLES = ("billing_ledger_entry", "billing_posting", "billing_closing_act")


def upgrade() -> None:
    op.create_table(
        "billing_closing_act",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("until", sa.Date(), nullable=True),
        sa.Column("supplement", sa.Integer(), nullable=False),
        sa.Column("entries", sa.Integer(), nullable=False),
        sa.Column("postings", sa.Integer(), nullable=False),
        sa.Column("sums", sa.JSON(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.Column("recorded_by", sa.String(length=80), nullable=False),
        sa.Column("previous_hash", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_billing_closing_act")),
    )
    with op.batch_alter_table("billing_closing_act", schema=None) as batch_op:
        batch_op.create_index("ix_billing_closing_act_kind", ["kind", "day"], unique=False)
        batch_op.create_index(
            "uq_billing_closing_act_day",
            ["day", "supplement"],
            unique=True,
            sqlite_where=sa.text("kind = 'day'"),
            postgresql_where=sa.text("kind = 'day'"),
        )
    op.create_table(
        "billing_ledger_code",
        sa.Column("ledger_account", sa.String(length=60), nullable=False),
        sa.Column("code", sa.String(length=120), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_by", sa.String(length=80), nullable=False),
        sa.PrimaryKeyConstraint("ledger_account", name=op.f("pk_billing_ledger_code")),
    )
    with op.batch_alter_table("billing_invoice_line", schema=None) as batch_op:
        batch_op.create_index(
            "ix_billing_invoice_line_deferred",
            ["period_end", "period_start", "revenue", "amount_minor", "invoice_id"],
            unique=False,
            sqlite_where=sa.text("deferred IS 1"),
            postgresql_where=sa.text("deferred IS true"),
        )
    with op.batch_alter_table("billing_ledger_entry", schema=None) as batch_op:
        batch_op.add_column(sa.Column("happened_on", sa.Date(), nullable=True))
        batch_op.add_column(sa.Column("supplement", sa.Integer(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("entity_id", sa.String(length=40), nullable=True))
        batch_op.add_column(sa.Column("digest", sa.String(length=64), nullable=True))
        batch_op.create_index("ix_billing_ledger_entry_day", ["booked_on", "id"], unique=False)
    if op.get_bind().dialect.name == "postgresql":
        _guard_postgresql()
    else:
        _guard_sqlite()


def _guard_sqlite() -> None:
    for table in _TABLES:
        for act in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{act.lower()} BEFORE {act} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table}: rows are only inserted'); END"
            )
    op.execute(
        "CREATE TRIGGER billing_ledger_entry_closed BEFORE INSERT ON billing_ledger_entry "
        "WHEN NEW.supplement = 0 AND EXISTS "
        "(SELECT 1 FROM billing_closing_act WHERE kind = 'day' AND day >= NEW.booked_on) "
        "BEGIN SELECT RAISE(ABORT, 'billing_ledger_entry: that day is closed'); END"
    )


def _guard_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION billing_only_inserted() RETURNS trigger LANGUAGE plpgsql AS $$ "
        "BEGIN RAISE EXCEPTION '%: rows are only inserted', TG_TABLE_NAME "
        "USING ERRCODE = 'restrict_violation'; END $$"
    )
    op.execute(
        "CREATE FUNCTION billing_day_is_open() RETURNS trigger LANGUAGE plpgsql AS $$ "
        "BEGIN IF EXISTS (SELECT 1 FROM billing_closing_act WHERE kind = 'day' AND day >= NEW.booked_on) "
        "THEN RAISE EXCEPTION 'billing_ledger_entry: that day is closed' "
        "USING ERRCODE = 'restrict_violation'; END IF; RETURN NEW; END $$"
    )
    for table in _TABLES:
        op.execute(
            f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION billing_only_inserted()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION billing_only_inserted()"
        )
    op.execute(
        "CREATE TRIGGER billing_ledger_entry_closed BEFORE INSERT ON billing_ledger_entry "
        "FOR EACH ROW WHEN (NEW.supplement = 0) EXECUTE FUNCTION billing_day_is_open()"
    )


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP TRIGGER billing_ledger_entry_closed ON billing_ledger_entry")
        for table in _TABLES:
            op.execute(f"DROP TRIGGER {table}_no_change ON {table}")
            op.execute(f"DROP TRIGGER {table}_no_truncate ON {table}")
        op.execute("DROP FUNCTION billing_only_inserted()")
        op.execute("DROP FUNCTION billing_day_is_open()")
    else:
        op.execute("DROP TRIGGER billing_ledger_entry_closed")
        for table in _TABLES:
            op.execute(f"DROP TRIGGER {table}_no_update")
            op.execute(f"DROP TRIGGER {table}_no_delete")
    with op.batch_alter_table("billing_ledger_entry", schema=None) as batch_op:
        batch_op.drop_index("ix_billing_ledger_entry_day")
        batch_op.drop_column("digest")
        batch_op.drop_column("entity_id")
        batch_op.drop_column("supplement")
        batch_op.drop_column("happened_on")
    with op.batch_alter_table("billing_invoice_line", schema=None) as batch_op:
        batch_op.drop_index("ix_billing_invoice_line_deferred")
    op.drop_table("billing_ledger_code")
    op.drop_table("billing_closing_act")
