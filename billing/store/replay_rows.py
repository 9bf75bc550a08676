"""What was on record when an invoice was issued."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime
from typing import Any, cast

from sqlalchemy import and_, func, or_, select
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.invoicing import CHARGES, InvoicedPart
from billing.domain.usage_parts import RatedBefore
from billing.domain.usage_parts import closes_of as closes_of_charges
from billing.store.invoice_rows import RATED_BEFORE
from billing.store.tables import invoice, invoice_line, rated_charge
from core.periods import Period
from core.store.among import among


async def issued_between(connection: AsyncConnection, from_on: date, to_on: date) -> list[Row[Any]]:
    """Invoices of cycles and of charges by their day of issue, both days included, in order of number."""
    query = (
        select(invoice)
        .where(
            invoice.c.kind.in_(("invoice", CHARGES)),
            invoice.c.issued_on >= from_on,
            invoice.c.issued_on <= to_on,
        )
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
) -> dict[str, list[RatedBefore]]:
    """The rated charges of earlier invoices, by subscription."""
    rated = rated_charge.c
    found: dict[str, list[RatedBefore]] = {}
    for part in (rated.closes.is_(None), rated.closes.is_not(None)):  # each has its own index
        query = (
            select(rated.subscription_id, *RATED_BEFORE)
            .join(invoice_line, invoice_line.c.id == rated.invoice_line_id)
            .join(invoice, invoice.c.id == invoice_line.c.invoice_id)
            .where(among(connection, rated.subscription_id, subscription_ids), part, _earlier(row))
        )
        for subscription_id, *values in await connection.execute(query):
            found.setdefault(subscription_id, []).append(cast("RatedBefore", tuple(values)))
    return found


async def closes_of(connection: AsyncConnection, invoice_id: str) -> dict[tuple[str, Period], str]:
    """The usage closes that the invoice's rated charges are made of, by subscription and days."""
    query = (
        select(rated_charge.c.subscription_id, *RATED_BEFORE)
        .join(invoice_line, invoice_line.c.id == rated_charge.c.invoice_line_id)
        .where(invoice_line.c.invoice_id == invoice_id)
    )
    found: dict[tuple[str, Period], str] = {}
    for subscription_id, *values in await connection.execute(query):
        for close in closes_of_charges([cast("RatedBefore", tuple(values))]):
            found[subscription_id, close.span] = close.close_id
    return found
