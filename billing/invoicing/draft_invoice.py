"""Draft invoices from what is on record: first what is owed, then, when its usage is closed, the whole."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.config import BillingSettings
from billing.domain.catalogue import Account, PlanVersion, ServicePlace, Subscription
from billing.domain.charge import OneOffCharge
from billing.domain.credited import Charged, Credited, hold_credited
from billing.domain.invoicing import (
    InvoicedPart,
    InvoiceDraft,
    LineDraft,
    Settled,
    TaxTerms,
    assemble_invoice,
    draft_charge,
    draft_difference,
)
from billing.domain.ledger import DEPOSIT
from billing.domain.owed import Key, Promotion, View, decide_owed
from billing.domain.phases import Phase, fold_phases
from billing.domain.rating.parts import Balance, Step, bucket_of
from billing.domain.taxes.book import TaxBook
from billing.domain.taxes.rule import Exemption
from billing.domain.usage_lines import UsageAnswers, draft_usage
from billing.domain.usage_parts import ClosedSpan, Metered, RatedBefore, UsagePlan, closes_to_cut, plan_usage
from billing.rating.public_holidays import with_holidays
from billing.store import (
    account_rows,
    bucket_rows,
    charge_rows,
    equipment_rows,
    invoice_rows,
    plan_rows,
    promotion_rows,
    subscription_rows,
    tax_rows,
)
from billing.taxes.tax_books import TaxBooks
from core.periods import Period


@dataclass(slots=True)
class Record:
    """What a block of accounts has on record; drafts add to it, so that missed cycles follow each other.

    ``subscriptions`` and ``charges`` are by the account that pays. ``changed``: the earliest day that changed
    since the last invoice, by subscription. ``balances``: of buckets with lots, in steps from ``rated_since``
    on. ``credited``: of subscriptions to which drafts give something back (``load_credited``).
    """

    subscriptions: dict[str, list[Subscription]]
    versions: dict[str, PlanVersion]
    book: TaxBook
    exemptions: dict[str, list[Exemption]] = field(default_factory=dict)
    phases: dict[str, tuple[Phase, ...]] = field(default_factory=dict)
    changed: dict[str, date] = field(default_factory=dict)
    promotions: dict[str, list[Promotion]] = field(default_factory=dict)
    idle: dict[str, tuple[Period, ...]] = field(default_factory=dict)
    charges: dict[str, list[OneOffCharge]] = field(default_factory=dict)
    invoiced: dict[str, list[InvoicedPart]] = field(default_factory=dict)
    rated: dict[str, list[RatedBefore]] = field(default_factory=dict)
    rated_since: date = date.min
    balances: dict[str, Balance] = field(default_factory=dict)
    recalculated: list[str] = field(default_factory=list)
    credited: dict[str, Sequence[Credited]] = field(default_factory=dict)

    def remember(self, plan: DraftPlan, draft: InvoiceDraft | None) -> None:
        """Count the draft's lines as invoiced, its usage as rated and its changes as seen."""
        for subscription in plan.subscriptions:
            if self.changed.pop(subscription.id, None) is not None:
                self.recalculated.append(subscription.id)
        self.charges.pop(plan.account.id, None)
        for line in draft.lines if draft is not None else ():
            if line.subscription_id is None or line.charged_for is None or line.item_code is None:
                continue
            if line.charge is None:
                part = InvoicedPart(
                    line.plan_version_id or "", line.item_code, line.charged_for, line.quoted_minor
                )
                self.invoiced.setdefault(line.subscription_id, []).append(part)
            else:
                charge = line.charge
                self.rated.setdefault(line.subscription_id, []).append(
                    (
                        line.plan_version_id or "", line.item_code, charge.part.start, charge.part.end,
                        charge.close_id, charge.closes, charge.octets_in, charge.octets_out,
                        line.quoted_minor,
                    )
                )  # fmt: skip
        for step, amount in plan.moved.items():
            self.balances.setdefault(step.bucket, Balance(step.bucket)).add({step: amount})


