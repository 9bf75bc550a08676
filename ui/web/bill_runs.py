"""The "run now" button: one bill run at a time in the background, its outcome kept for the page."""

from __future__ import annotations

import asyncio

from billing.config import BillingSettings
from billing.invoicing.bill_run import bill_run
from billing.ports import UsageSource
from core.log import logger
from core.refusal import Refusal
from core.secrets import Sealer
from core.work import Workplace

log = logger("ui")


class BillRuns:
    """Starts bill runs and remembers how the last one went."""

    def __init__(
        self, workplace: Workplace, usage: UsageSource, settings: BillingSettings, sealer: Sealer
    ) -> None:
        self._workplace = workplace
        self._usage = usage
        self._settings = settings
        self._sealer = sealer
        self._running: asyncio.Task[None] | None = None
        self.trouble: str | None = None

    @property
    def running(self) -> bool:
        """True while a run started here goes on."""
        return self._running is not None and not self._running.done()

    async def start(self, actor: str, patience_s: float = 3.0) -> None:
        """Start a run unless one goes on, and wait a little, for most runs are short."""
        if not self.running:
            self.trouble = None
            self._running = asyncio.create_task(self._run(actor))
        if self._running is not None:
            await asyncio.wait([self._running], timeout=patience_s)

    async def close(self) -> None:
        """Stop at shutdown; a run that is cut short is finished by the next one."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def _run(self, actor: str) -> None:
        try:
            outcome = await bill_run(
                self._workplace, self._usage, actor=actor, settings=self._settings, sealer=self._sealer
            )
        except Exception as trouble:
            log.exception("bill_run_failed", error=type(trouble).__name__)
            self.trouble = "The run stopped with an error. What it finished is kept; run it again to go on."
            return
        if isinstance(outcome, Refusal):
            self.trouble = f"Nothing was billed: {outcome.message}"
            return
        log.info("bill_run_finished", invoices=outcome.invoices, parked=len(outcome.parked))
