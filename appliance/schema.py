"""Which schema a database has and which one this release wants, without loading what migrates it."""

from __future__ import annotations

from pathlib import Path

from core.database import Database
from core.schema import revision_of

VERSIONS = Path(__file__).parent / "migrations" / "versions"


def newest_revision() -> str:
    """The revision that this release's code expects: migrations are numbered in their order."""
    numbers = [path.name.partition("_")[0] for path in VERSIONS.glob("[0-9]*_*.py")]
    if not numbers:
        raise RuntimeError("the release carries no migrations")
    return max(numbers)


async def current_revision(database: Database) -> str | None:
    """The revision the database is at; None for an empty one."""
    async with database.read() as connection:
        return await revision_of(connection)
