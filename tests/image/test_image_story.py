"""The main job, told by the appliance itself: a subscriber's month on the booted image, with towers outside of it.

The box's own clock is moved at its console, in a year that no build of systemd takes for the past. The towers are a simulated RouterOS and a real Linux router (OpenSSH,
nftables, net-snmp) in network namespaces; every look is from outside the guest: at the towers, at what a NAS is
told, at what the console prints.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import image_machine
import pytest
from conftest import Image
from image_console import AtConsole
from image_machine import HOST, Machine
from image_visitor import Browser

from core.clock import LabClock
from lab.linux_tower import LinuxTower
from lab.nas import LabNas, LabSession
from lab.radius_wire import RadiusServer
from lab.routeros import RouterOsConsole
from provisioning.drivers.linux_nftables import bootstrap_ruleset

pytestmark = [
    pytest.mark.namespaces,
    pytest.mark.slow,
    pytest.mark.skipif(
        os.environ.get("HILLTOP_IMAGE_TESTS") != "whole",
        reason="the story on the image takes ten minutes: HILLTOP_IMAGE_TESTS=whole (./dev test image)",
    ),
]

OWN = "four unrelated words"
NAS_SECRET, ROUTER_PASSWORD, COMMUNITY = (
    "nas-secret-of-the-test",
    "router-of-the-test",
    "community-of-the-test",
)
ELM_MAC, ELM_ADDRESS = "02:1A:2B:3C:4D:02", "100.64.213.10"


@dataclass
class Scene:
    """The box, the towers, and the clock that all of them go by."""

    machine: Machine
    console: AtConsole
    clock: LabClock
    ridge: RouterOsConsole
    hill: LinuxTower
    nas: LabNas

    async def say(self, line: str, secret: str | None = None) -> str:
        """A command at the box's console, while the towers go on."""
        return await asyncio.to_thread(self.console.command, line, secret=secret)

    async def move_to(self, *instant: int) -> None:
        """Set the box's clock at its console; the lab follows."""
        when = datetime(*instant, tzinfo=UTC)  # type: ignore[misc, arg-type]

        def at_the_console() -> None:
            self.console.end_commands()
            said = self.console.choose(
                3, (r"leave it\): $", "2"), (r"leave it\): $", f"{when:%Y-%m-%d %H:%M}")
            )
            assert f"The clock says {when:%Y-%m-%d %H:%M}" in said, said
            self.console.begin_commands("owner", OWN)

        await asyncio.to_thread(at_the_console)
        self.clock.move_to(when)

    async def until(self, what: str, look: Callable[[], Awaitable[object]], patience_s: float = 180) -> None:
        """Wait until ``look`` finds something."""
        deadline = asyncio.get_running_loop().time() + patience_s
        while not await look():
            assert asyncio.get_running_loop().time() < deadline, f"{what}: not in {patience_s:g} s"
            await asyncio.sleep(0.5)


async def test_a_subscribers_month_on_the_appliance(image: Image, tmp_path: Path) -> None:
    reason = image_machine.missing() or LinuxTower.can_build()
    if reason:
        pytest.skip(f"the story cannot be told here: {reason}")
    with (
        image_machine.own_network(),
        Machine(image.disk, tmp_path / "machine", image.kernel, rtc="2030-03-12T16:00:00") as machine,
    ):
        clock = LabClock.create(tmp_path / "clock", datetime(2030, 3, 12, 16, 2, tzinfo=UTC))
        ridge = RouterOsConsole("NorthRidge", "7.16", "hilltop", ROUTER_PASSWORD, clock=clock)
        hill = LinuxTower(
            "south-hill", subscriber_addresses=[ELM_ADDRESS], portal=("127.0.0.1", machine.ports.portal),
            snmp_community=COMMUNITY,
        )  # fmt: skip
        server = RadiusServer("127.0.0.1", machine.ports.auth, machine.ports.accounting)
        nas = LabNas("ridge", "127.0.0.1", [server], NAS_SECRET, clock=clock, coa_port=0, timeout_s=4.0)
        try:
            await ridge.start()
            await hill.start()
            await nas.start()
            await _tell(Scene(machine, AtConsole(machine), clock, ridge, hill, nas))
            await asyncio.to_thread(machine.press_power_button, 120)
        finally:
            await nas.stop()
            await hill.stop()
            await ridge.stop()
        _look_into(machine.read_state(tmp_path))
        machine.disk.unlink()


def _look_into(state: Path) -> None:
    """What the box's own database holds of the month."""
    with contextlib.closing(sqlite3.connect(state / "hilltop.sqlite")) as database:

        def one(query: str) -> int:
            return int(database.execute(query).fetchone()[0])

        assert (
            one(
                "select coalesce(sum(octets_out + octets_in), 0) from aaa_usage_record where octets_out < 1e9"
            )
            >= 4_000_000
        )
        assert (
            one("select sum(octets_out) from aaa_usage_record where octets_out > 1e9") == 10 * 18_000_000_000
        )
        assert one("select count(*) from billing_invoice_line where kind = 'usage' and amount_minor > 0") >= 1
        assert one("select count(*) from provisioning_task where status = 'verified'") >= 4


