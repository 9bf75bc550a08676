"""Looking at money again from the panel: replay of what was issued, and what another plan would have cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from billing.config import BillingSettings
from billing.domain.catalogue import PlanVersion
from billing.invoicing.replay import ReplayedInvoice, replay_invoices
from billing.rating.what_if import Compared, what_if
from core.work import Workplace
from ui.ports import Usage
from ui.web.one_at_a_time import OneAtATime

REPLAY, WHAT_IF = "replay", "what_if"
KEPT = 200
"""So many invoices that came out otherwise are kept with their lines; the rest is only counted."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What was issued from ``from_on`` to ``to_on``, drafted again. ``differing``: at most ``KEPT``."""

    at: datetime
    from_on: date
    to_on: date
    invoices: int
    same: int
    differing: tuple[ReplayedInvoice, ...]


@dataclass(frozen=True, slots=True)
class WhatIf:
    """The usage of ``[from_on, to_on)`` under a plan. ``rows``: those who would pay more come first."""

    at: datetime
    plan: PlanVersion
    from_on: date
    to_on: date
    rows: tuple[Compared, ...]

    @property
    def more(self) -> int:
        """How many would pay more."""
        return sum(one.more_minor > 0 for one in self.rows)

    @property
    def less(self) -> int:
        """How many would pay less."""
        return sum(one.more_minor < 0 for one in self.rows)

    @property
    def together_minor(self) -> int:
        """What all would pay more together; negative: less."""
        return sum(one.more_minor for one in self.rows)


async def replay_span(
    workplace: Workplace,
    usage: Usage,
    settings: BillingSettings,
    *,
    from_on: date,
    to_on: date,
    watch: Callable[[int], None] = lambda done: None,
) -> Replayed:
    """Draft again what was issued on these days, both included; ``watch`` is told how many are done."""
    count = same = 0
    differing: list[ReplayedInvoice] = []
    async with workplace.reading() as connection:
        async for one in replay_invoices(connection, usage, from_on, to_on, settings):
            count += 1
            same += one.is_same
            if not one.is_same and len(differing) < KEPT:
                differing.append(one)
            watch(count)
    return Replayed(workplace.clock.now(), from_on, to_on, count, same, tuple(differing))


async def what_if_span(
    workplace: Workplace, usage: Usage, plan: PlanVersion, *, from_on: date, to_on: date, of: Sequence[str]
) -> WhatIf:
    """Price the usage of these days, the last not included, under the plan; ``of``: codes, all if empty."""
    async with workplace.reading() as connection:
        rows = await what_if(connection, usage, plan, from_on=from_on, to_on=to_on, of_plans=of)
    return WhatIf(workplace.clock.now(), plan, from_on, to_on, tuple(rows))


class LookBacks(OneAtATime):
    """Starts a replay or a what-if, and keeps the last result of each until the panel restarts."""

    def __init__(self, workplace: Workplace, usage: Usage, settings: BillingSettings) -> None:
        super().__init__()
        self._workplace = workplace
        self._usage = usage
        self._settings = settings
        self.done = 0
        self.replayed: Replayed | None = None
        self.compared: WhatIf | None = None

    def _begin(self) -> None:
        super()._begin()
        self.done = 0

    async def start_replay(self, from_on: date, to_on: date, patience_s: float = 2.0) -> bool:
        """Replay; False when something else goes on."""
        return await self._start(REPLAY, lambda: self._replay(from_on, to_on), patience_s)

    async def start_what_if(
        self, plan: PlanVersion, from_on: date, to_on: date, of: Sequence[str], patience_s: float = 2.0
    ) -> bool:
        """Compare; False when something else goes on."""
        return await self._start(WHAT_IF, lambda: self._compare(plan, from_on, to_on, of), patience_s)

    def _watch(self, done: int) -> None:
        self.done = done

    async def _replay(self, from_on: date, to_on: date) -> None:
        self.replayed = await replay_span(
            self._workplace, self._usage, self._settings, from_on=from_on, to_on=to_on, watch=self._watch
        )

    async def _compare(self, plan: PlanVersion, from_on: date, to_on: date, of: Sequence[str]) -> None:
        self.compared = await what_if_span(
            self._workplace, self._usage, plan, from_on=from_on, to_on=to_on, of=of
        )
