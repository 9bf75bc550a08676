"""The fully real tower: OpenSSH, nftables and net-snmp in namespaces, and traffic that really stops."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import asyncssh
import pytest

from lab.linux_tower import LinuxTower
from lab.namespaces import CommandFailed

WHY_NOT = LinuxTower.can_build()
pytestmark = [
    pytest.mark.namespaces,
    pytest.mark.skipif(WHY_NOT is not None, reason=f"no Linux tower here: {WHY_NOT}"),
]

# Written by hand, so that it owes nothing to the driver's bootstrap.
RULES = """
table inet walls {
  set suspended4 { type ipv4_addr; }
  set suspended6 { type ipv6_addr; }
  chain forward {
    type filter hook forward priority -10
    ip saddr @suspended4 ip daddr PORTAL tcp dport 80 accept
    ip daddr @suspended4 ip saddr PORTAL tcp sport 80 accept
    ip saddr @suspended4 drop
    ip daddr @suspended4 drop
    ip6 saddr @suspended6 drop
    ip6 daddr @suspended6 drop
  }
}
"""


@pytest.fixture
async def tower() -> AsyncIterator[LinuxTower]:
    one = LinuxTower(subscriber_addresses=("100.64.213.10", "100.64.213.11"))
    await one.start()
    yield one
    await one.stop()


async def ssh(tower: LinuxTower, command: str) -> str:
    """The machine's own OpenSSH client, with the host key pinned."""
    with tempfile.TemporaryDirectory() as place:
        key, known = Path(place) / "key", Path(place) / "known_hosts"
        key.touch(mode=0o600)
        key.write_text(tower.private_key)
        known.write_text(f"{tower.tower_address} {tower.host_key}\n")
        process = await asyncio.create_subprocess_exec(
            "ssh", "-i", str(key), "-o", f"UserKnownHostsFile={known}", "-o", "BatchMode=yes", "-o",
            "StrictHostKeyChecking=yes", f"{tower.username}@{tower.tower_address}", command,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        output, complaint = await process.communicate()
    assert process.returncode == 0, complaint.decode()
    return output.decode()


async def octets_out(tower: LinuxTower, interface: str) -> int:
    """ifHCOutOctets of an interface of the tower, by net-snmp's own tools."""

    async def walk(oid: str) -> dict[str, str]:
        process = await asyncio.create_subprocess_exec(
            "snmpwalk", "-v2c", "-c", tower.snmp_community, "-m", "", "-Onq", tower.tower_address, oid,
            stdout=subprocess.PIPE,
        )  # fmt: skip
        output, _ = await process.communicate()
        rows = (line.partition(" ") for line in output.decode().splitlines())
        return {oid_text.rpartition(".")[2]: value.strip('"') for oid_text, _, value in rows}

    names = await walk(".1.3.6.1.2.1.31.1.1.1.1")
    counters = await walk(".1.3.6.1.2.1.31.1.1.1.10")
    index = next(index for index, name in names.items() if name == interface)
    return int(counters[index])


async def test_a_suspended_subscriber_reaches_the_portal_alone_and_running_flows_stop(
    tower: LinuxTower,
) -> None:
    assert await tower.subscriber_reaches("internet")
    assert await tower.subscriber_reaches("internet6")
    assert await tower.subscriber_reaches("portal")
    await tower.load_ruleset(RULES.replace("PORTAL", tower.portal_address))
    assert await tower.subscriber_reaches("internet"), "the rules alone stop nobody"
    await tower.hold_flow()
    assert await tower.flow_moves()

    victim = tower.subscribers[0]
    await ssh(tower, f"nft add element inet walls suspended4 '{{ {victim.address} }}'")
    await ssh(tower, f"nft add element inet walls suspended6 '{{ {victim.address6} }}'")
    assert not await tower.subscriber_reaches("internet", timeout_s=0.5)
    assert not await tower.subscriber_reaches("internet6", timeout_s=0.5)
    assert await tower.subscriber_reaches("portal")
    assert not await tower.flow_moves(within_s=0.5)
    assert await tower.download(1000, timeout_s=0.5) == 0
    assert await tower.subscriber_reaches("internet", subscriber=1), "his neighbour is not touched"

    await ssh(tower, f"nft delete element inet walls suspended4 '{{ {victim.address} }}'")
    await ssh(tower, f"nft delete element inet walls suspended6 '{{ {victim.address6} }}'")
    assert await tower.subscriber_reaches("internet", timeout_s=5)
    assert await tower.subscriber_reaches("internet6", timeout_s=5)


@pytest.mark.skipif(shutil.which("snmpwalk") is None, reason="net-snmp's tools are not installed (snmp)")
async def test_downloads_move_the_counters_that_net_snmp_serves(tower: LinuxTower) -> None:
    before = await octets_out(tower, tower.subscribers[0].interface)
    assert await tower.download(5_000_000) == 5_000_000
    async with asyncio.timeout(20):
        while (moved := await octets_out(tower, tower.subscribers[0].interface) - before) < 5_000_000:
            await asyncio.sleep(0.2)  # net-snmp keeps a table for three seconds
    assert moved < 6_000_000, "frames are a little more than the payload"


async def test_a_real_portal_is_forwarded_to() -> None:
    async def portal(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 402 Payment Required\r\n\r\npay here")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(portal, "127.0.0.1", 0)
    tower = LinuxTower(portal=("127.0.0.1", server.sockets[0].getsockname()[1]))
    await tower.start()
    assert await tower.subscriber_reaches("portal")
    await tower.stop()
    server.close()


async def test_the_tower_has_a_shell_for_drivers(tower: LinuxTower) -> None:
    known = asyncssh.import_known_hosts(f"{tower.tower_address} {tower.host_key}\n")
    async with asyncssh.connect(
        tower.tower_address,
        username=tower.username,
        client_keys=[asyncssh.import_private_key(tower.private_key)],
        known_hosts=known,
    ) as connection:
        process = await connection.create_process(term_type="vt100")
        process.stdin.write("nft --version; exit\n")
        assert "nftables v" in str((await process.wait()).stdout)


async def test_nothing_is_left_behind() -> None:
    def seen() -> str:
        both = (("ip", "netns", "list"), ("ip", "-o", "link"))
        return "".join([subprocess.run(one, capture_output=True, text=True).stdout for one in both])

    tower = LinuxTower()
    await tower.start()
    namespaces = list(tower._namespaces.names)
    assert all(name in seen() for name in namespaces)
    session = await asyncssh.connect(
        tower.tower_address, username="root", known_hosts=None,
        client_keys=[asyncssh.import_private_key(tower.private_key)],
    )  # fmt: skip
    await session.create_process("sleep 1000")
    await tower.stop()
    assert not any(name in seen() for name in namespaces)
    async with asyncio.timeout(10):
        while tower._lot.link("edge") in seen():
            await asyncio.sleep(0.01)  # the kernel takes a dead namespace's links down in its own time
    session.abort()


async def test_a_bad_ruleset_is_refused_with_nfts_own_words(tower: LinuxTower) -> None:
    with pytest.raises(CommandFailed, match="syntax error"):
        await tower.load_ruleset("table inet broken {")
