"""Migrations: from nothing to the tables and back, on both databases; killed in the middle, nothing changes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from appliance.migrate import ALL_METADATA, alembic_config, downgrade, upgrade
from appliance.schema import current_revision, newest_revision
from core.database import Database


@pytest.fixture
async def empty_database(any_database_url: str) -> AsyncIterator[Database]:
    database = Database(any_database_url)
    yield database
    await database.close()


def _differences(connection: Connection) -> list[object]:
    def known(name: str | None, kind: str, _parents: object) -> bool:
        return kind != "table" or name != "alembic_version"

    context = MigrationContext.configure(
        connection, opts={"target_metadata": ALL_METADATA, "include_name": known, "compare_type": False}
    )
    return list(compare_metadata(context, ALL_METADATA))  # type: ignore[arg-type]


def test_the_newest_revision_is_told_by_the_names_of_the_files() -> None:
    assert newest_revision() == ScriptDirectory.from_config(alembic_config()).get_current_head()


async def test_up_down_up_and_the_schema_equals_the_tables(empty_database: Database) -> None:
    await upgrade(empty_database)
    assert await current_revision(empty_database) == newest_revision()
    async with empty_database.write() as connection:
        assert await connection.run_sync(_differences) == []
    await downgrade(empty_database, "base")
    async with empty_database.write() as connection:
        left = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
    assert [name for name in left if name != "alembic_version"] == []
    await upgrade(empty_database)
    await upgrade(empty_database)  # nothing to do is fine
    async with empty_database.write() as connection:
        assert await connection.run_sync(_differences) == []


async def test_a_migration_cut_off_in_the_middle_leaves_the_old_schema(empty_database: Database) -> None:
    class CutOffError(Exception):
        pass

    with pytest.raises(CutOffError):
        async with empty_database.write() as connection:
            from alembic import command

            await connection.run_sync(lambda sync: command.upgrade(alembic_config(sync), "head"))
            raise CutOffError
    async with empty_database.write() as connection:
        assert await connection.run_sync(lambda sync: inspect(sync).get_table_names()) == []
    assert await current_revision(empty_database) is None
