"""Fixtures of provisioning's tests."""

from __future__ import annotations

import pytest
from provisioning_world import World

from core.clock import FakeClock
from core.secrets import Sealer
from core.work import Workplace


@pytest.fixture
async def world(workplace: Workplace, sealer: Sealer, clock: FakeClock) -> World:
    return await World.build(workplace, sealer, clock)
