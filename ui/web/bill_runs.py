"""Bill runs from the panel, in the background, one act at a time: running, approving, looking ahead."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from datetime import date, datetime

from billing.config import BillingSettings
from billing.domain.outliers import Threshold
from billing.invoicing.approve_drafts import Approved, approve_drafts
from billing.invoicing.bill_run import RunProgress, bill_run
from billing.invoicing.preview_run import RunPreview, preview_run
from core.log import logger
from core.refusal import Refusal
from core.secrets import Sealer
from core.work import Workplace
from ui.ports import Usage

log = logger("ui")
RUN, APPROVAL, PREVIEW = "run", "approval", "preview"


class BillRuns:
    """Starts bill runs and remembers how the last act went.

    ``preview`` is the last look ahead; ``approved`` what the last approval of many did.
    """

    def __init__(self, workplace: Workplace, usage: Usage, settings: BillingSettings, sealer: Sealer) -> None:
        self._workplace = workplace
        self._usage = usage
        self._settings = settings
        self._sealer = sealer
        self._acting: asyncio.Task[None] | None = None
        self._act = ""
        self.progress: RunProgress | None = None
        self.trouble: str | None = None
        self.preview: RunPreview | None = None
        self.approved: Approved | None = None

    @property
    def acting(self) -> str:
        """What goes on that was started here: run, approval, preview, or nothing."""
        return self._act if self._acting is not None and not self._acting.done() else ""

    @property
    def running(self) -> bool:
        """True while a run started here goes on."""
        return self.acting == RUN

    async def start(
        self, actor: str, patience_s: float = 3.0, *, only: Collection[str] | None = None
    ) -> bool:
        """Start a run unless something goes on, and wait a little, for most runs are short."""
        return await self._start(RUN, lambda: self._run(actor, only), patience_s)

    async def start_approval(
        self, actor: str, seen_until: datetime, entity_id: str | None, patience_s: float = 3.0
    ) -> bool:
        """Approve all that waited by then; False when something else goes on."""
        return await self._start(APPROVAL, lambda: self._approve(actor, seen_until, entity_id), patience_s)

    async def start_preview(
        self, through: date | None, threshold: Threshold, patience_s: float = 2.0
    ) -> bool:
        """Look ahead; False when something else goes on."""
        return await self._start(PREVIEW, lambda: self._look_ahead(through, threshold), patience_s)

    async def _start(self, act: str, work: Callable[[], Awaitable[None]], patience_s: float) -> bool:
        if self.acting and self.acting != act:
            return False
        if not self.acting:
            self.trouble, self.progress, self._act = None, None, act
            self._acting = asyncio.create_task(self._guarded(work))
        if self._acting is not None:
            await asyncio.wait([self._acting], timeout=patience_s)
        return True

    async def close(self) -> None:
        """Stop at shutdown; a run that is cut short is finished by the next one."""
        if self._acting is not None:
            self._acting.cancel()
            await asyncio.gather(self._acting, return_exceptions=True)

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception as trouble:
            log.exception("bill_run_failed", act=self._act, error=type(trouble).__name__)
            self.trouble = "It stopped with an error. What was finished is kept; start it again to go on."

    def _watch(self, progress: RunProgress) -> None:
        self.progress = progress

    async def _run(self, actor: str, only: Collection[str] | None) -> None:
        outcome = await bill_run(
            self._workplace, self._usage, only=only, actor=actor, settings=self._settings,
            sealer=self._sealer, watch=self._watch,
        )  # fmt: skip
        if isinstance(outcome, Refusal):
            self.trouble = f"Nothing was billed: {outcome.message}"
            return
        log.info("bill_run_finished", invoices=outcome.invoices, parked=len(outcome.parked))

    async def _approve(self, actor: str, seen_until: datetime, entity_id: str | None) -> None:
        done = await approve_drafts(
            self._workplace, self._usage, seen_until=seen_until, entity_id=entity_id, actor=actor,
            settings=self._settings, sealer=self._sealer, watch=self._watch,
        )  # fmt: skip
        if isinstance(done, Refusal):
            self.trouble = f"Nothing was approved: {done.message}"
            return
        self.approved = done

    async def _look_ahead(self, through: date | None, threshold: Threshold) -> None:
        told = await preview_run(
            self._workplace, self._usage, through=through, settings=self._settings, threshold=threshold,
            sealer=self._sealer, watch=self._watch,
        )  # fmt: skip
        if isinstance(told, Refusal):
            self.trouble = f"There is no preview: {told.message}"
            return
        self.preview = told
