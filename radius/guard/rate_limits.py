"""How much one source, one NAS, and unknown names may take of a worker: token buckets without a timer.

A source takes tokens by the handful from its NAS's bucket, so that a request costs one subtraction and the
clock is read once a handful. Auth and accounting have buckets of their own: a flood of reports costs no
sign-in.
"""

from __future__ import annotations

from dataclasses import dataclass

_HANDFULS = 8  # of a burst: what one source may hold in its hand while others of its NAS have none


class Bucket:
    """``rate`` tokens a second, at most ``burst`` at once. A rate of 0 means no limit."""

    __slots__ = ("_at_s", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at_s: float | None = None

    def holds(self, now_s: float) -> float:
        """How many tokens are there now."""
        if self._rate <= 0:
            return float("inf")
        before, self._at_s = self._at_s, now_s
        if before is not None and now_s > before:  # a clock stepped back earns nothing
            self._tokens = min(self._burst, self._tokens + (now_s - before) * self._rate)
        return self._tokens

    def take(self, wanted: float, now_s: float) -> float:
        """Take up to ``wanted`` whole tokens; returns how many there were."""
        held = self.holds(now_s)
        if held == float("inf"):
            return wanted
        taken = float(int(min(wanted, held)))
        self._tokens -= taken
        return taken


@dataclass(frozen=True, slots=True)
class RateLimits:
    """Datagrams a second that a worker takes from one source address, and from all of one NAS; 0: no limit.

    A burst of two seconds' worth is taken at once. ``unknown_names``: sign-ins under names nobody has that
    are answered, a second and source; ten seconds' worth at once.
    """

    source: float = 0.0
    nas: float = 0.0
    unknown_names: float = 0.0

    def handful(self) -> float:
        """What a source takes from the buckets at a time."""
        bursts = [2 * rate for rate in (self.source, self.nas) if rate > 0]
        return max(1.0, min(bursts) // _HANDFULS) if bursts else float("inf")

    def of_nas(self) -> Bucket:
        """A NAS's bucket."""
        return Bucket(self.nas, 2 * self.nas)

    def of_source(self) -> Bucket:
        """A source's bucket."""
        return Bucket(self.source, 2 * self.source)

    def of_unknown_names(self) -> Bucket:
        """A source's bucket for names nobody has."""
        return Bucket(self.unknown_names, 10 * self.unknown_names)


class Allowance:
    """What one source may still send of one kind: sign-ins, or reports."""

    __slots__ = ("_handful", "_nas", "_source")

    def __init__(self, limits: RateLimits, nas: Bucket) -> None:
        self._handful = limits.handful()
        self._source = limits.of_source()
        self._nas = nas

    def take(self, now_s: float) -> float:
        """The next handful of datagrams that may come before this is asked again; 0: none."""
        wanted = min(self._handful, self._source.holds(now_s))
        taken = self._nas.take(wanted, now_s) if wanted >= 1 else 0.0
        return self._source.take(taken, now_s) if taken else 0.0
