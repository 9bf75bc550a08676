"""What was decided about one report of a counter. The word is kept with the reading, for good."""

from __future__ import annotations

from enum import StrEnum


class Decision(StrEnum):
    """Ordered by how much it matters: the later word wins when the two directions differ."""

    FIRST = "first"  # the meter's beginning
    ADVANCE = "advance"  # the counter rose inside one epoch
    KEPT = "kept"  # no counters, or zeros at a Stop: the last good value stands
    GAP = "gap"  # the difference spans polls that were missed
    MOVED = "moved"  # the interface has another index and its counters went on
    SURVIVED = "survived"  # the agent began anew but the counters cannot have
    WRAP = "wrap"  # a 32-bit counter turned over once
    RESET = "reset"  # the counters began at zero: the new value is all new
    FELL = "fell"  # lower than before with nothing to explain it: the total stands
    UNSURE = "unsure"  # a 32-bit counter may have turned over more than once: not billed
    QUARANTINED = "quarantined"  # more than the line can carry: not billed

    @property
    def counts(self) -> bool:
        """False when the octets of the interval were not billed."""
        return self not in (Decision.FELL, Decision.UNSURE, Decision.QUARANTINED)


_RANK = {decision: rank for rank, decision in enumerate(Decision)}


def weightier(one: Decision, other: Decision) -> Decision:
    """The decision of the two that matters more."""
    return one if _RANK[one] >= _RANK[other] else other
