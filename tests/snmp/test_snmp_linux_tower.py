"""A real router: net-snmp in a network namespace over interfaces whose counters the kernel moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from snmp_world import SnmpWorld

from core.secrets import Secret
from lab.linux_tower import LinuxTower
from snmp.poll import PollOutcome

pytestmark = [
    pytest.mark.namespaces,
    pytest.mark.skipif(
        LinuxTower.can_build() is not None, reason=f"no Linux tower: {LinuxTower.can_build()}"
    ),
]
DOWNLOADED = 3_000_000


@pytest.fixture
async def tower() -> AsyncIterator[LinuxTower]:
    tower = LinuxTower("witness", snmp_community="word-of-tower")
    await tower.start()
    yield tower
    await tower.stop()


async def _kernel_octets(tower: LinuxTower, interface: str) -> tuple[int, int]:
    """Received and sent octets of an interface, as the kernel counts them."""
    statistics = f"/sys/class/net/{interface}/statistics"
    words = (await tower.on_tower("cat", f"{statistics}/rx_bytes", f"{statistics}/tx_bytes")).split()
    return int(words[0]), int(words[1])


async def _poll_until(
    world: SnmpWorld, target_id: str, condition: Callable[[PollOutcome], Awaitable[bool]]
) -> None:
    """Poll as often as it takes: net-snmp answers from a table that is up to three seconds old."""
    async with asyncio.timeout(20):
        while not await condition(await world.poll(target_id)):
            await asyncio.sleep(0.2)


async def test_usage_is_what_the_kernel_counted_towards_the_subscriber(
    world: SnmpWorld, tower: LinuxTower
) -> None:
    interface = tower.subscribers[0].interface
    target_id = await world.target(161, address=tower.tower_address, community=Secret(tower.snmp_community))
    await world.bind(target_id, interface, await world.service(rate_bps=10_000_000_000))
    first = await world.poll(target_id)
    assert (first.trouble, first.absent, first.narrow_bps) == (None, [], None)
    assert await tower.download(DOWNLOADED) == DOWNLOADED
    kernel = await _kernel_octets(tower, interface)

    async def caught_up(_outcome: PollOutcome) -> bool:
        newest = (await world.readings())[-1]
        return bool(newest.raw_out >= kernel[1] and newest.raw_in >= kernel[0])

    await _poll_until(world, target_id, caught_up)
    begin, *_, end = await world.readings()
    upload, download = await world.total()
    assert (upload, download) == (end.raw_in - begin.raw_in, end.raw_out - begin.raw_out)
    assert DOWNLOADED < download < DOWNLOADED * 1.1, "frames: a little more than the payload"
    assert 0 < upload < download


async def _born(tower: LinuxTower, packets: int) -> int:
    """A new interface over which that many packets were sent; the octets the kernel counted."""
    words = (
        "link add dyn0 type veth peer name dyn1", "link set dyn0 up", "link set dyn1 up",
        "addr add 192.0.2.1/24 dev dyn0", "neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev dyn0",
    )  # fmt: skip
    for one in words:
        await tower.on_tower("ip", *one.split())
    script = f"""
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range({packets}):
    s.sendto(b"x" * 958, ("192.0.2.9", 9))
"""
    await tower.on_tower("python3", "-c", script)
    return (await _kernel_octets(tower, "dyn0"))[1]


async def test_an_interface_made_anew_is_followed_while_net_snmp_still_shows_the_dead_one(
    world: SnmpWorld, tower: LinuxTower
) -> None:
    """Both rows bear the name for five minutes; the one that is down keeps the counters of its last moment."""
    target_id = await world.target(161, address=tower.tower_address, community=Secret(tower.snmp_community))
    await world.bind(target_id, "dyn0", await world.service())
    assert (await world.poll(target_id)).absent == ["dyn0"]
    billed, last = 0, 0
    for packets in (80, 50):
        billed = (await world.total())[1]
        counted = await _born(tower, packets)
        lives = len(await _lives(world))

        async def seen(_outcome: PollOutcome, least: int = counted, before: int = lives) -> bool:
            newest = (await world.readings() or [None])[-1]
            return newest is not None and len(await _lives(world)) > before and newest.raw_out >= least

        await _poll_until(world, target_id, seen)
        last = (await world.readings())[-1].raw_out
        assert counted >= packets * 1_000
        await tower.on_tower("ip", "link", "del", "dyn0")
    assert (await world.total())[1] == billed + last, "all of the second life, and nothing of the first twice"


async def _lives(world: SnmpWorld) -> set[int]:
    """Under which indexes the interface was read."""
    return {row.evidence["sample"]["if_index"] for row in await world.readings()}
