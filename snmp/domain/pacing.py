"""When a target is polled next: arithmetic apart from waiting."""

from __future__ import annotations

from dataclasses import dataclass

_TURN_BITS = 8 * (1 << 32)
_SHARE = 0.45
"""Of the time in which a 32-bit counter can turn over once: one lost poll still leaves it certain."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How a target has been answering. ``narrow_bps``: the fastest line on a 32-bit counter, if any."""

    failures: int = 0
    narrow_bps: int | None = None


def turn_s(line_bps: int) -> float:
    """Seconds in which a 32-bit octet counter turns over on a line of that rate (34 s at 1 Gbit/s)."""
    return _TURN_BITS / line_bps


def interval_s(poll_interval_s: float, narrow_bps: int | None, shortest_s: float) -> float:
    """Seconds between two polls of a target that answers.

    What the operator set, or less where 32-bit counters demand it, down to ``shortest_s``.
    """
    if narrow_bps is None:
        return poll_interval_s
    return min(poll_interval_s, max(shortest_s, _SHARE * turn_s(narrow_bps)))


def wait_s(interval: float, failures: int, longest_backoff_s: float) -> float:
    """Seconds until the next poll: doubled at each failure after the first, up to the longest backoff."""
    if failures == 0:
        return interval
    return min(interval * 2.0 ** min(failures - 1, 16), max(interval, longest_backoff_s))
