"""What billing needs from outside: usage that is closed once, and the evidence behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from core.refusal import Refusal
from core.work import Work


@dataclass(frozen=True, slots=True)
class UsageClaim:
    """What is to be closed: the usage of a service in ``[from_at, until_at)``, and what for (``claim``)."""

    service_id: str
    from_at: datetime
    until_at: datetime
    claim: str


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


UsageSlice = tuple[datetime, datetime, int, int]
"""``(start, end, octets_in, octets_out)`` over a half-open span; equal ends: at one instant."""

UsageSpan = tuple[str, datetime, datetime]
"""``(service id, from, until)``."""


class UsageSlices(Protocol):
    """When closed usage was used, for terms that ask: time classes, allowances by day, percentiles."""

    async def slices_of_closes(
        self, connection: AsyncConnection, close_ids: Sequence[str]
    ) -> Mapping[str, Sequence[UsageSlice]]:
        """The slices of each close; together they are its totals."""


class UsageSource(UsageSlices, Protocol):
    """The meters of the house, as billing sees them."""

    async def close(
        self, work: Work, service_id: str, from_at: datetime, until_at: datetime, claim: str
    ) -> ClosedUsage:
        """Freeze and sum the usage of ``[from_at, until_at)``; the same ``claim`` gives the same answer."""

    async def close_many(self, work: Work, claims: Sequence[UsageClaim]) -> Sequence[ClosedUsage | Refusal]:
        """``close`` for many services at once, with few statements: an outcome for each claim, in order.

        A claim that cannot be closed is a refusal, and the others are closed. Of spans of a service that
        overlap the earlier claim has the common part: no octet is in two closes.
        """

    async def recall(
        self, connection: AsyncConnection, close_ids: Sequence[str]
    ) -> Mapping[str, ClosedUsage]:
        """What closes said; those whose records no longer make their digest are left out."""

    async def evidence(self, connection: AsyncConnection, close_id: str) -> Sequence[Any]:
        """The usage records behind a close, with their readings: dataclasses or mappings of plain values."""


class LiveUsageSource(UsageSlices, Protocol):
    """Usage that is still open, for previews; of what was closed before, when it was used."""

    async def between(
        self, connection: AsyncConnection, service_id: str, from_at: datetime, until_at: datetime
    ) -> tuple[int, int]:
        """``(octets_in, octets_out)`` of the span so far; nothing is frozen."""

    async def slices_between(
        self, connection: AsyncConnection, service_id: str, from_at: datetime, until_at: datetime
    ) -> Sequence[UsageSlice]:
        """The records of the span so far, cut to it; together they are what ``between`` gives."""


class WatchedUsage(Protocol):
    """Open usage of many services, for alerts and caps."""

    async def between_many(
        self, connection: AsyncConnection, spans: Sequence[UsageSpan]
    ) -> Sequence[tuple[int, int]]:
        """``(octets_in, octets_out)`` of each span so far, in order."""

    async def slices_between(
        self, connection: AsyncConnection, service_id: str, from_at: datetime, until_at: datetime
    ) -> Sequence[UsageSlice]:
        """The records of the span so far, cut to it."""

    async def fastest_rates(
        self, connection: AsyncConnection, service_ids: Sequence[str]
    ) -> Mapping[str, tuple[int, int]]:
        """``(down, up)`` in bit/s: how fast each service can use up what is left; unknown ones left out."""


class DailyUsageSource(Protocol):
    """Usage day by day, for charts."""

    async def by_day(
        self, connection: AsyncConnection, service_id: str, from_date: date, until_date: date, zone: str
    ) -> Sequence[tuple[date, int, int]]:
        """``(local day, octets_in, octets_out)`` from ``from_date`` to before ``until_date``, each day once.

        Of a span that was closed the answer is the same for good.
        """


@dataclass(frozen=True, slots=True)
class SmsFate:
    """What a carrier said to one message: taken, or why not and whether another try makes sense."""

    taken: bool
    reason: str | None = None
    final: bool = False


class SmsCarrier(Protocol):
    """Whoever takes text messages."""

    async def send(self, message_id: str, to_number: str, text: str) -> SmsFate:
        """Hand over a message; ``message_id`` is the same at another try. Trouble outside is a fate too."""
