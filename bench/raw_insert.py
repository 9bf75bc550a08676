"""Another program, with the same result: it inserts the very rows that a run wrote, and does nothing else.

The rows of a run are those that were not in the tables before it. They go into a copy of the database as it
was then, with the same tables, indexes and checks, by SQLAlchemy Core's executemany over the same driver, in
as many transactions as the run had blocks.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Table, func, insert, literal_column, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.migrate import ALL_METADATA
from core.database import Database

TABLES: tuple[Table, ...] = tuple(table for metadata in ALL_METADATA for table in metadata.sorted_tables)
"""Every table, those that others refer to first."""


@dataclass(frozen=True, slots=True)
class Before:
    """How far the tables had come: rows of each, and where what is newer begins."""

    counts: dict[str, int]
    last: dict[str, int]


@dataclass(frozen=True, slots=True)
class Inserted:
    """What the other program did. ``seconds`` is its time in transactions, reading the rows left out."""

    rows: int
    tables: int
    transactions: int
    seconds: float


async def look(database: Database) -> Before:
    """To be called before the run."""
    counts, last = {}, {}
    async with database.read() as connection:
        for table in TABLES:
            counts[table.name] = await _count(connection, table)
            if database.is_sqlite:
                rowid: ColumnElement[int] = literal_column("rowid")
                newest = select(func.coalesce(func.max(rowid), 0)).select_from(table)
                last[table.name] = int((await connection.execute(newest)).scalar_one())
            else:
                mark = text("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
                last[table.name] = int((await connection.execute(mark)).scalar_one())
    return Before(counts, last)


async def _count(connection: AsyncConnection, table: Table) -> int:
    return int((await connection.execute(select(func.count()).select_from(table))).scalar_one())


async def insert_again(ours: Database, before: Before, theirs: Database, transactions: int) -> Inserted:
    """Insert what ``ours`` has gained into ``theirs``, in about so many transactions.

    Raises ``RuntimeError`` when rows cannot be told from older ones.
    """
    grown = await _grown(ours, before)
    rows_at_once = max(1, -(-sum(grown.values()) // max(1, transactions)))
    rows = made = 0
    seconds = 0.0
    async with ours.read() as source:
        for table in TABLES:
            if table.name not in grown:
                continue
            query = select(table).where(_newer(table, before, is_sqlite=ours.is_sqlite))
            query = query.order_by(literal_column("rowid" if ours.is_sqlite else "ctid"))
            found = 0
            async for some in (await source.stream(query)).mappings().partitions(rows_at_once):
                values = [dict(row) for row in some]
                seconds += await _insert(theirs, table, values)
                found += len(values)
                made += 1
            if found != grown[table.name]:
                raise RuntimeError(f"{table.name} has {grown[table.name]} new rows, and {found} were found")
            rows += found
    return Inserted(rows, len(grown), made, seconds)


async def _grown(database: Database, before: Before) -> dict[str, int]:
    grown = {}
    async with database.read() as connection:
        for table in TABLES:
            more = await _count(connection, table) - before.counts[table.name]
            if more:
                grown[table.name] = more
    return grown


def _newer(table: Table, before: Before, *, is_sqlite: bool) -> ColumnElement[bool]:
    if is_sqlite:
        return literal_column("rowid") > before.last[table.name]
    return literal_column("xmin::text::bigint") >= before.last[table.name]


async def _insert(database: Database, table: Table, rows: Sequence[dict[str, Any]]) -> float:
    began = time.perf_counter()
    async with database.write() as connection:
        await connection.execute(insert(table), rows)
    return time.perf_counter() - began
