"""Plain constructors: the rooms put together over one database, clock and key."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.close_usage import ClosedUsage, close_usage, evidence_of, usage_between
from appliance.settings import Settings
from core.clock import Clock, open_clock
from core.database import Database
from core.ids import UlidSource
from core.secrets import Sealer, load_or_create_sealer
from core.work import Work, Workplace


class MeteredUsage:
    """Billing's ``UsageSource`` over the meters of the AAA room."""

    async def close(
        self, work: Work, service_id: str, from_at: datetime, until_at: datetime, claim: str
    ) -> ClosedUsage:
        """Freeze and sum what the service used in the span; the same claim gives the same answer."""
        return await close_usage(work, service_id=service_id, from_at=from_at, until_at=until_at, claim=claim)

    async def between(
        self, connection: AsyncConnection, service_id: str, from_at: datetime, until_at: datetime
    ) -> tuple[int, int]:
        """Octets from and to the service in the span so far, for previews."""
        return await usage_between(connection, service_id, from_at, until_at)

    async def evidence(self, connection: AsyncConnection, close_id: str) -> list[Any]:
        """The records behind a close, each with its readings and raw counters."""
        return list(await evidence_of(connection, close_id))


@dataclass(frozen=True, slots=True)
class House:
    """What every role and command works with."""

    settings: Settings
    clock: Clock
    workplace: Workplace
    sealer: Sealer
    usage: MeteredUsage


@asynccontextmanager
async def open_house(settings: Settings) -> AsyncIterator[House]:
    """Open database, clock and sealing key; close them at the end."""
    settings.state.directory.mkdir(parents=True, exist_ok=True)
    clock = open_clock(settings.clock.source)
    database = Database(settings.database_url)
    try:
        yield House(
            settings=settings,
            clock=clock,
            workplace=Workplace(database, clock, UlidSource(clock)),
            sealer=load_or_create_sealer(settings.sealing_key),
            usage=MeteredUsage(),
        )
    finally:
        await database.close()
