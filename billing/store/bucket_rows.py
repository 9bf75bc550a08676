"""Movements of buckets and top-ups: rows to values and back."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import and_, case, func, insert, or_, select
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.rating.balance import TOPPED_UP, Lot
from billing.domain.rating.parts import Balance, Step
from billing.store.rows import insert_if_absent
from billing.store.tables import bucket_movement, top_up
from core.store.among import among
from core.store.many_rows import insert_many

HELD = "held"
"""Stands for the kinds of steps that are added up."""


async def lots_of(connection: AsyncConnection, buckets: Collection[str]) -> dict[str, list[Lot]]:
    """What is left in each bucket that has anything."""
    row = bucket_movement.c
    left = func.sum(row.amount)
    found: dict[str, list[Lot]] = {}
    lot = (row.bucket, row.lot, row.lot_kind, row.opens_on, row.closes_on)
    query = select(*lot, left).where(among(connection, row.bucket, buckets)).group_by(*lot).having(left != 0)
    for bucket, source, kind, opens_on, closes_on, amount in await connection.execute(query):
        found.setdefault(bucket, []).append(Lot(source, kind, int(amount), opens_on, closes_on))
    return found


async def balances(
    connection: AsyncConnection,
    buckets: Collection[str],
    since: date,
    before: tuple[datetime, date] | None = None,
) -> dict[str, Balance]:
    """The steps of each bucket that has any; those of ratings of days before ``since`` are added up.

    ``before``: as an invoice issued at that instant, which opened a cycle on that day, found them: what was
    written earlier, and what was written then for earlier cycles or was bought.
    """
    row = bucket_movement.c
    early = or_(row.rated_from.is_(None), row.rated_from < since)
    steps = select(
        row.bucket, case((early, None), else_=row.rated_from).label("from_day"),
        case((early, HELD), else_=row.kind).label("step"), row.lot, row.lot_kind, row.opens_on, row.closes_on,
        case((early, row.opens_on), else_=row.on_date).label("on_day"), row.amount,
    ).where(among(connection, row.bucket, buckets))  # fmt: skip
    if before is not None:
        at, opening = before
        then = and_(row.recorded_at == at, or_(row.rated_for.is_(None), row.rated_for < opening))
        steps = steps.where(or_(row.recorded_at < at, then))
    *columns, each = steps.subquery().c
    amount = func.sum(each)
    query = select(*columns, amount).group_by(*columns).having(amount != 0)
    found: dict[str, Balance] = {}
    for *step, total in await connection.execute(query):
        named = Step(*step)
        found.setdefault(named.bucket, Balance(named.bucket)).add({named: int(total)})
    return found


async def insert_moved(
    connection: AsyncConnection, now: datetime, moved: Iterable[tuple[date, Mapping[Step, int]]]
) -> None:
    """What ratings changed: by the first day of the cycle that the invoice of each opens.

    A rating that is on record for the same invoice is refused by the database.
    """
    rows = [
        {
            "source": step.source(rated_for), "bucket": step.bucket, "lot": step.lot,
            "lot_kind": step.lot_kind, "kind": step.kind, "amount": amount, "on_date": step.on,
            "opens_on": step.opens_on, "closes_on": step.closes_on, "rated_from": step.rated_from,
            "rated_for": rated_for, "recorded_at": now,
        }
        for rated_for, steps in moved
        for step, amount in steps.items()
    ]  # fmt: skip
    await insert_many(connection, bucket_movement, rows)


async def movements_of(
    connection: AsyncConnection, buckets: Collection[str], limit: int
) -> Sequence[Row[Any]]:
    """The newest movements of the buckets, newest first."""
    row = bucket_movement.c
    query = select(bucket_movement).where(row.bucket.in_(buckets)).order_by(row.seq.desc()).limit(limit)
    return (await connection.execute(query)).all()


async def insert_top_up(connection: AsyncConnection, values: dict[str, Any]) -> bool:
    """A top-up that was bought, and its lot; False when its source is on record."""
    if not await insert_if_absent(connection, top_up, values):
        return False
    lot = {
        "source": f"top_up:{values['id']}", "bucket": values["bucket"], "lot": f"top_up:{values['id']}",
        "lot_kind": TOPPED_UP, "kind": "topped_up", "amount": values["amount"],
        "on_date": values["opens_on"], "opens_on": values["opens_on"], "closes_on": values["closes_on"],
        "rated_from": None, "rated_for": None, "recorded_at": values["bought_at"],
    }  # fmt: skip
    await connection.execute(insert(bucket_movement).values(lot))
    return True


async def top_up_of_source(connection: AsyncConnection, source: str) -> Row[Any] | None:
    """The top-up that was bought with that key."""
    return (await connection.execute(select(top_up).where(top_up.c.source == source))).one_or_none()


async def top_ups_since(
    connection: AsyncConnection, bucket: str, since: date, how: str
) -> Sequence[Row[Any]]:
    """What was bought for a bucket in one way since a day, oldest first."""
    query = select(top_up).where(top_up.c.bucket == bucket, top_up.c.how == how, top_up.c.opens_on >= since)
    return (await connection.execute(query.order_by(top_up.c.bought_at, top_up.c.id))).all()


async def top_ups_of_account(connection: AsyncConnection, account_id: str, limit: int) -> Sequence[Row[Any]]:
    """The newest top-ups of an account, newest first."""
    query = select(top_up).where(top_up.c.account_id == account_id)
    return (
        await connection.execute(query.order_by(top_up.c.bought_at.desc(), top_up.c.id.desc()).limit(limit))
    ).all()
