"""Replay: draft issued invoices again from what was known then, and compare them octet for octet.

Everything a draft reads carries the instant it was written; closed usage is what its close said, and only if
its records still make its digest; a tax engine outside is not asked again: its answer stands on the lines.
A line that comes out the same proves itself; one that does not is shown with both values and what differs
underneath.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.config import BillingSettings
from billing.domain.catalogue import Account, Subscription
from billing.domain.invoicing import CHARGES
from billing.domain.phases import fold_phases
from billing.domain.usage_lines import UsageAnswers
from billing.domain.usage_parts import ClosedSpan
from billing.invoicing.draft_invoice import (
    DraftPlan,
    Record,
    at_address,
    finish_draft,
    load_balances,
    load_credited,
    plan_charges,
    plan_draft,
    turn_before,
)
from billing.invoicing.line_text import FIELDS, drafted_fields, line_text
from billing.invoicing.tax_kept import as_answered
from billing.invoicing.tax_outside import NO_RULES
from billing.ports import UsageSource
from billing.store import (
    account_rows,
    charge_rows,
    equipment_rows,
    invoice_rows,
    plan_rows,
    promotion_rows,
    replay_rows,
    subscription_rows,
    tax_rows,
)
from billing.taxes.tax_books import TaxBooks
from core.periods import Period


@dataclass(frozen=True, slots=True)
class LineDifference:
    """One position of an invoice: what was issued, what comes out now, and the fields that differ.

    ``issued`` or ``replayed`` is None where only the other has the line.
    """

    position: int
    issued: str | None
    replayed: str | None
    cause: str


@dataclass(frozen=True, slots=True)
class ReplayedInvoice:
    """An invoice drafted again. ``lines``: the canonical text of each line that comes out now."""

    number: str
    issued_on: date
    lines: tuple[str, ...]
    differences: tuple[LineDifference, ...]

    @property
    def is_same(self) -> bool:
        """Whether every line came out octet for octet."""
        return not self.differences


async def replay_invoices(
    connection: AsyncConnection,
    usage: UsageSource,
    from_on: date,
    to_on: date,
    settings: BillingSettings | None = None,
) -> AsyncIterator[ReplayedInvoice]:
    """Every invoice issued from ``from_on`` to ``to_on`` (both included), in order of number."""
    books = TaxBooks()
    for row in await replay_rows.issued_between(connection, from_on, to_on):
        yield await replay_invoice(connection, usage, row, settings or BillingSettings(), books)


async def replay_invoice(
    connection: AsyncConnection,
    usage: UsageSource,
    row: Row[Any],
    settings: BillingSettings,
    books: TaxBooks,
) -> ReplayedInvoice:
    """Draft the invoice in ``row`` as of the instant it was issued, and compare."""
    issued = await invoice_rows.lines_of(connection, row.id)
    plan, record = await _plan(connection, row, issued, settings, books)
    answers, lost = await _answers(connection, usage, plan, row.id)
    if row.taxed_outside:
        record.book = NO_RULES
    draft = finish_draft(plan, answers, record, row.issued_on)
    if row.taxed_outside and draft is not None:
        draft = as_answered(draft, issued)
    before = [line_text({field: getattr(line, field) for field in FIELDS}) for line in issued]
    after = [] if draft is None else [line_text(drafted_fields(line)) for line in draft.lines]
    differences = tuple(_differences(before, after, lost))
    return ReplayedInvoice(row.number, row.issued_on, tuple(after), differences)


async def _plan(
    connection: AsyncConnection,
    row: Row[Any],
    issued: Sequence[Row[Any]],
    settings: BillingSettings,
    books: TaxBooks,
) -> tuple[DraftPlan, Record]:
    as_of: datetime = row.created_at
    account = await _account_then(connection, row)
    cycle = Period(row.cycle_start, row.cycle_end)
    subscriptions = await _subscriptions_then(connection, account, issued)
    ids = [one.id for one in subscriptions]
    changes = await subscription_rows.changes_of(connection, ids, as_of)
    since = await replay_rows.invoiced_before(connection, account.id, row.cycle_start, as_of)
    record = Record(
        {account.id: subscriptions},
        await plan_rows.plan_versions(connection),
        await books.book(connection, as_of),
        exemptions=await tax_rows.exemptions_of(connection, [account.id], as_of),
        phases={one: fold_phases(found) for one, found in changes.items()},
        promotions=await promotion_rows.promotions_of(connection, ids, as_of),
        idle=await equipment_rows.idle_of(connection, ids, as_of),
        charges={account.id: await charge_rows.charges_on(connection, row.id)},
    )
    if row.kind == CHARGES:
        return plan_charges(account, cycle, record), record
    reach = cycle.start - timedelta(days=settings.correction_cycles * account.longest_cycle_days)
    promoted = await promotion_rows.turns_of(connection, ids, as_of)
    moved = await equipment_rows.turns_of(connection, ids, as_of)
    for one in subscriptions:
        turns = [(each.effective_on, each.recorded_at) for each in changes.get(one.id, [])]
        changed = _changed_since(turns + promoted.get(one.id, []) + moved.get(one.id, []), since)
        if changed is not None:
            record.changed[one.id] = max(changed, reach)
    record.invoiced = await replay_rows.charged_before(connection, ids, row)
    record.rated = await replay_rows.rated_before(connection, ids, row)
    await load_balances(connection, record, (as_of, cycle.start))
    settled = max(
        (line.period_end for line in issued if line.kind == "usage"), default=turn_before(account, cycle)
    )
    plan = plan_draft(account, cycle, record, max(settled, cycle.start))
    await load_credited(connection, record, [plan], row)
    return plan, record


async def _account_then(connection: AsyncConnection, row: Row[Any]) -> Account:
    found = await account_rows.find_account(connection, row.account_id)
    if found is None:
        raise RuntimeError(f"invoice {row.number} has no account")
    fields = ("name", "email", "street", "postal_code", "city", "region", "country")
    then = {name: row.bill_to[name] for name in fields if name in row.bill_to}
    terms = (row.due_on - row.issued_on).days
    return replace(found, **then, payment_terms_days=terms, next_cycle_on=row.cycle_start)


async def _subscriptions_then(
    connection: AsyncConnection, account: Account, issued: Sequence[Row[Any]]
) -> list[Subscription]:
    """The account's own and those that others had it pay for, in the order of drafting."""
    named = {line.subscription_id for line in issued if line.subscription_id is not None}
    own = (await subscription_rows.subscriptions_of(connection, [account.id]))[account.id]
    others = await subscription_rows.find_many(connection, sorted(named - {one.id for one in own}))
    owners = await account_rows.accounts_by_id(connection, {one.account_id for one in others})
    return own + [at_address(one, owners[one.account_id]) for one in others]


