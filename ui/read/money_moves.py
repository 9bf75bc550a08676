"""What was taken back, refunded and kept; money that pays nothing; ACH batches and the bank's inbox."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.payments.bank.suggest_accounts import suggest_accounts
from billing.store import bank_rows, money_out_rows
from billing.store.tables import account, invoice, payment, reversal
from ui.read.rows import PAGE


@dataclass(frozen=True, slots=True)
class UnallocatedRow:
    """Money of an account that pays nothing yet."""

    payment_id: str
    account_number: str
    account_id: str = field(metadata={"csv": False})
    account_name: str
    received_on: date
    method: str
    amount_minor: int
    unallocated_minor: int
    currency: str
    in_hand: bool


@dataclass(frozen=True, slots=True)
class RefundRow:
    """A refund. ``outcome`` is due while nobody paid it."""

    id: str
    account_number: str
    account_id: str = field(metadata={"csv": False})
    account_name: str
    ordered_on: date
    method: str
    amount_minor: int
    currency: str
    reason: str
    outcome: str
    reference: str
    told: str


@dataclass(frozen=True, slots=True)
class ReversalRow:
    """Money of a payment that was taken back. ``won_on``: the day it came back after all."""

    id: str
    kind: str
    amount_minor: int
    reason: str
    happened_on: date
    recorded_by: str
    won: bool


@dataclass(frozen=True, slots=True)
class Hint:
    """An account that a line of a statement may be for."""

    account_id: str
    number: str
    name: str
    score: int
    because: str


@dataclass(frozen=True, slots=True)
class InboxLine:
    """A line of a bank statement that nobody was found for."""

    id: str
    house_account: str
    booked_on: date
    amount_minor: int
    currency: str
    payer_name: str
    payer_shown: str
    remittance: str
    end_to_end_id: str
    bank_reference: str
    reversal: bool
    hints: list[Hint] = field(metadata={"csv": False})


@dataclass(frozen=True, slots=True)
class DecidedLine:
    """A line of a bank statement and what was decided of it."""

    id: str
    house_account: str
    booked_on: date
    amount_minor: int
    currency: str
    payer_name: str
    remittance: str
    state: str
    kind: str
    because: str
    by: str
    at: datetime
    payments: list[str]


async def unallocated(connection: AsyncConnection, *, limit: int = PAGE) -> list[UnallocatedRow]:
    """Payments with a rest, largest first."""
    query = (
        select(payment, account.c.number, account.c.name)
        .join(account, account.c.id == payment.c.account_id)
        .where(payment.c.unallocated_minor > 0)
        .order_by(payment.c.unallocated_minor.desc(), payment.c.id)
        .limit(limit)
    )
    return [
        UnallocatedRow(
            row.id, row.number, row.account_id, row.name, row.received_on, row.method, row.amount_minor,
            row.unallocated_minor, row.currency, row.by_hand,
        )
        for row in await connection.execute(query)
    ]  # fmt: skip


async def list_refunds(
    connection: AsyncConnection, *, due_only: bool = False, limit: int = PAGE
) -> list[RefundRow]:
    """Refunds, newest first."""
    rows = await money_out_rows.list_refunds(connection, due_only=due_only, limit=limit)
    return [
        RefundRow(
            row.id, row.account_number, row.account_id, row.account_name, row.ordered_on, row.method,
            row.amount_minor, row.currency, row.reason, row.outcome or "due", row.reference or "",
            row.told or "",
        )
        for row in rows
    ]  # fmt: skip


async def reversals_of(connection: AsyncConnection, payment_id: str) -> list[ReversalRow]:
    """What was taken back of a payment, in order."""
    undone = select(reversal.c.undoes).where(reversal.c.undoes.is_not(None))
    won = {row.undoes for row in await connection.execute(undone.where(reversal.c.payment_id == payment_id))}
    return [
        ReversalRow(
            row.id, row.kind, row.amount_minor, row.reason, row.happened_on, row.recorded_by, row.id in won
        )
        for row in await money_out_rows.reversals_of(connection, payment_id)
        if row.kind != "won"
    ]


async def open_invoices(connection: AsyncConnection, account_id: str) -> list[tuple[str, str, int]]:
    """``(id, number, open minor units)`` of an account's invoices that ask for money, oldest first."""
    query = (
        select(invoice.c.id, invoice.c.number, invoice.c.open_minor)
        .where(
            invoice.c.account_id == account_id, invoice.c.open_minor > 0, invoice.c.status == "finalised"
        )
        .order_by(invoice.c.due_on, invoice.c.number)
    )  # fmt: skip
    return [(row.id, row.number or "", row.open_minor) for row in await connection.execute(query)]


async def inbox(connection: AsyncConnection, *, limit: int = PAGE) -> list[InboxLine]:
    """Lines that wait, oldest first, each with whom it may be for."""
    rows = await bank_rows.list_lines(connection, limit=limit)
    hints = await suggest_accounts(connection, rows)
    names = await _names(connection, [one.account_id for told in hints.values() for one in told])
    return [
        InboxLine(
            row.id, row.house_account, row.booked_on, row.amount_minor, row.currency, row.payer_name,
            row.payer_shown, row.remittance, row.end_to_end_id, row.bank_reference, row.reversal,
            [
                Hint(one.account_id, *names[one.account_id], one.score, one.because)
                for one in hints[row.id]
                if one.account_id in names
            ],
        )
        for row in rows
    ]  # fmt: skip


async def _names(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, tuple[str, str]]:
    query = select(account.c.id, account.c.number, account.c.name).where(account.c.id.in_(ids[:600]))
    return {row.id: (row.number, row.name) for row in await connection.execute(query)}


async def decided(connection: AsyncConnection, *, limit: int = 30) -> list[DecidedLine]:
    """Lines that were assigned or ignored lately."""
    rows: list[Any] = []
    for state in ("assigned", "ignored"):
        rows += await bank_rows.list_lines(connection, state=state, limit=limit)
    found = []
    for row in sorted(rows, key=lambda one: (one.booked_on, one.id), reverse=True)[:limit]:
        last = (await bank_rows.decisions_of(connection, row.id))[-1]
        found.append(
            DecidedLine(
                row.id, row.house_account, row.booked_on, row.amount_minor, row.currency, row.payer_name,
                row.remittance, row.state, last.kind, last.because, last.by, last.at,
                [one["payment_id"] for one in last.parts],
            )
        )  # fmt: skip
    return found
