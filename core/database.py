"""The database: embedded SQLite by default, PostgreSQL by URL.

SQLite runs in WAL mode with ``synchronous=FULL``: what was committed survives a pulled plug. Writers take the
write lock at BEGIN, so a transaction never fails half-way for having read first.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from core.store.json_text import json_text
from core.uninterrupted import uninterrupted

if TYPE_CHECKING:
    from sqlalchemy import Table
    from sqlalchemy.dialects import postgresql, sqlite

BUSY_TIMEOUT_S = 10
COMMAND_LIMIT_S = 3600.0
"""No statement of ours takes so long, not even a migration's: PostgreSQL hangs, and an error says so."""
T = TypeVar("T")


def _prepare_sqlite(engine: AsyncEngine, begin: str) -> None:
    @event.listens_for(engine.sync_engine, "connect")
    def on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # BEGIN is ours
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_S * 1000}")
        cursor.execute("PRAGMA cache_size=-32768")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def on_begin(connection: Any) -> None:
        connection.exec_driver_sql(begin)


_WIRE = (  # tcp(7): a peer that is silently gone is noticed in half a minute, by whoever waits or sends
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000),
)


def _notice_dead_wires(engine: AsyncEngine) -> None:
    """A statement over a black-holed connection ends in an error; one that only takes long goes on."""

    # First of all: the dialect's own queries on a new connection go over the wire too.
    @event.listens_for(engine.sync_engine, "connect", insert=True)
    def on_connect(connection: Any, _record: Any) -> None:
        wire = connection.driver_connection._transport.get_extra_info("socket")
        if wire.family != socket.AF_UNIX:
            for level, option, value in _WIRE:
                wire.setsockopt(level, option, value)


def _engine(url: str, **pool: Any) -> AsyncEngine:
    """An engine whose errors do not repeat a statement's values: hashes and sealed secrets are among them."""
    return create_async_engine(url, hide_parameters=True, json_serializer=json_text, **pool)


class Database:
    """Two doors: ``read()`` is a snapshot, ``write()`` a transaction committed at its end."""

    def __init__(self, url: str, pool_size: int = 5) -> None:
        self.url = normalise_url(url)
        self.is_sqlite = self.url.startswith("sqlite")
        self._marker: tuple[tuple[int, int], sqlite3.Connection] | None = None
        if self.is_sqlite:
            # One writer connection: SQLite has one write lock, and waiting in our own queue is fair.
            self._writer = _engine(self.url, pool_size=1, max_overflow=0, pool_timeout=60)
            self._reader = _engine(self.url, pool_size=pool_size, max_overflow=5)
            _prepare_sqlite(self._writer, "BEGIN IMMEDIATE")
            _prepare_sqlite(self._reader, "BEGIN")
        else:
            self._writer = _engine(
                self.url,
                pool_size=pool_size,
                max_overflow=5,
                pool_pre_ping=True,
                connect_args={"command_timeout": COMMAND_LIMIT_S},
            )
            _notice_dead_wires(self._writer)
            self._reader = self._writer

    def must_exist(self) -> None:
        """From now on an embedded database that is not there is an ``OSError``, and none is begun anew."""
        path = make_url(self.url).database
        if not self.is_sqlite or not path:
            return

        def look(*_: Any) -> None:
            if not Path(path).exists():
                raise FileNotFoundError(errno.ENOENT, "the database is not there", path)

        for engine in (self._writer, self._reader):
            event.listen(engine.sync_engine, "do_connect", look)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A read-write transaction, committed when the block ends, rolled back when it raises."""
        async with self._writer.connect() as connection:
            transaction = await connection.begin()
            try:
                yield connection
            except BaseException:
                await uninterrupted(transaction.rollback())
                raise
            await uninterrupted(transaction.commit())

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A read-only transaction over one consistent snapshot."""
        async with self._reader.connect() as connection, connection.begin() as transaction:
            if not self.is_sqlite:
                await connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
            yield connection
            await transaction.rollback()

    async def commit_mark(self) -> object:
        """Another one whenever something was committed since, by anybody; equal marks are equal content.

        Not a transaction, and no more than a word from the database. Raises as a read does.
        """
        if self.is_sqlite:
            return await asyncio.to_thread(self._file_mark)
        async with self._reader.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            # The transactions this one would see, PostgreSQL manual 9.27: a commit is one less to wait for.
            return (await connection.execute(text("SELECT pg_current_snapshot()::text"))).scalar_one()

    def _file_mark(self) -> object:
        """``PRAGMA data_version`` of a connection that never writes, another one when the file is another."""
        path = make_url(self.url).database or ""
        try:
            found = Path(path).stat()
            file = found.st_dev, found.st_ino
            if self._marker is None or self._marker[0] != file:
                self._close_marker()
                uri = f"{Path(path).absolute().as_uri()}?mode=rw"
                self._marker = file, sqlite3.connect(uri, uri=True, timeout=0, check_same_thread=False)
            connection = self._marker[1]
            return connection, connection.execute("PRAGMA data_version").fetchone()[0]
        except BaseException:
            self._close_marker()
            raise

    def _close_marker(self) -> None:
        marker, self._marker = self._marker, None
        if marker is not None:
            marker[1].close()

    async def close(self) -> None:
        """Close every connection."""
        self._close_marker()
        await self._writer.dispose()
        if self._reader is not self._writer:
            await self._reader.dispose()


