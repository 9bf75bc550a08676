"""Compare what two witnesses say: SNMP counters beside RADIUS accounting, and the directions a NAS reports.

RADIUS counts payload, SNMP counts frames, so a steady small excess is normal. What goes beyond it is leakage:
traffic that passes without a session, a session that is not metered, or a row bound to the wrong subscriber.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.engine import Row

from aaa.close_usage import usage_between
from aaa.domain.usage import Interval, share
from aaa.store import check_rows, usage_rows
from core.health import HealthIssue, close_issue, open_issue
from core.quantities import format_octets
from core.work import Work

TOLERANCE_PERCENT = 2
TOLERANCE_OCTETS = 50_000_000
WINDOW = timedelta(days=1)

MIN_SESSIONS = 5
MIN_OCTETS = 10_000_000_000
UPLOAD_EXCESS = 3


@dataclass(frozen=True, slots=True)
class CrossCheck:
    """Octets of one service over one span, as each witness counted them."""

    service_id: str
    from_at: datetime
    until_at: datetime
    snmp: tuple[int, int]
    radius: tuple[int, int]

    @property
    def agrees(self) -> bool:
        """Within 2 % and 50 MB in either direction."""
        return all(
            abs(frames - payload) * 100 <= payload * TOLERANCE_PERCENT + TOLERANCE_OCTETS * 100
            for frames, payload in zip(self.snmp, self.radius, strict=True)
        )


async def cross_check(work: Work) -> list[CrossCheck]:
    """Compare the last day of every SNMP meter that does not bill with the RADIUS usage of its service.

    Opens a health issue where they disagree and closes it where they agree again.
    """
    checks = []
    for meter in await check_rows.checking_meters(work.connection):
        check = await _compare(work, meter)
        if check is None:
            continue
        checks.append(check)
        key = f"aaa.cross_check:{meter.service_id}"
        if check.agrees:
            await close_issue(work, key)
        else:
            await open_issue(work, _disagreement(key, check, meter.key))
    return checks


async def _compare(work: Work, meter: Row[Any]) -> CrossCheck | None:
    """Over the span that both witnesses saw; None when there is none."""
    seen = await check_rows.reading_span(work.connection, meter.id)
    reported = await check_rows.radius_span(work.connection, meter.service_id)
    if seen is None or reported is None:
        return None
    until_at = min(seen[1], reported[1])
    from_at = max(seen[0], reported[0], until_at - WINDOW)
    if from_at >= until_at:
        return None
    readings = await usage_rows.readings_around(work.connection, meter.id, from_at, until_at)
    start, end = _total_at(readings, from_at), _total_at(readings, until_at)
    radius = await usage_between(work.connection, meter.service_id, from_at, until_at)
    return CrossCheck(meter.service_id, from_at, until_at, (end[0] - start[0], end[1] - start[1]), radius)


def _total_at(readings: Sequence[Row[Any]], at: datetime) -> tuple[int, int]:
    """The meter's totals at an instant, by time between the readings around it."""
    index = bisect_right([row.at for row in readings], at) - 1
    before = readings[max(index, 0)]
    after = readings[min(index + 1, len(readings) - 1)]
    if after.at <= before.at:
        return before.octets_in, before.octets_out
    between = Interval(before.at, after.at, 0, 0)
    return (
        before.octets_in + share(after.octets_in - before.octets_in, between, at),
        before.octets_out + share(after.octets_out - before.octets_out, between, at),
    )


def _disagreement(key: str, check: CrossCheck, meter_key: str) -> HealthIssue:
    snmp, radius = (" up, ".join(map(format_octets, pair)) + " down" for pair in (check.snmp, check.radius))
    return HealthIssue(
        key,
        "warning",
        f"{check.service_id}: SNMP counted {snmp}, RADIUS {radius} from {check.from_at:%F %T} UTC",
        f"is {meter_key} this subscriber's interface, and does traffic pass without a session?",
    )


async def check_directions(work: Work, window: timedelta = timedelta(days=7)) -> list[str]:
    """The NASes whose subscribers seem to upload far more than they download: Input and Output are swapped.

    Opens a health issue for each, and closes it where the traffic looks right again.
    """
    suspects = []
    for row in await check_rows.traffic_of_nases(work.connection, work.now - window):
        key = f"aaa.octets_reversed:{row.id}"
        enough = row.sessions >= MIN_SESSIONS and row.octets_in + row.octets_out >= MIN_OCTETS
        if enough and row.octets_in > UPLOAD_EXCESS * row.octets_out:
            suspects.append(str(row.id))
            await open_issue(work, _reversed(key, row))
        else:
            await close_issue(work, key)
    return suspects


def _reversed(key: str, row: Row[Any]) -> HealthIssue:
    up, down = format_octets(row.octets_in), format_octets(row.octets_out)
    return HealthIssue(
        key,
        "warning",
        f"subscribers on {row.name} seem to upload {up} and download {down}",
        f"if that cannot be, set octets_reversed of the NAS to {'off' if row.octets_reversed else 'on'}",
    )
