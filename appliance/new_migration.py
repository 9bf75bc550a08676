"""``./dev migration "what changes"``: write the migration between the newest revision and the tables."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from appliance.migrate import alembic_config, upgrade
from core.database import Database, sqlite_url


async def write(message: str) -> None:
    """Compare a database at the newest revision with the tables and write the difference."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(sqlite_url(Path(folder) / "empty.sqlite"))
        await upgrade(database)
        number = len(list(ScriptDirectory.from_config(alembic_config()).walk_revisions())) + 1

        def compare(sync: Connection) -> None:
            command.revision(alembic_config(sync), message, autogenerate=True, rev_id=f"{number:04d}")

        async with database.write() as connection:
            await connection.run_sync(compare)
        await database.close()


if __name__ == "__main__":
    if len(sys.argv) != 2 or not sys.argv[1].strip():
        sys.exit('usage: ./dev migration "what changes"')
    asyncio.run(write(sys.argv[1]))