async def _tell(scene: Scene) -> None:
    await asyncio.to_thread(_take_possession, scene)
    await _set_up(scene)
    session = await _connect_and_use(scene)
    await _bill(scene)
    await _suspend(scene, session)
    await _pay(scene, session)


def _take_possession(scene: Scene) -> None:
    code = scene.console.code()
    browser = Browser("127.0.0.1", scene.machine.ports.panel)
    scene.machine.wait("health", lambda: (browser.health() or {}).get("status") == "ok", 400)
    assert browser.sign_in("owner", code) == (303, "/password")
    assert browser.choose_password(code, OWN)[0] == 303
    said = scene.console.choose(3, (r"leave it\): $", "3"), (r"time now: $", "yes"))
    assert "2030-03-12 16:" in said and "trusted" in said
    scene.console.begin_commands("owner", OWN)


async def _set_up(scene: Scene) -> None:
    say, ridge, hill = scene.say, scene.ridge, scene.hill
    await hill.load_ruleset(bootstrap_ruleset([hill.portal_address], hill.uplink_interface))
    await say("site add Ridge")
    await say(
        f"device add ridge-router {HOST} --port {ridge.port} --site Ridge --driver routeros --username hilltop"
        " --password-file -",
        ROUTER_PASSWORD,
    )
    await say(
        f"nas add ridge {HOST} --site Ridge --dynauth-port {scene.nas.coa_port} --secret-file -", NAS_SECRET
    )
    await say("profile add home-25 --down 25000000 --up 5000000 --interim 86400")
    await say("plan add home 'Home 25' --price 49.00 --profile home-25 --allowance-gb 150 --tier :0.10")
    await say("account add 'Fir Lane Cabin' --number A-1 --time-zone America/Denver")
    await say(
        "service add A-1 --plan home --pppoe fir --device ridge-router --password-file -", "fir-password"
    )
    await say("site add Hill")
    await say(
        f"device add hill-router {hill.tower_address} --site Hill --driver linux_nftables"
        f" --username {hill.username} --key-file -",
        hill.private_key,
    )
    await say("account add 'Elm Farm' --number A-2 --time-zone America/Denver")
    await say(f"service add A-2 --plan home --mac {ELM_MAC} --ip {ELM_ADDRESS} --device hill-router")
    await say(
        f"snmp add hill-router {hill.tower_address} --device hill-router --poll-interval 2 --community-file -",
        COMMUNITY,
    )
    await say(f"snmp bind hill-router {hill.subscribers[0].interface} {ELM_MAC}")
    await say("bill run")
    assert (await say("invoice list")).count("2030-03-12") >= 2


async def _connect_and_use(scene: Scene) -> LabSession:
    session = await scene.nas.dial("fir", "fir-password", "mschapv2")
    assert isinstance(session, LabSession), session
    assert session.rates_bps() == (25_000_000, 5_000_000)
    await asyncio.sleep(15)  # polls of the tower's interface
    assert await scene.hill.download(4_000_000) == 4_000_000

    await asyncio.sleep(10)
    for day in range(13, 32, 2):
        scene.clock.move_to(datetime(2030, 3, day, 18, tzinfo=UTC))
        session.transfer(down=18_000_000_000, up=1_000_000_000)
    await scene.move_to(2030, 3, 31, 18, 0)
    assert await session.interim()
    return session


async def _bill(scene: Scene) -> None:
    await scene.move_to(2030, 4, 1, 8, 0)  # past midnight in Denver
    await asyncio.sleep(5)

    async def billed() -> object:
        await scene.say("bill run")
        return len(re.findall(r"2030-04-01", await scene.say("invoice list"))) >= 2

    await scene.until("the April invoices", billed)
    assert "the ledger is sound" in await scene.say("ledger verify")


async def _suspend(scene: Scene, session: LabSession) -> None:
    ridge, hill = scene.ridge, scene.hill
    assert await hill.subscriber_reaches("internet")
    await scene.move_to(2030, 4, 30, 18, 0)
    assert await session.interim()

    async def listed() -> object:
        await scene.say("dunning run")
        return ridge.listed("hilltop-suspended", session.framed_ip)

    await scene.until("the suspension on the router", listed, 300)

    async def moved() -> object:
        return "hilltop-walled" in session.address_lists

    await scene.until("the live session in the walled garden", moved)

    async def walled() -> object:
        return not await hill.subscriber_reaches("internet", timeout_s=2)

    await scene.until("the suspension on the real tower", walled)
    assert await hill.subscriber_reaches("portal")


async def _pay(scene: Scene, session: LabSession) -> None:
    ridge, hill = scene.ridge, scene.hill
    for number in ("A-1", "A-2"):
        await scene.say(f"pay {number} 500.00 --key cash-{number}")

    async def restored() -> object:
        return (
            not ridge.listed("hilltop-suspended", session.framed_ip)
            and session.rates_bps() == (25_000_000, 5_000_000)
            and "hilltop-walled" not in session.address_lists
            and await hill.subscriber_reaches("internet", timeout_s=2)
        )

    await scene.until("both on the internet again", restored, 300)
