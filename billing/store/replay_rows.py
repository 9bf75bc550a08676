"""What was on record when an invoice was issued."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime
from typing import Any

from sqlalchemy import and_, func, or_, select
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.invoicing import InvoicedPart
from billing.store.tables import invoice, invoice_line, rated_charge
from core.store.among import among


async def issued_between(connection: AsyncConnection, from_on: date, to_on: date) -> list[Row[Any]]:
    """Invoices of cycles by their day of issue, both days included, in order of number."""
    query = (
        select(invoice)
        .where(invoice.c.kind == "invoice", invoice.c.issued_on >= from_on, invoice.c.issued_on <= to_on)
        .order_by(invoice.c.number)
    )
    return list(await connection.execute(query))


def _earlier(row: Row[Any]) -> Any:
    """Invoices that were written before this one; of one instant those of earlier cycles."""
    same = and_(invoice.c.created_at == row.created_at, invoice.c.cycle_start < row.cycle_start)
    return or_(invoice.c.created_at < row.created_at, same)


async def invoiced_before(
    connection: AsyncConnection, account_id: str, cycle_start: date, at: datetime
) -> datetime | None:
    """When the account's invoice of the cycle before was written."""
    query = select(func.max(invoice.c.created_at, type_=invoice.c.created_at.type)).where(
        invoice.c.account_id == account_id,
        invoice.c.kind == "invoice",
        invoice.c.cycle_start < cycle_start,
        invoice.c.created_at <= at,
    )
    found: datetime | None = (await connection.execute(query)).scalar()
    return found


async def charged_before(
    connection: AsyncConnection, subscription_ids: Collection[str], row: Row[Any]
) -> dict[str, list[InvoicedPart]]:
    """What lines of plan items had charged by then, by subscription."""
    line = invoice_line.c
    query = (
        select(
            line.subscription_id, line.plan_version_id, line.item_code, line.charged_for, line.quoted_minor
        )
        .join(invoice, invoice.c.id == line.invoice_id)
        .where(
            among(connection, line.subscription_id, subscription_ids),
            line.charged_for.is_not(None),
            line.kind.not_in(["usage", "tax", "charge", "credit"]),
            _earlier(row),
        )
    )
    found: dict[str, list[InvoicedPart]] = {}
    for one in await connection.execute(query):
        found.setdefault(one[0], []).append(InvoicedPart(one[1], one[2], one[3], one[4]))
    return found


async def rated_before(
    connection: AsyncConnection, subscription_ids: Collection[str], row: Row[Any]
) -> dict[str, set[tuple[str, date]]]:
    """``(item code, first day)`` of parts whose usage earlier invoices had rated."""
    rated = rated_charge.c
    query = (
        select(rated.subscription_id, rated.item_code, rated.period_start)
        .join(invoice_line, invoice_line.c.id == rated.invoice_line_id)
        .join(invoice, invoice.c.id == invoice_line.c.invoice_id)
        .where(among(connection, rated.subscription_id, subscription_ids), _earlier(row))
    )
    found: dict[str, set[tuple[str, date]]] = {}
    for one in await connection.execute(query):
        found.setdefault(one[0], set()).add((one[1], one[2]))
    return found


async def closes_of(connection: AsyncConnection, invoice_id: str) -> dict[tuple[str, str, date], str]:
    """The usage close behind each usage line, by subscription, item and first day."""
    rated = rated_charge.c
    query = (
        select(rated.subscription_id, rated.item_code, rated.period_start, rated.usage_close_id)
        .join(invoice_line, invoice_line.c.id == rated.invoice_line_id)
        .where(invoice_line.c.invoice_id == invoice_id)
    )
    return {(row[0], row[1], row[2]): row[3] for row in await connection.execute(query)}
