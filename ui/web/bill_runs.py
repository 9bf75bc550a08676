"""Bill runs from the panel, in the background, one act at a time: running, approving, looking ahead."""

from __future__ import annotations

from collections.abc import Collection
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
from ui.web.one_at_a_time import OneAtATime

log = logger("ui")
RUN, APPROVAL, PREVIEW = "run", "approval", "preview"


class BillRuns(OneAtATime):
    """Starts bill runs and remembers how the last act went.

    ``preview`` is the last look ahead; ``approved`` what the last approval of many did.
    """

    def __init__(self, workplace: Workplace, usage: Usage, settings: BillingSettings, sealer: Sealer) -> None:
        super().__init__()
        self._workplace = workplace
        self._usage = usage
        self._settings = settings
        self._sealer = sealer
        self.progress: RunProgress | None = None
        self.preview: RunPreview | None = None
        self.approved: Approved | None = None

    def _begin(self) -> None:
        super()._begin()
        self.progress = None

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
