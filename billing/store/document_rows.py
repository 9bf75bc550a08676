"""Looks of documents, their files, and what documents are made of beside an invoice's own rows."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime
from typing import Any

from sqlalchemy import func, insert, or_, select
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.ledger import CUSTOMER_CREDIT, RECEIVABLE
from billing.store.tables import (
    account,
    allocation,
    document_file,
    document_look,
    invoice,
    invoice_line,
    ledger_entry,
    payment,
    posting,
    subscription,
)
from billing.store.write_off_rows import sums_by_invoice

# Looks


async def look_at(connection: AsyncConnection, brand: str, at: datetime | None) -> Row[Any] | None:
    """The look in force at an instant (None: now); for an earlier one than the first, the first."""
    of_brand = select(document_look).where(document_look.c.brand == brand)
    newest = of_brand.order_by(document_look.c.since.desc(), document_look.c.id.desc()).limit(1)
    if at is None:
        return (await connection.execute(newest)).one_or_none()
    found = (await connection.execute(newest.where(document_look.c.since <= at))).one_or_none()
    if found is not None:
        return found
    oldest = of_brand.order_by(document_look.c.since, document_look.c.id).limit(1)
    return (await connection.execute(oldest)).one_or_none()


async def brands(connection: AsyncConnection) -> list[str]:
    """Every brand that has a look of its own."""
    return list((await connection.execute(select(document_look.c.brand).distinct())).scalars())


async def insert_look(connection: AsyncConnection, values: dict[str, Any]) -> None:
    """Another look, from now on."""
    await connection.execute(insert(document_look).values(values))


async def insert_file(connection: AsyncConnection, values: dict[str, Any]) -> None:
    """A logo or a template."""
    await connection.execute(insert(document_file).values(values))


async def files(connection: AsyncConnection, ids: Collection[str]) -> dict[str, Row[Any]]:
    """Stored files by their ids."""
    if not ids:
        return {}
    query = select(document_file).where(document_file.c.id.in_(ids))
    return {row.id: row for row in await connection.execute(query)}


# What documents are made of


async def invoice_row(connection: AsyncConnection, id_or_number: str) -> Row[Any] | None:
    """The invoice with its account's zone and locale, and the number of the invoice that it corrects."""
    corrected = invoice.alias("corrected")
    query = (
        select(
            invoice, account.c.time_zone, account.c.locale.label("account_locale"),
            corrected.c.number.label("corrects_number"),
        )
        .join(account, account.c.id == invoice.c.account_id)
        .outerjoin(corrected, corrected.c.id == invoice.c.corrects_id)
        .where(or_(invoice.c.id == id_or_number, invoice.c.number == id_or_number))
    )  # fmt: skip
    return (await connection.execute(query)).one_or_none()


async def lines_of(connection: AsyncConnection, invoice_id: str) -> list[Row[Any]]:
    """The lines in their order, each with the service and the number of the account it is for, if any."""
    query = (
        select(
            invoice_line, subscription.c.service_id, subscription.c.account_id,
            account.c.number.label("account_number"),
        )
        .outerjoin(subscription, subscription.c.id == invoice_line.c.subscription_id)
        .outerjoin(account, account.c.id == subscription.c.account_id)
        .where(invoice_line.c.invoice_id == invoice_id)
        .order_by(invoice_line.c.position)
    )  # fmt: skip
    return list(await connection.execute(query))


async def charged_for_others(
    connection: AsyncConnection, account_id: str, from_on: date, until_on: date
) -> list[Row[Any]]:
    """Net charges on the account's documents of those days, for each account that it pays for."""
    query = (
        select(
            account.c.id, account.c.number, account.c.name,
            func.sum(invoice_line.c.amount_minor).label("amount_minor"),
        )
        .select_from(invoice_line)
        .join(invoice, invoice.c.id == invoice_line.c.invoice_id)
        .join(subscription, subscription.c.id == invoice_line.c.subscription_id)
        .join(account, account.c.id == subscription.c.account_id)
        .where(
            invoice.c.account_id == account_id, invoice.c.issued_on.between(from_on, until_on),
            subscription.c.account_id != account_id,
        )
        .group_by(account.c.id, account.c.number, account.c.name)
        .order_by(account.c.number)
    )  # fmt: skip
    return list(await connection.execute(query))


async def payments_on(connection: AsyncConnection, invoice_id: str) -> list[Row[Any]]:
    """Allocations to the invoice, in order, each with its instant and the payment's day and method."""
    query = (
        select(payment.c.received_on, payment.c.method, allocation.c.amount_minor, allocation.c.at)
        .join(payment, payment.c.id == allocation.c.payment_id)
        .where(allocation.c.invoice_id == invoice_id)
        .order_by(allocation.c.at, allocation.c.id)
    )
    return list(await connection.execute(query))


async def invoices_to_print(
    connection: AsyncConnection, *, bill_run_id: str | None = None, from_on: date | None = None,
    until_on: date | None = None, delivery: str | None = None, account_id: str | None = None,
) -> list[str]:  # fmt: skip
    """Ids of numbered invoices of a run, of days of issue (both included), of accounts with a delivery."""
    query = (
        select(invoice.c.id)
        .join(account, account.c.id == invoice.c.account_id)
        .where(invoice.c.number.is_not(None))
        .order_by(invoice.c.number)
    )
    if bill_run_id:
        query = query.where(invoice.c.bill_run_id == bill_run_id)
    if from_on:
        query = query.where(invoice.c.issued_on >= from_on)
    if until_on:
        query = query.where(invoice.c.issued_on <= until_on)
    if delivery:
        query = query.where(account.c.delivery == delivery)
    if account_id:
        query = query.where(invoice.c.account_id == account_id)
    return list((await connection.execute(query)).scalars())


