"""a close is known by service and span

Revision: 0026, after: 0025

Usage records no longer carry the close that froze them: it holds those of its service that begin in its span,
but for what an earlier close had taken of it, and then it says which pieces are its own.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

_OVERLAPPING = """
    SELECT DISTINCT service_id FROM (
        SELECT service_id, from_at, MAX(until_at) OVER (
            PARTITION BY service_id ORDER BY from_at, until_at, id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS ended FROM aaa_usage_close
    ) AS closes WHERE from_at < ended
"""
_MARK_WHOLE = """
    UPDATE aaa_usage_record SET close_id = (
        SELECT id FROM aaa_usage_close AS closed
        WHERE closed.service_id = aaa_usage_record.service_id AND closed.until_at > aaa_usage_record.start_at
        AND closed.from_at <= aaa_usage_record.start_at AND closed.pieces IS NULL
    )
"""
_MARK_PIECE = """
    UPDATE aaa_usage_record SET close_id = :id
    WHERE service_id = :service_id AND start_at >= :start AND start_at < :end
"""
_RECORDS = """
    SELECT meter_id, start_at, end_at, octets_in, octets_out, interpolated FROM aaa_usage_record
    WHERE close_id = :id ORDER BY start_at, end_at, meter_id, id
"""


def upgrade() -> None:
    with op.batch_alter_table("aaa_usage_close", schema=None) as batch_op:
        batch_op.add_column(sa.Column("pieces", sa.JSON(), nullable=True))
        batch_op.alter_column(
            "digest", existing_type=sa.VARCHAR(length=64), type_=sa.String(length=80), existing_nullable=False
        )
        batch_op.drop_constraint(batch_op.f("uq_aaa_usage_close_service_id_claim"), type_="unique")
        batch_op.create_index("ix_aaa_usage_close_service_end", ["service_id", "until_at"], unique=False)
        batch_op.create_unique_constraint(
            batch_op.f("uq_aaa_usage_close_claim_service_id"), ["claim", "service_id"]
        )
    _say_pieces()
    op.drop_index(op.f("ix_aaa_usage_record_close_id"), table_name="aaa_usage_record")
    # Not in a batch: on SQLite that would copy the largest table of all beside itself.
    op.execute("ALTER TABLE aaa_usage_record DROP COLUMN close_id")


def _say_pieces() -> None:
    """Of closes of a service that overlap: what each of them has frozen."""
    connection = op.get_bind()
    for (service_id,) in connection.execute(sa.text(_OVERLAPPING)).all():
        closes = connection.execute(
            sa.text(
                "SELECT id, from_at, until_at FROM aaa_usage_close WHERE service_id = :service_id"
                " ORDER BY closed_at, id"
            ),
            {"service_id": service_id},
        ).all()
        marked = connection.execute(
            sa.text(
                "SELECT start_at, close_id FROM aaa_usage_record"
                " WHERE service_id = :service_id AND close_id IS NOT NULL"
            ),
            {"service_id": service_id},
        ).all()
        for number, close in enumerate(closes):
            taken = [
                (other.from_at, other.until_at)
                for place, other in enumerate(closes)
                if place != number and _came_before(other, close, marked, place < number)
            ]
            pieces = _left_of(close.from_at, close.until_at, taken)
            if pieces != [[close.from_at, close.until_at]]:
                connection.execute(
                    sa.text("UPDATE aaa_usage_close SET pieces = :pieces WHERE id = :id"),
                    {"pieces": json.dumps(pieces), "id": close.id},
                )


def _came_before(other: Any, close: Any, marked: Any, is_older: bool) -> bool:
    """By the records that both might have, and were one of them given to neither, by when they were made."""
    start, end = max(other.from_at, close.from_at), min(other.until_at, close.until_at)
    holders = {record.close_id for record in marked if start <= record.start_at < end}
    return other.id in holders or (close.id not in holders and is_older)


def _left_of(start: int, end: int, taken: list[tuple[int, int]]) -> list[list[int]]:
    pieces = []
    for taken_from, taken_until in sorted(taken):
        if taken_until <= start or taken_from >= end:
            continue
        if taken_from > start:
            pieces.append([start, taken_from])
        start = max(start, taken_until)
    return [*pieces, [start, end]] if start < end else pieces


def downgrade() -> None:
    op.add_column("aaa_usage_record", sa.Column("close_id", sa.VARCHAR(length=40), nullable=True))
    op.execute(_MARK_WHOLE)
    connection = op.get_bind()
    closes = sa.text("SELECT id, service_id, pieces, digest FROM aaa_usage_close")
    for close in connection.execute(closes).all():
        pieces = json.loads(close.pieces) if isinstance(close.pieces, str) else close.pieces
        for start, end in pieces or ():
            values = {"id": close.id, "service_id": close.service_id, "start": start, "end": end}
            connection.execute(sa.text(_MARK_PIECE), values)
    op.create_index(op.f("ix_aaa_usage_record_close_id"), "aaa_usage_record", ["close_id"], unique=False)
    for close in connection.execute(closes).all():
        if ":" in close.digest:
            _digest_in_order(connection, close.id)
    with op.batch_alter_table("aaa_usage_close", schema=None) as batch_op:
        batch_op.drop_constraint(batch_op.f("uq_aaa_usage_close_claim_service_id"), type_="unique")
        batch_op.drop_index("ix_aaa_usage_close_service_end")
        batch_op.create_unique_constraint(
            batch_op.f("uq_aaa_usage_close_service_id_claim"), ["service_id", "claim"]
        )
        batch_op.alter_column(
            "digest", existing_type=sa.String(length=80), type_=sa.VARCHAR(length=64), existing_nullable=False
        )
        batch_op.drop_column("pieces")


def _digest_in_order(connection: sa.Connection, close_id: str) -> None:
    """The digest as the release before makes it; it knows no other."""
    digest = hashlib.sha256()
    for *fields, interpolated in connection.execute(sa.text(_RECORDS), {"id": close_id}):
        digest.update("".join((*(f"{one}|" for one in fields), f"{int(interpolated)}\n")).encode())
    connection.execute(
        sa.text("UPDATE aaa_usage_close SET digest = :digest WHERE id = :id"),
        {"digest": digest.hexdigest(), "id": close_id},
    )
