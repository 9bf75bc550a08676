"""Fixtures of the collector's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from snmp_netsnmp import NetSnmp
from snmp_world import ANNA, COMMUNITY, SnmpWorld

from core.clock import FakeClock
from core.secrets import Sealer
from core.work import Workplace
from lab.agent import SnmpAgent


@pytest.fixture
async def world(workplace: Workplace, sealer: Sealer, clock: FakeClock) -> AsyncIterator[SnmpWorld]:
    world = SnmpWorld(workplace, sealer, clock)
    yield world
    world.close()


@pytest.fixture
async def any_world(any_workplace: Workplace, sealer: Sealer, clock: FakeClock) -> AsyncIterator[SnmpWorld]:
    """A world on each database in turn."""
    world = SnmpWorld(any_workplace, sealer, clock)
    yield world
    world.close()


@pytest.fixture
async def agent(clock: FakeClock) -> AsyncIterator[SnmpAgent]:
    """The lab's agent: time is the test's clock."""
    agent = SnmpAgent("tower", COMMUNITY, clock=clock, users=[ANNA])
    agent.add_interface("ether1")
    await agent.start()
    yield agent
    await agent.stop()


@pytest.fixture
def net_snmp(tmp_path: Path) -> Iterator[NetSnmp]:
    """Debian's snmpd, its interface tables fed by the test."""
    missing = NetSnmp.missing()
    if missing is not None:
        pytest.skip(missing)
    witness = NetSnmp(tmp_path)
    witness.start()
    yield witness
    witness.stop()
