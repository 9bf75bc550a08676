"""Close the usage of periods: split it at the borders, freeze it, and prove later what it was made of.

Frozen records never change. Octets that become known after a close begin at its end: they are usage of the
period that is open then.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.domain.closing import Span, digest_of_lines, is_digest, pieces_of
from aaa.domain.usage import Interval, split_interval, spread
from aaa.recut import record_values
from aaa.store import close_rows, usage_rows
from aaa.store.close_rows import Measured, Pace
from core.periods import start_of_day
from core.refusal import Refusal
from core.store.columns import to_microseconds
from core.work import Work

_UNKNOWN = "unknown_service"


@dataclass(frozen=True, slots=True)
class UsageClaim:
    """What is to be closed: a service's usage in ``[from_at, until_at)``, for ``claim`` (opaque here)."""

    service_id: str
    from_at: datetime
    until_at: datetime
    claim: str

    @property
    def span(self) -> Span:
        """Its instants."""
        return self.from_at, self.until_at

    @property
    def key(self) -> tuple[str, str]:
        """What it is known by: a claim is made once for a service."""
        return self.service_id, self.claim


@dataclass(frozen=True, slots=True)
class ClosedUsage:
    """The frozen usage of a service for a claim; ``digest`` is over its records (``aaa.domain.closing``)."""

    close_id: str
    octets_in: int
    octets_out: int
    records: int
    digest: str


@dataclass(frozen=True, slots=True)
class ReadingEvidence:
    """One meter reading: the absolute totals, the raw counters as received, and what was decided of them."""

    at: datetime
    octets_in: int
    octets_out: int
    raw_in: int | None
    raw_out: int | None
    received_at: datetime
    decision: str
    evidence: dict[str, Any]


@dataclass(frozen=True, slots=True)
class UsageEvidence:
    """One frozen usage record with the meter it came from and the two readings it lies between.

    ``opening`` is None when the session began before the first report that was received of it.
    """

    start_at: datetime
    end_at: datetime
    octets_in: int
    octets_out: int
    interpolated: bool
    meter_id: str
    meter_source: str
    meter_key: str
    opening: ReadingEvidence | None
    closing: ReadingEvidence | None


async def close_usage(
    work: Work, *, service_id: str, from_at: datetime, until_at: datetime, claim: str
) -> ClosedUsage:
    """Freeze the service's usage in ``[from_at, until_at)`` for ``claim``; the claim again gives the same.

    Raises ``ValueError`` for a span that is empty or not over yet, or a claim that was made for another span;
    ``LookupError`` for an unknown service.
    """
    (closed,) = await close_many(work, [UsageClaim(service_id, from_at, until_at, claim)])
    if isinstance(closed, Refusal):
        raise (LookupError if closed.code == _UNKNOWN else ValueError)(closed.message)
    return closed


async def close_many(work: Work, claims: Sequence[UsageClaim]) -> list[ClosedUsage | Refusal]:
    """Freeze the usage of every claim, with few statements; an outcome for each, in order.

    A claim that was made before gives the same again. No octet is in two closes: of spans of a service that
    overlap the earlier claim has the common part, be it of an earlier call or earlier in ``claims``. A claim
    for an unknown service, for a span that is empty or not over yet, or that was made for another span, is
    refused, and the others are closed.
    """
    if not claims:
        return []
    await usage_rows.take_metering_lane(work.connection)
    desk = _Desk(work)
    await desk.load(claims)
    taken = [desk.take(claim) for claim in claims]
    await desk.split_beginnings()
    await desk.measure()
    await desk.write()
    return [one if isinstance(one, Refusal) else one.closed() for one in taken]


@dataclass(frozen=True, slots=True)
class _Standing:
    """A close that was made before."""

    span: Span
    row: Row[Any]

    def closed(self) -> ClosedUsage:
        row = self.row
        return ClosedUsage(row.id, row.octets_in, row.octets_out, row.records, row.digest)


