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
from pathlib import Path

import pytest
from sqlalchemy import Integer, Table, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.migrate import ALL_METADATA
from bench.billing_world import LAST_EVENING, build, workplace_at
from bench.postgresql import Cluster
from billing.ledger.verify import verify_ledger
from billing.payments.receive_payment import receive_payment
from billing.store.tables import account, invoice, subscription
from billing.subscriptions.change_subscription import end_subscription, pause_subscription
from core.database import Database, sqlite_url
from core.refusal import granted

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


async def _make(url: str) -> None:
    """A month of real usage, and accounts of every kind: paid in advance, in part, ended, paused, late."""
    await build(url, ACCOUNTS)
    database = Database(url)
    workplace = workplace_at(database, LAST_EVENING)
    async with workplace.reading() as connection:
        ids = list((await connection.execute(select(account.c.id).order_by(account.c.id))).scalars())
        sold = list(
            (await connection.execute(select(subscription.c.id).order_by(subscription.c.id))).scalars()
        )
    for number, account_id in enumerate(ids):
        if number % 3:
            amount = 1_234 if number % 3 == 1 else 14_000
            async with workplace.work("operator:test") as work:
                granted(
                    await receive_payment(
                        work, account_id=account_id, amount_minor=amount, currency="USD", method="transfer",
                        idempotency_key=f"key-{number}",
                    )
                )  # fmt: skip
    for number, subscription_id in enumerate(sold):
        async with workplace.work("operator:test") as work:
            if number % 7 == 3:
                granted(await end_subscription(work, subscription_id=subscription_id))
            if number % 7 == 5:
                granted(await pause_subscription(work, subscription_id=subscription_id))
    await database.close()


async def _stands(url: str, old: set[str]) -> tuple[Counter[str], int]:
    """Every row of every table as text, and how many invoices; the books must prove themselves.

    Ids that a run draws are random: each is named after the row that it is the id of, with the ids therein
    named the same way, in a few rounds, for rows name each other.
    """
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
    return Counter(_ID.sub(named, text) for _, text in rows), int(invoices or 0)


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
    calm, invoices = asyncio.run(_stands(calm_url, old))
    assert invoices >= 2 * ACCOUNTS - 6
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
            done = asyncio.run(_billed(url)) - asyncio.run(_billed(ground.url))
            between += 0 < done < invoices - asyncio.run(_billed(ground.url))
        stands, _ = asyncio.run(_stands(url, old))
        assert stands - calm == Counter()
        assert calm - stands == Counter()
    return f"{killed} kills in {databases} runs, {between} of them between two blocks"


async def _billed(url: str) -> int:
    """How many invoices are there; the books are whole after every kill."""
    database = Database(url)
    async with database.read() as connection:
        assert await verify_ledger(connection) == []
        count = await connection.scalar(select(func.count()).select_from(invoice))
    await database.close()
    return int(count or 0)


def test_a_run_killed_anywhere_on_sqlite_ends_like_a_calm_one(
    tmp_path: Path, nursery: Nursery, record_property: Callable[[str, object], None]
) -> None:
    base = tmp_path / "base.sqlite"
    asyncio.run(_make(sqlite_url(base)))

    def copy(name: str) -> str:
        shutil.copy(base, tmp_path / f"{name}.sqlite")
        return sqlite_url(tmp_path / f"{name}.sqlite")

    ground = Ground(sqlite_url(base), copy)
    told = _attack(ground, nursery, 200 if SOAK else 8, random.Random(5))
    record_property("kills", told)
    print(told)


@pytest.mark.postgresql
def test_a_run_killed_anywhere_on_postgresql_ends_like_a_calm_one(
    nursery: Nursery, record_property: Callable[[str, object], None]
) -> None:
    cluster = Cluster()
    try:
        cluster.start()
        cluster.create("base")
        asyncio.run(_make(cluster.url("base")))

        def copy(name: str) -> str:
            cluster.query("postgres", f"CREATE DATABASE {name} TEMPLATE base")
            return cluster.url(name)

        told = _attack(Ground(cluster.url("base"), copy), nursery, 40 if SOAK else 3, random.Random(6))
        record_property("kills", told)
        print(told)
    finally:
        cluster.stop()
