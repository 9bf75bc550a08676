"""Where buckets stood when they were last looked at, and the trail of alerts and caps."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import delete, insert, or_, select, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.store.tables import account, quota_event, quota_state
from core.database import insert_for

Alert = tuple[str, date, int]
"""Bucket, first day of the window, percents."""


@dataclass(frozen=True, slots=True)
class QuotaState:
    """A bucket as it was last seen. ``held``: effect and reason by service; ``effect``: the strongest."""

    bucket: str
    account_id: str
    terms_key: str
    window_start: date
    window_end: date
    used: int
    included: int | None
    effect: str | None
    held: dict[str, tuple[str, str]]
    looked_at: datetime
    look_at: datetime


_COLUMNS = tuple(quota_state.c[name] for name in QuotaState.__dataclass_fields__)


def _state(row: Row[Any]) -> QuotaState:
    held = {service: (hold[0], hold[1]) for service, hold in row.held.items()}
    values = {name: getattr(row, name) for name in QuotaState.__dataclass_fields__}
    return QuotaState(**(values | {"held": held}))


async def accounts_to_look_at(connection: AsyncConnection, now: datetime, ahead: datetime) -> list[str]:
    """Accounts with a bucket that is due by ``now``, or noted beyond ``ahead`` by a clock that was wrong."""
    row = quota_state.c
    query = select(row.account_id).where(or_(row.look_at <= now, row.look_at > ahead)).distinct()
    return list((await connection.execute(query.order_by(row.account_id))).scalars())


async def states_of_accounts(
    connection: AsyncConnection, account_ids: Collection[str], *, lock: bool = True
) -> dict[str, QuotaState]:
    """The buckets of some accounts; with ``lock`` held against other writers until the transaction ends."""
    query = select(*_COLUMNS).where(quota_state.c.account_id.in_(account_ids)).order_by(quota_state.c.bucket)
    query = query.with_for_update() if lock else query
    return {row.bucket: _state(row) for row in await connection.execute(query)}


async def alerts_told(connection: AsyncConnection, buckets: Sequence[str], since: date) -> set[Alert]:
    """The alerts that windows of these buckets have had, of windows that begin on that day or later."""
    event = quota_event.c
    found: set[Alert] = set()
    for start in range(0, len(buckets), 500):
        query = select(event.bucket, event.window_start, event.threshold).where(
            event.bucket.in_(buckets[start : start + 500]), event.window_start >= since, event.kind == "alert"
        )
        found |= {(row[0], row[1], row[2]) for row in await connection.execute(query)}
    return found


async def insert_events(connection: AsyncConnection, events: Sequence[Mapping[str, Any]]) -> None:
    """Steps of the trail."""
    if events:
        await connection.execute(insert(quota_event), [dict(one) for one in events])


async def save_states(connection: AsyncConnection, states: Sequence[QuotaState]) -> None:
    """How buckets stand now."""
    if not states:
        return
    statement = insert_for(connection, quota_state)
    changed = {name: statement.excluded[name] for name in QuotaState.__dataclass_fields__ if name != "bucket"}
    await connection.execute(
        statement.on_conflict_do_update(index_elements=[quota_state.c.bucket], set_=changed),
        [{name: getattr(one, name) for name in QuotaState.__dataclass_fields__} for one in states],
    )


async def forget_states(connection: AsyncConnection, buckets: Sequence[str]) -> None:
    """The buckets are no longer: what is known of them was only kept to be quick."""
    for start in range(0, len(buckets), 500):
        some = buckets[start : start + 500]
        await connection.execute(delete(quota_state).where(quota_state.c.bucket.in_(some)))


async def look_again(connection: AsyncConnection, buckets: Sequence[str], at: datetime) -> None:
    """Have buckets looked at soon: something about them changed."""
    for start in range(0, len(buckets), 500):
        some = buckets[start : start + 500]
        await connection.execute(update(quota_state).where(quota_state.c.bucket.in_(some)).values(look_at=at))


async def look_again_at_capped(connection: AsyncConnection, payer_id: str, at: datetime) -> None:
    """Have the capped buckets of an account, and of those it pays for, looked at soon: there is money."""
    family = select(account.c.id).where(or_(account.c.id == payer_id, account.c.payer_account_id == payer_id))
    await connection.execute(
        update(quota_state)
        .where(quota_state.c.account_id.in_(family), quota_state.c.effect.is_not(None))
        .values(look_at=at)
    )


async def events_of_account(connection: AsyncConnection, account_id: str, limit: int) -> Sequence[Row[Any]]:
    """The newest steps of an account, newest first."""
    query = select(quota_event).where(quota_event.c.account_id == account_id)
    return (await connection.execute(query.order_by(quota_event.c.seq.desc()).limit(limit))).all()


async def capped_states(connection: AsyncConnection, limit: int) -> list[tuple[str, QuotaState]]:
    """Account number and state of the buckets whose cap is reached."""
    query = (
        select(account.c.number, *_COLUMNS)
        .join(account, account.c.id == quota_state.c.account_id)
        .where(quota_state.c.effect.is_not(None))
        .order_by(account.c.number, quota_state.c.bucket)
        .limit(limit)
    )
    return [(row.number, _state(row)) for row in await connection.execute(query)]
