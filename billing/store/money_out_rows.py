"""Reversals, refunds, deposits and deposit slips in the database; rows are inserted and never changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import func, insert, literal, select
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.store.rows import insert_if_absent
from billing.store.tables import (
    account,
    deposit,
    deposit_release,
    deposit_slip,
    deposit_slip_item,
    invoice,
    invoice_line,
    payment,
    refund,
    refund_outcome,
    reversal,
    subscription,
)


async def insert_reversal(connection: AsyncConnection, values: dict[str, Any]) -> bool:
    """A new reversal; False when its source is known, or what it undoes is undone."""
    return await insert_if_absent(connection, reversal, values)


async def reversal_of_source(connection: AsyncConnection, source: str) -> Row[Any] | None:
    """The reversal recorded for that news."""
    return (await connection.execute(select(reversal).where(reversal.c.source == source))).one_or_none()


async def find_reversal(connection: AsyncConnection, reversal_id: str) -> Row[Any] | None:
    """The reversal with that id."""
    return (await connection.execute(select(reversal).where(reversal.c.id == reversal_id))).one_or_none()


async def reversals_of(connection: AsyncConnection, payment_id: str) -> list[Row[Any]]:
    """What was taken back of a payment, and what came back of that, in order."""
    query = (
        select(reversal)
        .where(reversal.c.payment_id == payment_id)
        .order_by(reversal.c.recorded_at, reversal.c.id)
    )
    return list(await connection.execute(query))


async def insert_refund(connection: AsyncConnection, values: dict[str, Any]) -> bool:
    """A new refund; False when its key is known."""
    return await insert_if_absent(connection, refund, values)


async def refund_with_key(connection: AsyncConnection, key: str) -> Row[Any] | None:
    """The refund ordered under the caller's key."""
    return (await connection.execute(select(refund).where(refund.c.idempotency_key == key))).one_or_none()


async def find_refund(connection: AsyncConnection, refund_id: str) -> Row[Any] | None:
    """The refund with its outcome, None in those columns while it is due."""
    query = (
        select(refund, refund_outcome.c.outcome, refund_outcome.c.reference, refund_outcome.c.told)
        .outerjoin(refund_outcome, refund_outcome.c.refund_id == refund.c.id)
        .where(refund.c.id == refund_id)
    )
    return (await connection.execute(query)).one_or_none()


async def insert_refund_outcome(connection: AsyncConnection, values: dict[str, Any]) -> bool:
    """How a refund ended; False when that is known."""
    return await insert_if_absent(connection, refund_outcome, values)


async def list_refunds(
    connection: AsyncConnection, *, account_id: str = "", due_only: bool = False, limit: int = 200
) -> list[Row[Any]]:
    """Refunds with their accounts and outcomes, newest first."""
    query = (
        select(
            refund, refund_outcome.c.outcome, refund_outcome.c.reference, refund_outcome.c.told,
            account.c.number.label("account_number"), account.c.name.label("account_name"),
        )
        .join(account, account.c.id == refund.c.account_id)
        .outerjoin(refund_outcome, refund_outcome.c.refund_id == refund.c.id)
        .order_by(refund.c.recorded_at.desc(), refund.c.id.desc())
        .limit(limit)
    )  # fmt: skip
    if account_id:
        query = query.where(refund.c.account_id == account_id)
    if due_only:
        query = query.where(refund_outcome.c.outcome.is_(None))
    return list(await connection.execute(query))


# Deposits


@dataclass(frozen=True, slots=True)
class HeldDeposit:
    """Security of a customer. ``held_minor``: what was not released yet."""

    id: str
    account_id: str
    subscription_id: str | None
    amount_minor: int
    held_minor: int
    currency: str
    reason: str
    taken_on: date


async def insert_deposit(connection: AsyncConnection, values: dict[str, Any]) -> bool:
    """A new deposit; False when its key is known."""
    return await insert_if_absent(connection, deposit, values)


