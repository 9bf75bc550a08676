"""The bill run: close each account's finished cycle and open the next, in blocks, each whole or not at all.

Each account turns on its own anchor day by its own local date. A block of accounts is one transaction: usage
closed, invoices numbered and booked, facts published, the account's next cycle noted. A run that is killed
leaves whole blocks; the next one goes on where it stopped, because an account is due by its next cycle and
nothing else. An account that cannot be billed is parked with the reason and does not stop the others.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from billing.clock_doubt import ClockDoubted, check_clock, stand_by_clock
from billing.config import BillingSettings
from billing.domain.catalogue import Account
from billing.invoicing.bill_block import bill_block
from billing.invoicing.tax_outside import OutsideTaxes, TaxesUnasked
from billing.ports import UsageSource
from billing.store import account_rows, invoice_rows
from billing.taxes.set_engine import TaxEngineLocked, asked_tax_engine
from billing.taxes.tax_books import TaxBooks
from core.health import HealthIssue, close_issue, open_issue
from core.log import logger
from core.periods import local_date
from core.refusal import Refusal, Refused
from core.secrets import Sealer
from core.work import Work, Workplace

PARKED_ISSUE = "billing.accounts_parked"
_LOG = logger("billing")


@dataclass(frozen=True, slots=True)
class Parked:
    """An account that this run could not bill; the next run tries again."""

    account_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class BillRunOutcome:
    """What a run did. ``run_id`` is None when no account was due; totals are gross, by currency."""

    run_id: str | None
    through: date
    resumed: bool = False
    numbers: tuple[str, ...] = ()
    totals_minor: dict[str, int] = field(default_factory=dict)
    parked: tuple[Parked, ...] = ()

    @property
    def invoices(self) -> int:
        """How many invoices this run finalised."""
        return len(self.numbers)


async def bill_run(
    workplace: Workplace,
    usage: UsageSource,
    *,
    through: date | None = None,
    actor: str = "system:billing",
    settings: BillingSettings | None = None,
    trust_clock: bool = False,
    sealer: Sealer | None = None,
) -> BillRunOutcome | Refusal:
    """Invoice every cycle that has turned by now on the account's calendar, missed ones in order.

    ``through`` holds the run back to cycles up to that local date; it never reaches into the future. Refused
    when the clock cannot be trusted; with ``trust_clock`` the actor has looked at it and vouches for it.
    ``sealer`` opens the token of the tax engine outside; refused when there is one and no sealer.
    """
    settings = settings or BillingSettings()
    doubt = await check_clock(workplace, settings, actor, vouched=trust_clock)
    if doubt is not None:
        return doubt
    try:
        async with asked_tax_engine(workplace, sealer) as engine:
            outside = None if engine is None else OutsideTaxes(engine)
            return await _Run(
                workplace, usage, settings, actor=actor, through=through, outside=outside
            ).bill()
    except ClockDoubted as doubted:
        return doubted.refusal
    except TaxEngineLocked as locked:
        return locked.refusal


class _Run:
    """One bill run from the due list to the last block."""

    def __init__(
        self,
        workplace: Workplace,
        usage: UsageSource,
        settings: BillingSettings,
        *,
        actor: str,
        through: date | None,
        outside: OutsideTaxes | None,
    ) -> None:
        self._outside = outside
        self._workplace = workplace
        self._usage = usage
        self._settings = settings
        self._actor = actor
        self._limit = through
        self._books = TaxBooks()
        self._run_id = ""
        self._numbers: list[str] = []
        self._totals: dict[str, int] = {}
        self._parked: list[Parked] = []

    async def bill(self) -> BillRunOutcome:
        now = self._workplace.clock.now()
        furthest = now.astimezone(UTC).date() + timedelta(days=1)  # somewhere it is tomorrow already
        through = furthest if self._limit is None else min(furthest, self._limit)
        async with self._workplace.reading() as connection:
            due = await account_rows.accounts_due(connection, through)
        account_ids = [
            account_id
            for account_id, zone_name, turn, offset in due
            if turn <= self._last_turn_in(now, zone_name, offset)
        ]
        if not account_ids:
            return BillRunOutcome(None, through)
        resumed = await self._begin(through)
        for block in _blocks(account_ids, self._settings.block_size):
            await self._bill_block(block)
            if self._outside is not None:
                self._outside.forget()
        await self._finish()
        return BillRunOutcome(
            self._run_id, through, resumed, tuple(self._numbers), self._totals, tuple(self._parked)
        )

    def _last_turn(self, now: datetime, account: Account) -> date:
        """The last turn of the account whose invoice may be issued now."""
        return self._last_turn_in(now, account.time_zone, account.invoice_offset_days)

    def _last_turn_in(self, now: datetime, zone_name: str, offset_days: int) -> date:
        """Its invoice's day has come, and the last readings have had time to."""
        today = local_date(now - self._settings.settling, zone_name) - timedelta(days=offset_days)
        return today if self._limit is None else min(today, self._limit)

    @asynccontextmanager
    async def _work(self) -> AsyncIterator[Work]:
        """A transaction at an instant that is trusted."""
        async with self._workplace.work(self._actor) as work:
            await stand_by_clock(work, self._settings)
            yield work

    async def _begin(self, through: date) -> bool:
        async with self._work() as work:
            unfinished = await invoice_rows.unfinished_run(work.connection)
            if unfinished is None:
                self._run_id = work.ids.new("run")
                await invoice_rows.insert_run(work.connection, self._run_id, through, work.now)
                return False
            self._run_id = unfinished.id
            await invoice_rows.extend_run(work.connection, self._run_id, max(through, unfinished.through))
            return True

    async def _finish(self) -> None:
        async with self._workplace.work(self._actor) as work:
            parked = [{"account_id": one.account_id, "reason": one.reason} for one in self._parked]
            await invoice_rows.finish_run(work.connection, self._run_id, work.now, parked)
            if parked:
                issue = HealthIssue(
                    PARKED_ISSUE, "warning", f"{len(parked)} accounts could not be billed",
                    f"Look at bill run {self._run_id} for the reason of each; the next run tries them again.",
                )  # fmt: skip
                await open_issue(work, issue)
            else:
                await close_issue(work, PARKED_ISSUE)
            await work.audit(
                "billing.bill_run_finished", self._run_id, invoices=len(self._numbers), parked=len(parked)
            )

    async def _bill_block(self, account_ids: Sequence[str]) -> None:
        """One transaction; if it fails, its accounts are tried one by one and the culprit is parked."""
        try:
            async with self._work() as work:
                issued = await bill_block(
                    work,
                    self._usage,
                    settings=self._settings,
                    run_id=self._run_id,
                    account_ids=account_ids,
                    last_turn=self._last_turn,
                    books=self._books,
                    outside=self._outside,
                )
        except TaxesUnasked as unasked:
            await unasked.ask()
            await self._bill_block(account_ids)
            return
        except (*invoice_rows.DATABASE_TROUBLE, ClockDoubted):
            raise
        except Exception as trouble:  # noqa: BLE001 - one job: whatever an account does wrong, it is parked
            if len(account_ids) > 1:
                for account_id in account_ids:
                    await self._bill_block([account_id])
                return
            self._park(account_ids[0], trouble)
            return
        for one in issued:
            self._numbers.append(one.number)
            currency = one.draft.account.currency
            self._totals[currency] = self._totals.get(currency, 0) + one.draft.total_minor

    def _park(self, account_id: str, trouble: Exception) -> None:
        known = isinstance(trouble, Refused | ValueError | LookupError)
        reason = str(trouble) if known else f"unexpected {type(trouble).__name__}: {trouble}"
        _LOG.warning("account_parked", account_id=account_id, reason=reason, exc_info=not known)
        self._parked.append(Parked(account_id, reason))


def _blocks(account_ids: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(account_ids), size):
        yield account_ids[start : start + size]
