"""Many rows written at once are the rows that SQLAlchemy writes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any

import pytest
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    ForeignKey,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    insert,
    select,
)
from sqlalchemy.exc import DBAPIError, IntegrityError, StatementError

from core.database import Database
from core.store.columns import BigId, Instant, new_metadata
from core.store.many_rows import FEW, insert_many

METADATA = new_metadata()
PARENT = Table("parent", METADATA, Column("id", String(8), primary_key=True))
THING = Table(
    "thing",
    METADATA,
    Column("seq", BigId, primary_key=True, autoincrement=True),
    Column("parent_id", String(8), ForeignKey("parent.id"), nullable=False),
    Column("on", Date),
    Column("at", Instant, nullable=False),
    Column("amount", BigInteger),
    Column("small", Integer),
    Column("flag", Boolean, nullable=False, default=True),
    Column("kind", String(8), nullable=False, default="usual"),
    Column("said", Text),
    Column("detail", JSON),
    Column("pieces", JSON(none_as_null=True)),
    Column("octets", LargeBinary),
)
NOW = datetime(2026, 3, 10, 12, 0, 0, 5, tzinfo=UTC)


class Word(StrEnum):
    ONE = "one"


@pytest.fixture
async def database(any_database_url: str) -> AsyncIterator[Database]:
    database = Database(any_database_url)
    async with database.write() as connection:
        await connection.run_sync(METADATA.create_all)
        await insert_many(connection, PARENT, [{"id": "p1"}, {"id": "p2"}])
    yield database
    await database.close()


def _row(number: int, **values: Any) -> dict[str, Any]:
    return {
        "parent_id": f"p{number % 2 + 1}", "on": date(2026, 3, number % 28 + 1), "at": NOW, "small": number,
        "amount": None if number % 3 else -(10**12), "said": Word.ONE if number % 5 else 'a "b", {c}\\ é\n,NULL',
        "detail": {"n": [number, None, "ü"]}, "pieces": None if number % 2 else [[1, 2]],
        "flag": number % 4 == 0, "kind": "usual", "octets": bytes([number % 256, 0]),
    } | values  # fmt: skip


async def test_they_are_the_same_rows_in_the_same_order(database: Database) -> None:
    rows = [_row(number) for number in range(300)]
    async with database.write() as connection:
        await connection.execute(insert(THING), rows)
        await insert_many(connection, THING, rows)
        await insert_many(connection, THING, [])
        short = [{name: row[name] for name in row if name not in ("flag", "kind")} for row in rows]
        await insert_many(connection, THING, short)
        await insert_many(connection, THING, [_row(7, flag=False, kind="other", on=None)])
        await insert_many(connection, THING, [_row(8, detail=None)])
    async with database.read() as connection:
        found = [tuple(row)[1:] for row in await connection.execute(select(THING).order_by(THING.c.seq))]
        nulls = (
            await connection.execute(
                select(THING.c.small).where(THING.c.pieces.is_(None), THING.c.seq <= 300)
            )
        ).all()
    assert found[:300] == found[300:600]
    assert {(row[5], row[6]) for row in found[600:900]} == {(True, "usual")}
    assert [row[4] for row in found[:300]] == list(range(300))
    assert len(nulls) == 150
    assert (found[900][5], found[900][6], found[900][1]) == (False, "other", None)
    assert (found[0][5], found[0][6]) == (True, "usual")
    assert found[901][8] is None


@pytest.mark.parametrize("others", [0, FEW])
async def test_what_the_database_says_against_it_is_raised_as_ever(database: Database, others: int) -> None:
    more = [_row(number) for number in range(others)]
    parents = [{"id": f"q{number}"} for number in range(others)]
    with pytest.raises(IntegrityError):
        async with database.write() as connection:
            await insert_many(connection, PARENT, [*parents, {"id": "p3"}, {"id": "p1"}])
    with pytest.raises(IntegrityError):
        async with database.write() as connection:
            await insert_many(connection, THING, [*more, _row(1, parent_id="p9")])
    with pytest.raises((ValueError, StatementError), match="time zone"):
        async with database.write() as connection:
            await insert_many(connection, THING, [*more, _row(1, at=NOW.replace(tzinfo=None))])
    if not database.is_sqlite:  # which keeps no lengths
        with pytest.raises(DBAPIError, match="too long"):
            async with database.write() as connection:
                await insert_many(connection, THING, [*more, _row(1, kind="123456789")])
    async with database.read() as connection:
        assert (await connection.execute(select(THING))).all() == []
        assert len((await connection.execute(select(PARENT))).all()) == 2
