"""Plain constructors: the rooms put together over one database, clock and key."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.close_usage import ClosedUsage, close_usage, evidence_of, usage_between
from appliance.settings import Settings, SettingsError
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
async def open_house(settings: Settings, *, may_make_key: bool = False) -> AsyncIterator[House]:
    """Open database, clock and sealing key; close them at the end. Raises ``SettingsError``.

    Only the first set-up makes a sealing key: a new one beside an old database would open nothing in it.
    """
    state = settings.state.directory
    with _naming("state.directory"):
        state.mkdir(parents=True, exist_ok=True)
    with _naming("clock.source"):
        clock = open_clock(settings.clock.source)
    sealer = _sealer(settings.sealing_key, may_make_key=may_make_key)
    with _naming("database.url"):
        database = Database(settings.database_url)
        _check_file(make_url(settings.database_url))
    try:
        yield House(
            settings=settings,
            clock=clock,
            workplace=Workplace(database, clock, UlidSource(clock)),
            sealer=sealer,
            usage=MeteredUsage(),
        )
    finally:
        await database.close()


def _sealer(path: Path, *, may_make_key: bool) -> Sealer:
    if not may_make_key and not path.exists():
        raise SettingsError(
            f"{path}: there is no sealing key; restore it from the backup, or make the first: hilltop init"
        )
    try:
        return load_or_create_sealer(path)
    except OSError as trouble:
        why = trouble.strerror or str(trouble)
    except ValueError as trouble:
        why = str(trouble)
    raise SettingsError(f"{path} is not a usable sealing key file ({why}); restore it from the backup")


def _check_file(url: URL) -> None:
    """An embedded database that is there must be a file that can be written. Raises ``OSError``."""
    if url.drivername.startswith("sqlite") and url.database and Path(url.database).exists():
        os.close(os.open(url.database, os.O_RDWR))


@contextmanager
def _naming(what: str) -> Iterator[None]:
    """Turn what cannot be opened into settings that cannot be used."""
    try:
        yield
    except OSError as trouble:
        raise SettingsError(f"{what}: {trouble.filename}: {trouble.strerror or trouble}") from None
    except ValueError as trouble:
        said = str(trouble)
        raise SettingsError(said if said.startswith(what) else f"{what}: {said}") from None
