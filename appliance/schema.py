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


def schema_fault(present: str | None) -> str | None:
    """What is wrong with a database at ``present``, with the remedy; None when this release can use it."""
    wanted = newest_revision()
    if present == wanted:
        return None
    if is_newer(present):
        remedy = "it was used by a newer release; go back to that one, or restore the backup made before it"
    else:
        remedy = "bring it up with: hilltop database migrate"
    return f"the database is at {present or 'no schema'}, this release wants {wanted}; {remedy}"


def is_newer(present: str | None) -> bool:
    """True when a newer release has migrated the database, which this one cannot bring back."""
    return present is not None and present > newest_revision()


async def current_revision(database: Database) -> str | None:
    """The revision the database is at; None for an empty one."""
    async with database.read() as connection:
        return await revision_of(connection)
