"""The counters of one RADIUS session become absolute meter readings (RFC 2866, RFC 2869 section 5.1 and 5.2).

A report's counters are cumulative for the session. With Acct-*-Gigawords they are 64 bits wide and taken as
they are. A NAS that never sends Gigawords has 32 bits that turn over at 4 GiB: a turn-over is inferred only
where the line could have carried the difference since the report before. A total never falls.

Reports are folded in the order of their time, so the order in which they arrived cannot matter.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from aaa.domain.decision import Decision, weightier

TURN = 1 << 32
ABSURD = 1 << 62
"""No counter of a session is so large; the database's integers end at 2^63."""

_UNKNOWN_SPAN_S = 366 * 86_400
_BURST_GRACE_S = 60
_RATE_MARGIN = 1.25


@dataclass(frozen=True, slots=True)
class Report:
    """Counters of one report, None where absent; ``age_s`` is Acct-Session-Time, None when unknown."""

    at: datetime
    octets_in: int | None
    octets_out: int | None
    wide: bool = False  # Gigawords were in it
    age_s: int | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """What the line can carry: profile rates, for inferring wraps (0: never), and a ceiling nobody passes."""

    up_bps: int = 0
    down_bps: int = 0
    ceiling_bps: int = 10_000_000_000


@dataclass(frozen=True, slots=True)
class Way:
    """One direction: the absolute total, the counter as last seen, and the turns inferred so far."""

    total: int = 0
    raw: int = 0
    offset: int = 0


@dataclass(frozen=True, slots=True)
class SessionMeter:
    """The meter of a session after its newest report."""

    at: datetime | None = None
    way_in: Way = Way()
    way_out: Way = Way()
    wide: bool = False  # Gigawords were seen at some time

    @classmethod
    def plain(cls, at: datetime, octets_in: int, octets_out: int, wide: bool) -> SessionMeter:
        """A meter whose counters are its totals."""
        return cls(at, Way(octets_in, octets_in), Way(octets_out, octets_out), wide)

    @property
    def is_plain(self) -> bool:
        """True when totals and counters agree, so that nothing but the totals has to be remembered."""
        return all(way.offset == 0 and way.raw == way.total for way in (self.way_in, self.way_out))

    def as_json(self) -> dict[str, Any]:
        """What a plain meter does not have: the counters and the turns."""
        if self.is_plain:
            return {}
        return {
            "raw": [self.way_in.raw, self.way_out.raw],
            "offset": [self.way_in.offset, self.way_out.offset],
        }

    def restored(self, state: dict[str, Any]) -> SessionMeter:
        """This plain meter with what ``as_json`` gave."""
        if not state:
            return self
        (raw_in, raw_out), (offset_in, offset_out) = state["raw"], state["offset"]
        return replace(
            self,
            way_in=Way(self.way_in.total, raw_in, offset_in),
            way_out=Way(self.way_out.total, raw_out, offset_out),
        )


def resolve_report(meter: SessionMeter, report: Report, line: Line) -> tuple[SessionMeter, Decision]:
    """The meter after a report that is not older than its last one, and what was decided."""
    span_s = _span_s(meter, report)
    wide = meter.wide or report.wide
    silent = _says_nothing(meter, report)
    counted_in = None if silent else report.octets_in
    counted_out = None if silent else report.octets_out
    way_in, about_in = _advance(meter.way_in, counted_in, wide, line.up_bps * span_s)
    way_out, about_out = _advance(meter.way_out, counted_out, wide, line.down_bps * span_s)
    grown = max(way_in.total - meter.way_in.total, way_out.total - meter.way_out.total)
    if _absurd(report) or grown * 8 > line.ceiling_bps * (span_s + _BURST_GRACE_S):
        return replace(meter, at=report.at), Decision.QUARANTINED
    first = meter.at is None and about_in in (Decision.ADVANCE, Decision.KEPT)
    decision = Decision.FIRST if first else weightier(about_in, about_out)
    return SessionMeter(report.at, way_in, way_out, wide), decision


def resolve_reports(reports: Iterable[Report], line: Line) -> list[tuple[SessionMeter, Decision]]:
    """The meter after each report, in the order of time."""
    meter = SessionMeter()
    resolved = []
    for report in sorted(reports, key=report_order):
        meter, decision = resolve_report(meter, report, line)
        resolved.append((meter, decision))
    return resolved


def report_order(report: Report) -> tuple[datetime, int, int]:
    """Reports in the order in which they are folded: of one instant, the lower counters first."""
    return (report.at, raw_value(report.octets_in), raw_value(report.octets_out))


def raw_value(octets: int | None) -> int:
    """A counter as the database keeps it: -1 when absent, never beyond what an integer holds there."""
    return -1 if octets is None else min(octets, (1 << 63) - 1)


def _span_s(meter: SessionMeter, report: Report) -> float:
    if meter.at is not None:
        return (report.at - meter.at).total_seconds()
    return _UNKNOWN_SPAN_S if report.age_s is None else report.age_s


def _absurd(report: Report) -> bool:
    return max(report.octets_in or 0, report.octets_out or 0) >= ABSURD


def _says_nothing(meter: SessionMeter, report: Report) -> bool:
    """Zeros in both directions after octets were counted: a Stop that lost its counters."""
    return not report.octets_in and not report.octets_out and (meter.way_in.total or meter.way_out.total) > 0


def _advance(way: Way, raw: int | None, wide: bool, possible_bits: float) -> tuple[Way, Decision]:
    if raw is None:
        return way, Decision.KEPT
    if wide:
        if raw < way.total:
            return Way(way.total, raw), Decision.FELL
        return Way(raw, raw), Decision.ADVANCE
    return _advance_narrow(way, raw, possible_bits)


def _advance_narrow(way: Way, raw: int, possible_bits: float) -> tuple[Way, Decision]:
    """32 bits, low word only. After a fall that was no wrap the total waits until the counter passed it."""
    offset, decision = way.offset, Decision.ADVANCE
    if raw < way.raw:
        waiting = way.offset + way.raw < way.total
        if waiting or (raw + TURN - way.raw) * 8 > possible_bits * _RATE_MARGIN:
            return Way(way.total, raw, offset), Decision.FELL
        offset, decision = offset + TURN, Decision.WRAP
    if offset + raw < way.total:
        return Way(way.total, raw, offset), Decision.FELL
    return Way(offset + raw, raw, offset), decision