@dataclass(slots=True)
class _Opened:
    """A claim being closed: what of its span nobody has taken, and the records found in that so far."""

    close_id: str
    claim: UsageClaim
    pieces: list[Span]
    octets_in: int = 0
    octets_out: int = 0
    lines: list[str] = field(default_factory=list)
    _closed: ClosedUsage | None = None

    @property
    def span(self) -> Span:
        return self.claim.span

    def add(self, measured: Measured, cut: Iterable[tuple[Row[Any], Interval]]) -> None:
        """The records of a piece; of those in ``cut`` only the part before its end."""
        self.octets_in += measured.octets_in
        self.octets_out += measured.octets_out
        self.lines += measured.lines.split("\n")
        for row, first in cut:
            self.octets_in -= row.octets_in - first.octets_in
            self.octets_out -= row.octets_out - first.octets_out
            self.lines.remove(_line(row.meter_id, _interval(row)))
            self.lines.append(_line(row.meter_id, first))

    def closed(self) -> ClosedUsage:
        """The whole; nothing is added afterwards, and of thousands of claims the lines are many megabytes."""
        if self._closed is None:
            digest = digest_of_lines(self.lines)
            self._closed = ClosedUsage(
                self.close_id, self.octets_in, self.octets_out, len(self.lines), digest
            )
            self.lines.clear()
        return self._closed


class _Desk:
    """Claims being closed together."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._services: set[str] = set()
        self._spans: dict[str, list[Span]] = {}
        self._known: dict[tuple[str, str], _Standing | _Opened] = {}
        self._opened: list[_Opened] = []
        self._begin: dict[datetime, list[str]] = {}

    async def load(self, claims: Sequence[UsageClaim]) -> None:
        """The services there are, the closes of these claims, and those that reach into the spans."""
        connection = self._work.connection
        services = list(dict.fromkeys(claim.service_id for claim in claims))
        since = min(claim.from_at for claim in claims)
        self._services = await close_rows.existing_services(connection, services)
        self._spans = await close_rows.spans_closed_since(connection, services, since)
        standing = await close_rows.closes_of_claims(connection, (claim.key for claim in claims))
        for key, row in standing.items():
            self._known[key] = _Standing((row.from_at, row.until_at), row)

    def take(self, claim: UsageClaim) -> _Standing | _Opened | Refusal:
        """What the claim's outcome will be of."""
        if not claim.from_at < claim.until_at <= self._work.now:
            said = f"usage from {claim.from_at} until {claim.until_at} cannot be closed at {self._work.now}"
            return Refusal("span_not_over", f"{said}; close it when the span is over", "until_at")
        if claim.service_id not in self._services:
            return Refusal(_UNKNOWN, f"there is no service {claim.service_id}", "service_id")
        known = self._known.get(claim.key)
        if known is None:
            return self._open(claim)
        if known.span != claim.span:
            said = f"{claim.claim} closed {known.span[0]} until {known.span[1]}, not this span"
            return Refusal("claimed_otherwise", said, "claim")
        return known

    def _open(self, claim: UsageClaim) -> _Opened:
        closed = self._spans.setdefault(claim.service_id, [])
        opened = _Opened(self._work.ids.new("ucl"), claim, pieces_of(claim.span, closed))
        begins_it = bool(opened.pieces) and opened.pieces[0][0] == claim.from_at
        if begins_it and not any(until_at == claim.from_at for _, until_at in closed):
            self._begin.setdefault(claim.from_at, []).append(claim.service_id)
        closed.append(claim.span)
        self._known[claim.key] = opened
        self._opened.append(opened)
        return opened

    async def split_beginnings(self) -> None:
        """Split what lies across the beginning of a span, where no earlier close has done so."""
        for border in sorted(self._begin):
            rows = await close_rows.records_across(self._work.connection, border, self._begin[border])
            await self._split([(row, border) for row in rows])

    async def measure(self) -> None:
        """Sum the records of every piece, in the order of time; what goes beyond its end is split there."""
        connection = self._work.connection
        holders: dict[Span, dict[str, _Opened]] = {}
        for one in self._opened:
            for piece in one.pieces:
                holders.setdefault(piece, {})[one.claim.service_id] = one
        pace = Pace()
        for piece in sorted(holders):
            async for some in close_rows.measure(connection, piece, holders[piece], lines_at=pace):
                crossing = [record_id for measured in some for record_id in measured.crossing]
                rows = await close_rows.records_by_id(connection, crossing)
                cut: dict[str, list[tuple[Row[Any], Interval]]] = {}
                for row, first in await self._split([(row, piece[1]) for row in rows]):
                    cut.setdefault(row.service_id, []).append((row, first))
                for measured in some:
                    one = holders[piece][measured.service_id]
                    one.add(measured, cut.get(measured.service_id, ()))
                    if piece == one.pieces[-1]:
                        one.closed()

    async def _split(self, rows: Sequence[tuple[Row[Any], datetime]]) -> list[tuple[Row[Any], Interval]]:
        """Split records at instants inside them; each with the part before."""
        halves = [(row, *split_interval(_interval(row), border)) for row, border in rows]
        amended = [
            record_values(row.service_id, row.meter_id, first) | {"id": row.id} for row, first, _ in halves
        ]
        added = [record_values(row.service_id, row.meter_id, second) for row, _, second in halves]
        await usage_rows.amend_records(self._work.connection, amended)
        await usage_rows.insert_records(self._work.connection, added)
        return [(row, first) for row, first, _ in halves]

    async def write(self) -> None:
        """The closes."""
        rows = []
        for one in self._opened:
            claim, closed = one.claim, one.closed()
            rows.append({
                "id": closed.close_id, "service_id": claim.service_id, "claim": claim.claim,
                "from_at": claim.from_at, "until_at": claim.until_at, "pieces": one.pieces,
                "octets_in": closed.octets_in, "octets_out": closed.octets_out, "records": closed.records,
                "digest": closed.digest, "closed_at": self._work.now,
            })  # fmt: skip
        await close_rows.insert_closes(self._work.connection, rows)


