"""Movements of buckets and top-ups: rows to values and back."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import and_, func, insert, or_, select
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.rating.balance import TOPPED_UP, Lot
from billing.domain.rating.parts import Moved
from billing.store.rows import insert_if_absent
from billing.store.tables import bucket_movement, top_up
from core.database import insert_for

_AT_ONCE = 500


def _some(keys: Iterable[str]) -> Iterator[list[str]]:
    distinct = list(dict.fromkeys(keys))
    for start in range(0, len(distinct), _AT_ONCE):
        yield distinct[start : start + _AT_ONCE]


async def lots_of(
    connection: AsyncConnection, buckets: Collection[str], before: tuple[datetime, date] | None = None
) -> dict[str, list[Lot]]:
    """What is left in each bucket that has anything.

    ``before``: as it was when the part beginning on that day was rated at that instant: what was written
    earlier, and what was written then for parts that began earlier.
    """
    row = bucket_movement.c
    left = func.sum(row.amount)
    found: dict[str, list[Lot]] = {}
    for some in _some(buckets):
        lot = (row.bucket, row.lot, row.lot_kind, row.opens_on, row.closes_on)
        query = select(*lot, left).where(row.bucket.in_(some)).group_by(*lot).having(left != 0)
        if before is not None:
            query = query.where(
                or_(
                    row.recorded_at < before[0],
                    and_(row.recorded_at == before[0], row.rated_from < before[1]),
                )
            )
        for bucket, source, kind, opens_on, closes_on, amount in await connection.execute(query):
            found.setdefault(bucket, []).append(Lot(source, kind, int(amount), opens_on, closes_on))
    return found


async def insert_moved(connection: AsyncConnection, now: datetime, moved: Iterable[Moved]) -> None:
    """What ratings moved; movements of a rating that is on record already change nothing."""
    rows = [
        {
            "source": source, "bucket": rating.bucket, "lot": one.lot.source, "lot_kind": one.lot.kind,
            "kind": one.kind, "amount": one.amount, "on_date": one.on, "opens_on": one.lot.opens_on,
            "closes_on": one.lot.closes_on, "rated_from": rating.rated_from, "recorded_at": now,
        }
        for rating in moved
        for source, one in zip(rating.sources(), rating.movements, strict=True)
    ]  # fmt: skip
    if rows:
        statement = insert_for(connection, bucket_movement).on_conflict_do_nothing()
        await connection.execute(statement, rows)


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
        "rated_from": None, "recorded_at": values["bought_at"],
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
