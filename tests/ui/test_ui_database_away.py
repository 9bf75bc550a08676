"""The database goes away under the panel, and comes back: words for people, no half answers, a living portal."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator

import asyncpg
import pytest
from sqlalchemy.exc import OperationalError
from ui_client import Browser, Page, Panels, open_panel
from ui_world import PASSWORD, make_operators

from core.clock import FakeClock
from core.database import Database
from core.secrets import Sealer
from core.work import Workplace


class Breaker:
    """Shuts a PostgreSQL database to everybody, and opens it again."""

    def __init__(self, url: str) -> None:
        self._server, _, self._name = url.rpartition("/")

    async def shut(self) -> None:
        """New connections are refused, standing ones are cut."""
        await self._run(f"ALTER DATABASE {self._name} ALLOW_CONNECTIONS false")
        await self._run(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{self._name}'"
        )

    async def open(self) -> None:
        """As before."""
        await self._run(f"ALTER DATABASE {self._name} ALLOW_CONNECTIONS true")

    async def _run(self, statement: str) -> None:
        connection = await asyncpg.connect(f"{self._server}/postgres")
        await connection.execute(statement)
        await connection.close()


@pytest.fixture
async def cut_off(
    postgresql_workplace: Workplace, sealer: Sealer, wrist_watch: FakeClock
) -> AsyncIterator[tuple[Browser, Breaker]]:
    """An operator signed in at a panel over PostgreSQL, and the means to shut it."""
    await make_operators(postgresql_workplace)
    breaker = Breaker(postgresql_workplace.database.url.replace("+asyncpg", ""))
    async with open_panel(postgresql_workplace, sealer, wrist_watch) as browser:
        await browser.sign_in("owner")
        yield browser, breaker
        await breaker.open()


def says_so(page: Page) -> bool:
    """The friendly page, and nothing of the inside."""
    inside = re.search(r"Traceback|asyncpg|sqlalchemy|Error\b|postgresql:|SELECT", page.text)
    return page.status == 503 and "The database does not answer" in page.text and inside is None


@pytest.mark.postgresql
async def test_pages_say_that_the_database_is_away_and_return_with_it(
    cut_off: tuple[Browser, Breaker],
) -> None:
    browser, breaker = cut_off
    form = (await browser.get("/towers/new")).form("/towers/new") | {"name": "Quail Ridge"}
    await breaker.shut()
    for path in ("/", "/subscribers", "/payments?format=csv", "/live"):
        page = await browser.get(path)
        assert says_so(page), path
        assert page.headers["Retry-After"] == "10"
        assert 'http-equiv="refresh"' in page.text
    posted = await browser.post("/towers/new", form)
    assert says_so(posted)
    assert 'http-equiv="refresh"' not in posted.text  # what was meant to be done is not repeated by itself
    health = await browser.get("/healthz")
    told = json.loads(health.body)
    assert told.pop("version")
    assert (health.status, told) == (
        503,
        {"status": "failing", "database": "unreachable"},
    )
    portal = await browser.get("/portal")
    assert portal.status == 200
    assert "Internet service information" in portal.text
    assert (await browser.get("/static/panel.css")).status == 200
    await breaker.open()
    assert (await browser.get("/")).status == 200
    assert (await browser.get("/healthz")).status == 200
    assert "Quail Ridge" not in (await browser.get("/towers")).text
    assert (await browser.post("/towers/new", form)).status == 303


@pytest.mark.postgresql
async def test_the_door_stands_but_nobody_is_let_in_while_the_database_is_away(
    cut_off: tuple[Browser, Breaker],
) -> None:
    browser, breaker = cut_off
    await breaker.shut()
    stranger = browser.another()
    door = await stranger.get("/sign-in")
    assert door.status == 200
    fields = door.form("/sign-in") | {"name": "owner", "password": PASSWORD}
    assert says_so(await stranger.post("/sign-in", fields))
    assert stranger.cookie("hilltop_sign_in") == ""
    await breaker.open()
    assert (await stranger.post("/sign-in", fields)).status == 303  # no failure was counted against anybody


@pytest.mark.parametrize(
    "trouble",
    [OSError("disk gone"), ConnectionRefusedError("no"), OperationalError("SELECT", {}, Exception("locked"))],
)
async def test_whatever_the_database_dies_of_the_page_is_the_same(
    panel: Panels, monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    browser = await panel.as_("viewer")

    def gone(_self: Database) -> object:
        raise trouble

    monkeypatch.setattr(Database, "read", gone)
    assert says_so(await browser.get("/towers"))