async def account_row(connection: AsyncConnection, id_or_number: str) -> Row[Any] | None:
    """The account with that id or number."""
    query = select(account).where(or_(account.c.id == id_or_number, account.c.number == id_or_number))
    return (await connection.execute(query)).one_or_none()


async def owed_before(connection: AsyncConnection, account_id: str, day: date) -> int:
    """What the account owed (negative: its credit) by the entries booked before ``day``."""
    query = (
        select(func.coalesce(func.sum(posting.c.amount_minor), 0))
        .join(ledger_entry, ledger_entry.c.id == posting.c.entry_id)
        .where(
            posting.c.account_id == account_id,
            posting.c.ledger_account.in_([RECEIVABLE, CUSTOMER_CREDIT]),
            ledger_entry.c.booked_on < day,
        )
    )
    return int((await connection.execute(query)).scalar_one())


async def movements(
    connection: AsyncConnection, account_id: str, from_on: date, until_on: date
) -> list[Row[Any]]:
    """Entries that changed what the account owes, booked on those days (both included), in order."""
    moved = func.sum(posting.c.amount_minor)
    query = (
        select(
            ledger_entry.c.booked_on, ledger_entry.c.source_kind, ledger_entry.c.source_id,
            ledger_entry.c.description, ledger_entry.c.recorded_at, moved.label("amount_minor"),
        )
        .join(posting, posting.c.entry_id == ledger_entry.c.id)
        .where(
            posting.c.account_id == account_id,
            posting.c.ledger_account.in_([RECEIVABLE, CUSTOMER_CREDIT]),
            ledger_entry.c.booked_on.between(from_on, until_on),
        )
        .group_by(
            ledger_entry.c.id, ledger_entry.c.booked_on, ledger_entry.c.source_kind, ledger_entry.c.source_id,
            ledger_entry.c.description, ledger_entry.c.recorded_at,
        )
        .having(moved != 0)
        .order_by(ledger_entry.c.booked_on, ledger_entry.c.recorded_at, ledger_entry.c.id)
    )  # fmt: skip
    return list(await connection.execute(query))


async def open_at(
    connection: AsyncConnection, account_id: str, day: date
) -> list[tuple[str, date, date, int]]:
    """``(number, issued on, due on, open)`` of invoices issued up to ``day``, as they were at its end.

    What was allocated is counted by the day it was booked, as the ledger says.
    """
    paid = (
        select(allocation.c.invoice_id, func.sum(allocation.c.amount_minor).label("paid"))
        .join(
            ledger_entry,
            (ledger_entry.c.source_kind == "allocation") & (ledger_entry.c.source_id == allocation.c.id),
        )
        .where(ledger_entry.c.booked_on <= day)
        .group_by(allocation.c.invoice_id)
        .subquery()
    )
    lost = sums_by_invoice(day)
    left = invoice.c.total_minor - func.coalesce(paid.c.paid, 0) - func.coalesce(lost.c.given_up, 0)
    query = (
        select(invoice.c.number, invoice.c.issued_on, invoice.c.due_on, left)
        .outerjoin(paid, paid.c.invoice_id == invoice.c.id)
        .outerjoin(lost, lost.c.invoice_id == invoice.c.id)
        .where(
            invoice.c.account_id == account_id,
            invoice.c.issued_on <= day,
            invoice.c.total_minor > 0,
            left > 0,
        )
        .order_by(invoice.c.due_on, invoice.c.number)
    )
    return [(row[0], row[1], row[2], int(row[3])) for row in await connection.execute(query)]


async def payment_row(connection: AsyncConnection, payment_id: str) -> Row[Any] | None:
    """The payment with that id."""
    return (await connection.execute(select(payment).where(payment.c.id == payment_id))).one_or_none()


async def paid_by(connection: AsyncConnection, payment_id: str, until: datetime) -> list[tuple[str, int]]:
    """``(invoice number, amount)`` that the payment had paid at an instant."""
    total = func.sum(allocation.c.amount_minor)
    query = (
        select(invoice.c.number, total)
        .join(invoice, invoice.c.id == allocation.c.invoice_id)
        .where(allocation.c.payment_id == payment_id, allocation.c.at <= until)
        .group_by(invoice.c.number)
        .having(total != 0)
        .order_by(invoice.c.number)
    )
    return [(row[0], int(row[1])) for row in await connection.execute(query)]


async def takings(
    connection: AsyncConnection, from_on: date, until_on: date, methods: Collection[str], currency: str
) -> list[Row[Any]]:
    """Payments received on those days by those methods that were not taken back, with their accounts."""
    query = (
        select(payment, account.c.number.label("account_number"), account.c.name.label("account_name"))
        .join(account, account.c.id == payment.c.account_id)
        .where(
            payment.c.received_on.between(from_on, until_on),
            payment.c.method.in_(methods),
            payment.c.currency == currency,
            payment.c.reversed_at.is_(None),
        )
        .order_by(payment.c.method, payment.c.received_on, payment.c.id)
    )
    return list(await connection.execute(query))
