"""kill -9 at random instants of a bill run, again and again: it ends like one that nobody disturbed.

Real processes, the meters' real records, SQLite with ``synchronous=FULL`` and PostgreSQL with durable commits.
``./dev soak billing-kill`` kills 200 times.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from billing_month import make_month
from sqlalchemy import Integer, Table, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.migrate import ALL_METADATA
from bench.postgresql import Cluster
from billing.ledger.verify import verify_ledger
from billing.store.tables import invoice
from core.database import Database, sqlite_url

ROOT = Path(__file__).parents[2]
SOAK = os.environ.get("HILLTOP_SOAK") == "1"
ACCOUNTS = 60 if SOAK else 24
BLOCK = 5
_ID = re.compile(r"\b[a-z]{2,4}_[0-9a-z]{26}\b")


class Nursery:
    """The process that runs and kills; see ``billing_kill_nursery``."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("billing_kill_nursery.py"))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert self._said() == "ready"

    def _said(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def run(self, url: str, kill_after_s: float | None) -> str:
        """``done``, ``killed`` or ``failed``."""
        assert self._process.stdin is not None
        order = {"url": url, "kill_after_s": kill_after_s, "block_size": BLOCK}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._said()

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    one = Nursery()
    yield one
    one.close()


@dataclass(frozen=True, slots=True)
class Stands:
    """Every row of every table as text. Ids that a run draws are random: in ``plain`` they are left out.

    In ``linked`` each is named after the row that it is the id of, with the ids therein named the same way, in
    a few rounds, for rows name each other.
    """

    plain: Counter[str]
    linked: Counter[str]
    invoices: int


async def _stands(url: str, old: set[str]) -> Stands:
    """All that there is; the books must prove themselves."""
    database = Database(url)
    async with database.read() as connection:
        assert await verify_ledger(connection) == []
        rows = [row for table in _tables() for row in await _rows(connection, table)]
        invoices = await connection.scalar(select(func.count()).select_from(invoice))
    await database.close()
    names: dict[str, str] = {}

    def named(found: re.Match[str]) -> str:
        own = found.group()
        return own if own in old else names.get(own, own.partition("_")[0])

    for _ in range(4):
        texts = [(own, _ID.sub(named, text)) for own, text in rows]
        names = {
            own: f"{own.partition('_')[0]}:{hashlib.sha256(text.encode()).hexdigest()[:12]}"
            for own, text in texts
            if own and own not in old
        }
    linked = Counter(_ID.sub(named, text) for _, text in rows)
    names.clear()
    return Stands(Counter(_ID.sub(named, text) for _, text in rows), linked, int(invoices or 0))


def _tables() -> list[Table]:
    return [table for metadata in ALL_METADATA for table in metadata.sorted_tables]


async def _ids(url: str) -> set[str]:
    """The ids that are there before the run."""
    database = Database(url)
    async with database.read() as connection:
        rows = [row for table in _tables() for row in await _rows(connection, table)]
    await database.close()
    return {found for _, text in rows for found in _ID.findall(text)}


async def _rows(connection: AsyncConnection, table: Table) -> list[tuple[str, str]]:
    """``(own id, text)`` of each row; what the database counts by itself is left out."""
    key = list(table.primary_key.columns)
    counted = [one.name for one in key if len(key) == 1 and isinstance(one.type, Integer)]
    if table.name == "billing_ledger_entry":
        counted.append("digest")  # a hash over ids; the proof of the ledger reckons it again
    if table.name == "billing_bill_run":
        counted += ["accounts", "done"]  # how many were due, and done, since it was last taken up
    columns = [one for one in table.columns if one.name not in counted]
    found = []
    for row in await connection.execute(select(*columns)):
        values = {one.name: value for one, value in zip(columns, row, strict=True)}
        text = json.dumps(values, default=str, sort_keys=True)
        found.append((str(values.get("id", "")), f"{table.name} {text}"))
    return found


class Ground:
    """A database before its run, and as many copies of it as are wanted."""

    def __init__(self, url: str, copy: Callable[[str], str]) -> None:
        self.url = url
        self._copy = copy
        self._numbers = itertools.count(1)

    def fresh(self) -> str:
        """The URL of a copy."""
        return self._copy(f"copy_{next(self._numbers)}")


def _attack(ground: Ground, nursery: Nursery, kills: int, dice: random.Random) -> str:
    """Kill until it has been done so often; every run that gets through must stand like the calm one."""
    old = asyncio.run(_ids(ground.url))
    calm_url = ground.fresh()
    began = time.monotonic()
    assert nursery.run(calm_url, None) == "done"
    took_s = time.monotonic() - began
    calm, before = asyncio.run(_stands(calm_url, old)), asyncio.run(_billed(ground.url))
    assert calm.invoices - before >= ACCOUNTS * 4 // 5
    killed, between, databases = 0, 0, 0
    while killed < kills:
        url = ground.fresh()
        databases += 1
        while True:
            after_s = dice.uniform(0, took_s) if killed < kills else None
            came = nursery.run(url, after_s)
            if came == "done":
                break
            assert came == "killed"
            killed += 1
            between += before < asyncio.run(_billed(url)) < calm.invoices
        stands = asyncio.run(_stands(url, old))
        assert (stands.plain - calm.plain, calm.plain - stands.plain) == (Counter(), Counter())
        assert stands.linked == calm.linked
    return f"{killed} kills in {databases} runs, {between} of them between two blocks"


async def _billed(url: str) -> int:
    """How many invoices are there; the books are whole after every kill."""
    database = Database(url)
    async with database.read() as connection:
        assert await verify_ledger(connection) == []
        count = await connection.scalar(select(func.count()).select_from(invoice))
    await database.close()
    return int(count or 0)


@pytest.mark.slow
def test_a_run_killed_anywhere_on_sqlite_ends_like_a_calm_one(
    tmp_path: Path, nursery: Nursery, record_property: Callable[[str, object], None]
) -> None:
    base = tmp_path / "base.sqlite"
    asyncio.run(make_month(sqlite_url(base), ACCOUNTS))

    def copy(name: str) -> str:
        shutil.copy(base, tmp_path / f"{name}.sqlite")
        return sqlite_url(tmp_path / f"{name}.sqlite")

    ground = Ground(sqlite_url(base), copy)
    told = _attack(ground, nursery, 200 if SOAK else 8, random.Random(5))
    record_property("kills", told)
    print(told)


@pytest.mark.slow
@pytest.mark.postgresql
def test_a_run_killed_anywhere_on_postgresql_ends_like_a_calm_one(
    nursery: Nursery, record_property: Callable[[str, object], None]
) -> None:
    cluster = Cluster()
    try:
        cluster.start()
        cluster.create("base")
        asyncio.run(make_month(cluster.url("base"), ACCOUNTS))

        def copy(name: str) -> str:
            cluster.query("postgres", f"CREATE DATABASE {name} TEMPLATE base")
            return cluster.url(name)

        told = _attack(Ground(cluster.url("base"), copy), nursery, 40 if SOAK else 3, random.Random(6))
        record_property("kills", told)
        print(told)
    finally:
        cluster.stop()
