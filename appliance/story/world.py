"""The story's world: a clock that moves, a simulated RouterOS tower, a real Linux tower if it can stand."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar
from zoneinfo import ZoneInfo

from appliance.story.appliance_process import ApplianceProcess, Ports
from appliance.story.timeline import StepFailed, Timeline
from appliance.wiring import House
from core.clock import LabClock
from core.secrets import random_password
from lab.linux_tower import LinuxTower
from lab.nas import LabNas
from lab.radius_wire import RadiusServer
from lab.routeros import RouterOsConsole

ZONE = ZoneInfo("America/Denver")
RIDGE_NAS = "127.0.0.2"
HILL_NAS = "127.0.0.3"
STRANGER = "127.0.0.9"
ELM_ADDRESS = "100.64.213.10"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Keys:
    """Secrets of this telling, made afresh each time."""

    nas: str
    device: str
    fir: str
    community: str

    @classmethod
    def fresh(cls) -> Keys:
        """New random ones."""
        return cls(*(random_password() for _ in range(4)))


@dataclass(slots=True)
class World:
    """Everything the chapters act on."""

    timeline: Timeline
    clock: LabClock
    appliance: ApplianceProcess
    keys: Keys
    ridge: RouterOsConsole
    ridge_nas: LabNas
    hill_nas: LabNas
    hill: LinuxTower | None
    hill_missing: str
    house: House | None = None

    @property
    def open_house(self) -> House:
        """The appliance's own database, for looking on."""
        if self.house is None:
            raise StepFailed("the appliance has not been set up")
        return self.house

    @property
    def standing_hill(self) -> LinuxTower:
        """The real tower, in steps that are told only where it stands."""
        if self.hill is None:
            raise StepFailed(f"no real tower: {self.hill_missing}")
        return self.hill

    def move_to(self, *local: int) -> datetime:
        """Move the clock to a local time of Denver (year, month, day, hour, minute)."""
        instant = datetime(*local, tzinfo=ZONE)  # type: ignore[misc, arg-type]
        self.clock.move_to(instant)
        return instant

    async def until(self, what: str, look: Callable[[], Awaitable[T | None]], patience_s: float = 25.0) -> T:
        """Wait until ``look`` finds something; raises ``StepFailed`` naming ``what`` when it never does."""
        deadline = self.clock.monotonic_s() + patience_s
        while self.clock.monotonic_s() < deadline:
            found = await look()
            if found:
                return found
            await asyncio.sleep(0.05)
        raise StepFailed(f"{what}: not within {patience_s:.0f} s")


def free_port(kind: socket.SocketKind) -> int:
    """A port that nobody has on loopback."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def build_world(
    timeline: Timeline, clock: LabClock, folder: Path, panel_port: int, *, simulated_only: bool
) -> World:
    """Start the towers; the appliance is set up and started by the story itself."""
    keys = Keys.fresh()
    ports = Ports(
        radius_host="127.0.0.1",
        auth=free_port(socket.SOCK_DGRAM),
        accounting=free_port(socket.SOCK_DGRAM),
        panel=panel_port or free_port(socket.SOCK_STREAM),
        portal=f"127.0.0.1:{free_port(socket.SOCK_STREAM)}",
    )
    ridge = RouterOsConsole("NorthRidge", "7.16", "hilltop", keys.device, clock=clock)
    await ridge.start()
    server = RadiusServer(ports.radius_host, ports.auth, ports.accounting)
    ridge_nas = LabNas("north-ridge", RIDGE_NAS, [server], keys.nas, clock=clock, coa_port=0, timeout_s=1.0)
    hill_nas = LabNas("south-hill", HILL_NAS, [server], keys.nas, clock=clock, coa_port=0, timeout_s=1.0)
    await ridge_nas.start()
    await hill_nas.start()
    world = World(
        timeline=timeline,
        clock=clock,
        appliance=ApplianceProcess(timeline, folder, ports),
        keys=keys,
        ridge=ridge,
        ridge_nas=ridge_nas,
        hill_nas=hill_nas,
        hill=None,
        hill_missing="not wanted" if simulated_only else LinuxTower.can_build() or "",
    )
    if not world.hill_missing:
        host, _, port = ports.portal.rpartition(":")
        world.hill = LinuxTower(
            "south-hill",
            subscriber_addresses=[ELM_ADDRESS],
            portal=(host, int(port)),
            snmp_community=keys.community,
        )
        await world.hill.start()
    return world


async def leave(world: World) -> None:
    """Take the towers down."""
    await world.ridge.stop()
    await world.ridge_nas.stop()
    await world.hill_nas.stop()
    if world.hill is not None:
        await world.hill.stop()
