"""Killed, frozen, crowded out, without a database: what must go on goes on, what died comes back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from appliance_running import Appliance, appliance, free_port, until
from sqlalchemy import select
from sqlalchemy.engine import make_url

from appliance.roles import ROLES
from appliance.wiring import open_house
from core.store.tables import health_issue

pytestmark = pytest.mark.slow


async def open_issues(one: Appliance) -> list[str]:
    async with open_house(one.settings) as house, house.workplace.reading() as connection:
        rows = await connection.execute(
            select(health_issue.c.title).where(health_issue.c.closed_at.is_(None))
        )
        return list(rows.scalars())


async def test_what_is_killed_or_frozen_comes_back_and_radius_answers_all_along(tmp_path: Path) -> None:
    async with appliance(tmp_path) as one:
        await one.start(*ROLES, watchdog_s=8.0)
        await until(lambda: one.said("all_roles_ready"), "the roles")
        assert await one.signs_in()

        for role in ("worker", "collector", "web"):
            await one.kill(role)
            assert await one.signs_in(), f"RADIUS is silent without {role}"
        killed = await one.kill("radius")
        await until(lambda: one.said("role_ended", ended="radius"), "the end of radius to be noticed")
        await until(lambda: one.pid_of("radius") not in {None, killed}, "another radius process")
        await until(one.signs_in, "RADIUS to answer again")
        await until(lambda: one.living() == list(ROLES), "every role to be back")

        frozen = await one.kill("worker", signal.SIGSTOP)
        await until(lambda: one.said("role_hangs", role_hanging="worker"), "the watchdog to bite")
        await until(lambda: one.pid_of("worker") not in {None, frozen}, "another worker")

        assert one.process is not None
        one.process.terminate()
        async with asyncio.timeout(15):
            assert await one.process.wait() == 0
        assert one.living() == []


async def test_a_role_without_its_port_says_so_and_starts_when_it_is_free(tmp_path: Path) -> None:
    port = free_port(socket.SOCK_STREAM)
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", port))
        squatter.listen()
        async with appliance(tmp_path, web_port=port) as one:
            await one.start("radius", "web")
            ended = await until(
                lambda: len(one.said("role_ended")) >= 3 and one.said("role_ended"), "three tries"
            )
            assert [x["restart_in_s"] for x in ended[:3]] == [0.5, 1.0, 2.0]
            assert str(port) in ended[0]["said"]
            assert "in use" in ended[0]["said"]
            assert [title for title in await open_issues(one) if "web role cannot run" in title]
            assert await one.signs_in()
            squatter.close()
            await until(lambda: one.said("all_roles_ready"), "the web role")

            async def told() -> bool:
                return await open_issues(one) == []

            await until(told, "the issue to close")
            assert one.process is not None
            one.process.kill()  # the supervisor alone: its roles must not outlive it
            await one.process.wait()
            await until(lambda: one.living() == [], "the roles to end by themselves", 20)


class Wire:
    """A TCP relay to PostgreSQL that can be cut."""

    def __init__(self, url: str) -> None:
        self._target = make_url(url)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self.port = free_port(socket.SOCK_STREAM)

    @property
    def url(self) -> str:
        return self._target.set(port=self.port).render_as_string(hide_password=False)

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", self.port)

    async def cut(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._open):
            writer.transport.abort()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection("127.0.0.1", self._target.port)
        self._open |= {writer, there[1]}
        with contextlib.suppress(OSError):
            await asyncio.gather(self._pump(reader, there[1]), self._pump(there[0], writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while octets := await reader.read(65536):
                writer.write(octets)
                await writer.drain()
        writer.transport.abort()
        self._open.discard(writer)


@pytest.fixture
async def wire(postgresql_url: str) -> AsyncIterator[Wire]:
    one = Wire(postgresql_url)
    await one.mend()
    yield one
    await one.cut()


@pytest.mark.postgresql
async def test_radius_answers_while_the_database_is_gone_and_all_is_well_when_it_is_back(
    tmp_path: Path, wire: Wire
) -> None:
    async with appliance(tmp_path, wire.url) as one:
        await one.start(*ROLES)
        await until(lambda: one.said("all_roles_ready"), "the roles")
        assert await one.signs_in()
        web = one.pid_of("web")
        await wire.cut()
        await until(lambda: one.said("radius_turn_failing"), "RADIUS to notice")
        await until(
            lambda: one.said("turn_failed") or one.said("role_ended", ended="worker"), "the worker to notice"
        )
        assert await one.signs_in()
        await wire.mend()
        await until(lambda: one.said("radius_turn_works_again"), "RADIUS to see the database again")
        await until(lambda: one.living() == list(ROLES), "every role")
        assert one.pid_of("web") == web
        assert await one.signs_in()
        assert [line for line in one.log() if "password" in str(line)] == []


async def test_the_watchdog_is_fed_by_the_event_loop_itself(tmp_path: Path, monkeypatch: Any) -> None:
    """A hung loop feeds nothing: what is told to systemd comes from a task of the loop that does the work."""
    from appliance.roles import _announce
    from appliance.watchdog import Beats, feed_watchdog

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "40000")
        ready = asyncio.Event()
        tasks = [asyncio.create_task(_announce(ready)), asyncio.create_task(feed_watchdog(Beats()))]
        for _ in range(3):
            await until(lambda: _heard(manager, b"WATCHDOG=1"), "the watchdog")
        ready.set()
        await until(lambda: _heard(manager, b"READY=1"), "readiness")
        while _heard(manager, b"WATCHDOG=1"):
            pass
        os.sched_yield()
        held = asyncio.get_running_loop().time() + 0.2
        while asyncio.get_running_loop().time() < held:
            pass  # the loop hangs
        assert not _heard(manager, b"WATCHDOG=1")
        for task in tasks:
            task.cancel()


def _heard(manager: socket.socket, wanted: bytes) -> bool:
    try:
        return manager.recv(100) == wanted
    except BlockingIOError:
        return False
