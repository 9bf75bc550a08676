"""When a target is polled next: arithmetic apart from waiting."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Pace:
    """How a target has been answering. ``narrow``: only 32-bit counters; ``hurry``: halvings asked for."""

    failures: int = 0
    narrow: bool = False
    hurry: int = 0

    def answered(self, *, narrow: bool, poll_sooner: bool) -> Pace:
        """After an answer; ``poll_sooner`` when a counter may have turned over more than once."""
        return Pace(0, narrow, min(self.hurry + 1, 6) if poll_sooner else self.hurry)

    def failed(self) -> Pace:
        """After silence."""
        return replace(self, failures=self.failures + 1)


def interval_s(pace: Pace, poll_interval_s: int, narrow_interval_s: int, shortest_s: int) -> float:
    """Seconds between two polls of a target that answers."""
    usual = min(poll_interval_s, narrow_interval_s) if pace.narrow else poll_interval_s
    return float(min(usual, max(shortest_s, usual / 2**pace.hurry)))


def wait_s(interval: float, failures: int, longest_backoff_s: int) -> float:
    """Seconds until the next poll: doubled at each silence, never beyond the longest backoff."""
    if failures == 0:
        return interval
    return min(interval * 2.0 ** min(failures - 1, 10), max(interval, float(longest_backoff_s)))
