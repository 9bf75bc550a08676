"""Plain constructors: the rooms put together over one database, clock and key."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.sealing_check import holds_sealed
from appliance.sealing_key import find_sealer, make_sealer, words_without_key
from appliance.settings import Settings, SettingsError
from core.clock import Clock, open_clock
from core.database import Database
from core.files import give_to_owner_of, make_folder
from core.ids import UlidSource
from core.secrets import Sealer
from core.work import Work, Workplace

if TYPE_CHECKING:
    from aaa.close_usage import ClosedUsage
    from billing.ports import UsageClaim, UsageSlice, UsageSpan
    from core.refusal import Refusal


class MeteredUsage:
    """Billing's ``UsageSource`` over the meters of the AAA room, which are loaded when billing asks."""

    async def close(
        self, work: Work, service_id: str, from_at: datetime, until_at: datetime, claim: str
    ) -> ClosedUsage:
        """Freeze and sum what the service used in the span; the same claim gives the same answer."""
        from aaa.close_usage import close_usage

        return await close_usage(work, service_id=service_id, from_at=from_at, until_at=until_at, claim=claim)

    async def close_many(self, work: Work, claims: Sequence[UsageClaim]) -> list[ClosedUsage | Refusal]:
        """Close many spans at once; a claim that cannot be closed is refused alone."""
        from aaa import close_usage

        return await close_usage.close_many(
            work,
            [close_usage.UsageClaim(one.service_id, one.from_at, one.until_at, one.claim) for one in claims],
        )

    async def between(
        self, connection: AsyncConnection, service_id: str, from_at: datetime, until_at: datetime
    ) -> tuple[int, int]:
        """Octets from and to the service in the span so far, for previews."""
        from aaa.close_usage import usage_between

        return await usage_between(connection, service_id, from_at, until_at)

    async def between_many(
        self, connection: AsyncConnection, spans: Sequence[UsageSpan]
    ) -> Sequence[tuple[int, int]]:
        """``between`` of many services and spans at once."""
        from aaa.close_usage import usage_of_many

        return await usage_of_many(connection, spans)

    async def slices_between(
        self, connection: AsyncConnection, service_id: str, from_at: datetime, until_at: datetime
    ) -> Sequence[UsageSlice]:
        """When the octets of a span were used, so far."""
        from aaa.close_usage import slices_between

        return await slices_between(connection, service_id, from_at, until_at)

    async def recall(
        self, connection: AsyncConnection, close_ids: Sequence[str]
    ) -> Mapping[str, ClosedUsage]:
        """Closes whose records still make their digest."""
        from aaa.close_usage import recall_closes

        return await recall_closes(connection, close_ids)

    async def slices_of_closes(
        self, connection: AsyncConnection, close_ids: Sequence[str]
    ) -> Mapping[str, Sequence[UsageSlice]]:
        """When the octets of closes were used."""
        from aaa.close_usage import slices_of_closes

        return await slices_of_closes(connection, close_ids)

    async def fastest_rates(
        self, connection: AsyncConnection, service_ids: Sequence[str]
    ) -> Mapping[str, tuple[int, int]]:
        """The fastest that each service's profile lets it be."""
        from aaa.close_usage import fastest_rates

        return await fastest_rates(connection, service_ids)

    async def by_day(
        self, connection: AsyncConnection, service_id: str, from_date: date, until_date: date, zone: str
    ) -> Sequence[tuple[date, int, int]]:
        """Octets from and to the service on each local day, for charts."""
        from aaa.close_usage import usage_by_day

        return await usage_by_day(connection, service_id, from_date, until_date, zone)

    async def evidence(self, connection: AsyncConnection, close_id: str) -> list[Any]:
        """The records behind a close, each with its readings and raw counters."""
        from aaa.close_usage import evidence_of

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
async def open_house(
    settings: Settings, *, may_make_key: bool = False, may_make_database: bool = True
) -> AsyncIterator[House]:
    """Open database, clock and sealing key; close them at the end. Raises ``SettingsError``.

    Only the first set-up makes a sealing key: a new one beside an old database would open nothing in it. An
    embedded database that is not there counts as away without ``may_make_database``: it may come back.
    """
    with _naming("state.directory"):
        make_folder(settings.state.directory)
    with _naming("clock.source"):
        clock = open_clock(settings.clock.source)
    sealer = find_sealer(settings.sealing_key)
    if sealer is None and not may_make_key:
        raise SettingsError(words_without_key(settings.sealing_key))
    with _naming("database.url"):
        database = Database(settings.database_url)
        if may_make_database:
            _check_file(make_url(settings.database_url))
        else:
            database.must_exist()
    try:
        if sealer is None:
            sealer = await _first_sealer(database, settings.sealing_key)
        yield House(
            settings=settings,
            clock=clock,
            workplace=Workplace(database, clock, UlidSource(clock)),
            sealer=sealer,
            usage=MeteredUsage(),
        )
    finally:
        await database.close()


@asynccontextmanager
async def open_records(settings: Settings) -> AsyncIterator[Workplace]:
    """The database alone, for what must be written down also where no sealing key is.

    No embedded database is made for that. Raises ``SettingsError``, ``ValueError`` or ``OSError``.
    """
    clock, database = open_clock(settings.clock.source), Database(settings.database_url)
    try:
        if not _may_be_there(database):
            raise SettingsError("there is no database yet")
        yield Workplace(database, clock, UlidSource(clock))
    finally:
        await database.close()


def _may_be_there(database: Database) -> bool:
    return not database.is_sqlite or Path(make_url(database.url).database or "").is_file()


async def _first_sealer(database: Database, path: Path) -> Sealer:
    async with database.read() as connection:
        if await holds_sealed(connection):
            raise SettingsError(words_without_key(path, has_sealed=True))
    return make_sealer(path)


def _check_file(url: URL) -> None:
    """An embedded database must be a file that can be written; root makes it its folder's owner's.

    Raises ``OSError``.
    """
    if not url.drivername.startswith("sqlite") or not url.database:
        return
    path = Path(url.database)
    is_root = os.geteuid() == 0
    # The folder's owner could put a link there, and root would make or open a file of his choice.
    follow = os.O_NOFOLLOW if is_root else 0
    if path.exists() or path.is_symlink():
        os.close(os.open(path, os.O_RDWR | follow))
    elif path.parent.is_dir() and not os.access(path.parent, os.W_OK, effective_ids=True):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path.parent))
    elif is_root and path.parent.is_dir():
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | follow, 0o640)
        try:
            give_to_owner_of(path.parent, descriptor)
        finally:
            os.close(descriptor)


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
