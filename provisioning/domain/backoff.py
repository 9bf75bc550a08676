"""When to try again. Pure: the random share is an argument."""

from __future__ import annotations


def backoff_s(attempt: int, *, first_s: float, longest_s: float, jitter: float, chance: float) -> float:
    """Seconds to wait after the ``attempt``-th failure (counted from 1): doubling from ``first_s``, capped.

    ``jitter`` is the share of the pause that ``chance`` (0 to 1) takes away, so that devices that failed
    together do not come back together. Never above ``longest_s``.
    """
    doublings = min(max(attempt, 1) - 1, 32)
    pause = min(first_s * float(2**doublings), longest_s)
    return pause * (1 - jitter * chance)
