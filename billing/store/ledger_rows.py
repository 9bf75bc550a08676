"""The ledger in the database: rows are inserted and read, never changed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.ledger import CUSTOMER_CREDIT, RECEIVABLE, Entry
from billing.store.tables import (
    allocation,
    credit_use,
    deposit,
    invoice,
    invoice_line,
    ledger_entry,
    payment,
    posting,
    refund,
    reversal,
)
from core.ids import IdSource


async def book(connection: AsyncConnection, now: datetime, ids: IdSource, entries: Sequence[Entry]) -> None:
    """Write balanced entries; a second entry for the same source breaks a unique key and raises."""
    if not entries:
        return
    numbered = [(ids.new("le"), entry) for entry in entries]
    await connection.execute(
        insert(ledger_entry),
        [
            {
                "id": entry_id, "booked_on": entry.booked_on, "source_kind": entry.source_kind,
                "source_id": entry.source_id, "description": entry.description, "recorded_at": now,
            }
            for entry_id, entry in numbered
        ],
    )  # fmt: skip
    postings = [
        {
            "entry_id": entry_id, "ledger_account": one.ledger_account, "account_id": one.account_id,
            "currency": entry.currency, "amount_minor": one.amount_minor,
        }
        for entry_id, entry in numbered
        for one in entry.postings
    ]  # fmt: skip
    if postings:
        await connection.execute(insert(posting), postings)


async def balances(connection: AsyncConnection) -> list[tuple[str, str, int]]:
    """``(ledger account, currency, sum)`` of the whole ledger."""
    query = (
        select(posting.c.ledger_account, posting.c.currency, func.sum(posting.c.amount_minor))
        .group_by(posting.c.ledger_account, posting.c.currency)
        .order_by(posting.c.currency, posting.c.ledger_account)
    )
    return [(row[0], row[1], int(row[2])) for row in await connection.execute(query)]


async def balance_of(connection: AsyncConnection, account_id: str) -> int:
    """What the account owes (negative: its credit), from the postings alone."""
    query = select(func.coalesce(func.sum(posting.c.amount_minor), 0)).where(
        posting.c.account_id == account_id,
        posting.c.ledger_account.in_([RECEIVABLE, CUSTOMER_CREDIT]),
    )
    return int((await connection.execute(query)).scalar_one())


async def unbalanced_entries(connection: AsyncConnection) -> list[tuple[str, int]]:
    """Entries whose postings do not sum to zero in each currency."""
    total = func.sum(posting.c.amount_minor)
    query = (
        select(posting.c.entry_id, total)
        .group_by(posting.c.entry_id, posting.c.currency)
        .having(total != 0)
        .order_by(posting.c.entry_id)
    )
    return [(row[0], int(row[1])) for row in await connection.execute(query)]


async def account_sums(connection: AsyncConnection, ledger_account: str) -> dict[str, int]:
    """The ledger's sum of ``receivable`` or ``customer_credit`` by account; zeros left out."""
    query = (
        select(func.coalesce(posting.c.account_id, "nobody"), func.sum(posting.c.amount_minor))
        .where(posting.c.ledger_account == ledger_account)
        .group_by(posting.c.account_id)
    )
    return {row[0]: int(row[1]) for row in await connection.execute(query) if row[1]}


async def open_sums(connection: AsyncConnection) -> dict[str, int]:
    """What invoices say is open, by account; zeros left out."""
    query = select(invoice.c.account_id, func.sum(invoice.c.open_minor)).group_by(invoice.c.account_id)
    return {row[0]: int(row[1]) for row in await connection.execute(query) if row[1]}


async def unallocated_sums(connection: AsyncConnection) -> dict[str, int]:
    """What payments say is unallocated, by account; zeros left out."""
    query = select(payment.c.account_id, func.sum(payment.c.unallocated_minor)).group_by(payment.c.account_id)
    return {row[0]: int(row[1]) for row in await connection.execute(query) if row[1]}


async def invoices_out_of_sum(connection: AsyncConnection) -> list[Any]:
    """Invoices whose parts contradict each other: lines, net, tax, total, allocations, open amount."""
    allocated = (
        select(allocation.c.invoice_id, func.sum(allocation.c.amount_minor).label("paid"))
        .group_by(allocation.c.invoice_id)
        .subquery()
    )
    lines = (
        select(invoice_line.c.invoice_id, func.sum(invoice_line.c.amount_minor).label("charged"))
        .group_by(invoice_line.c.invoice_id)
        .subquery()
    )
    paid, charged = func.coalesce(allocated.c.paid, 0), func.coalesce(lines.c.charged, 0)
    settled = func.max if connection.dialect.name == "sqlite" else func.greatest
    claim = settled(invoice.c.total_minor, 0)  # a negative invoice became credit at once
    query = (
        select(
            invoice.c.number, invoice.c.net_minor, invoice.c.tax_minor, invoice.c.total_minor,
            invoice.c.open_minor, paid.label("paid"), charged.label("charged"),
        )
        .outerjoin(allocated, allocated.c.invoice_id == invoice.c.id)
        .outerjoin(lines, lines.c.invoice_id == invoice.c.id)
        .where(
            (invoice.c.net_minor + invoice.c.tax_minor != invoice.c.total_minor)
            | (charged != invoice.c.total_minor)
            | (invoice.c.open_minor != claim - paid)
        )
        .order_by(invoice.c.number)
    )  # fmt: skip
    return list(await connection.execute(query))


async def payments_out_of_sum(connection: AsyncConnection) -> list[Any]:
    """Payments whose allocations, other uses and rest are not their amount."""
    allocated = (
        select(allocation.c.payment_id, func.sum(allocation.c.amount_minor).label("used"))
        .group_by(allocation.c.payment_id)
        .subquery()
    )
    elsewhere = (
        select(credit_use.c.payment_id, func.sum(credit_use.c.amount_minor).label("used"))
        .group_by(credit_use.c.payment_id)
        .subquery()
    )
    used = func.coalesce(allocated.c.used, 0) + func.coalesce(elsewhere.c.used, 0)
    query = (
        select(payment.c.id, payment.c.amount_minor, payment.c.unallocated_minor, used.label("used"))
        .outerjoin(allocated, allocated.c.payment_id == payment.c.id)
        .outerjoin(elsewhere, elsewhere.c.payment_id == payment.c.id)
        .where(used + payment.c.unallocated_minor != payment.c.amount_minor)
        .order_by(payment.c.id)
    )
    return list(await connection.execute(query))


async def sources_without_entry(connection: AsyncConnection) -> list[tuple[str, str]]:
    """Invoices, payments and whatever moves their money that the ledger knows nothing of."""
    missing: list[tuple[str, str]] = []
    booked_tables = (
        ("invoice", invoice), ("payment", payment), ("allocation", allocation), ("reversal", reversal),
        ("refund", refund), ("deposit", deposit),
    )  # fmt: skip
    for kind, table in booked_tables:
        booked = select(ledger_entry.c.source_id).where(ledger_entry.c.source_kind == kind)
        query = select(table.c.id).where(table.c.id.not_in(booked)).order_by(table.c.id)
        missing += [(kind, row.id) for row in await connection.execute(query)]
    return missing


async def invoice_numbers(connection: AsyncConnection) -> list[str]:
    """Every invoice number, in order of issue."""
    query = select(invoice.c.number).where(invoice.c.number.is_not(None)).order_by(invoice.c.number)
    return [row.number for row in await connection.execute(query)]
