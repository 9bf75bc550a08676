"""How far usage has come in the window that is open: for alerts, caps and the bar on a screen. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from billing.domain.rating.balance import ROLLED, TOPPED_UP, Drawing, Lot
from billing.domain.rating.calendar import Calendar
from billing.domain.rating.rate import Member, count_member, pool_totals, pool_windows
from billing.domain.rating.terms import UsageTerms
from core.periods import Period


@dataclass(frozen=True, slots=True)
class Standing:
    """The open window: what was used (as it counts), and what it includes; ``own`` None is unlimited."""

    window: Period
    used: int
    own: int | None
    rolled_over: int
    topped_up: int

    @property
    def included(self) -> int | None:
        """Everything that may be used without overage."""
        return None if self.own is None else self.own + self.rolled_over + self.topped_up

    def cap_at(self, terms: UsageTerms) -> int | None:
        """The quantity at which the cap of ``terms`` is reached; None without one."""
        cap = terms.cap
        if cap is None:
            return None
        more = self.rolled_over + self.topped_up
        if cap.at is not None:
            return cap.at + more
        return (self.own or 0) * (cap.at_percent or 0) // 100 + more

    def is_capped(self, terms: UsageTerms) -> bool:
        """Whether the cap is reached."""
        at = self.cap_at(terms)
        return at is not None and self.used >= at

    def percent(self, terms: UsageTerms) -> int:
        """Whole percents of what is included; of the cap where everything is."""
        base = self.included if self.included is not None else self.cap_at(terms)
        if not base:
            return 100 if self.used and base is not None else 0
        return self.used * 100 // base

    def alerts_passed(self, terms: UsageTerms) -> tuple[int, ...]:
        """The thresholds that usage has reached."""
        percent = self.percent(terms)
        return tuple(one for one in terms.alerts if one <= percent)


def measure_standing(
    members: Sequence[Member], calendar: Calendar, lots: Sequence[Lot], today: date
) -> Standing:
    """Where a bucket (or one item alone) stands ``today``, by usage so far; ``lots`` as the cycle began.

    Raises ``ValueError`` as ``rate_bucket`` does, and when no member's part holds ``today``.
    """
    ordered = sorted(members, key=lambda one: one.key)
    turns = pool_windows(ordered, calendar)
    position = next((index for index, one in enumerate(turns) if today in one.part), None)
    if position is None:
        raise ValueError(f"{today} lies in no window from {turns[0].part.start} to {turns[-1].part.end}")
    counted = [count_member(one, turns, calendar) for one in ordered]
    own, used = pool_totals(counted, len(turns))
    rollover = next((one.terms.rollover for one in ordered if one.terms.rollover is not None), None)
    drawing = Drawing(ordered[0].terms.per, rollover, calendar, "standing")
    before = drawing.draw(turns[:position], own[:position], used[:position], lots)
    serving = [lot for lot in before.lots if lot.serves(turns[position]) and lot.opens_on <= today]
    return Standing(
        turns[position].part,
        used[position],
        own[position],
        sum(lot.amount for lot in serving if lot.kind == ROLLED),
        sum(lot.amount for lot in serving if lot.kind == TOPPED_UP and lot.closes_on > today),
    )
