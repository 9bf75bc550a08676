"""The bill run: close each account's finished cycle and open the next, in blocks, each whole or not at all.

Each account turns on its own anchor day by its own local date. A block of accounts is one transaction: usage
closed, invoices numbered and booked, facts published, the account's next cycle noted. A run that is killed
leaves whole blocks; the next one goes on where it stopped, because an account is due by its next cycle and
nothing else, and if only the end was missing, writes that. Two at once are one run and share its blocks. An
account that cannot be billed is parked with the reason and does not stop the others.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from billing.clock_doubt import ClockDoubted, check_clock, stand_by_clock
from billing.config import BillingSettings
from billing.domain.catalogue import Account
from billing.invoicing.bill_block import BilledBlock, BlockTask, LastTurn, bill_block
from billing.invoicing.tax_outside import OutsideTaxes, TaxesUnasked
from billing.ports import UsageSource
from billing.store import account_rows, draft_rows, invoice_rows, parked_rows
from billing.taxes.set_engine import TaxEngineLocked, asked_tax_engine
from billing.taxes.tax_books import TaxBooks
from core.database import take_lane
from core.garbage import collected_after
from core.health import HealthIssue, close_issue, open_issue
from core.log import logger
from core.periods import local_date
from core.refusal import Refusal, Refused
from core.secrets import Sealer
from core.work import Work, Workplace

PARKED_ISSUE = "billing.accounts_parked"
_LOG = logger("billing")
_KNOWN = (Refused, ValueError, LookupError)


@dataclass(frozen=True, slots=True)
class Parked:
    """An account that this run could not bill; the next run tries again."""

    account_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class BillRunOutcome:
    """What a run did. ``run_id`` is None when no account was due; totals are gross, by currency.

    ``drafts``: how many were written to wait for approval.
    """

    run_id: str | None
    through: date
    resumed: bool = False
    numbers: tuple[str, ...] = ()
    totals_minor: dict[str, int] = field(default_factory=dict)
    parked: tuple[Parked, ...] = ()
    drafts: int = 0

    @property
    def invoices(self) -> int:
        """How many invoices this run finalised."""
        return len(self.numbers)


@dataclass(frozen=True, slots=True)
class RunProgress:
    """How far a run is, in accounts: ``done`` and ``parked`` of ``accounts``."""

    accounts: int
    done: int = 0
    parked: int = 0
    invoices: int = 0
    drafts: int = 0


Watch = Callable[[RunProgress], None]
"""Is told after each block how far the run is."""


async def bill_run(
    workplace: Workplace,
    usage: UsageSource,
    *,
    through: date | None = None,
    only: Collection[str] | None = None,
    actor: str = "system:billing",
    settings: BillingSettings | None = None,
    trust_clock: bool = False,
    sealer: Sealer | None = None,
    watch: Watch | None = None,
) -> BillRunOutcome | Refusal:
    """Invoice every cycle that has turned by now on the account's calendar, missed ones in order.

    ``through`` holds the run back to cycles up to that local date; it never reaches into the future. ``only``
    these accounts are billed, if they are due. Refused when the clock cannot be trusted; with ``trust_clock``
    the actor has looked at it and vouches for it. ``sealer`` opens the token of the tax engine outside;
    refused when there is one and no sealer. Where invoices wait for approval the run writes drafts, and
    passes over accounts whose draft waits or was rejected.
    """
    settings = settings or BillingSettings()
    doubt = await check_clock(workplace, settings, actor, vouched=trust_clock)
    if doubt is not None:
        return doubt
    try:
        async with asked_tax_engine(workplace, sealer) as engine:
            task = BlockTask(
                usage, settings, last_turn(settings, through), TaxBooks(),
                outside=None if engine is None else OutsideTaxes(engine),
            )  # fmt: skip
            return await _Run(workplace, task, actor, through, only, watch=watch).bill()
    except ClockDoubted as doubted:
        return doubted.refusal
    except TaxEngineLocked as locked:
        return locked.refusal


def last_turn(settings: BillingSettings, limit: date | None = None) -> LastTurn:
    """For any account, the last turn whose invoice may be issued; ``limit`` holds it back."""

    def of(now: datetime, account: Account) -> date:
        return last_turn_in(now, account.time_zone, account.invoice_offset_days, settings, limit)

    return of


def last_turn_in(
    now: datetime, zone_name: str, offset_days: int, settings: BillingSettings, limit: date | None = None
) -> date:
    """The last turn whose invoice may be issued: its day has come, and the last readings have had time to."""
    today = local_date(now - settings.settling, zone_name) - timedelta(days=offset_days)
    return today if limit is None else min(today, limit)


class _Run:
    """One bill run from the due list to the last block."""

    def __init__(
        self,
        workplace: Workplace,
        task: BlockTask,
        actor: str,
        through: date | None,
        only: Collection[str] | None,
        *,
        watch: Watch | None,
    ) -> None:
        self._workplace = workplace
        self._task = task
        self._settings = task.settings
        self._actor = actor
        self._limit = through
        self._only = None if only is None else frozenset(only)
        self._watch = watch or (lambda progress: None)
        self._run_id = ""
        self._accounts = 0
        self._done = 0
        self._drafts = 0
        self._numbers: list[str] = []
        self._totals: dict[str, int] = {}
        self._parked: list[Parked] = []

    async def bill(self) -> BillRunOutcome:
        now = self._workplace.clock.now()
        furthest = now.astimezone(UTC).date() + timedelta(days=1)  # somewhere it is tomorrow already
        through = furthest if self._limit is None else min(furthest, self._limit)
        account_ids = await self._due(now, through)
        if not account_ids:
            return await self._nobody_is_due(through)
        self._accounts = len(account_ids)
        resumed = await self._begin(through)
        self._watch(self._progress())
        for block in _blocks(account_ids, self._settings.block_size):
            with collected_after():
                await self._bill_block(block)
            if self._task.outside is not None:
                self._task.outside.forget()
        await self._finish()
        return BillRunOutcome(
            self._run_id, through, resumed, tuple(self._numbers), self._totals, tuple(self._parked),
            self._drafts,
        )  # fmt: skip

    async def _due(self, now: datetime, through: date) -> list[str]:
        async with self._workplace.reading() as connection:
            due = await account_rows.accounts_due(connection, through)
            held = await draft_rows.held_back(connection)
        return [
            account_id
            for account_id, zone_name, turn, offset in due
            if turn <= last_turn_in(now, zone_name, offset, self._settings, self._limit)
            and (self._only is None or account_id in self._only)
            and not (account_id in held and self._stays_held(*held[account_id]))
        ]

    def _stays_held(self, state: str, entity_id: str | None) -> bool:
        """A draft waits for a person; unless nobody is asked any more. One that was rejected stays so."""
        return state == draft_rows.REJECTED or self._settings.waits_for_approval(entity_id)

    @asynccontextmanager
    async def _work(self) -> AsyncIterator[Work]:
        """A transaction at an instant that is trusted."""
        async with self._workplace.work(self._actor) as work:
            await stand_by_clock(work, self._settings)
            yield work

    async def _begin(self, through: date) -> bool:
        async with self._work() as work:
            await take_lane(work.connection, "bill_run")  # two that begin at once are one run
            unfinished = (
                None if self._only is not None else await invoice_rows.unfinished_run(work.connection)
            )
            self._run_id = work.ids.new("run") if unfinished is None else unfinished.id
            if unfinished is None:
                await invoice_rows.insert_run(work.connection, self._run_id, through, work.now)
            else:
                through = max(through, unfinished.through)
            await invoice_rows.begin_run(
                work.connection, self._run_id, through, accounts=self._accounts, at=work.now
            )
        self._task.run_id = self._run_id
        return unfinished is not None

    async def _finish(self) -> None:
        async with self._workplace.work(self._actor) as work:
            listed = [{"account_id": one.account_id, "reason": one.reason} for one in self._parked]
            ended = await invoice_rows.finish_run(work.connection, self._run_id, work.now, listed)
            if self._only is None and self._limit is None:
                await parked_rows.release_untried(work.connection, self._run_id)
            await self._say_who_is_parked(work)
            if ended is not None:
                invoices, drafts = ended
                await work.audit(
                    "billing.bill_run_finished", self._run_id, invoices=invoices, parked=len(listed),
                    drafts=drafts,
                )  # fmt: skip

    async def _say_who_is_parked(self, work: Work) -> None:
        count = await parked_rows.count_parked(work.connection)
        if count:
            issue = HealthIssue(
                PARKED_ISSUE, "warning", f"{count} account{'s' * (count > 1)} could not be billed",
                "Look at the parked accounts (panel: Bill runs; hilltop bill parked) for the reason of each, "
                "mend it and try again; every run tries them too.",
            )  # fmt: skip
            await open_issue(work, issue)
        else:
            await close_issue(work, PARKED_ISSUE)

    async def _nobody_is_due(self, through: date) -> BillRunOutcome:
        """Who was parked has nothing to bill any more; a run that was killed before its end is ended."""
        if self._only is not None or self._limit is not None:
            return BillRunOutcome(None, through)
        async with self._workplace.reading() as connection:
            unfinished = await invoice_rows.unfinished_run(connection)
            parked = await parked_rows.count_parked(connection)
        if unfinished is not None:
            self._run_id = unfinished.id
            await self._finish()
            return BillRunOutcome(self._run_id, through, True)
        if parked:
            async with self._workplace.work(self._actor) as work:
                await parked_rows.release_untried(work.connection, "")
                await close_issue(work, PARKED_ISSUE)
        return BillRunOutcome(None, through)

    async def _bill_block(self, account_ids: Sequence[str]) -> None:
        """One transaction; if it fails, its accounts are tried one by one and the culprit is parked."""
        try:
            async with self._work() as work:
                block = await bill_block(work, self._task, account_ids)
                await parked_rows.release(work.connection, account_ids)
                await invoice_rows.advance_run(
                    work.connection, self._run_id, invoices=len(block.issued), drafts=len(block.drafted),
                    done=len(account_ids),
                )  # fmt: skip
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
            await self._park(account_ids[0], trouble)
            return
        self._count(block, len(account_ids))

    def _count(self, block: BilledBlock, accounts: int) -> None:
        self._done += accounts
        self._drafts += len(block.drafted)
        for one in block.issued:
            self._numbers.append(one.number)
            currency = one.draft.account.currency
            self._totals[currency] = self._totals.get(currency, 0) + one.draft.total_minor
        self._watch(self._progress())

    def _progress(self) -> RunProgress:
        return RunProgress(self._accounts, self._done, len(self._parked), len(self._numbers), self._drafts)

    async def _park(self, account_id: str, trouble: Exception) -> None:
        reason = in_words(account_id, trouble)
        self._parked.append(Parked(account_id, reason))
        async with self._workplace.work(self._actor) as work:
            await parked_rows.park(work.connection, account_id, self._run_id, reason, work.now)
        self._watch(self._progress())


def in_words(account_id: str, trouble: Exception) -> str:
    """Why an account cannot be billed, logged and for people."""
    known = isinstance(trouble, _KNOWN)
    reason = words_of(trouble)
    _LOG.warning("account_parked", account_id=account_id, reason=reason, exc_info=not known)
    return reason


def words_of(trouble: Exception) -> str:
    """A refusal in its own words; anything else is a fault of ours, by its name."""
    return str(trouble) if isinstance(trouble, _KNOWN) else f"unexpected {type(trouble).__name__}: {trouble}"


def _blocks(account_ids: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(account_ids), size):
        yield account_ids[start : start + size]
