"""Closes of before usage records lost their mark: what they hold is found, proved and brought back the same."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.close_usage import evidence_of, verify_close
from appliance.migrate import downgrade, upgrade
from core.database import Database

BEFORE, HERE = "0025", "0026"
RECORDS = [  # start, end, octets in, octets out, the close that froze it
    (0, 10, 1, 10, "early"), (10, 20, 2, 20, "early"), (20, 30, 3, 30, "inner"), (30, 40, 4, 40, "late"),
    (40, 40, 5, 50, "late"), (41, 60, 6, 60, None),
]  # fmt: skip
CLOSES = {"inner": (20, 30, 7), "early": (0, 25, 8), "late": (10, 41, 8), "twin": (0, 41, 9)}
"""From, until and when it was made; ``late`` and ``early`` in one transaction, in the order of ``RECORDS``."""


@pytest.fixture
async def database(any_database_url: str) -> AsyncIterator[Database]:
    database = Database(any_database_url)
    await upgrade(database, BEFORE)
    yield database
    await database.close()


async def _fill(connection: AsyncConnection) -> None:
    await connection.execute(
        text(
            "INSERT INTO aaa_meter (id, service_id, source, key, bills, created_at, state)"
            " VALUES ('m', 's', 'radius', 'k', true, 0, '{}')"
        )
    )
    insert = text(
        "INSERT INTO aaa_usage_record (service_id, meter_id, start_at, end_at, octets_in, octets_out,"
        " interpolated, close_id) VALUES ('s', 'm', :start, :end, :up, :down, false, :close)"
    )
    names = ("start", "end", "up", "down", "close")
    await connection.execute(insert, [dict(zip(names, one, strict=True)) for one in RECORDS])
    insert = text(
        "INSERT INTO aaa_usage_close (id, service_id, claim, from_at, until_at, octets_in, octets_out, records,"
        " digest, closed_at) VALUES (:id, 's', :id, :start, :end, :up, :down, :records, :digest, :at)"
    )
    for close_id, (start, end, at) in CLOSES.items():
        held = [one for one in RECORDS if one[4] == close_id]
        lines = "".join(f"m|{one[0]}|{one[1]}|{one[2]}|{one[3]}|0\n" for one in held)
        values = {
            "id": close_id, "start": start, "end": end, "at": at, "up": sum(one[2] for one in held),
            "down": sum(one[3] for one in held), "records": len(held),
            "digest": hashlib.sha256(lines.encode()).hexdigest(),
        }  # fmt: skip
        await connection.execute(insert, values)


async def _all(connection: AsyncConnection, statement: str) -> list[Any]:
    return [tuple(row) for row in await connection.execute(text(statement))]


async def test_old_closes_hold_what_they_held_there_and_back(database: Database) -> None:
    async with database.write() as connection:
        await _fill(connection)
    closes = "SELECT id, octets_in, octets_out, records, digest FROM aaa_usage_close ORDER BY id"
    marks = "SELECT start_at, end_at, close_id FROM aaa_usage_record ORDER BY start_at, end_at"
    async with database.read() as connection:
        before = await _all(connection, closes), await _all(connection, marks)
    await upgrade(database, HERE)
    async with database.read() as connection:
        for close_id in CLOSES:
            assert await verify_close(connection, close_id), close_id
            held = [one.octets_out for one in await evidence_of(connection, close_id)]
            assert held == [one[3] for one in RECORDS if one[4] == close_id]
    async with database.write() as connection:
        await connection.execute(text("UPDATE aaa_usage_close SET digest = 'lines:x' WHERE id = 'early'"))
    await downgrade(database, BEFORE)
    async with database.read() as connection:
        assert (await _all(connection, closes), await _all(connection, marks)) == before