@dataclass(slots=True)
class DraftPlan:
    """A draft that lacks only its usage; ``moved``: what that changes in buckets, when it is finished.

    ``gives_back``: subscriptions that get, or may get, something back of what was charged before.
    """

    account: Account
    cycle: Period
    subscriptions: list[Subscription]
    lines: list[LineDraft] = field(default_factory=list)
    usage: UsagePlan = field(default_factory=UsagePlan)
    moved: dict[Step, int] = field(default_factory=dict)
    gives_back: list[str] = field(default_factory=list)

    def closes_to_cut(self, answers: Sequence[ClosedSpan | None]) -> list[str]:
        """Closes of which slices are needed, once ``answers`` has one for each gap of ``usage``."""
        return closes_to_cut(self.account, self.usage.asked, answers)


async def load_record(
    connection: AsyncConnection, accounts: Collection[Account], settings: BillingSettings, issued_on: date,
    books: TaxBooks,
) -> Record:  # fmt: skip
    """Everything that drafting for these accounts needs, in a handful of queries.

    ``issued_on``: one-off charges that are to be billed by then are part of it.
    """
    payers = {one.id: one for one in accounts}
    children = {one.id: one for one in await account_rows.paid_for(connection, payers)}
    of_account = await subscription_rows.subscriptions_of(connection, [*payers, *children])
    subscriptions: dict[str, list[Subscription]] = {account_id: [] for account_id in payers}
    for account_id, group in of_account.items():
        child = children.get(account_id)
        payer_id = account_id if child is None else child.payer_id
        subscriptions[payer_id] += group if child is None else [at_address(one, child) for one in group]
    every = [one for group in subscriptions.values() for one in group]
    ids = [one.id for one in every]
    changes = await subscription_rows.changes_of(connection, ids)
    record = Record(
        subscriptions,
        await plan_rows.plan_versions(connection),
        await books.book(connection),
        exemptions=await tax_rows.exemptions_of(connection, list(payers)),
        phases={one: fold_phases(found) for one, found in changes.items()},
        promotions=await promotion_rows.promotions_of(connection, ids),
        idle=await equipment_rows.idle_of(connection, ids),
    )
    for account_id, found in (
        await charge_rows.waiting_charges(connection, [*payers, *children], issued_on)
    ).items():
        child = children.get(account_id)
        record.charges.setdefault(account_id if child is None else child.payer_id, []).extend(found)
    turns = [one.next_cycle_on for one in accounts if one.next_cycle_on is not None]
    if turns and every:
        await _load_past(connection, record, payers, min(turns), settings)
        await load_balances(connection, record)
    return record


async def load_balances(
    connection: AsyncConnection, record: Record, before: tuple[datetime, date] | None = None
) -> None:
    """What the buckets of all usage items have beside their allowances. ``before``: see ``bucket_rows``.

    Where nothing is sold that rolls over or tops up, no bucket has anything.
    """
    terms = [item.usage for one in record.versions.values() for item in one.items if item.usage is not None]
    if not any(one.rollover is not None or one.top_ups for one in terms):
        return
    buckets: dict[str, None] = {}
    for payer_id, group in record.subscriptions.items():
        for one in group:
            for version_id in {phase.plan_version_id for phase in record.phases.get(one.id, ())}:
                for item in record.versions[version_id].items:
                    if item.usage is not None:
                        bucket = bucket_of(item.usage, one.account_id, payer_id, one.id, item.code)
                        buckets[bucket] = None
    record.balances = await bucket_rows.balances(connection, list(buckets), record.rated_since, before)


def at_address(subscription: Subscription, account: Account) -> Subscription:
    """What another account pays for: on its own account's calendar, and at its address if at no other."""
    place = subscription.place
    if place is None:
        place = ServicePlace(account.country, account.region, None, account.city, account.postal_code)
    return replace(subscription, place=place, turns=account.turns)


