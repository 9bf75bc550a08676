"""What a whole bill run would issue, against the month before; nothing is written, no usage is frozen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.config import BillingSettings
from billing.domain.catalogue import Account
from billing.domain.invoicing import InvoiceDraft, next_turn, taxable_lines
from billing.domain.outliers import Flag, Threshold, deviates, median_of
from billing.invoicing.bill_run import RunProgress, Watch, last_turn_in, words_of
from billing.invoicing.draft_invoice import (
    DraftPlan,
    Record,
    finish_draft,
    load_credited,
    load_record,
    plan_draft,
)
from billing.invoicing.preview_invoice import measure_so_far
from billing.invoicing.tax_outside import NO_RULES, OutsideTaxes, TaxesUnasked
from billing.ports import LiveUsageSource, UsageSlice, UsageSpan, WatchedUsage
from billing.store import account_rows, invoice_rows, run_preview_rows
from billing.store.run_preview_rows import PastInvoice, RunSum
from billing.taxes.set_engine import TaxEngineLocked, asked_tax_engine
from billing.taxes.tax_books import TaxBooks
from core.money import minor_digits
from core.periods import add_months, local_date
from core.refusal import Refusal
from core.secrets import Sealer
from core.spreadsheet import csv_rows
from core.work import Workplace

PAST_INVOICES = 6
"""From so many of an account's last invoices its median is made."""
_FURTHEST = timedelta(days=366)


class PreviewUsage(LiveUsageSource, WatchedUsage, Protocol):
    """Usage so far, of one service or many."""


@dataclass(frozen=True, slots=True)
class PreviewRow:
    """One invoice to be, or why there is none. ``median_minor``: of the account's last totals, when known."""

    account_id: str
    account_number: str
    account_name: str
    entity: str
    currency: str
    cycle_start: date
    lines: int
    net_minor: int
    tax_minor: int
    total_minor: int
    median_minor: int | None
    flags: tuple[str, ...]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RunComparison:
    """Sums of one legal entity ("": the house) in one currency: the run to be, and a month before it."""

    entity: str
    currency: str
    now: RunSum
    before: RunSum


@dataclass(frozen=True, slots=True)
class RunPreview:
    """A whole run without running it.

    ``compared_from``, ``compared_to``: the turns, both included, whose issued invoices are the comparison.
    ``idle``: accounts that are due and owe nothing.
    """

    at: datetime
    through: date
    compared_from: date
    compared_to: date
    accounts: int
    idle: int
    rows: tuple[PreviewRow, ...]
    sums: tuple[RunComparison, ...]

    @property
    def flagged(self) -> list[PreviewRow]:
        """What to look at, the gravest first."""
        order = list(Flag)
        found = [row for row in self.rows if row.flags]
        found.sort(key=lambda row: (min(order.index(Flag(one)) for one in row.flags), row.account_number))
        return found

    def counted(self) -> dict[str, int]:
        """How many invoices carry each flag."""
        counts = {str(flag): 0 for flag in Flag}
        for row in self.rows:
            for flag in row.flags:
                counts[flag] += 1
        return counts


async def preview_run(
    workplace: Workplace,
    usage: PreviewUsage,
    *,
    through: date | None = None,
    settings: BillingSettings | None = None,
    threshold: Threshold | None = None,
    sealer: Sealer | None = None,
    watch: Watch | None = None,
) -> RunPreview | Refusal:
    """Draft every invoice that a run would make now, or on the day ``through``, with the usage so far."""
    settings = settings or BillingSettings()
    now = workplace.clock.now()
    today = now.astimezone(UTC).date()
    if through is not None and through > today + _FURTHEST:
        return Refusal("too_far", "choose a day within a year", "through")
    try:
        async with asked_tax_engine(workplace, sealer) as engine:
            outside = None if engine is None else OutsideTaxes(engine, record=False)
            preview = _Preview(
                workplace, usage, settings,
                threshold=threshold or Threshold(settings.outlier_percent, settings.outlier_amount),
                outside=outside, now=now, through=through,
            )  # fmt: skip
            return await preview.make(watch or (lambda progress: None))
    except TaxEngineLocked as locked:
        return locked.refusal


