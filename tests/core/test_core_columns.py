"""A partial index says its condition in each database's words, though tables load no dialect."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import CreateIndex, Index

from core.database import Database, sqlite_url
from core.store.columns import partial_index, say_where_in_every_dialect


def _index() -> tuple[MetaData, Index]:
    table = Table("thing", metadata := MetaData(), Column("id", Integer), Column("gone", Integer))
    return metadata, partial_index("uq_thing", table.c.id, unique=True, where=table.c.gone.is_(None))


async def test_the_database_in_use_is_told(tmp_path: Path) -> None:
    metadata, _ = _index()
    database = Database(sqlite_url(tmp_path / "one.sqlite"))
    async with database.write() as connection:
        await connection.run_sync(metadata.create_all)
        made = await connection.scalar(text("SELECT sql FROM sqlite_master WHERE name = 'uq_thing'"))
    await database.close()
    assert made == "CREATE UNIQUE INDEX uq_thing ON thing (id) WHERE gone IS NULL"


@pytest.mark.parametrize("dialect", [sqlite.dialect(), postgresql.dialect()])
def test_migrations_are_told_for_both(dialect: Dialect) -> None:
    metadata, index = _index()
    say_where_in_every_dialect(metadata)
    assert str(CreateIndex(index).compile(dialect=dialect)).endswith("(id) WHERE gone IS NULL")
