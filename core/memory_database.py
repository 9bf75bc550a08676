"""A SQLite database in memory alone, which can be taken out as octets and put back."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiosqlite
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import StaticPool

_ROWS_AT_ONCE = 64  # aiosqlite's own figure for what it fetches ahead


class MemoryDatabase:
    """One connection to a database that is nowhere on the disk; ``image``: what an earlier one took out."""

    def __init__(self, image: bytes | None = None) -> None:
        self._raw: sqlite3.Connection | None = None
        self._image = image
        self._engine = create_async_engine(
            "sqlite+aiosqlite://",
            poolclass=StaticPool,
            connect_args={"async_creator_fn": self._connection},
        )

        @event.listens_for(self._engine.sync_engine, "begin")
        def on_begin(connection: Any) -> None:
            connection.exec_driver_sql("BEGIN")

    def _connection(self, *_arguments: Any, **_options: Any) -> aiosqlite.Connection:
        made = aiosqlite.Connection(self._open, _ROWS_AT_ONCE)
        made._thread.daemon = True  # it holds nothing that must be saved
        return made

    def _open(self) -> sqlite3.Connection:
        raw = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        if self._image is not None:
            raw.deserialize(self._image)
            self._image = None
        self._raw = raw
        return raw

    @asynccontextmanager
    async def work(self) -> AsyncIterator[AsyncConnection]:
        """A transaction, committed when the block ends. An image that is none is a ``DBAPIError``."""
        async with self._engine.begin() as connection:
            yield connection

    async def image(self) -> bytes:
        """All of it as octets, while no transaction is open."""
        if self._raw is None:
            raise RuntimeError("nothing has been written yet")
        return await asyncio.to_thread(self._raw.serialize)

    async def close(self) -> None:
        """Forget it."""
        await self._engine.dispose()