def _changed_since(turns: Iterable[tuple[date, datetime]], since: datetime | None) -> date | None:
    recent = [day for day, recorded_at in turns if since is None or recorded_at > since]
    return min(recent, default=None)


async def _answers(
    connection: AsyncConnection, usage: UsageSource, plan: DraftPlan, invoice_id: str
) -> tuple[UsageAnswers, list[str]]:
    """What the closes behind the invoice's usage lines say to the plan; and which are lost."""
    closes = await replay_rows.closes_of(connection, invoice_id)
    wanted = sorted(set(closes.values()))
    known = await usage.recall(connection, wanted)
    spans: list[ClosedSpan | None] = []
    for gap in plan.usage.gaps:
        closed = known.get(closes.get((gap.subscription.id, gap.span), ""))
        spans.append(
            None
            if closed is None
            else ClosedSpan(
                closed.close_id, gap.span, closed.octets_in, closed.octets_out, closed.records, closed.digest
            )
        )
    cut = plan.closes_to_cut(spans)
    earlier = [one for one in cut if one not in wanted]
    known = {**known, **await usage.recall(connection, earlier)}
    there = [one for one in cut if one in known]
    slices = dict.fromkeys(cut) | dict(await usage.slices_of_closes(connection, there) if there else {})
    return UsageAnswers(spans, slices), [one for one in (*wanted, *earlier) if one not in known]


def _differences(
    before: Sequence[str], after: Sequence[str], lost: Sequence[str]
) -> Iterable[LineDifference]:
    for index in range(max(len(before), len(after))):
        issued = before[index] if index < len(before) else None
        replayed = after[index] if index < len(after) else None
        if issued != replayed:
            yield LineDifference(index + 1, issued, replayed, _cause(issued, replayed, lost))


def _cause(issued: str | None, replayed: str | None, lost: Sequence[str]) -> str:
    gone = f"; the usage records behind {', '.join(lost)} are not what they were" if lost else ""
    if issued is None or replayed is None:
        return ("only issued" if replayed is None else "only replayed") + gone
    old, new = json.loads(issued), json.loads(replayed)
    fields = [name for name in FIELDS if old.get(name) != new.get(name)]
    inside = []
    if "explanation" in fields and isinstance(old["explanation"], dict):
        keys = sorted(old["explanation"].keys() | new["explanation"].keys())
        inside = [
            f"explanation.{key}: {old['explanation'].get(key)} became {new['explanation'].get(key)}"
            for key in keys
            if old["explanation"].get(key) != new["explanation"].get(key)
        ]
    plain = [f"{name}: {old.get(name)} became {new.get(name)}" for name in fields if name != "explanation"]
    return "; ".join(plain + inside) + gone
