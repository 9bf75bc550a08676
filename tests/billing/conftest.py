"""Fixtures of the billing tests."""

from __future__ import annotations

import pytest
from billing_story import Town

from core.clock import FakeClock
from core.work import Workplace


@pytest.fixture
def town(workplace: Workplace, clock: FakeClock) -> Town:
    return Town(workplace, clock)


@pytest.fixture
def any_town(any_workplace: Workplace, clock: FakeClock) -> Town:
    """The same town on each database."""
    return Town(any_workplace, clock)
