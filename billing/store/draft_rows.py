"""Drafts that wait for a person: rows to values and back."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.store.tables import account, draft
from core.store.among import among
from core.store.many_rows import insert_many

WAITING, REJECTED, APPROVED, REPLACED = "waiting", "rejected", "approved", "replaced"
OPEN = (WAITING, REJECTED)


@dataclass(frozen=True, slots=True)
class OpenDraft:
    """What is needed to tell whether a draft still says the same. ``state``: waiting or rejected."""

    id: str
    account_id: str
    run_id: str | None
    cycle_start: date
    digest: str
    total_minor: int
    state: str


_OPEN = [draft.c[name] for name in OpenDraft.__dataclass_fields__]


async def insert_drafts(connection: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> None:
    """New drafts."""
    await insert_many(connection, draft, rows)


async def open_drafts(connection: AsyncConnection, account_ids: Collection[str]) -> dict[str, OpenDraft]:
    """By account, the draft that waits or was rejected: there is at most one."""
    query = select(*_OPEN).where(among(connection, draft.c.account_id, account_ids), draft.c.state.in_(OPEN))
    return {row.account_id: OpenDraft(*row) for row in await connection.execute(query)}


async def held_back(connection: AsyncConnection) -> dict[str, tuple[str, str | None]]:
    """By account the state of its open draft and the draft's entity: a run passes such accounts over."""
    query = select(draft.c.account_id, draft.c.state, draft.c.entity_id).where(draft.c.state.in_(OPEN))
    return {row[0]: (row[1], row[2]) for row in await connection.execute(query)}


async def find_draft(connection: AsyncConnection, draft_id: str) -> Row[Any] | None:
    """The draft with that id."""
    return (await connection.execute(select(draft).where(draft.c.id == draft_id))).one_or_none()


async def waiting_drafts(
    connection: AsyncConnection, *, seen_until: datetime, entity_id: str | None = None
) -> list[tuple[str, str]]:
    """``(draft id, account id)`` of what waits and was drafted by then, in order of account.

    ``entity_id``: of that legal entity alone; an empty text means the house.
    """
    query = (
        select(draft.c.id, draft.c.account_id)
        .where(draft.c.state == WAITING, draft.c.drafted_at <= seen_until)
        .order_by(draft.c.account_id)
    )
    if entity_id is not None:
        query = query.where(draft.c.entity_id.is_(None) if not entity_id else draft.c.entity_id == entity_id)
    return [(row[0], row[1]) for row in await connection.execute(query)]


async def decide(
    connection: AsyncConnection,
    draft_ids: Collection[str],
    state: str,
    *,
    at: datetime,
    by: str,
    reason: str | None = None,
) -> None:
    """The drafts leave their state for another."""
    if draft_ids:
        await connection.execute(
            update(draft)
            .where(among(connection, draft.c.id, draft_ids))
            .values(state=state, decided_at=at, decided_by=by[:80], reason=reason)
        )


async def decide_if(
    connection: AsyncConnection, draft_id: str, before: str, state: str, *, at: datetime, by: str, reason: str
) -> bool:
    """The draft leaves ``before`` for ``state``; False when it is in another one by now."""
    statement = (
        update(draft)
        .where(draft.c.id == draft_id, draft.c.state == before)
        .values(state=state, decided_at=at, decided_by=by[:80], reason=reason)
    )
    return (await connection.execute(statement)).rowcount == 1


async def rejected_drafts(connection: AsyncConnection) -> list[tuple[str, str]]:
    """``(draft id, account id)`` of what was rejected and not drafted again."""
    query = select(draft.c.id, draft.c.account_id).where(draft.c.state == REJECTED).order_by(draft.c.id)
    return [(row[0], row[1]) for row in await connection.execute(query)]


async def approve(connection: AsyncConnection, became: Mapping[str, str], *, at: datetime, by: str) -> None:
    """Drafts were issued; ``became`` names each one's invoice."""
    if became:
        await connection.execute(
            update(draft)
            .where(draft.c.id == bindparam("b_id"))
            .values(
                state=APPROVED, decided_at=bindparam("b_at"), decided_by=bindparam("b_by"),
                invoice_id=bindparam("b_invoice"),
            ),
            [
                {"b_id": one, "b_invoice": invoice_id, "b_at": at, "b_by": by[:80]}
                for one, invoice_id in became.items()
            ],
        )  # fmt: skip


async def count_open(connection: AsyncConnection) -> dict[str, int]:
    """How many wait and how many are rejected."""
    query = select(draft.c.state, func.count()).where(draft.c.state.in_(OPEN)).group_by(draft.c.state)
    return {row[0]: int(row[1]) for row in await connection.execute(query)}


async def list_drafts(
    connection: AsyncConnection, state: str, *, after: str = "", limit: int = 200
) -> list[Row[Any]]:
    """Drafts in that state with number and name of their accounts, the oldest first; ``after`` an id."""
    query = (
        select(draft, account.c.number, account.c.name)
        .join(account, account.c.id == draft.c.account_id)
        .where(draft.c.state == state, draft.c.id > after)
        .order_by(draft.c.id)
        .limit(limit)
    )
    return list(await connection.execute(query))


async def sums_waiting(connection: AsyncConnection) -> list[Row[Any]]:
    """By entity and currency: how many wait, with their net, tax and total."""
    sums = [func.sum(draft.c[name]).label(name) for name in ("net_minor", "tax_minor", "total_minor")]
    query = (
        select(draft.c.entity_id, draft.c.currency, func.count().label("drafts"), *sums)
        .where(draft.c.state == WAITING)
        .group_by(draft.c.entity_id, draft.c.currency)
        .order_by(draft.c.entity_id, draft.c.currency)
    )
    return list(await connection.execute(query))
