"""A simulated quarter of sixty subscribers, told by a seed: nothing that goes wrong out there bends the books.

``HILLTOP_SOAK=1`` plays more seeds.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from all_tables import create_tables
from quarter import Quarter

from core.clock import FakeClock
from core.database import Database, sqlite_url
from core.ids import SeededIds
from core.secrets import Sealer
from core.work import Workplace

SOAK = os.environ.get("HILLTOP_SOAK") == "1"
VALLEYS = [(1, 30, 91), (2, 15, 63), (3, 15, 63)]
VALLEYS += [(seed, 60, 91) for seed in range(4, 24)] if SOAK else []


@asynccontextmanager
async def quarter_of(seed: int, sealer: Sealer, subscribers: int) -> AsyncIterator[Quarter]:
    """A quarter in a database of its own; in memory where there is such a folder, for nobody pulls its plug."""
    shared_memory = Path("/dev/shm")
    with TemporaryDirectory(dir=shared_memory if shared_memory.is_dir() else None) as folder:
        database = Database(sqlite_url(Path(folder) / "quarter.sqlite"))
        await create_tables(database)
        clock = FakeClock(datetime(2026, 3, 10, 12, 0, tzinfo=UTC))
        yield await Quarter.begin(Workplace(database, clock, SeededIds()), sealer, clock, seed, subscribers)
        await database.close()


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "subscribers", "days"), VALLEYS)
async def test_a_quarter_of_a_valley(seed: int, subscribers: int, days: int, sealer: Sealer) -> None:
    async with quarter_of(seed, sealer, subscribers) as quarter:
        await quarter.live(days)
        print(dict(quarter.tally))
        for what in ("payments", "NAS reboots", "stops never sent", "tower troubles", "seen cut off"):
            assert quarter.tally[what], what


async def test_the_same_seed_replays_identically(sealer: Sealer) -> None:
    journals = []
    for seed in (7, 7, 8):
        async with quarter_of(seed, sealer, 8) as quarter:
            await quarter.live(10)
            journals.append(quarter.journal)
    assert journals[0] == journals[1]
    assert journals[0] != journals[2]
