"""Invoices and payments in lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.store.tables import account, allocation, invoice, payment
from ui.read.rows import PAGE


@dataclass(frozen=True, slots=True)
class InvoiceRow:
    """One invoice in a list."""

    id: str = field(metadata={"csv": False})
    number: str
    account_number: str
    account_id: str = field(metadata={"csv": False})
    account_name: str
    issued_on: date
    due_on: date
    total_minor: int
    open_minor: int
    currency: str
    status: str


@dataclass(frozen=True, slots=True)
class PaymentRow:
    """One payment in a list, with the invoices it went to."""

    id: str
    account_number: str
    account_id: str = field(metadata={"csv": False})
    account_name: str
    received_on: date
    received_at: datetime
    method: str
    amount_minor: int
    unallocated_minor: int
    currency: str
    recorded_by: str
    note: str
    reversed_at: datetime | None
    invoices: list[str]


async def list_invoices(
    connection: AsyncConnection, *, account_id: str = "", status: str = "", today: date | None = None,
    before: str = "", limit: int = PAGE,
) -> list[InvoiceRow]:  # fmt: skip
    """Invoices, newest first; ``before`` is the id to go on after."""
    query = (
        select(
            invoice.c.id, invoice.c.number, account.c.number.label("account_number"), invoice.c.account_id,
            account.c.name, invoice.c.issued_on, invoice.c.due_on, invoice.c.total_minor,
            invoice.c.open_minor, invoice.c.currency, invoice.c.status,
        )
        .join(account, account.c.id == invoice.c.account_id)
        .order_by(invoice.c.id.desc())
        .limit(limit)
    )  # fmt: skip
    if account_id:
        query = query.where(invoice.c.account_id == account_id)
    if before:
        query = query.where(invoice.c.id < before)
    if status == "overdue" and today:
        query = query.where(
            invoice.c.status == "finalised", invoice.c.due_on < today, invoice.c.open_minor > 0
        )
    elif status == "open":
        query = query.where(invoice.c.status == "finalised", invoice.c.open_minor > 0)
    elif status == "paid":  # nearly all are: walk back by id, not through the index of statuses
        query = query.where(func.coalesce(invoice.c.status, "") == status)
    elif status:
        query = query.where(invoice.c.status == status)
    return [_invoice_row(row, today) for row in await connection.execute(query)]


def _invoice_row(row: Any, today: date | None) -> InvoiceRow:
    late = today is not None and row.status == "finalised" and row.open_minor > 0 and row.due_on < today
    shown = "overdue" if late else "open" if row.status == "finalised" else row.status
    return InvoiceRow(
        row.id, row.number or "not numbered", row.account_number, row.account_id, row.name, row.issued_on,
        row.due_on, row.total_minor, row.open_minor, row.currency, shown,
    )  # fmt: skip


async def list_payments(
    connection: AsyncConnection, *, account_id: str = "", before: str = "", limit: int = PAGE
) -> list[PaymentRow]:
    """Payments, newest first; ``before`` is the id to go on after."""
    query = (
        select(payment, account.c.number.label("account_number"), account.c.name.label("account_name"))
        .join(account, account.c.id == payment.c.account_id)
        .order_by(payment.c.id.desc())
        .limit(limit)
    )
    if account_id:
        query = query.where(payment.c.account_id == account_id)
    if before:
        query = query.where(payment.c.id < before)
    rows = (await connection.execute(query)).all()
    invoices = await _invoices_paid_by(connection, [row.id for row in rows])
    return [
        PaymentRow(
            row.id, row.account_number, row.account_id, row.account_name, row.received_on, row.received_at,
            row.method, row.amount_minor, row.unallocated_minor, row.currency, row.recorded_by,
            row.note or "", row.reversed_at, invoices.get(row.id, []),
        )
        for row in rows
    ]  # fmt: skip


async def _invoices_paid_by(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, list[str]]:
    paid: dict[str, list[str]] = {}
    for start in range(0, len(ids), 500):  # bounded number of parameters in one statement
        query = (
            select(allocation.c.payment_id, invoice.c.number)
            .join(invoice, invoice.c.id == allocation.c.invoice_id)
            .where(allocation.c.payment_id.in_(ids[start : start + 500]))
            .group_by(allocation.c.payment_id, invoice.c.number)
            .having(func.sum(allocation.c.amount_minor) != 0)
            .order_by(invoice.c.number)
        )
        for row in await connection.execute(query):
            paid.setdefault(row.payment_id, []).append(row.number)
    return paid
