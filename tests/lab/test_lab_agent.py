"""The lab's SNMP agent, asked by net-snmp's own tools."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from core.clock import FakeClock
from lab.agent import PPP, SnmpAgent, V3User

pytestmark = pytest.mark.skipif(
    shutil.which("snmpwalk") is None, reason="net-snmp's tools are not installed (Debian package snmp)"
)

Ask = Callable[..., Awaitable[str]]
IF_NAME = ".1.3.6.1.2.1.31.1.1.1.1"
HC_IN, HC_OUT = ".1.3.6.1.2.1.31.1.1.1.6", ".1.3.6.1.2.1.31.1.1.1.10"
IN_32 = ".1.3.6.1.2.1.2.2.1.10"
UPTIME = ".1.3.6.1.2.1.1.3.0"
BOOTS = ".1.3.6.1.6.3.10.2.1.2.0"
ANNA = V3User("anna", "auth-password", "privacy-password")


@pytest.fixture
async def agent(clock: FakeClock) -> AsyncIterator[SnmpAgent]:
    one = SnmpAgent("tower-1", "s3cret", clock=clock, users=[ANNA])
    one.add_interface("ether1")
    one.add_interface("ether2", alias="sector north")
    await one.start()
    yield one
    await one.stop()


@pytest.fixture
def ask(agent: SnmpAgent, tmp_path: Path) -> Ask:
    (tmp_path / "cert_indexes").mkdir()

    async def run(tool: str, *words: str, login: tuple[str, ...] = ("-v2c", "-c", "s3cret")) -> str:
        process = await asyncio.create_subprocess_exec(
            tool, *login, "-m", "", "-Onq", "-r", "0", "-t", "1", f"127.0.0.1:{agent.port}", *words,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**os.environ, "SNMP_PERSISTENT_DIR": str(tmp_path), "MIBS": ""},
        )  # fmt: skip
        output, _ = await process.communicate()
        return output.decode().strip()

    return run


async def table(ask: Ask, oid: str) -> dict[int, str]:
    rows = (line.partition(" ") for line in (await ask("snmpwalk", oid)).splitlines())
    return {
        int(name.rpartition(".")[2]): value.strip('"')
        for name, _, value in rows
        if name.startswith(f"{oid}.")
    }


async def test_snmpget_reads_64_bit_counters_by_name(agent: SnmpAgent, ask: Ask) -> None:
    agent.set_traffic("ether2", 2**40 + 1, 2**33)
    agent.add_traffic("ether2", 4, 0)
    names = await table(ask, IF_NAME)
    assert names == {1: "ether1", 2: "ether2"}
    assert (await table(ask, HC_IN))[2] == str(2**40 + 5)
    assert (await table(ask, HC_OUT))[2] == str(2**33)
    assert (await table(ask, IN_32))[2] == "5", "the old column has wrapped"


async def test_snmpbulkwalk_goes_through_the_whole_of_it(agent: SnmpAgent, ask: Ask) -> None:
    walked = await ask("snmpwalk", ".1.3.6.1.2.1")
    bulk = await ask("snmpbulkwalk", "-Cr10", ".1.3.6.1.2.1")
    assert walked == bulk
    assert '.1.3.6.1.2.1.1.5.0 "tower-1"' in walked
    assert ".1.3.6.1.2.1.2.1.0 2" in walked
    assert '.1.3.6.1.2.1.31.1.1.1.18.2 "sector north"' in walked
    assert "No Such Instance" in await ask("snmpget", HC_IN + ".77")
    assert "No Such Object" in await ask("snmpget", ".1.3.6.1.4.1.999.1.0")


async def test_uptime_moves_with_the_clock_and_wraps_at_497_days(
    agent: SnmpAgent, ask: Ask, clock: FakeClock
) -> None:
    clock.advance(timedelta(hours=1))
    assert await ask("snmpget", "-Ot", UPTIME) == f"{UPTIME} 360000"
    clock.advance(timedelta(days=498))
    assert int((await ask("snmpget", "-Ot", UPTIME)).split()[-1]) == (498 * 24 + 1) * 360_000 - 2**32


async def test_a_reboot_starts_uptime_counters_and_indexes_anew(
    agent: SnmpAgent, ask: Ask, clock: FakeClock
) -> None:
    agent.set_traffic("ether1", 1000, 1000)
    agent.add_interface("<pppoe-anna>", kind=PPP)
    before = await table(ask, IF_NAME)
    port = agent.port
    clock.advance(timedelta(days=3))
    await agent.reboot()
    assert agent.port == port
    after = await table(ask, IF_NAME)
    assert set(after.values()) == {"ether1", "ether2"}, "the dynamic interface is gone"
    assert {name: index for index, name in after.items()} != {name: index for index, name in before.items()}
    assert await ask("snmpget", "-Ot", UPTIME) == f"{UPTIME} 0"
    assert await ask("snmpget", BOOTS) == f"{BOOTS} 2"
    assert set((await table(ask, HC_IN)).values()) == {"0"}


async def test_a_dynamic_interface_is_born_anew_at_each_dial(
    agent: SnmpAgent, ask: Ask, clock: FakeClock
) -> None:
    clock.advance(timedelta(minutes=1))
    first = agent.add_interface("<pppoe-anna>", kind=PPP).index
    agent.remove_interface("<pppoe-anna>")
    assert "<pppoe-anna>" not in (await table(ask, IF_NAME)).values()
    second = agent.add_interface("<pppoe-anna>", kind=PPP).index
    assert second > first
    discontinuity = await ask("snmpget", "-Ot", f".1.3.6.1.2.1.31.1.1.1.19.{second}")
    assert discontinuity.endswith(" 6000")
    with pytest.raises(ValueError, match="already"):
        agent.add_interface("<pppoe-anna>")


async def test_snmpv3_with_privacy_and_wrong_secrets(agent: SnmpAgent, ask: Ask) -> None:
    def v3(password: str) -> tuple[str, ...]:
        return ("-v3", "-l", "authPriv", "-u", "anna", "-a", "SHA-256", "-A", password, "-x", "AES", "-X",
                "privacy-password")  # fmt: skip

    assert '"tower-1"' in await ask("snmpget", ".1.3.6.1.2.1.1.5.0", login=v3("auth-password"))
    assert "Authentication failure" in await ask("snmpget", UPTIME, login=v3("wrong-password"))
    assert "Timeout" in await ask("snmpget", UPTIME, login=("-v2c", "-c", "wrong"))


async def test_the_ways_in_which_cheap_radios_fail(agent: SnmpAgent, ask: Ask) -> None:
    agent.has_64_bit = False
    assert await table(ask, HC_IN) == {}
    assert len(await table(ask, IN_32)) == 2
    agent.bulk_limit = 5
    assert "Timeout" in await ask("snmpbulkwalk", "-Cr20", IN_32)
    assert "Timeout" not in await ask("snmpbulkwalk", "-Cr5", IN_32)
    agent.silent = True
    assert "Timeout" in await ask("snmpget", UPTIME)
