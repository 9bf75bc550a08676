"""NAS, console and agent as one tower; its RADIUS server here is FreeRADIUS."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from witness_freeradius import SECRET, FreeRadius, freeradius

from core.clock import FakeClock
from lab.config import LabSettings, LabSubscriber
from lab.nas import RejectedDial
from lab.radius_wire import RadiusServer
from lab.service import run_lab
from lab.tower import Demand, LabLine, SimulatedTower

LIST = "/ip firewall address-list"
pytestmark = pytest.mark.skipif(
    shutil.which("freeradius") is None and not Path("/usr/sbin/freeradius").exists(),
    reason="FreeRADIUS is not installed (Debian package freeradius)",
)


@pytest.fixture(scope="module")
def witness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FreeRadius]:
    with freeradius(tmp_path_factory.mktemp("freeradius")) as server:
        yield server


@pytest.fixture
async def tower(witness: FreeRadius, clock: FakeClock) -> AsyncIterator[SimulatedTower]:
    one = SimulatedTower(
        "ridge",
        source_address="127.0.0.31",
        servers=[RadiusServer("127.0.0.1", witness.auth_port, witness.acct_port)],
        radius_secret=SECRET,
        clock=clock,
        password="pw",
        coa_port=0,
        timeout_s=2.0,
    )
    await one.start()
    yield one
    await one.stop()


async def online(tower: SimulatedTower, demand: Demand | None = None) -> LabLine:
    line = await tower.dial("anna", "correct horse", mac="02:00:00:00:00:07", demand=demand)
    assert isinstance(line, LabLine), line
    # FreeRADIUS puts her on hilltop-walled; a CoA without the list takes her off again.
    tower.nas.change(line.session, {"Mikrotik-Address-List": []})
    return line


def used(tower: SimulatedTower, line: LabLine, clock: FakeClock, seconds: int) -> int:
    """Octets downloaded while the clock goes on."""
    tower.use()
    before = line.session.octets_out
    clock.advance(timedelta(seconds=seconds))
    tower.use()
    return line.session.octets_out - before


async def test_a_line_stands_on_console_and_agent_while_it_lives(tower: SimulatedTower) -> None:
    line = await online(tower)
    run = tower.console.router.run
    assert run("/ppp active print count-only where name=anna and address=100.64.7.7").lines == ["1"]
    assert run('/interface print count-only where name="<pppoe-anna>"').lines == ["1"]
    first = tower.agent.interfaces["<pppoe-anna>"].index
    await line.session.stop()
    assert run("/ppp active print count-only").lines == ["0"]
    assert "<pppoe-anna>" not in tower.agent.interfaces
    await online(tower)
    assert tower.agent.interfaces["<pppoe-anna>"].index > first, "a new index at each dial"


async def test_demand_is_used_up_to_the_rate_and_counted_everywhere(
    tower: SimulatedTower, clock: FakeClock
) -> None:
    modest = await online(tower, Demand(down_bps=8_000_000, up_bps=800_000))
    assert used(tower, modest, clock, 10) == 10_000_000
    await modest.session.stop()
    greedy = await online(tower, Demand(down_bps=900_000_000, up_bps=90_000_000))
    assert used(tower, greedy, clock, 8) == 25_000_000, "the rate limit of the Accept is 5M/25M"
    assert greedy.session.octets_in == 5_000_000
    counters = tower.agent.interfaces["<pppoe-anna>"]
    assert 25_000_000 < counters.octets_out < 25_500_000, "frames are a little more than payload"
    assert counters.octets_in > 5_000_000


async def test_the_wall_stops_new_traffic_and_old_connections_only_when_removed(
    tower: SimulatedTower, clock: FakeClock
) -> None:
    line = await online(tower, Demand(down_bps=8_000_000, up_bps=0))
    run = tower.console.router.run
    assert used(tower, line, clock, 1) == 1_000_000
    run(f"{LIST} add list=hilltop-suspended address=100.64.7.7")
    assert not tower.reaches(line, "internet")
    assert tower.reaches(line, "portal")
    assert used(tower, line, clock, 1) == 1_000_000, "fasttracked connections go on"
    run('/ip firewall connection remove [find src-address~"^100.64.7.7:"]')
    assert used(tower, line, clock, 1) == 2_500, "the portal alone"
    run(f"{LIST} remove [find address=100.64.7.7]")
    assert tower.reaches(line, "internet")
    assert used(tower, line, clock, 1) == 1_000_000


async def test_an_address_list_of_radius_is_a_dynamic_entry_of_the_session(tower: SimulatedTower) -> None:
    line = await tower.dial("anna", "correct horse")
    assert isinstance(line, LabLine)
    assert tower.console.router.run(f"{LIST} print count-only where list=hilltop-walled dynamic").lines == [
        "1"
    ]
    assert tower.walled(line)
    await line.session.stop()
    assert tower.console.firewall_address_list == []


async def test_removing_the_active_session_hangs_up_and_tells_the_stop(
    tower: SimulatedTower, witness: FreeRadius
) -> None:
    line = await online(tower)
    tower.console.router.run("/ppp active remove [find name=anna]")
    async with asyncio.timeout(10):
        while line.session.live or tower.nas.unacknowledged:
            await asyncio.sleep(0.01)
    assert witness.accounted()[-1]["Acct-Terminate-Cause"] == ["Admin-Reset"]


async def test_interims_are_told_when_due(
    tower: SimulatedTower, clock: FakeClock, witness: FreeRadius
) -> None:
    await online(tower)
    before = len(witness.accounted())
    clock.advance(timedelta(seconds=299))
    await tower.tick()
    assert len(witness.accounted()) == before
    clock.advance(timedelta(seconds=1))
    await tower.tick()
    await tower.tick()
    assert [one["Acct-Status-Type"] for one in witness.accounted()[before:]] == [["Interim-Update"]]


async def test_a_power_cut_forgets_the_lines_and_moves_the_indexes(
    tower: SimulatedTower, clock: FakeClock
) -> None:
    line = await online(tower)
    tower.console.router.run(
        f"{LIST} add list=hilltop-suspended address=100.64.7.7; {LIST} add list=x address=1.2.3.4 timeout=1d"
    )
    clock.advance(timedelta(hours=1))
    await tower.reboot()
    assert not line.session.live
    assert tower.lines == []
    assert tower.agent.uptime_ticks() == 0
    assert [item.values["list"] for item in tower.console.firewall_address_list] == ["hilltop-suspended"]
    assert isinstance(await tower.dial("anna", "correct horse"), LabLine)


async def test_coa_is_deaf_until_radius_incoming_accepts(tower: SimulatedTower) -> None:
    tower.console.router.run("/radius incoming set accept=no")
    assert not tower.nas.listens_to_coa()
    tower.console.router.run("/radius incoming set accept=yes")
    assert tower.nas.listens_to_coa()


async def test_a_wrong_password_makes_no_line(tower: SimulatedTower) -> None:
    assert isinstance(await tower.dial("anna", "wrong"), RejectedDial)
    assert tower.lines == []


async def test_the_lab_serves_and_says_how_to_register_it(witness: FreeRadius, tmp_path: Path) -> None:
    settings = LabSettings(
        ssh_port=0,
        snmp_port=0,
        coa_port=0,
        nas_address="127.0.0.32",
        auth_port=witness.auth_port,
        accounting_port=witness.acct_port,
        linux_tower=False,
        redial_s=0.05,
        directory=tmp_path,
        subscribers=(LabSubscriber(username="anna", password="correct horse"),),
    )
    told: list[str] = []
    stop, ready = asyncio.Event(), asyncio.Event()
    lab = asyncio.create_task(run_lab(settings, stop, say=told.append, ready=ready))
    await ready.wait()
    async with asyncio.timeout(10):
        while not any(line.startswith("anna: ") for line in told):
            await asyncio.sleep(0.01)
    stop.set()
    await lab
    text = "\n".join(told)
    assert "hilltop device add lab-ridge 127.0.0.1 --port " in text
    assert "hilltop nas add lab-ridge 127.0.0.32 " in text
    secrets = [file.read_text() for file in tmp_path.iterdir() if file.name != "lab-pppoe-anna"]
    assert len(secrets) == 3
    assert not any(secret in text for secret in secrets), "secrets stand in files, not on the screen"
    assert all(file.stat().st_mode & 0o077 == 0 for file in tmp_path.iterdir())
