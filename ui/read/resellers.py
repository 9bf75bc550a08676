"""Resellers on screen: terms, accounts, what is earned, posted and paid."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.accounts.commission import CommissionDraft
from billing.store import reseller_rows
from billing.store.account_rows import accounts_by_id
from billing.store.reseller_rows import Reseller
from core.money import format_money


@dataclass(frozen=True, slots=True)
class ResellerRow:
    """A reseller; ``payable_minor`` is what the ledger says that he is owed."""

    id: str
    name: str
    currency: str
    entity_id: str | None
    accounts: int
    posted_until: date | None
    payable_minor: int


@dataclass(frozen=True, slots=True)
class TermsRow:
    """Terms from a day on, in words."""

    valid_from: date
    words: str
    basis: str
    percent_ppm: int
    flat_minor: int
    recorded_at: datetime
    recorded_by: str


@dataclass(frozen=True, slots=True)
class AssignedRow:
    """An account of his; ``until_on`` None: still."""

    account_id: str
    account_number: str
    account_name: str
    from_on: date
    until_on: date | None


@dataclass(frozen=True, slots=True)
class StatementRow:
    """A posted statement."""

    number: int
    from_on: date
    until_on: date
    amount_minor: int
    currency: str
    posted_at: datetime
    posted_by: str


@dataclass(frozen=True, slots=True)
class LineRow:
    """What one source earned. ``source``: invoice, allocation, refund or month."""

    account_number: str
    account_name: str
    source: str
    source_id: str
    happened_on: date
    earned_on: date
    net_minor: int
    commission_minor: int


@dataclass(frozen=True, slots=True)
class PayoutRow:
    """Money that he was paid."""

    paid_on: date
    amount_minor: int
    method: str
    reference: str | None


@dataclass(frozen=True, slots=True)
class ResellerView:
    """Everything on his page."""

    reseller: Reseller
    payable_minor: int
    terms: list[TermsRow]
    accounts: list[AssignedRow]
    statements: list[StatementRow]
    payouts: list[PayoutRow]


async def reseller_list(connection: AsyncConnection) -> list[ResellerRow]:
    """By name."""
    found = []
    for one in await reseller_rows.list_resellers(connection):
        assigned = await reseller_rows.assignment_rows(connection, one.id)
        statements = await reseller_rows.statements_of(connection, one.id)
        found.append(
            ResellerRow(
                one.id, one.name, one.currency, one.entity_id,
                sum(1 for row in assigned if row.until_on is None),
                statements[0].until_on if statements else None,
                await reseller_rows.payable(connection, one.id),
            )
        )  # fmt: skip
    return found


async def reseller_view(connection: AsyncConnection, reseller_id: str) -> ResellerView | None:
    """None for an unknown one."""
    found = await reseller_rows.find_reseller(connection, reseller_id)
    if found is None:
        return None
    return ResellerView(
        found, await reseller_rows.payable(connection, reseller_id),
        [
            TermsRow(
                row.valid_from, terms_in_words(row.basis, row.percent_ppm, row.flat_minor, found.currency),
                row.basis, row.percent_ppm, row.flat_minor, row.recorded_at, row.recorded_by,
            )
            for row in reversed(await reseller_rows.terms_rows(connection, reseller_id))
        ],
        [
            AssignedRow(row.account_id, row.number, row.name, row.from_on, row.until_on)
            for row in await reseller_rows.assignment_rows(connection, reseller_id)
        ],
        [
            StatementRow(
                row.number, row.from_on, row.until_on, int(row.amount_minor), row.currency, row.posted_at,
                row.posted_by,
            )
            for row in await reseller_rows.statements_of(connection, reseller_id)
        ],
        [
            PayoutRow(row.paid_on, int(row.amount_minor), row.method, row.reference)
            for row in await reseller_rows.payouts_of(connection, reseller_id)
        ],
    )  # fmt: skip


def terms_in_words(basis: str, percent_ppm: int, flat_minor: int, currency: str) -> str:
    """``10 % of net collected, and 2.00 USD an account and month``."""
    words = []
    if percent_ppm:
        words.append(f"{percent_ppm / 10_000:g} % of net {basis}")
    if flat_minor:
        words.append(f"{format_money(flat_minor, currency)} an account and month")
    return ", and ".join(words) or "nothing"


async def statement_lines(connection: AsyncConnection, reseller_id: str, number: int) -> list[LineRow] | None:
    """The lines of a posted statement; None for an unknown one."""
    statements = await reseller_rows.statements_of(connection, reseller_id)
    found = next((row for row in statements if row.number == number), None)
    if found is None:
        return None
    return [
        LineRow(
            row.number, row.name, row.source_kind, row.source_id, row.happened_on, row.earned_on,
            int(row.net_minor), int(row.commission_minor),
        )
        for row in await reseller_rows.lines_of(connection, found.id)
    ]  # fmt: skip


async def draft_lines(connection: AsyncConnection, draft: CommissionDraft) -> list[LineRow]:
    """The same of what is not posted yet."""
    named = await accounts_by_id(connection, {one.source.account_id for one in draft.lines})
    return [
        LineRow(
            named[one.source.account_id].number, named[one.source.account_id].name, one.source.kind,
            one.source.source_id, one.source.happened_on, one.source.earned_on, one.source.net_minor,
            one.commission_minor,
        )
        for one in draft.lines
    ]  # fmt: skip