async def _load_past(
    connection: AsyncConnection,
    record: Record,
    payers: Mapping[str, Account],
    opening: date,
    settings: BillingSettings,
) -> None:
    """What was charged and rated: for what did not change only what this invoice would charge again."""
    since: dict[date, list[str]] = {}
    rated_since = opening
    for account_id, group in record.subscriptions.items():
        account = payers[account_id]
        before = turn_before(account, account.cycle_containing(account.next_cycle_on or opening))
        for one in group:
            start = before if one.recalculate_from is None else min(before, one.recalculate_from)
            start -= timedelta(days=_longest_item_days(record, one))
            if one.recalculate_from is not None:
                reach = opening - timedelta(days=settings.correction_cycles * account.longest_cycle_days)
                record.changed[one.id] = max(one.recalculate_from, reach)
                start = max(start, reach) - timedelta(days=account.longest_cycle_days)
                since.setdefault(start, []).append(one.id)
            else:
                since.setdefault(opening, []).append(one.id)
            rated_since = min(rated_since, start)
    clean = since.pop(opening, [])
    if clean:
        record.invoiced |= await invoice_rows.invoiced_parts(connection, clean, opening)
    if since:
        dirty = [one for group in since.values() for one in group]
        record.invoiced |= await invoice_rows.invoiced_parts(connection, dirty, min(since))
    everyone = [one.id for group in record.subscriptions.values() for one in group]
    record.rated = await invoice_rows.rated_parts(connection, everyone, rated_since)
    record.rated_since = rated_since


def _longest_item_days(record: Record, subscription: Subscription) -> int:
    versions = {phase.plan_version_id for phase in record.phases.get(subscription.id, ())}
    cadences = [
        item.cadence for one in versions for item in record.versions[one].items if item.cadence is not None
    ]
    return max((cadence.days + 31 * cadence.months for cadence in cadences), default=0)


def turn_before(account: Account, cycle: Period) -> date:
    """The first day of the cycle that the invoice before that of ``cycle`` opened."""
    before = account.cycle_containing(cycle.start - timedelta(days=1)).start
    if account.invoice_offset_days < 0:  # what had not ended when the last one was issued waits for this one
        before = account.cycle_containing(before - timedelta(days=1)).start
    return before


def plan_draft(account: Account, cycle: Period, record: Record, settled: date) -> DraftPlan:
    """The invoice that opens ``cycle`` but for its usage: recurring charges, corrections, one-off charges.

    ``settled``: usage is in up to the beginning of this local day.
    """
    before = turn_before(account, cycle)
    plan = DraftPlan(account, cycle, record.subscriptions[account.id])
    metered: list[Metered] = []
    for subscription in plan.subscriptions:
        if subscription.starts_on >= cycle.end:
            continue
        phases = record.phases.get(subscription.id, ())
        view = View(cycle, before, record.changed.get(subscription.id))
        owed = decide_owed(
            account,
            subscription,
            phases,
            record.versions,
            view,
            record.promotions.get(subscription.id, ()),
            record.idle.get(subscription.id, ()),
        )
        plan.lines += draft_difference(
            subscription,
            owed,
            record.invoiced.get(subscription.id, ()),
            record.versions,
            Settled(account, subscription, view),
        )
        if subscription.service_id is not None:
            rated = record.rated.get(subscription.id, ())
            metered.append(Metered(subscription, phases, rated, view.changed_from, len(plan.lines)))
    if metered:
        view = View(cycle, before, None)
        plan.usage = plan_usage(account, metered, record.versions, view, settled)
    plan.gives_back = _giving_back(plan, record)
    _add_charges(plan, record)
    return plan


def _giving_back(plan: DraftPlan, record: Record) -> list[str]:
    found: dict[str, None] = {}
    for line in plan.lines:
        if line.quoted_minor < 0 and line.subscription_id is not None:
            before = record.invoiced.get(line.subscription_id, ())
            if any(part.charged_for == line.charged_for for part in before):
                found[line.subscription_id] = None
    for asked in plan.usage.asked:
        if asked.charged:
            found[asked.subscription.id] = None
    for gone in plan.usage.gone:
        found[gone.subscription.id] = None
    return list(found)


