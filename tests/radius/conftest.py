"""Fixtures of the RADIUS tests."""

from __future__ import annotations

import pytest
from radius_world import World

from core.secrets import Sealer
from core.work import Workplace


@pytest.fixture
def world(workplace: Workplace, sealer: Sealer) -> World:
    return World(workplace, sealer)


@pytest.fixture
def any_world(any_workplace: Workplace, sealer: Sealer) -> World:
    """A world on each database in turn."""
    return World(any_workplace, sealer)
