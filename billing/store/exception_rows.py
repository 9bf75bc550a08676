"""Promises, disputes and deferrals in the database."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime
from typing import Any

from sqlalchemy import bindparam, func, insert, or_, select, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.store.rows import insert_if_absent
from billing.store.tables import (
    deferral,
    dispute,
    dunning_state,
    invoice,
    payment,
    promise,
    reversal,
    subscription,
)

# Promises


async def open_promises(connection: AsyncConnection, account_ids: Collection[str]) -> list[Row[Any]]:
    """The open promise of each account that has one."""
    query = select(promise).where(promise.c.account_id.in_(account_ids), promise.c.state == "open")
    return list(await connection.execute(query.order_by(promise.c.account_id)))


async def promises_of(connection: AsyncConnection, account_id: str) -> list[Row[Any]]:
    """Every promise of the account, newest first."""
    query = select(promise).where(promise.c.account_id == account_id)
    return list(await connection.execute(query.order_by(promise.c.made_at.desc(), promise.c.id.desc())))


async def broken_since(connection: AsyncConnection, account_id: str, since: datetime) -> int:
    """How many promises the account has broken since then."""
    query = select(func.count()).where(
        promise.c.account_id == account_id, promise.c.state == "broken", promise.c.ended_at >= since
    )
    return int((await connection.execute(query)).scalar_one())


async def insert_promise(connection: AsyncConnection, values: dict[str, Any]) -> None:
    """A new promise; the account's open one must be ended before."""
    await connection.execute(insert(promise).values(values))


async def end_promises(connection: AsyncConnection, ended: Collection[tuple[str, str]], at: datetime) -> None:
    """``(promise id, kept | broken | replaced | withdrawn)``: what became of open promises."""
    if ended:
        await connection.execute(
            update(promise)
            .where(promise.c.id == bindparam("b_id"), promise.c.state == "open")
            .values(state=bindparam("b_state"), ended_at=at),
            [{"b_id": promise_id, "b_state": state} for promise_id, state in ended],
        )


async def set_promise_until(connection: AsyncConnection, days: dict[str, date | None]) -> None:
    """The day up to which each account's promise defers worsening."""
    if days:
        await connection.execute(
            update(dunning_state)
            .where(dunning_state.c.account_id == bindparam("b_id"))
            .values(promise_until=bindparam("b_until")),
            [{"b_id": account_id, "b_until": until} for account_id, until in days.items()],
        )


async def paid_since(connection: AsyncConnection, since: dict[str, datetime]) -> dict[str, int]:
    """What each account has paid from that instant on and not had taken back, in minor units."""
    if not since:
        return {}
    back = func.sum(reversal.c.amount_minor)
    taken_back = select(reversal.c.payment_id, back.label("back")).group_by(reversal.c.payment_id).subquery()
    left = payment.c.amount_minor - func.coalesce(taken_back.c.back, 0)
    query = (
        select(payment.c.account_id, payment.c.received_at, left.label("left"))
        .outerjoin(taken_back, taken_back.c.payment_id == payment.c.id)
        .where(payment.c.account_id.in_(since), payment.c.received_at >= min(since.values()))
    )
    found = dict.fromkeys(since, 0)
    for row in await connection.execute(query):
        if row.received_at >= since[row.account_id]:
            found[row.account_id] += int(row.left)
    return found


async def open_until(connection: AsyncConnection, account_id: str, until: date) -> int:
    """What is open on invoices due by that day, in minor units."""
    query = select(func.coalesce(func.sum(invoice.c.open_minor), 0)).where(
        invoice.c.account_id == account_id, invoice.c.status == "finalised", invoice.c.due_on <= until
    )
    return int((await connection.execute(query)).scalar_one())


# Disputes


async def disputes_of(connection: AsyncConnection, account_ids: Collection[str]) -> list[Row[Any]]:
    """Every dispute of the accounts with its invoice's number, oldest first."""
    query = (
        select(dispute, invoice.c.number)
        .outerjoin(invoice, invoice.c.id == dispute.c.invoice_id)
        .where(dispute.c.account_id.in_(account_ids))
        .order_by(dispute.c.placed_at, dispute.c.id)
    )
    return list(await connection.execute(query))


async def find_dispute(connection: AsyncConnection, dispute_id: str) -> Row[Any] | None:
    """The dispute with that id."""
    return (await connection.execute(select(dispute).where(dispute.c.id == dispute_id))).one_or_none()


async def insert_dispute(connection: AsyncConnection, values: dict[str, Any]) -> None:
    """A new dispute."""
    await connection.execute(insert(dispute).values(values))


async def end_dispute(connection: AsyncConnection, dispute_id: str, values: dict[str, Any]) -> None:
    """How it was settled."""
    await connection.execute(update(dispute).where(dispute.c.id == dispute_id).values(values))


# Deferrals


async def deferrals_of(
    connection: AsyncConnection, account_ids: Collection[str], since: date = date.min
) -> list[Row[Any]]:
    """The accounts' deferrals that last beyond ``since``, oldest first."""
    query = (
        select(deferral)
        .where(
            deferral.c.account_id.in_(account_ids),
            or_(deferral.c.until_on.is_(None), deferral.c.until_on > since),
        )
        .order_by(deferral.c.placed_at, deferral.c.id)
    )
    return list(await connection.execute(query))


async def insert_deferral(connection: AsyncConnection, values: dict[str, Any]) -> bool:
    """A new deferral; False when one of that source stands on the account."""
    return await insert_if_absent(connection, deferral, values)


async def standing_deferrals(connection: AsyncConnection, source: str) -> list[Row[Any]]:
    """What a source has placed and not lifted."""
    query = select(deferral).where(deferral.c.source == source, deferral.c.lifted_at.is_(None))
    return list(await connection.execute(query.order_by(deferral.c.account_id)))


async def lift_deferrals(connection: AsyncConnection, ends: dict[str, date], at: datetime) -> None:
    """Each ends on its day (exclusive), or stays ended on an earlier one."""
    if ends:
        earlier = deferral.c.until_on
        table = deferral
        await connection.execute(
            update(table)
            .where(table.c.id == bindparam("b_id"), or_(earlier.is_(None), earlier > bindparam("b_day")))
            .values(until_on=bindparam("b_day")),
            [{"b_id": one, "b_day": day} for one, day in ends.items()],
        )
        await connection.execute(update(table).where(table.c.id.in_(ends)).values(lifted_at=at))


async def accounts_of_services(connection: AsyncConnection, service_ids: Collection[str]) -> dict[str, str]:
    """The account of the newest subscription of each service."""
    query = (
        select(subscription.c.service_id, subscription.c.account_id)
        .where(subscription.c.service_id.in_(service_ids))
        .order_by(subscription.c.starts_on, subscription.c.id)
    )
    return {row.service_id: row.account_id for row in await connection.execute(query)}
