"""The watchdog is fed while every loop of the role goes on, and no longer."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from appliance_running import set_up, until
from sqlalchemy import text

import appliance.roles
import core.outbox
from appliance.roles import ROLES, _keep
from appliance.settings import Settings
from appliance.watchdog import Beats, feed_watchdog
from appliance.wiring import open_house

WATCHDOG_S = 0.1


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The service manager's end of the notification socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.bind(str(tmp_path / "notify"))
        one.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", str(int(WATCHDOG_S * 1_000_000)))
        yield one


def heard(manager: socket.socket) -> list[str]:
    told = []
    while True:
        try:
            told.append(manager.recv(1000).decode())
        except BlockingIOError:
            return told


async def starves(manager: socket.socket, loop: str) -> None:
    """Until the feeding ends with a word about that loop; then nothing more is heard."""
    told: list[str] = []

    def is_named() -> bool:
        told.extend(heard(manager))
        return told[-1:] != [] and told[-1].startswith("STATUS=") and loop in told[-1]

    await until(is_named, "the watchdog to be starved", 10)
    await asyncio.sleep(3 * WATCHDOG_S)
    assert "WATCHDOG=1" not in heard(manager)


async def test_a_loop_that_awaits_for_ever_starves_the_watchdog_and_is_named(
    manager: socket.socket, capsys: pytest.CaptureFixture[str]
) -> None:
    beats, stop, stuck = Beats(), asyncio.Event(), asyncio.Event()

    async def turn() -> int:
        if stuck.is_set():
            await asyncio.Event().wait()
        return 0

    async with asyncio.TaskGroup() as tasks:
        going = [
            tasks.create_task(feed_watchdog(beats)),
            tasks.create_task(_keep("outbox", 0.02, turn, stop, beats.expect("outbox", 0.5))),
        ]
        fed: list[str] = []
        begun_s = asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() < begun_s + 1.0:  # an honest loop, for longer than its limit
            fed += heard(manager)  # a full socket would hold up who tells
            await asyncio.sleep(0.02)
        assert len(fed) > 5
        assert set(fed) == {"WATCHDOG=1"}
        stuck.set()
        await starves(manager, "outbox")
        for task in going:
            task.cancel()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    assert ["outbox"] in [line["loops"] for line in lines if line["event"] == "loop_stuck"]


async def test_a_worker_whose_outbox_hangs_is_no_longer_fed(
    manager: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(*_: object) -> int:
        return await asyncio.Event().wait()

    monkeypatch.setattr(core.outbox, "dispatch_due", hang)
    monkeypatch.setattr(appliance.roles, "_LOOP_LIMIT_S", 0.5)
    settings = Settings.model_validate({"state": {"directory": tmp_path / "state"}})
    beats, stop, ready = Beats(), asyncio.Event(), asyncio.Event()
    async with open_house(settings, may_make_key=True) as house:
        await set_up(house)
        going = [
            asyncio.create_task(feed_watchdog(beats)),
            asyncio.create_task(ROLES["worker"](house, stop, ready, beats)),  # type: ignore[arg-type]
        ]
        await starves(manager, "outbox")
        assert beats.stuck() == ["outbox"]
        for task in going:
            task.cancel()
        await asyncio.gather(*going, return_exceptions=True)


async def test_radius_and_the_panel_are_not_killed_for_a_database_that_hangs(tmp_path: Path) -> None:
    """They answer on the event loop itself; what waits for the database beside it is nobody's beat."""
    settings = Settings.model_validate(
        {
            "state": {"directory": tmp_path / "state"},
            "radius": {"auth_listen": ["127.0.0.1:0"], "accounting_listen": ["127.0.0.1:0"]},
            "ui": {"listen": "127.0.0.1:0"},
        }
    )
    async with open_house(settings, may_make_key=True) as house:
        await set_up(house)
        for role in ("radius", "web"):
            beats, stop, ready = Beats(), asyncio.Event(), asyncio.Event()
            going = asyncio.create_task(ROLES[role](house, stop, ready, beats))  # type: ignore[arg-type]
            await asyncio.wait_for(ready.wait(), 20)
            assert beats._due_s == {}
            stop.set()
            await going
        async with house.workplace.reading() as connection:
            assert (await connection.execute(text("SELECT 1"))).scalar_one() == 1