async def deposit_with_key(connection: AsyncConnection, key: str) -> Row[Any] | None:
    """The deposit taken under the caller's key."""
    return (await connection.execute(select(deposit).where(deposit.c.idempotency_key == key))).one_or_none()


async def deposits_of(connection: AsyncConnection, account_id: str) -> list[HeldDeposit]:
    """Every deposit of the account, oldest first: taken from its credit, or charged on an invoice since paid.

    A line of an invoice counts as soon as the invoice is paid whole: until then there is nothing to give.
    """
    released = (
        select(deposit_release.c.deposit_id, func.sum(deposit_release.c.amount_minor).label("gone"))
        .group_by(deposit_release.c.deposit_id)
        .subquery()
    )
    gone = func.coalesce(released.c.gone, 0)
    line = invoice_line.c
    taken = select(
        deposit.c.id, deposit.c.account_id, deposit.c.subscription_id, deposit.c.amount_minor,
        deposit.c.amount_minor - gone, deposit.c.currency, deposit.c.reason, deposit.c.taken_on,
    ).outerjoin(released, released.c.deposit_id == deposit.c.id)  # fmt: skip
    charged = (
        select(
            line.id, invoice.c.account_id, line.subscription_id, line.amount_minor, line.amount_minor - gone,
            invoice.c.currency, line.description, invoice.c.issued_on,
        )
        .join(invoice, invoice.c.id == invoice_line.c.invoice_id)
        .outerjoin(released, released.c.deposit_id == invoice_line.c.id)
        .where(line.revenue == "deposit", line.amount_minor > 0, invoice.c.status == "paid")
    )  # fmt: skip
    found = [
        HeldDeposit(*row[:3], int(row[3]), int(row[4]), *row[5:])
        for query, owner in ((taken, deposit), (charged, invoice))
        for row in await connection.execute(query.where(owner.c.account_id == account_id))
    ]
    return sorted(found, key=lambda one: (one.taken_on, one.id))


async def holders_of_ended(connection: AsyncConnection, ended_by: date, limit: int = 500) -> list[str]:
    """Accounts with a deposit that is held, though its subscription ended by that day."""
    line = invoice_line.c

    def gone(deposit_id: Any) -> Any:
        total = select(func.coalesce(func.sum(deposit_release.c.amount_minor), 0))
        return total.where(deposit_release.c.deposit_id == deposit_id).scalar_subquery()

    taken = (
        select(deposit.c.account_id)
        .join(subscription, subscription.c.id == deposit.c.subscription_id)
        .where(subscription.c.ends_on <= ended_by, gone(deposit.c.id) < deposit.c.amount_minor)
    )
    charged = (
        select(invoice.c.account_id)
        .join(invoice_line, line.invoice_id == invoice.c.id)
        .join(subscription, subscription.c.id == line.subscription_id)
        .where(
            line.revenue == "deposit", line.amount_minor > 0, invoice.c.status == "paid",
            subscription.c.ends_on <= ended_by, gone(line.id) < line.amount_minor,
        )
    )  # fmt: skip
    query = taken.union(charged).limit(limit)
    return sorted(row[0] for row in await connection.execute(query))


async def deposit_owner(connection: AsyncConnection, deposit_id: str) -> str | None:
    """The account that a deposit, or a deposit line of an invoice, belongs to."""
    by_line = (
        select(invoice.c.account_id)
        .join(invoice_line, invoice_line.c.invoice_id == invoice.c.id)
        .where(invoice_line.c.id == deposit_id, invoice_line.c.revenue == "deposit")
    )
    query = select(deposit.c.account_id).where(deposit.c.id == deposit_id).union_all(by_line)
    return (await connection.execute(query)).scalar_one_or_none()


async def insert_release(connection: AsyncConnection, values: dict[str, Any]) -> None:
    """A deposit, or part of it, became a payment."""
    await connection.execute(insert(deposit_release).values(values))


