"""What one look at a bucket decides: which alerts are due, whom a cap holds, when to look again. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from billing.domain.rating.quota import Standing
from billing.domain.rating.terms import EFFECTS, UsageTerms
from billing.domain.rating.words import quantity_text

LEAST_PAUSE: Final = timedelta(seconds=60)
LONGEST_PAUSE: Final = timedelta(hours=6)

Hold = tuple[str, str]
"""Effect and reason."""
Holds = dict[str, Hold]
"""By service."""


@dataclass(frozen=True, slots=True)
class Watched:
    """One item of a bucket: its service, its terms, and how fast (bit/s) the service can be at most."""

    service_id: str
    terms: UsageTerms
    down_bps: int
    up_bps: int

    @property
    def fastest(self) -> int:
        """How much can be used in a second at most, as it counts."""
        octets = {
            "sum": self.down_bps + self.up_bps,
            "down": self.down_bps,
            "up": self.up_bps,
        }.get(self.terms.metered, max(self.down_bps, self.up_bps)) / 8
        heaviest = max((one.weight_ppm for one in self.terms.classes), default=0)
        return int(octets * max(1, heaviest / 10**6)) + 1


def decide_holds(standing: Standing, watched: Sequence[Watched]) -> Holds:
    """What a reached cap does, by service; the strongest where a service has several items."""
    holds: Holds = {}
    for one in watched:
        if one.terms.cap is not None and standing.is_capped(one.terms):
            hold = (one.terms.cap.effect, _reason(standing, one.terms))
            holds[one.service_id] = _stronger(holds.get(one.service_id), hold)
    return holds


def strongest(holds: Holds) -> str | None:
    """The strongest effect of some holds; None without any."""
    return max((effect for effect, _ in holds.values()), key=EFFECTS.index, default=None)


def _stronger(first: Hold | None, second: Hold) -> Hold:
    if first is None or EFFECTS.index(second[0]) > EFFECTS.index(first[0]):
        return second
    return first


def decide_alerts(standing: Standing, watched: Sequence[Watched]) -> list[int]:
    """Every threshold that usage has reached, lowest first."""
    return sorted({percent for one in watched for percent in standing.alerts_passed(one.terms)})


def decide_next_look(
    standing: Standing, watched: Sequence[Watched], now: datetime, turns_at: datetime
) -> datetime:
    """When something could change at the earliest, by the fastest that the lines may be.

    Not before a minute, not after six hours (usage may come late), and when the window turns.
    """
    left = [
        at - standing.used for one in watched for at in _borders(standing, one.terms) if at > standing.used
    ]
    seconds = min(left) / sum(one.fastest for one in watched) if left else LONGEST_PAUSE.total_seconds()
    pause = timedelta(seconds=min(seconds, LONGEST_PAUSE.total_seconds()))
    later = now + max(LEAST_PAUSE, pause)
    return min(later, turns_at) if turns_at > now else later


def _borders(standing: Standing, terms: UsageTerms) -> list[int]:
    cap_at = standing.cap_at(terms)
    base = standing.included if standing.included is not None else cap_at
    alerts = [] if not base else [-(-base * percent // 100) for percent in terms.alerts]
    return alerts if cap_at is None else [*alerts, cap_at]


def _reason(standing: Standing, terms: UsageTerms) -> str:
    """The same as long as the window lasts and nothing is topped up."""
    at = standing.cap_at(terms) or 0
    return f"{quantity_text(at, terms.unit)} are used up; until {standing.window.end}, or a top-up"


def changed_holds(before: Collection[Holds], after: Collection[Holds]) -> tuple[Holds, list[str]]:
    """``(holds that are new or other, services that are free)`` over all buckets of an account.

    A service held by several buckets is under the strongest; it is free when none holds it.
    """
    was, now = _fold(before), _fold(after)
    placed = {service: hold for service, hold in now.items() if was.get(service) != hold}
    return placed, sorted(service for service in was if service not in now)


def _fold(holds: Collection[Holds]) -> Holds:
    folded: Holds = {}
    for one in holds:
        for service, hold in sorted(one.items()):
            folded[service] = _stronger(folded.get(service), hold)
    return folded
