"""Payments and their allocations in the database."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, and_, bindparam, false, func, insert, or_, select, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.allocation import AllocationRule, Credit, OpenInvoice
from billing.store.rows import insert_if_absent
from billing.store.tables import (
    account,
    allocation,
    allocation_rule,
    credit_use,
    invoice,
    payment,
    settlement,
)
from core.store.among import among


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


async def credits_of(
    connection: AsyncConnection, account_ids: Collection[str], *, by_hand_too: bool = False
) -> dict[str, list[Credit]]:
    """Money that pays nothing yet, by account, oldest first; accounts without any are left out.

    What is kept for an operator to allocate is left out too, unless it is asked for.
    """
    query = (
        select(payment.c.account_id, payment.c.id, payment.c.unallocated_minor)
        .where(among(connection, payment.c.account_id, account_ids), payment.c.unallocated_minor > 0)
        .order_by(payment.c.received_at, payment.c.id)
    )
    if not by_hand_too:
        query = query.where(payment.c.by_hand == false())
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
    """Note that nothing of the payment is left; its amount and day stay as they were."""
    await connection.execute(
        update(payment).where(payment.c.id == payment_id).values(reversed_at=at, reversal_reason=reason)
    )


async def mark_returned(connection: AsyncConnection, payment_id: str) -> None:
    """Note that money of a payment that was taken back is there again."""
    await connection.execute(
        update(payment).where(payment.c.id == payment_id).values(reversed_at=None, reversal_reason=None)
    )


async def keep_by_hand(connection: AsyncConnection, payment_id: str, by_hand: bool) -> None:
    """Whether the payment's rest waits for an operator, or follows the account's rule."""
    await connection.execute(update(payment).where(payment.c.id == payment_id).values(by_hand=by_hand))


async def use_elsewhere(
    connection: AsyncConnection, kind: str, source_id: str, parts: Mapping[str, int], at: datetime
) -> None:
    """Take credit of payments for something that is no invoice (negative: it comes back)."""
    rows = [
        {"payment_id": one, "kind": kind, "source_id": source_id, "amount_minor": amount, "at": at}
        for one, amount in parts.items()
    ]
    if rows:
        await connection.execute(insert(credit_use), rows)
        await use_credit(connection, parts)


async def used_for(connection: AsyncConnection, kind: str, source_id: str) -> dict[str, int]:
    """Which payments' money went there, and how much of each."""
    total = func.sum(credit_use.c.amount_minor)
    query = (
        select(credit_use.c.payment_id, total)
        .where(credit_use.c.kind == kind, credit_use.c.source_id == source_id)
        .group_by(credit_use.c.payment_id)
        .having(total != 0)
        .order_by(credit_use.c.payment_id)
    )
    return {row[0]: int(row[1]) for row in await connection.execute(query)}


async def claims_of(connection: AsyncConnection, payment_id: str) -> list[tuple[OpenInvoice, int]]:
    """The invoices that the payment pays, each with what it has of it."""
    total = func.sum(allocation.c.amount_minor)
    columns = (invoice.c.id, invoice.c.number, invoice.c.due_on, invoice.c.open_minor)
    query = (
        select(*columns, total)
        .join(invoice, invoice.c.id == allocation.c.invoice_id)
        .where(allocation.c.payment_id == payment_id)
        .group_by(*columns)
        .having(total != 0)
        .order_by(invoice.c.due_on, invoice.c.number)
    )
    return [(OpenInvoice(*row[:4]), int(row[4])) for row in await connection.execute(query)]


async def allocations_of_source(connection: AsyncConnection, source: str) -> list[Row[Any]]:
    """The rows written for one order."""
    query = select(allocation).where(
        or_(allocation.c.source == source, allocation.c.source == f"{source}:to")
    )
    return list(await connection.execute(query))


async def insert_rule(connection: AsyncConnection, values: dict[str, Any]) -> None:
    """Another rule for a scope, from now on."""
    await connection.execute(insert(allocation_rule).values(values))


async def rules(connection: AsyncConnection) -> dict[tuple[str, str], AllocationRule]:
    """The rule that counts in each scope, by scope and its id."""
    newest = select(func.max(allocation_rule.c.seq)).group_by(
        allocation_rule.c.scope, allocation_rule.c.scope_id
    )
    query = select(allocation_rule).where(
        allocation_rule.c.seq.in_(newest), allocation_rule.c.rule.is_not(None)
    )
    return {(row.scope, row.scope_id): AllocationRule(row.rule) for row in await connection.execute(query)}


async def rule_of(connection: AsyncConnection, account_id: str) -> AllocationRule:
    """The account's own rule, else its class's, else the house's, else oldest first."""
    query = (
        select(allocation_rule.c.scope, allocation_rule.c.rule)
        .join(account, account.c.id == account_id)
        .where(
            or_(
                allocation_rule.c.scope == "house",
                and_(
                    allocation_rule.c.scope == "class", allocation_rule.c.scope_id == account.c.account_class
                ),
                and_(allocation_rule.c.scope == "account", allocation_rule.c.scope_id == account.c.id),
            )
        )
        .order_by(allocation_rule.c.seq)
    )
    newest = {row.scope: row.rule for row in await connection.execute(query)}
    told = (newest.get(scope) for scope in ("account", "class", "house"))
    return AllocationRule(next((rule for rule in told if rule is not None), AllocationRule.OLDEST))


async def insert_settlement(connection: AsyncConnection, values: dict[str, Any]) -> bool:
    """Money in transit arrived; False when that was noted before."""
    return await insert_if_absent(connection, settlement, values)


async def is_settled(connection: AsyncConnection, payment_id: str) -> bool:
    """Whether the money is no longer in transit."""
    query = select(settlement.c.payment_id).where(settlement.c.payment_id == payment_id)
    return (await connection.execute(query)).one_or_none() is not None
