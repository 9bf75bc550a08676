"""Automatic payment in the database: who has it, and what it has tried."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.store.rows import insert_if_absent
from billing.store.tables import account, autopay, gateway_charge, invoice, payment_method


async def keep_autopay(connection: AsyncConnection, values: dict[str, Any]) -> None:
    """Write how an account pays by itself, over what was there."""
    if not await insert_if_absent(connection, autopay, values):
        await connection.execute(
            update(autopay).where(autopay.c.account_id == values["account_id"]).values(values)
        )


async def find_autopay(connection: AsyncConnection, account_id: str) -> Row[Any] | None:
    """How the account pays by itself; None: it never was asked to."""
    return (await connection.execute(select(autopay).where(autopay.c.account_id == account_id))).one_or_none()


async def open_with_terms(connection: AsyncConnection, latest_issue: date) -> list[Row[Any]]:
    """Everything open of accounts that pay by themselves, issued up to then, with zone and terms."""
    query = (
        select(
            autopay.c.account_id, autopay.c.day_rule, autopay.c.days, account.c.time_zone,
            invoice.c.issued_on, invoice.c.due_on,
        )
        .join(invoice, invoice.c.account_id == autopay.c.account_id)
        .join(account, account.c.id == autopay.c.account_id)
        .where(autopay.c.enabled, invoice.c.status == "finalised", invoice.c.open_minor > 0)
        .where(invoice.c.issued_on <= latest_issue)
        .order_by(autopay.c.account_id)
    )  # fmt: skip
    return list(await connection.execute(query))


async def tried_since(connection: AsyncConnection, since: datetime) -> set[str]:
    """Accounts that were charged by themselves since then."""
    query = select(gateway_charge.c.account_id).where(
        gateway_charge.c.cause == "autopay", gateway_charge.c.begun_at >= since
    )
    return {row.account_id for row in await connection.execute(query)}


async def open_invoices(connection: AsyncConnection, account_id: str) -> list[Row[Any]]:
    """The account's unpaid invoices, oldest due date first."""
    query = (
        select(invoice.c.id, invoice.c.number, invoice.c.issued_on, invoice.c.due_on, invoice.c.open_minor)
        .where(invoice.c.account_id == account_id, invoice.c.status == "finalised", invoice.c.open_minor > 0)
        .order_by(invoice.c.due_on, invoice.c.number)
    )
    return list(await connection.execute(query))


async def tries_for(connection: AsyncConnection, invoice_id: str) -> list[Row[Any]]:
    """What automatic payment charged for the invoice, in order."""
    query = (
        select(gateway_charge)
        .where(gateway_charge.c.invoice_id == invoice_id, gateway_charge.c.cause == "autopay")
        .order_by(gateway_charge.c.begun_at, gateway_charge.c.id)
    )
    return list(await connection.execute(query))


async def counts_since(connection: AsyncConnection, account_id: str) -> datetime | None:
    """Since when the account pays by itself in this way: by these terms, with this card."""
    terms = await find_autopay(connection, account_id)
    if terms is None:
        return None
    query = select(payment_method.c.added_at).where(payment_method.c.account_id == account_id)
    if terms.method_id is None:
        query = query.where(payment_method.c.is_default)
    else:
        query = query.where(payment_method.c.id == terms.method_id)
    added_at = (await connection.execute(query.limit(1))).scalar_one_or_none()
    changed_at: datetime = terms.changed_at
    return max(changed_at, added_at) if added_at else changed_at