async def release_of(connection: AsyncConnection, payment_id: str) -> Row[Any] | None:
    """The release that the payment was made of."""
    query = select(deposit_release).where(deposit_release.c.payment_id == payment_id)
    return (await connection.execute(query)).one_or_none()


# Deposit slips


async def to_be_banked(connection: AsyncConnection, method: str, currency: str) -> list[Row[Any]]:
    """Payments by that method that are on no slip yet and were not taken back, oldest first."""
    query = (
        select(
            payment.c.id, payment.c.received_on, payment.c.amount_minor, payment.c.reference,
            account.c.number.label("account_number"), account.c.name.label("account_name"),
        )
        .join(account, account.c.id == payment.c.account_id)
        .outerjoin(deposit_slip_item, deposit_slip_item.c.payment_id == payment.c.id)
        .where(
            payment.c.method == method, payment.c.currency == currency, payment.c.reversed_at.is_(None),
            deposit_slip_item.c.payment_id.is_(None),
        )
        .order_by(payment.c.received_at, payment.c.id)
    )  # fmt: skip
    return list(await connection.execute(query))


async def waiting_for_slips(connection: AsyncConnection, methods: Sequence[str]) -> list[Row[Any]]:
    """How many payments of each method and currency are on no slip yet, by currency and method."""
    query = (
        select(payment.c.method, payment.c.currency, func.count().label("count"))
        .outerjoin(deposit_slip_item, deposit_slip_item.c.payment_id == payment.c.id)
        .where(
            payment.c.method.in_(methods), payment.c.reversed_at.is_(None),
            deposit_slip_item.c.payment_id.is_(None),
        )
        .group_by(payment.c.method, payment.c.currency)
        .order_by(payment.c.currency, payment.c.method.desc())
    )  # fmt: skip
    return list(await connection.execute(query))


async def insert_slip(
    connection: AsyncConnection, values: dict[str, Any], payment_ids: Sequence[str]
) -> None:
    """A slip with its payments in order; a payment that is on another one breaks its key and raises."""
    await connection.execute(insert(deposit_slip).values(values))
    await connection.execute(
        insert(deposit_slip_item),
        [
            {"payment_id": one, "slip_id": values["id"], "position": position}
            for position, one in enumerate(payment_ids, start=1)
        ],
    )


async def find_slip(connection: AsyncConnection, id_or_number: str) -> Row[Any] | None:
    """The slip with that id or number."""
    query = select(deposit_slip).where(
        (deposit_slip.c.id == id_or_number) | (deposit_slip.c.number == id_or_number)
    )
    return (await connection.execute(query)).one_or_none()


async def list_slips(connection: AsyncConnection, limit: int = 100) -> list[Row[Any]]:
    """Slips with their sums, newest first."""
    query = (
        select(
            deposit_slip, func.count(payment.c.id).label("count"),
            func.coalesce(func.sum(payment.c.amount_minor), literal(0)).label("total_minor"),
        )
        .join(deposit_slip_item, deposit_slip_item.c.slip_id == deposit_slip.c.id)
        .join(payment, payment.c.id == deposit_slip_item.c.payment_id)
        .group_by(*deposit_slip.c)
        .order_by(deposit_slip.c.recorded_at.desc(), deposit_slip.c.id.desc())
        .limit(limit)
    )  # fmt: skip
    return list(await connection.execute(query))


async def slip_items(connection: AsyncConnection, slip_id: str) -> list[Row[Any]]:
    """The payments on a slip in their order."""
    query = (
        select(
            deposit_slip_item.c.position, payment.c.id, payment.c.received_on, payment.c.amount_minor,
            payment.c.reference, payment.c.reversed_at, account.c.number.label("account_number"),
            account.c.name.label("account_name"),
        )
        .join(payment, payment.c.id == deposit_slip_item.c.payment_id)
        .join(account, account.c.id == payment.c.account_id)
        .where(deposit_slip_item.c.slip_id == slip_id)
        .order_by(deposit_slip_item.c.position)
    )  # fmt: skip
    return list(await connection.execute(query))