@dataclass(slots=True)
class _Preview:
    workplace: Workplace
    usage: PreviewUsage
    settings: BillingSettings
    threshold: Threshold
    outside: OutsideTaxes | None
    now: datetime
    through: date | None
    books: TaxBooks = field(default_factory=TaxBooks)
    rows: list[PreviewRow] = field(default_factory=list)
    idle: int = 0
    parked: int = 0

    async def make(self, watch: Callable[[RunProgress], None]) -> RunPreview:
        today = self.now.astimezone(UTC).date()
        latest = self.through or today + timedelta(days=1)
        async with self.workplace.reading() as connection:
            due = await account_rows.accounts_due(connection, latest)
        found = [
            (one[0], one[2]) for one in due if one[2] <= self._last_turn(one[1], one[3])
        ]  # fmt: skip
        watch(RunProgress(len(found)))
        for start in range(0, len(found), self.settings.block_size):
            block = [account_id for account_id, _ in found[start : start + self.settings.block_size]]
            await self._block(block)
            done = min(len(found), start + len(block))
            watch(RunProgress(len(found), done - self.parked, self.parked, len(self.rows) - self.parked))
        turns = [*(turn for _, turn in found), *(row.cycle_start for row in self.rows)]
        last = self.through or max(turns, default=today)
        first = max(min((turn for _, turn in found), default=last), _month_before(last) + timedelta(days=1))
        first = min(first, last)
        async with self.workplace.reading() as connection:
            before = await run_preview_rows.sums_of_runs(
                connection, _month_before(first), _month_before(last)
            )
        return RunPreview(
            self.now, last, _month_before(first), _month_before(last), len(found), self.idle,
            tuple(self.rows), tuple(_compared(self.rows, before)),
        )  # fmt: skip

    def _last_turn(self, zone_name: str, offset_days: int) -> date:
        """The last turn that is billed on the day of the preview."""
        if self.through is not None and self.through > local_date(self.now, zone_name):
            return self.through - timedelta(days=offset_days)
        return last_turn_in(self.now, zone_name, offset_days, self.settings, self.through)

    async def _block(self, account_ids: Sequence[str]) -> None:
        """A snapshot; if it fails, its accounts are tried one by one and the culprit is named."""
        try:
            async with self.workplace.reading() as connection:
                rows, idle = await self._rows(connection, account_ids)
        except TaxesUnasked as unasked:
            await unasked.ask()
            await self._block(account_ids)
            return
        except invoice_rows.DATABASE_TROUBLE:
            raise
        except Exception as trouble:  # noqa: BLE001 - the run would park it, whatever it is
            if len(account_ids) > 1:
                for account_id in account_ids:
                    await self._block([account_id])
            else:
                await self._note_trouble(account_ids[0], trouble)
            return
        self.rows += rows
        self.idle += idle
        if self.outside is not None:
            self.outside.forget()

    async def _note_trouble(self, account_id: str, trouble: Exception) -> None:
        async with self.workplace.reading() as connection:
            account = (await account_rows.accounts_by_id(connection, [account_id]))[account_id]
        self.parked += 1
        self.rows.append(
            PreviewRow(
                account.id, account.number, account.name, account.entity_id or "", account.currency,
                account.next_cycle_on or self.now.date(), 0, 0, 0, 0, None, (Flag.PARKED,), words_of(trouble),
            )
        )  # fmt: skip

    async def _rows(
        self, connection: AsyncConnection, account_ids: Sequence[str]
    ) -> tuple[list[PreviewRow], int]:
        accounts = list((await account_rows.accounts_by_id(connection, account_ids)).values())
        accounts.sort(key=lambda one: one.id)
        today = max(local_date(self.now, one.time_zone) for one in accounts)
        day = today if self.through is None else max(today, self.through)
        record = await load_record(connection, accounts, self.settings, day, self.books)
        own_rules = bool(record.book.rules)
        if self.outside is not None:
            record.book = NO_RULES
        drafts = await self._drafts(connection, accounts, record)
        if self.outside is not None:
            drafts = self.outside.complete(drafts, record.exemptions)
        past = await run_preview_rows.past_invoices(connection, account_ids, PAST_INVOICES)
        expected = own_rules or self.outside is not None
        rows = [
            self._row(draft, past.get(draft.account.id, []), taxes=expected and not _is_free(draft, record))
            for draft in drafts
        ]
        return rows, len(accounts) - len({draft.account.id for draft in drafts})

    async def _drafts(
        self, connection: AsyncConnection, accounts: Sequence[Account], record: Record
    ) -> list[InvoiceDraft]:
        drafts = []
        turns = {one.id: one.next_cycle_on for one in accounts}
        waiting = list(accounts)
        while waiting:
            plans = []
            for account in waiting:
                turn = turns[account.id]
                if turn is None:
                    raise RuntimeError(f"account {account.id} is drafted without a turn")
                plans.append(
                    plan_draft(account, account.cycle_containing(turn), record, self._day(account, turn))
                )
            await load_credited(connection, record, plans)
            usage = await self._totals(connection, plans)
            more = []
            for plan in plans:
                answers = await measure_so_far(connection, usage, plan)
                account = plan.account
                draft = finish_draft(plan, answers, record, self._day(account, plan.cycle.start))
                drafts += [draft] if draft is not None else []
                turns[account.id] = turn = next_turn(plan.subscriptions, plan.cycle)
                latest = self._last_turn(account.time_zone, account.invoice_offset_days)
                if turn is not None and turn <= latest:
                    more.append(account)
            waiting = more
        return drafts

    def _day(self, account: Account, turn: date) -> date:
        """The day of issue, up to which usage is taken to be in."""
        return max(local_date(self.now, account.time_zone), turn)

    async def _totals(self, connection: AsyncConnection, plans: Sequence[DraftPlan]) -> LiveUsageSource:
        """The usage that drafts ask for, found out for all of them at once."""
        spans = [
            (gap.subscription.service_id or "", *gap.span.instants(plan.account.time_zone))
            for plan in plans
            for gap in plan.usage.gaps
        ]
        totals = await self.usage.between_many(connection, spans) if spans else []
        return _KnownUsage(self.usage, dict(zip(spans, totals, strict=True)))

    def _row(self, draft: InvoiceDraft, past: Sequence[PastInvoice], *, taxes: bool) -> PreviewRow:
        account = draft.account
        median = median_of([one.total_minor for one in past])
        untaxed = (
            taxes
            and not draft.taxes
            and any(one.quoted_minor for one in taxable_lines(account, draft.lines))
            and (not past or any(one.tax_minor for one in past))
        )
        holds = {
            Flag.NEGATIVE: draft.total_minor < 0,
            Flag.ZERO: draft.total_minor == 0,
            Flag.NO_TAX: untaxed,
            Flag.DEVIATES: deviates(draft.total_minor, median, account.currency, self.threshold),
            Flag.FIRST: not past,
        }
        return PreviewRow(
            account.id, account.number, account.name, account.entity_id or "", account.currency,
            draft.cycle.start, len(draft.lines), draft.net_minor, draft.tax_minor, draft.total_minor, median,
            tuple(str(flag) for flag, so in holds.items() if so),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _KnownUsage:
    """Totals of spans that were looked up before; slices are asked for one by one, as few plans need them."""

    usage: PreviewUsage
    totals: Mapping[UsageSpan, tuple[int, int]]

    async def between(
        self, connection: AsyncConnection, service_id: str, from_at: datetime, until_at: datetime
    ) -> tuple[int, int]:
        return self.totals[service_id, from_at, until_at]

    async def slices_between(
        self, connection: AsyncConnection, service_id: str, from_at: datetime, until_at: datetime
    ) -> Sequence[UsageSlice]:
        return await self.usage.slices_between(connection, service_id, from_at, until_at)

    async def slices_of_closes(
        self, connection: AsyncConnection, close_ids: Sequence[str]
    ) -> Mapping[str, Sequence[UsageSlice]]:
        return await self.usage.slices_of_closes(connection, close_ids)


def _is_free(draft: InvoiceDraft, record: Record) -> bool:
    return bool(record.exemptions.get(draft.account.id))


def _month_before(day: date) -> date:
    return add_months(day, -1, day.day)


def _compared(rows: Sequence[PreviewRow], before: dict[tuple[str, str], RunSum]) -> list[RunComparison]:
    now: dict[tuple[str, str], RunSum] = {}
    for row in rows:
        if row.reason:
            continue
        key = row.entity, row.currency
        now[key] = now.get(key, RunSum()).plus(1, row.net_minor, row.tax_minor)
    return [
        RunComparison(*key, now.get(key, RunSum()), before.get(key, RunSum()))
        for key in sorted({*now, *before})
    ]


CSV_COLUMNS = (
    "account_number", "account_name", "entity", "currency", "cycle_start", "lines", "net", "tax", "total",
    "median", "flags", "reason",
)  # fmt: skip


def preview_csv(preview: RunPreview) -> str:
    """Every invoice of the preview as CSV, in order of account; amounts are decimals of their currency."""
    rows: list[Sequence[str | int | Decimal | None]] = [CSV_COLUMNS]
    for row in sorted(preview.rows, key=lambda one: (one.account_number, one.cycle_start)):
        digits = -minor_digits(row.currency)
        net, tax, total = (
            Decimal(one).scaleb(digits) for one in (row.net_minor, row.tax_minor, row.total_minor)
        )
        median = None if row.median_minor is None else Decimal(row.median_minor).scaleb(digits)
        rows.append((
            row.account_number, row.account_name, row.entity, row.currency, row.cycle_start.isoformat(),
            row.lines, net, tax, total, median, "; ".join(row.flags), row.reason,
        ))  # fmt: skip
    return csv_rows(rows)