def _interval(row: Row[Any]) -> Interval:
    return Interval(row.start_at, row.end_at, row.octets_in, row.octets_out, row.interpolated)


def _line(meter_id: str, interval: Interval) -> str:
    """As ``close_rows.measure`` makes it."""
    start, end = to_microseconds(interval.start), to_microseconds(interval.end)
    octets = f"{interval.octets_in}|{interval.octets_out}"
    return f"{meter_id}|{start}|{end}|{octets}|{int(interval.interpolated)}"


async def verify_close(connection: AsyncConnection, close_id: str) -> bool:
    """Whether the frozen records of a close are still what its digest says."""
    row = await close_rows.close_by_id(connection, close_id)
    if row is None:
        return False
    records = await close_rows.records_of_close(connection, row)
    lines = [_line(one.meter_id, _interval(one)) for one in records]
    sums = (sum(one.octets_in for one in records), sum(one.octets_out for one in records))
    return (*sums, len(lines)) == (row.octets_in, row.octets_out, row.records) and is_digest(
        row.digest, lines
    )


async def recall_closes(connection: AsyncConnection, close_ids: Sequence[str]) -> dict[str, ClosedUsage]:
    """What closes said, by id; left out: unknown ones, and those whose records are not what they were."""
    found: dict[str, ClosedUsage] = {}
    for close_id in close_ids:
        row = await close_rows.close_by_id(connection, close_id)
        if row is not None and await verify_close(connection, close_id):
            found[close_id] = _Standing((row.from_at, row.until_at), row).closed()
    return found


async def usage_between(
    connection: AsyncConnection, service_id: str, from_at: datetime, until_at: datetime
) -> tuple[int, int]:
    """Octets in and out of a service in the span, live; records across a border count by time."""
    return (await usage_of_many(connection, [(service_id, from_at, until_at)]))[0]


async def usage_of_many(
    connection: AsyncConnection, spans: Sequence[tuple[str, datetime, datetime]]
) -> list[tuple[int, int]]:
    """``usage_between`` of many (service, from, until); statements are as many as spans that differ."""
    used: dict[Span, dict[str, list[int]]] = {}
    for service_id, from_at, until_at in spans:
        used.setdefault((from_at, until_at), {})[service_id] = [0, 0]
    for span, octets in used.items():
        crossing: list[int] = []
        async for some in close_rows.measure(connection, span, octets, lines_at=None):
            for measured in some:
                _add(octets[measured.service_id], measured.octets_in, measured.octets_out)
                crossing += measured.crossing
        for row in await close_rows.records_by_id(connection, crossing):
            _, behind = split_interval(_interval(row), span[1])
            _add(octets[row.service_id], -behind.octets_in, -behind.octets_out)
        for row in await close_rows.records_across(connection, span[0], octets):
            ((octets_in, octets_out),) = spread([_interval(row)], span)
            _add(octets[row.service_id], octets_in, octets_out)
    return [
        (octets_in, octets_out)
        for octets_in, octets_out in (used[from_at, until_at][one] for one, from_at, until_at in spans)
    ]