async def load_credited(
    connection: AsyncConnection, record: Record, plans: Iterable[DraftPlan], as_of: Row[Any] | None = None
) -> None:
    """What credit notes gave back already, for the plans that give something back; else nothing is asked.

    ``as_of``: as it was known when the invoice in that row was drafted.
    """
    wanted = {one: None for plan in plans for one in plan.gives_back if one not in record.credited}
    if wanted:
        found = await invoice_rows.credited_parts(connection, list(wanted), as_of)
        record.credited |= {one: found.get(one, ()) for one in wanted}


def plan_charges(account: Account, cycle: Period, record: Record) -> DraftPlan:
    """An invoice of the one-off charges alone; what recurs keeps its cycle."""
    plan = DraftPlan(account, cycle, record.subscriptions[account.id])
    _add_charges(plan, record)
    return plan


def _add_charges(plan: DraftPlan, record: Record) -> None:
    places = {one.id: one.place for one in plan.subscriptions}
    for charge in record.charges.get(plan.account.id, ()):
        place = places.get(charge.subscription_id or "")
        plan.lines.append(draft_charge(charge, plan.account.currency, place))


def finish_draft(
    plan: DraftPlan, answers: UsageAnswers, record: Record, issued_on: date
) -> InvoiceDraft | None:
    """The whole invoice; ``answers`` has a close for each gap of ``plan.usage``, None leaves a part out.

    ``load_credited`` comes before it.
    """
    used: list[tuple[int, LineDraft]] = []
    if plan.usage.asked or plan.usage.gone:
        used, plan.moved = draft_usage(plan.account, plan.usage, answers, record.balances, with_holidays)
        used.sort(key=lambda one: one[0])
    lines: list[LineDraft] = []
    taken = 0
    for after, line in used:
        lines += plan.lines[taken:after]
        taken = after
        lines.append(line)
    lines += plan.lines[taken:]
    for subscription_id in plan.gives_back:
        if record.credited[subscription_id]:
            lines = _less_credited(plan, lines, record, subscription_id)
    terms = TaxTerms(record.book, record.exemptions.get(plan.account.id, ()))
    draft = assemble_invoice(plan.account, plan.cycle, issued_on, lines, terms)
    record.remember(plan, draft)
    return draft


def _less_credited(
    plan: DraftPlan, lines: list[LineDraft], record: Record, subscription_id: str
) -> list[LineDraft]:
    """The lines, of which those of the subscription give back only what no credit note did before.

    One that gives nothing back any more is left out, but for usage of which more was closed.
    """
    charged = _charged_before(plan, record, subscription_id)
    concerned: list[Charged] = []
    for line in lines:
        if line.subscription_id != subscription_id or line.charged_for is None or line.revenue == DEPOSIT:
            continue
        key = (line.plan_version_id or "", line.item_code or "", line.charged_for)
        one = charged.setdefault(key, Charged(key, None))
        one.line = line
        concerned.append(one)
    hold_credited(list(charged.values()), record.credited[subscription_id], record.versions)
    closed = {asked.of.key for asked in plan.usage.asked if asked.gaps}
    empty = {
        id(one.line)
        for one in concerned
        if one.line is not None
        and not one.line.quoted_minor
        and "credited_minor" in one.line.explanation
        and not (one.days is not None and one.key in closed)
    }
    return [line for line in lines if id(line) not in empty]


def _charged_before(plan: DraftPlan, record: Record, subscription_id: str) -> dict[Key, Charged]:
    """What was charged of a subscription's items and usage, deposits apart."""
    charged: dict[Key, Charged] = {}
    for part in record.invoiced.get(subscription_id, ()):
        item = record.versions[part.plan_version_id].item(part.item_code)
        if item is None or (item.usage is None and item.kind != "deposit"):
            charged.setdefault(part.key, Charged(part.key, None)).charged_minor += part.quoted_minor
    for version_id, code, start, end, *_, amount in record.rated.get(subscription_id, ()):
        key, days = (version_id, code, start), Period(start, end)
        one = charged.setdefault(key, Charged(key, days))
        one.charged_minor += amount
        if one.days is not None and one.days.end < end:
            one.days = days
    for asked in plan.usage.asked:  # its days as they are now
        if asked.subscription.id == subscription_id:
            charged[asked.of.key] = Charged(asked.of.key, asked.of.part, asked.charged or 0)
    return charged
