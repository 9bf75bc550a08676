"""Payments and their allocations in the database."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, bindparam, func, insert, select, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.allocation import Credit
from billing.store.rows import insert_if_absent
from billing.store.tables import allocation, invoice, payment


async def insert_payment(connection: AsyncConnection, values: dict[str, Any]) -> bool:
    """A new payment; False when its idempotency key exists."""
    return await insert_if_absent(connection, payment, values)


async def payment_with_key(connection: AsyncConnection, key: str) -> Row[Any] | None:
    """The payment recorded under the caller's key."""
    query = select(payment).where(payment.c.idempotency_key == key)
    return (await connection.execute(query)).one_or_none()


async def find_payment(connection: AsyncConnection, payment_id: str) -> Row[Any] | None:
    """The payment with that id."""
    return (await connection.execute(select(payment).where(payment.c.id == payment_id))).one_or_none()


async def credits_of(connection: AsyncConnection, account_ids: Collection[str]) -> dict[str, list[Credit]]:
    """Money that pays nothing yet, by account, oldest first; accounts without any are left out."""
    query = (
        select(payment.c.account_id, payment.c.id, payment.c.unallocated_minor)
        .where(payment.c.account_id.in_(account_ids), payment.c.unallocated_minor > 0)
        .order_by(payment.c.received_at, payment.c.id)
    )
    found: dict[str, list[Credit]] = {}
    for row in await connection.execute(query):
        found.setdefault(row.account_id, []).append(Credit(row.id, row.unallocated_minor))
    return found


async def insert_allocations(connection: AsyncConnection, rows: Sequence[dict[str, Any]]) -> None:
    """New allocation rows; what undoes one is a row of its own."""
    if rows:
        await connection.execute(insert(allocation), list(rows))


async def use_credit(connection: AsyncConnection, used: Mapping[str, int]) -> None:
    """Take what was allocated off the unallocated rest of each payment."""
    if used:
        left = payment.c.unallocated_minor - bindparam("b_used", type_=BigInteger)
        await connection.execute(
            update(payment).where(payment.c.id == bindparam("b_id")).values(unallocated_minor=left),
            [{"b_id": payment_id, "b_used": amount} for payment_id, amount in used.items()],
        )


async def allocated_of(connection: AsyncConnection, payment_id: str) -> list[tuple[str, str, int]]:
    """``(invoice id, number, amount)`` the payment still pays, invoices in order of number."""
    total = func.sum(allocation.c.amount_minor)
    query = (
        select(allocation.c.invoice_id, invoice.c.number, total)
        .join(invoice, invoice.c.id == allocation.c.invoice_id)
        .where(allocation.c.payment_id == payment_id)
        .group_by(allocation.c.invoice_id, invoice.c.number)
        .having(total != 0)
        .order_by(invoice.c.number)
    )
    return [(row[0], row[1], int(row[2])) for row in await connection.execute(query)]


async def mark_reversed(connection: AsyncConnection, payment_id: str, at: datetime, reason: str) -> None:
    """Note that the payment was taken back and leaves no credit; its amount and day stay as they were."""
    await connection.execute(
        update(payment)
        .where(payment.c.id == payment_id)
        .values(reversed_at=at, reversal_reason=reason, unallocated_minor=0)
    )
