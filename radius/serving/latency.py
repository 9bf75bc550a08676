"""How long a worker takes: the time of whole wake-ups, in buckets, for whoever draws them."""

from __future__ import annotations

from bisect import bisect_left

BOUNDS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25)
"""Upper ends of the buckets, in seconds; the last bucket has none."""


class WakeUpLatency:
    """One number a wake-up, whatever it held: from reading the first datagram to the last answer's leaving.

    No answer of the wake-up took longer, and the clock is read once more for up to thirty-two of them.
    """

    __slots__ = ("counts", "total_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.total_s = 0.0

    def note(self, seconds: float) -> None:
        """Count one wake-up."""
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.total_s += seconds
