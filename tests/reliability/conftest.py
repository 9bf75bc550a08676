"""Fixtures of the reliability tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from reliability_box import Nursery


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """Forks roles for the whole run; what it forked dies with it."""
    nursery = Nursery()
    yield nursery
    nursery.close()