def _add(octets: list[int], octets_in: int, octets_out: int) -> None:
    octets[0] += octets_in
    octets[1] += octets_out


async def slices_between(
    connection: AsyncConnection, service_id: str, from_at: datetime, until_at: datetime
) -> list[tuple[datetime, datetime, int, int]]:
    """``(start, end, octets in, octets out)`` of the span, live; records across its ends are cut by time.

    Together they are what ``usage_between`` gives.
    """
    found = []
    for row in await usage_rows.records_between(connection, service_id, from_at, until_at):
        ((octets_in, octets_out),) = spread([_interval(row)], [from_at, until_at])
        if octets_in or octets_out:
            start, end = max(row.start_at, from_at), min(row.end_at, until_at)
            found.append((start, end, octets_in, octets_out))
    return found


async def slices_of_closes(
    connection: AsyncConnection, close_ids: Sequence[str]
) -> dict[str, list[tuple[datetime, datetime, int, int]]]:
    """``(start, end, octets in, octets out)`` of the frozen records of each close, in order.

    A close holds no record across its ends, but one that came late begins at its start.
    """
    return await close_rows.slices_of_closes(connection, close_ids)


async def fastest_rates(
    connection: AsyncConnection, service_ids: Sequence[str]
) -> dict[str, tuple[int, int]]:
    """``(down, up)`` in bit/s: the fastest that each service's profile lets it be; unknown ones left out."""
    return await usage_rows.fastest_rates(connection, service_ids)


async def usage_by_day(
    connection: AsyncConnection, service_id: str, from_date: date, until_date: date, zone: str
) -> list[tuple[date, int, int]]:
    """Octets of each local day from ``from_date`` to before ``until_date``; days have 23, 24 or 25 hours."""
    days = [from_date + timedelta(days=offset) for offset in range((until_date - from_date).days)]
    if not days:
        return []
    borders = [start_of_day(day, zone) for day in (*days, until_date)]
    rows = await usage_rows.records_between(connection, service_id, borders[0], borders[-1])
    spans = spread(map(_interval, rows), borders)
    return [(day, octets_in, octets_out) for day, (octets_in, octets_out) in zip(days, spans, strict=True)]


async def evidence_of(connection: AsyncConnection, close_id: str) -> list[UsageEvidence]:
    """Every record of a close with its meter and the readings around it, raw counters included."""
    close = await close_rows.close_by_id(connection, close_id)
    if close is None:
        return []
    records = await close_rows.records_of_close(connection, close)
    meters = await usage_rows.meter_rows(connection, (row.meter_id for row in records))
    evidence = []
    readings = {
        meter_id: await usage_rows.readings_around(connection, meter_id, close.from_at, close.until_at)
        for meter_id in meters
    }
    for row in records:
        meter = meters[row.meter_id]
        opening, closing = _around(readings[row.meter_id], row.start_at, row.end_at)
        evidence.append(
            UsageEvidence(
                row.start_at, row.end_at, row.octets_in, row.octets_out, row.interpolated,
                row.meter_id, meter.source, meter.key, opening, closing,
            )
        )  # fmt: skip
    return evidence


def _around(
    readings: Sequence[Row[Any]], start_at: datetime, end_at: datetime
) -> tuple[ReadingEvidence | None, ReadingEvidence | None]:
    """The last reading at or before the start, and the first at or after the end (else the last there is)."""
    times = [row.at for row in readings]
    before = bisect_right(times, start_at) - 1
    after = min(bisect_left(times, end_at), len(readings) - 1)
    opening = _reading(readings[before]) if before >= 0 and before != after else None
    return opening, _reading(readings[after]) if after >= 0 else None


def _reading(row: Row[Any]) -> ReadingEvidence:
    raw_in, raw_out = (None if raw < 0 else raw for raw in (row.raw_in, row.raw_out))
    return ReadingEvidence(
        row.at, row.octets_in, row.octets_out, raw_in, raw_out, row.received_at, row.decision, row.evidence
    )
