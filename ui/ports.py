"""What the panel asks of whoever puts it together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from core.work import Work


@dataclass(frozen=True, slots=True)
class ImportFault:
    """One thing wrong with one line of an import (line 1 is the header)."""

    line: int
    field: str
    message: str


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did: with any error ``created`` is 0 and nothing was kept."""

    created: int
    errors: list[ImportFault] = field(default_factory=list)


ImportSubscribers = Callable[[Work, str], Awaitable[ImportReport]]
"""Import accounts and services from CSV text inside the given work; the panel rolls back on errors."""
