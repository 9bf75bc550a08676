"""The ledger in the database: rows are inserted and read, never changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import case, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.ledger import (
    CUSTOMER_CREDIT,
    DEPOSIT,
    DEPOSITS,
    RECEIVABLE,
    BookedEntry,
    Entry,
    entry_digest,
)
from billing.store import closing_rows
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
    write_off,
)
from billing.store.write_off_rows import sums_by_invoice
from core.ids import IdSource
from core.store.columns import to_microseconds
from core.store.many_rows import insert_many


async def book(connection: AsyncConnection, now: datetime, ids: IdSource, entries: Sequence[Entry]) -> None:
    """Write balanced entries; a second entry for the same source breaks a unique key and raises.

    What belongs to a closed or locked day is booked on the first open one (see `billing.domain.closing`).
    """
    if not entries:
        return
    await closing_rows.hold_days(connection)
    days = await closing_rows.find_open_days(connection)
    closes = await closing_rows.closes_of(
        connection, {one.booked_on for one in entries if days.closed_before(one.booked_on)}
    )
    postings: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    recorded_us = to_microseconds(now)
    for entry in entries:
        booked_on, happened_on = days.place(entry.booked_on)
        entry_id, supplement = ids.new("le"), closes.get(booked_on, 0)
        row = BookedEntry(
            entry_id, booked_on.isoformat(), happened_on.isoformat() if happened_on else None, supplement,
            entry.source_kind, entry.source_id, entry.description, entry.entity_id, recorded_us,
        )  # fmt: skip
        sides = [
            (one.ledger_account, one.account_id, entry.currency, one.amount_minor) for one in entry.postings
        ]
        rows.append({
            "id": entry_id, "booked_on": booked_on, "happened_on": happened_on, "supplement": supplement,
            "source_kind": entry.source_kind, "source_id": entry.source_id, "description": entry.description,
            "entity_id": entry.entity_id, "recorded_at": now, "digest": entry_digest(row, sides),
        })  # fmt: skip
        postings += [
            {
                "entry_id": entry_id, "ledger_account": name, "account_id": owner, "currency": currency,
                "amount_minor": amount,
            }
            for name, owner, currency, amount in sides
        ]  # fmt: skip
    await insert_many(connection, ledger_entry, rows)
    await insert_many(connection, posting, postings)


async def balances(connection: AsyncConnection, on: date | None = None) -> list[tuple[str, str, int]]:
    """``(ledger account, currency, sum)`` of the whole ledger, or as it stood at the end of a day."""
    query = select(posting.c.ledger_account, posting.c.currency, func.sum(posting.c.amount_minor))
    if on is not None:
        query = query.join(ledger_entry, ledger_entry.c.id == posting.c.entry_id)
        query = query.where(ledger_entry.c.booked_on <= on)
    query = query.group_by(posting.c.ledger_account, posting.c.currency).order_by(
        posting.c.currency, posting.c.ledger_account
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


async def currency_sums(connection: AsyncConnection) -> list[tuple[str, int]]:
    """The sum of all postings by currency: 0 each."""
    query = select(posting.c.currency, func.sum(posting.c.amount_minor)).group_by(posting.c.currency)
    return [(row[0], int(row[1])) for row in await connection.execute(query.order_by(posting.c.currency))]


async def ledger_accounts(connection: AsyncConnection) -> list[str]:
    """Every ledger account that has postings."""
    query = select(posting.c.ledger_account).group_by(posting.c.ledger_account)
    return [row[0] for row in await connection.execute(query.order_by(posting.c.ledger_account))]


async def stray_postings(connection: AsyncConnection) -> list[int]:
    """Postings whose entry is gone."""
    query = (
        select(posting.c.seq)
        .outerjoin(ledger_entry, ledger_entry.c.id == posting.c.entry_id)
        .where(ledger_entry.c.id.is_(None))
        .order_by(posting.c.seq)
        .limit(100)
    )
    return [row.seq for row in await connection.execute(query)]


@dataclass(frozen=True, slots=True)
class WrongBooking:
    """An invoice that the ledger tells otherwise than its lines."""

    number: str
    words: str


_SIDES = ("tax", "deferred", "deposits", "revenue")


async def invoices_booked_wrong(connection: AsyncConnection) -> list[WrongBooking]:
    """Invoices and credit notes whose tax, deferred, deposit or revenue lines are not what was booked."""
    line = invoice_line.c
    told = case(
        (line.kind == "tax", "tax"),
        (line.revenue == DEPOSIT, "deposits"),
        (line.deferred.is_(True) & line.period_start.is_not(None), "deferred"),
        else_="revenue",
    )
    lines = (
        select(
            line.invoice_id,
            *(func.sum(case((told == side, line.amount_minor), else_=0)).label(side) for side in _SIDES),
        )
        .group_by(line.invoice_id)
        .subquery()
    )
    name = posting.c.ledger_account
    of_side = {side: name == side if side == DEPOSITS else name.startswith(f"{side}:") for side in _SIDES}
    booked = (
        select(
            ledger_entry.c.source_id,
            *(
                func.sum(case((of_side[side], -posting.c.amount_minor), else_=0)).label(side)
                for side in _SIDES
            ),
        )
        .outerjoin(posting, posting.c.entry_id == ledger_entry.c.id)
        .where(ledger_entry.c.source_kind == "invoice")
        .group_by(ledger_entry.c.source_id)
        .subquery()
    )
    pairs = [(side, func.coalesce(lines.c[side], 0), func.coalesce(booked.c[side], 0)) for side in _SIDES]
    query = (
        select(invoice.c.number, *(part for _, said, kept in pairs for part in (said, kept)))
        .join(booked, booked.c.source_id == invoice.c.id)
        .outerjoin(lines, lines.c.invoice_id == invoice.c.id)
        .where(or_(*(said != kept for _, said, kept in pairs)))
        .order_by(invoice.c.number)
        .limit(100)
    )
    return [
        WrongBooking(row[0], "; ".join(
            f"{side}: lines {row[1 + 2 * place]}, ledger {row[2 + 2 * place]}"
            for place, side in enumerate(_SIDES)
            if row[1 + 2 * place] != row[2 + 2 * place]
        ))
        for row in await connection.execute(query)
    ]  # fmt: skip


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
    lost = sums_by_invoice()
    query = (
        select(
            invoice.c.number, invoice.c.net_minor, invoice.c.tax_minor, invoice.c.total_minor,
            invoice.c.open_minor, paid.label("paid"), charged.label("charged"),
        )
        .outerjoin(allocated, allocated.c.invoice_id == invoice.c.id)
        .outerjoin(lines, lines.c.invoice_id == invoice.c.id)
        .outerjoin(lost, lost.c.invoice_id == invoice.c.id)
        .where(
            (invoice.c.net_minor + invoice.c.tax_minor != invoice.c.total_minor)
            | (charged != invoice.c.total_minor)
            | (invoice.c.open_minor != claim - paid - func.coalesce(lost.c.given_up, 0))
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
    booked = select(ledger_entry.c.source_id).where(ledger_entry.c.source_kind.in_(["write_off", "recovery"]))
    query = select(write_off.c.id).where(write_off.c.id.not_in(booked)).order_by(write_off.c.id)
    missing += [("write_off", row.id) for row in await connection.execute(query)]
    return missing


async def invoice_numbers(connection: AsyncConnection) -> list[str]:
    """Every invoice number, in order of issue."""
    query = select(invoice.c.number).where(invoice.c.number.is_not(None)).order_by(invoice.c.number)
    return [row.number for row in await connection.execute(query)]
