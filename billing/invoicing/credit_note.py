"""Credit notes: the only way to take back what an issued invoice says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.config import BillingSettings
from billing.domain.catalogue import Account
from billing.domain.credited import StandingCharges
from billing.domain.invoicing import (
    CREDIT_NOTE,
    InvoiceDraft,
    LineDraft,
    complete_invoice,
)
from billing.domain.ledger import DEPOSIT
from billing.domain.owed import takes_off
from billing.domain.taxes.decide import TaxDecision
from billing.invoicing.finalise import finalise, use_credit
from billing.invoicing.tax_kept import TAX_KINDS, credited_taxes, kept_taxes
from billing.store import account_rows, invoice_rows, plan_rows, subscription_rows
from billing.taxes.tax_books import TaxBooks
from core.money import format_money
from core.periods import Period, local_date
from core.refusal import Refusal
from core.work import Work


@dataclass(frozen=True, slots=True)
class CreditNote:
    """What was issued; ``total_minor`` is negative. ``outcome``: issued, or exists."""

    id: str
    number: str
    total_minor: int
    outcome: str


async def issue_credit_note(
    work: Work,
    *,
    invoice: str,
    reason: str,
    source: str,
    amounts_minor: Mapping[int, int] | None = None,
    settings: BillingSettings | None = None,
    books: TaxBooks | None = None,
) -> CreditNote | Refusal:
    """Credit lines of an issued invoice, or all that is left of it.

    The taxes come back as they were charged, by the share of each line that is credited: of all of it all.
    ``amounts_minor``: so much of the line at that position, as it was priced (with tax where the price
    includes it). No line can be credited beyond its amount, and all together not beyond what is left of the
    invoice: what discounts took off is not given back as money. ``source`` names the order: given again it
    answers what it made. The credit pays the invoice first, then others, and the rest is kept.
    """
    settings = settings or BillingSettings()
    if not reason.strip() or len(reason) > 300:
        return Refusal("reason_missing", "say why, in 1 to 300 characters; the customer reads it", "reason")
    if not source.strip() or len(source) > 100:
        return Refusal("bad_source", "name the order, in 1 to 100 characters", "source")
    found = await invoice_rows.find_invoice(work.connection, invoice)
    if found is None or found.kind == CREDIT_NOTE:
        return Refusal("unknown_invoice", f"there is no invoice {invoice} to credit", "invoice")
    lines = await invoice_rows.lines_of(work.connection, found.id)
    account = await _lock(work, found, lines)
    notes = await invoice_rows.credit_notes_of(work.connection, found.id)
    for note, note_lines in notes:
        if any(line.explanation.get("source") == source for line in note_lines):
            return CreditNote(note.id, note.number, note.total_minor, "exists")
    left = await _left(work.connection, lines, notes)
    asked = left.everything() if amounts_minor is None else dict(amounts_minor)
    refusal = _refuse_amounts(lines, left, asked, found.currency)
    if refusal:
        return refusal
    drafts = await _draft_lines(work, lines, asked, reason.strip(), source)
    book = None  # an engine outside said its taxes
    if not found.taxed_outside:
        book = await (books or TaxBooks()).book(work.connection, found.created_at)
    taxes = kept_taxes(lines, found.bill_to["country"], found.currency, book)
    decision = credited_taxes(lines, taxes, drafts, _credited(notes), book)
    draft = _assemble(work, account, found, drafts, decision)
    [issued] = await finalise(work, [draft], settings)
    await use_credit(work, {account.id: account}, [issued])
    await work.audit(
        "billing.credit_note_issued", account.id, invoice=found.number, number=issued.number,
        amount=format_money(draft.total_minor, account.currency), reason=reason.strip(),
    )  # fmt: skip
    return CreditNote(issued.id, issued.number, draft.total_minor, "issued")


@dataclass(frozen=True, slots=True)
class Creditable:
    """A line of an issued invoice, and how much of it, as it was priced, can still be credited."""

    position: int
    description: str
    left_minor: int


async def creditable_lines(connection: AsyncConnection, invoice_id: str) -> list[Creditable]:
    """What a credit note could take back; deposits are given back by refunds instead."""
    lines = await invoice_rows.lines_of(connection, invoice_id)
    left = await _left(connection, lines, await invoice_rows.credit_notes_of(connection, invoice_id))
    return [
        Creditable(line.position, line.description, min(left.lines[line.position], left.rest_minor))
        for line in lines
        if min(left.lines.get(line.position, 0), left.rest_minor) > 0
    ]


@dataclass(frozen=True, slots=True)
class _Left:
    """What is left of each line that is no tax or deposit, none of nothing; and of all of them together.

    ``off``: the lines of discounts and promotions. ``uncredited_minor``: the invoice less its credit notes.
    """

    lines: dict[int, int]
    off: frozenset[int]
    uncredited_minor: int

    @property
    def rest_minor(self) -> int:
        """The invoice gives back no more than it asked; what was taken off a line, that line did not ask."""
        return max(0, min(self.uncredited_minor, self._asked_minor))

    @property
    def _asked_minor(self) -> int:
        return sum(amount for at, amount in self.lines.items() if amount > 0 or at in self.off)

    def everything(self) -> dict[int, int]:
        """All of it: what other lines gave back comes along as far as the invoice asked less for that."""
        asked = {at: amount for at, amount in self.lines.items() if amount > 0 or at in self.off}
        more = self._asked_minor - max(0, self.uncredited_minor)
        for at, amount in self.lines.items():
            part = min(more, -amount)
            if at not in asked and part > 0:
                asked[at] = -part
                more -= part
        return dict(sorted(asked.items())) if sum(asked.values()) > 0 else {}


async def _left(
    connection: AsyncConnection, lines: list[Row[Any]], notes: list[tuple[Row[Any], list[Row[Any]]]]
) -> _Left:
    """What earlier notes left, and no more than what stands of the item for its period.

    For later invoices may have given some of it back already. A deposit stays the customer's, and is given
    back otherwise.
    """
    credited = _credited(notes)
    standing = await invoice_rows.standing_parts(connection, lines)
    versions = await plan_rows.plan_versions(connection)
    charges = {one: StandingCharges(parts, versions) for one, parts in standing.items()}
    left: dict[int, int] = {}
    off: set[int] = set()
    uncredited = 0
    for line in sorted(lines, key=lambda one: one.quoted_minor > 0):
        if line.kind in TAX_KINDS or line.revenue == DEPOSIT:
            continue
        version = versions.get(line.plan_version_id or "")
        if version is not None and takes_off(version, line.item_code):
            off.add(line.position)
        amount = line.quoted_minor - credited.get(line.position, 0)
        uncredited += amount
        if line.charged_for is not None and amount:
            key = (line.plan_version_id, line.item_code, line.charged_for)
            amount = charges[line.subscription_id].creditable(key, amount)
        left[line.position] = amount
    return _Left({at: amount for at, amount in sorted(left.items()) if amount}, frozenset(off), uncredited)


def _credited(notes: list[tuple[Row[Any], list[Row[Any]]]]) -> dict[int, int]:
    credited: dict[int, int] = {}
    for _, note_lines in notes:
        for line in note_lines:
            position = line.explanation.get("line")
            if position is not None and line.kind == "credit":
                credited[position] = credited.get(position, 0) - line.quoted_minor
    return credited


def _refuse_amounts(
    lines: list[Row[Any]], left: _Left, asked: Mapping[int, int], currency: str
) -> Refusal | None:
    if not asked:
        return Refusal("nothing_left", "nothing is left of this invoice to credit", "amounts_minor")
    charged = {line.position: line for line in lines if line.kind not in TAX_KINDS}
    for position, amount in asked.items():
        if position not in charged:
            message = f"line {position} is no line that can be credited; its taxes follow by themselves"
            return Refusal("unknown_line", message, "amounts_minor")
        if charged[position].revenue == DEPOSIT:
            message = f"line {position} is a deposit; give it back as a refund"
            return Refusal("deposit", message, "amounts_minor")
        rest = left.lines.get(position, 0)
        if amount == 0 or (amount < 0) != (rest < 0) or abs(amount) > abs(rest):
            message = f"of line {position} {format_money(rest, currency)} is left to credit"
            if rest != charged[position].quoted_minor:
                message += "; the rest came back already"
            return Refusal("too_much", message, "amounts_minor")
    return _refuse_sum(sum(asked.values()), left.rest_minor, currency)


def _refuse_sum(asked: int, rest: int, currency: str) -> Refusal | None:
    """A line that took something off leaves less of the invoice than its other lines say; no note charges."""
    if 0 <= asked <= rest:
        return None
    message = f"of the invoice {format_money(rest, currency)} is left to credit, before tax that is added"
    return Refusal("too_much", message, "amounts_minor")


async def _lock(work: Work, found: Row[Any], lines: list[Row[Any]]) -> Account:
    """The account of the invoice; also who pays for its services now, so that no run gives back meanwhile."""
    services = await subscription_rows.find_many(
        work.connection, {one.subscription_id for one in lines} - {None}
    )
    owners = await account_rows.accounts_by_id(work.connection, {one.account_id for one in services})
    concerned = {found.account_id, *owners} | {one.payer_id for one in owners.values()}
    locked = {one.id: one for one in await account_rows.lock_accounts(work.connection, concerned)}
    if found.account_id not in locked:
        raise RuntimeError(f"invoice {found.id} has no account")
    return locked[found.account_id]


async def _draft_lines(
    work: Work, lines: list[Row[Any]], asked: Mapping[int, int], reason: str, source: str
) -> list[LineDraft]:
    versions = await plan_rows.plan_versions(work.connection, {one.plan_version_id for one in lines} - {None})
    drafts = []
    for line in lines:
        if line.position not in asked:
            continue
        version = versions.get(line.plan_version_id or "")
        item = None if version is None else version.item(line.item_code)  # lines of before lack the class
        tax_class = line.tax_class or (item.tax_class if item is not None else None)
        drafts.append(
            LineDraft(
                kind="credit",
                description=f"{line.description}: {reason}"[:300],
                quantity=None,
                amount_minor=-asked[line.position],
                period=Period(line.period_start, max(line.period_start, line.period_end)),
                explanation={
                    "model": "credit_note",
                    "line": line.position,
                    "source": source,
                    "reason": reason,
                    "line_quoted_minor": line.quoted_minor,
                    "amount_minor": -asked[line.position],
                },
                subscription_id=line.subscription_id,
                plan_version_id=line.plan_version_id,
                item_code=line.item_code,
                charged_for=line.charged_for,
                quoted_minor=-asked[line.position],
                tax_included=line.tax_included,
                tax_class=tax_class,
                tax_date=line.tax_date or line.charged_for or line.period_start,
                revenue=line.revenue,
                deferred=line.deferred,
            )
        )
    return drafts


def _assemble(
    work: Work, account: Account, found: Row[Any], lines: list[LineDraft], decision: TaxDecision
) -> InvoiceDraft:
    issued_on = local_date(work.now, account.time_zone)
    day = Period(issued_on, issued_on + timedelta(days=1))
    draft = complete_invoice(account, day, issued_on, lines, decision, outside=found.taxed_outside)
    return replace(draft, kind=CREDIT_NOTE, corrects_id=found.id, due_on=issued_on)
