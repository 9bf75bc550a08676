"""What billing needs from outside: usage that is closed once, and the evidence behind it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from core.work import Work


class ClosedUsage(Protocol):
    """The frozen usage of one service over one span of instants."""

    @property
    def close_id(self) -> str:
        """What to quote when asking for the evidence."""

    @property
    def octets_in(self) -> int:
        """From the subscriber (upload)."""

    @property
    def octets_out(self) -> int:
        """To the subscriber (download)."""

    @property
    def records(self) -> int:
        """How many usage records were summed."""

    @property
    def digest(self) -> str:
        """Fingerprint of the records, hexadecimal."""


class UsageSource(Protocol):
    """The meters of the house, as billing sees them."""

    async def close(
        self, work: Work, service_id: str, from_at: datetime, until_at: datetime, claim: str
    ) -> ClosedUsage:
        """Freeze and sum the usage of ``[from_at, until_at)``; the same ``claim`` gives the same answer."""

    async def evidence(self, connection: AsyncConnection, close_id: str) -> Sequence[Any]:
        """The usage records behind a close, with their readings: dataclasses or mappings of plain values."""


class LiveUsageSource(Protocol):
    """Usage that is still open, for previews. A source that cannot answer leaves previews without overage."""

    async def between(
        self, connection: AsyncConnection, service_id: str, from_at: datetime, until_at: datetime
    ) -> tuple[int, int]:
        """``(octets_in, octets_out)`` of the span so far; nothing is frozen."""
