"""What waits for an operator's word: suspensions and write-offs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.store.tables import dunning_approval

LIVE = ("waiting", "approved", "declined")


async def live_approvals(connection: AsyncConnection, account_ids: Collection[str]) -> list[Row[Any]]:
    """What waits for the accounts or was decided and is not used up."""
    table = dunning_approval
    query = select(table).where(table.c.account_id.in_(account_ids), table.c.state.in_(LIVE))
    return list(await connection.execute(query.order_by(table.c.asked_at, table.c.id)))


async def find_approval(connection: AsyncConnection, approval_id: str) -> Row[Any] | None:
    """The request with that id."""
    table = dunning_approval
    return (await connection.execute(select(table).where(table.c.id == approval_id))).one_or_none()


async def insert_approvals(connection: AsyncConnection, rows: Sequence[dict[str, Any]]) -> None:
    """New requests."""
    if rows:
        await connection.execute(insert(dunning_approval), list(rows))


async def set_states(connection: AsyncConnection, states: Sequence[tuple[str, str]]) -> None:
    """``(id, state)``."""
    if states:
        await connection.execute(
            update(dunning_approval)
            .where(dunning_approval.c.id == bindparam("b_id"))
            .values(state=bindparam("b_state")),
            [{"b_id": one, "b_state": state} for one, state in states],
        )


async def decide(connection: AsyncConnection, approval_id: str, values: dict[str, Any]) -> None:
    """An operator's word: state, decided_at, decided_by, note."""
    await connection.execute(
        update(dunning_approval).where(dunning_approval.c.id == approval_id).values(values)
    )
