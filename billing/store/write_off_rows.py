"""Claims given up, and what came in after all: rows are inserted and summed, never changed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date
from typing import Any

from sqlalchemy import Select, Subquery, case, func, insert, select, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.store.tables import invoice, write_off


async def insert_write_offs(connection: AsyncConnection, rows: Sequence[dict[str, Any]]) -> None:
    """New rows; a negative amount is a recovery."""
    if rows:
        await connection.execute(insert(write_off), list(rows))


async def still_given_up(connection: AsyncConnection, account_id: str) -> list[Row[Any]]:
    """Invoices of the account with what is written off and not recovered, oldest due date first."""
    total = func.sum(write_off.c.amount_minor).label("amount_minor")
    forgiven = func.max(case((write_off.c.forgiven, 1), else_=0)).label("forgiven")
    query: Select[Any] = (
        select(invoice.c.id, invoice.c.number, invoice.c.open_minor, total, forgiven)
        .join(invoice, invoice.c.id == write_off.c.invoice_id)
        .where(write_off.c.account_id == account_id)
        .group_by(invoice.c.id, invoice.c.number, invoice.c.open_minor, invoice.c.due_on)
        .having(total > 0)
        .order_by(invoice.c.due_on, invoice.c.number)
    )
    return list(await connection.execute(query))


async def write_offs_of(connection: AsyncConnection, account_id: str) -> list[Row[Any]]:
    """Every write-off and recovery of the account with its invoice's number, newest first."""
    query = (
        select(write_off, invoice.c.number)
        .join(invoice, invoice.c.id == write_off.c.invoice_id)
        .where(write_off.c.account_id == account_id)
        .order_by(write_off.c.recorded_at.desc(), write_off.c.id.desc())
    )
    return list(await connection.execute(query))


def sums_by_invoice(until: date | None = None) -> Subquery:
    """``invoice_id`` and ``given_up``: what is written off, less what came in after all, by that day."""
    query = select(write_off.c.invoice_id, func.sum(write_off.c.amount_minor).label("given_up"))
    if until is not None:
        query = query.where(write_off.c.on_date <= until)
    return query.group_by(write_off.c.invoice_id).subquery()


async def set_open(connection: AsyncConnection, invoice_id: str, open_minor: int, status: str) -> None:
    """What an invoice still asks for, and its status."""
    await connection.execute(
        update(invoice).where(invoice.c.id == invoice_id).values(open_minor=open_minor, status=status)
    )


async def mark_written_off(connection: AsyncConnection, invoice_ids: Collection[str]) -> None:
    """Nothing is open on them, and a part is still given up: that is no paid invoice."""
    if invoice_ids:
        await connection.execute(
            update(invoice)
            .where(invoice.c.id.in_(invoice_ids), invoice.c.open_minor == 0)
            .values(status="written_off")
        )
