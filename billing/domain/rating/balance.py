"""What is left beside the allowance: rolled over and topped up; how windows draw on it. Pure.

In each window usage draws first on what was rolled over (what expires first, first), then on the window's
own allowance, then on top-ups (what expires first, first); the rest is overage. What is left of the own
allowance rolls over when the window ends, up to the cap; over the cap the oldest goes first.
A lot serves every window that has a day in common with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Final

from billing.domain.rating.calendar import Calendar, Window, after_periods

ROLLED, TOPPED_UP = "rolled", "top_up"
DRAW_RULE: Final = "rolled over first, then the allowance, then top-ups; what expires first is used first"


@dataclass(frozen=True, slots=True)
class Lot:
    """An amount that may be used from ``opens_on`` up to before ``closes_on`` (local dates)."""

    source: str
    kind: str
    amount: int
    opens_on: date
    closes_on: date

    def serves(self, window: Window) -> bool:
        """Whether usage of the window may draw on it."""
        return self.amount > 0 and self.opens_on < window.part.end and self.closes_on > window.part.start


@dataclass(frozen=True, slots=True)
class Movement:
    """A lot grew or shrank: ``rolled_over`` and ``topped_up`` above zero, ``used``, ``expired`` and
    ``over_cap`` below. The sum over a lot's movements is what is left of it."""

    kind: str
    lot: Lot
    amount: int
    on: date


@dataclass(frozen=True, slots=True)
class Rollover:
    """Unused allowance serves ``periods`` further windows; all that was rolled over is at most ``cap``."""

    periods: int
    cap: int | None = None


@dataclass(frozen=True, slots=True)
class Drawn:
    """What became of one window: ``own`` None is unlimited. ``lots``: source and what was taken of it."""

    window: Window
    own: int | None
    used: int
    own_used: int
    lots: tuple[tuple[str, int], ...]
    overage: int
    rolled_over: int

    def as_data(self, of: str) -> dict[str, Any]:
        """For the explanation."""
        said: dict[str, Any] = {
            "from": self.window.part.start.isoformat(),
            "until": self.window.part.end.isoformat(),
            f"allowance_{of}": self.own,
            f"used_{of}": self.used,
            f"overage_{of}": self.overage,
        }
        if self.lots:
            said["drawn"] = [{"from": source, of: amount} for source, amount in self.lots]
        if self.rolled_over:
            said[f"rolled_over_{of}"] = self.rolled_over
        return said


@dataclass(frozen=True, slots=True)
class Outcome:
    """Every window drawn, the lots that are left, and how they moved."""

    drawn: tuple[Drawn, ...]
    lots: tuple[Lot, ...]
    movements: tuple[Movement, ...]


@dataclass(slots=True)
class Drawing:
    """Draws windows in order. ``key`` names the lots that it makes: one for each window."""

    per: str
    rollover: Rollover | None
    calendar: Calendar
    key: str

    def draw(
        self, turns: Sequence[Window], own: Sequence[int | None], used: Sequence[int], lots: Iterable[Lot]
    ) -> Outcome:
        """``own`` allowance and ``used`` of each window; ``lots`` as they are when the first one begins."""
        left = sorted(lots, key=_order)
        drawn: list[Drawn] = []
        movements: list[Movement] = []
        for window, allowance, quantity in zip(turns, own, used, strict=True):
            one, left = self._draw_one(window, allowance, quantity, left, movements)
            drawn.append(one)
        return Outcome(tuple(drawn), tuple(left), tuple(movements))

    def _draw_one(
        self, window: Window, own: int | None, used: int, lots: list[Lot], movements: list[Movement]
    ) -> tuple[Drawn, list[Lot]]:
        taken: list[tuple[str, int]] = []
        rest = 0 if own is None else used

        def take(kind: str) -> None:
            nonlocal rest
            for index, lot in enumerate(lots):
                part = min(rest, lot.amount) if lot.kind == kind and lot.serves(window) else 0
                if part:
                    lots[index] = replace(lot, amount=lot.amount - part)
                    movements.append(Movement("used", lots[index], -part, window.part.start))
                    taken.append((lot.source, part))
                    rest -= part

        take(ROLLED)
        own_used = used if own is None else min(rest, own)
        rest = 0 if own is None else rest - own_used
        take(TOPPED_UP)
        unused = 0 if own is None else own - own_used
        lots = self._close(window, unused, lots, movements)
        rolled = sum(one.amount for one in lots if one.source == self._source(window))
        return Drawn(window, own, used, own_used, tuple(taken), rest, rolled), lots

    def _source(self, window: Window) -> str:
        return f"rolled:{self.key}:{window.part.start}"

    def _close(self, window: Window, unused: int, lots: list[Lot], movements: list[Movement]) -> list[Lot]:
        """The lots after the window: what is past goes, what is unused comes, the cap is kept."""
        end, kept = window.part.end, []
        for lot in lots:
            if lot.amount and lot.closes_on <= end:
                movements.append(Movement("expired", replace(lot, amount=0), -lot.amount, lot.closes_on))
            elif lot.amount:
                kept.append(lot)
        if self.rollover is None:
            return kept
        if unused:
            closes = after_periods(self.per, window, self.rollover.periods, self.calendar)
            lot = Lot(self._source(window), ROLLED, unused, end, closes)
            kept = sorted([*kept, lot], key=_order)
            movements.append(Movement("rolled_over", lot, unused, end))
        return _keep_cap(kept, self.rollover.cap, end, movements)


def _keep_cap(lots: list[Lot], cap: int | None, on: date, movements: list[Movement]) -> list[Lot]:
    rolled = sum(lot.amount for lot in lots if lot.kind == ROLLED)
    over = 0 if cap is None else max(0, rolled - cap)
    kept = []
    for lot in lots:
        part = min(over, lot.amount) if lot.kind == ROLLED else 0
        over -= part
        rest = replace(lot, amount=lot.amount - part)
        if part:
            movements.append(Movement("over_cap", rest, -part, on))
        if rest.amount:
            kept.append(rest)
    return kept


def _order(lot: Lot) -> tuple[date, date, str]:
    return lot.closes_on, lot.opens_on, lot.source
