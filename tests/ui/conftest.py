"""Fixtures of the panel's tests: a panel over an empty house, and one over the valley of ``ui_world``."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from ui_client import Panels, open_panel
from ui_world import TODAY, Provider, build_provider_now, make_operators

from core.clock import FakeClock
from core.database import Database, sqlite_url
from core.ids import SeededIds
from core.secrets import Sealer
from core.work import Workplace


@pytest.fixture
def wrist_watch() -> FakeClock:
    """The clock that times sign-ins: not the one that records follow."""
    return FakeClock(TODAY)


@pytest.fixture(scope="session")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Provider, Path]:
    """The valley, told once for all tests of a process."""
    path = tmp_path_factory.mktemp("valley") / "valley.sqlite"
    return build_provider_now(path, Sealer({"k1": bytes(range(32))})), path


@pytest.fixture
async def valley(told: tuple[Provider, Path], tmp_path: Path) -> AsyncIterator[Provider]:
    """A copy of the valley for one test, at half past four on the tenth of March."""
    provider, path = told
    mine = tmp_path / "valley.sqlite"
    shutil.copy(path, mine)
    clock = FakeClock(TODAY)
    database = Database(sqlite_url(mine))
    yield replace(provider, workplace=Workplace(database, clock, SeededIds(99)), clock=clock)
    await database.close()


@pytest.fixture
async def panel(workplace: Workplace, sealer: Sealer, wrist_watch: FakeClock) -> AsyncIterator[Panels]:
    """A panel over an empty house, with one operator of each role."""
    await make_operators(workplace)
    async with open_panel(workplace, sealer, wrist_watch) as browser:
        yield Panels(workplace, browser)


@pytest.fixture
async def valley_panel(valley: Provider, sealer: Sealer, wrist_watch: FakeClock) -> AsyncIterator[Panels]:
    """A panel over the valley."""
    async with open_panel(valley.workplace, sealer, wrist_watch) as browser:
        yield Panels(valley.workplace, browser)
