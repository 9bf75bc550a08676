"""The unit of work: one transaction with its instant, its ids, its actor, its facts and its audit trail."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from core.clock import Clock
from core.database import Database, again_when_it_gave_way
from core.facts import Fact
from core.ids import IdSource
from core.store.many_rows import insert_many
from core.store.tables import audit, fact

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Work:
    """What a use case needs: the open transaction, one instant for all of it, ids and the actor."""

    connection: AsyncConnection
    now: datetime
    ids: IdSource
    actor: str

    async def publish(self, *facts: Fact) -> None:
        """Put facts into the outbox; they exist if and only if this transaction commits."""
        if facts:
            await insert_many(
                self.connection,
                fact,
                [
                    {
                        "kind": one.kind,
                        "subject": one.subject(),
                        "payload": one.payload(),
                        "occurred_at": self.now,
                        "attempts": 0,
                    }
                    for one in facts
                ],
            )

    async def audit(self, action: str, subject: str, **detail: Any) -> None:
        """Record who did what to whom. ``detail`` must be JSON values and never a secret."""
        await self.connection.execute(
            insert(audit).values(at=self.now, actor=self.actor, action=action, subject=subject, detail=detail)
        )


class Workplace:
    """Makes units of work over one database, clock and id source."""

    def __init__(self, database: Database, clock: Clock, ids: IdSource) -> None:
        self.database = database
        self.clock = clock
        self.ids = ids

    @asynccontextmanager
    async def work(self, actor: str) -> AsyncIterator[Work]:
        """One transaction by ``actor`` (``operator:NAME``, ``system:ROLE``), committed at the block's end."""
        async with self.database.write() as connection:
            yield Work(connection, self.clock.now(), self.ids, actor)

    async def carry_out(self, actor: str, act: Callable[[Work], Awaitable[T]]) -> T:
        """``act`` in one transaction by ``actor``; in a new one when that gave way to another worker's."""

        async def once() -> T:
            async with self.work(actor) as work:
                return await act(work)

        return await again_when_it_gave_way(once)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A consistent read-only snapshot."""
        async with self.database.read() as connection:
            yield connection