_LAST_PORT = 65_535
_UNREADABLE = "it cannot be read; in a password write @ as %40, : as %3A and / as %2F"
_FORMS = "write it like postgresql://user:password@host/name or sqlite:////folder/file"
_OPTIONS = {
    "host", "passfile", "password", "port", "prepared_statement_cache_size", "ssl", "target_session_attrs",
    "user",
}  # fmt: skip
"""What may follow the ``?``: asyncpg takes no other option that is text, and libpq's are not asyncpg's."""


def normalise_url(url: str) -> str:
    """The URL with its async driver: ``sqlite:///path`` and ``postgresql://…`` are enough in the settings.

    Raises ``ValueError`` for what is no database, and never repeats a part of the URL: in one that is read
    wrongly any part may be of the password.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ValueError(f"this is no database; {_FORMS}") from None
    except ValueError:
        raise ValueError(_UNREADABLE) from None
    if parsed.drivername.startswith("sqlite"):
        if parsed.query:
            raise ValueError("an embedded database takes no options; leave out the ? and what follows it")
        return parsed.set(drivername="sqlite+aiosqlite").render_as_string(hide_password=False)
    if not parsed.drivername.startswith("postgresql"):
        raise ValueError(f"this is no database; {_FORMS}")
    if url.count("@") > 1 or "@" in f"{parsed.host}{parsed.database}" or (parsed.port or 0) > _LAST_PORT:
        raise ValueError(_UNREADABLE)
    if not parsed.query.keys() <= _OPTIONS:
        raise ValueError(f"an option after the ? is unknown; known are {', '.join(sorted(_OPTIONS))}")
    return parsed.set(drivername="postgresql+asyncpg").render_as_string(hide_password=False)


def backend_of(url: str) -> str:
    """``sqlite`` or ``postgresql``. Raises ``ValueError`` for what is no database."""
    return make_url(normalise_url(url)).get_backend_name()


def sqlite_url(path: Path) -> str:
    """The URL of an embedded database file."""
    return f"sqlite:///{path}"


_ATTEMPTS = 4
_GAVE_WAY = {"40P01", "40001"}  # deadlock_detected, serialization_failure: PostgreSQL manual, appendix A


def _gave_way(trouble: BaseException) -> bool:
    """Whether PostgreSQL rolled this transaction back in favour of another: run it again, all is well."""
    return isinstance(trouble, DBAPIError) and getattr(trouble.orig, "sqlstate", None) in _GAVE_WAY


async def again_when_it_gave_way(run: Callable[[], Awaitable[T]]) -> T:
    """What ``run`` returns, run again at once when its transaction gave way to another worker's.

    ``run`` must be repeatable, as every job and turn is. The last of a few attempts raises what it met.
    """
    for _ in range(_ATTEMPTS - 1):
        try:
            return await run()
        except Exception as trouble:
            if not _gave_way(trouble):
                raise
    return await run()


def insert_for(connection: AsyncConnection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that knows ON CONFLICT. Only the dialect in use is loaded: each is two megabytes."""
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as into_postgresql

        return into_postgresql(table)
    from sqlalchemy.dialects.sqlite import insert as into_sqlite

    return into_sqlite(table)


_LANES = {
    "directory": 7_001, "number_series": 7_002, "bill_run": 7_003, "metering": 7_004, "ip_pool": 7_005,
    "tax_rules": 7_006, "recognition": 7_007,
}  # fmt: skip


async def take_lane(connection: AsyncConnection, lane: str) -> None:
    """Serialise transactions that append to one ordered feed until commit, so sequence order is commit order.

    SQLite has one writer and needs nothing; PostgreSQL takes a transaction-scoped advisory lock.
    """
    if connection.dialect.name == "postgresql":
        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LANES[lane]})
