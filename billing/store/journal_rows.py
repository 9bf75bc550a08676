"""The ledger read for people and other books: entries, their postings and the customers behind them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Select, and_, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.store.closing_rows import beyond
from billing.store.tables import account, invoice, ledger_code, ledger_entry, payment, posting

_PAGE = 2_000


@dataclass(frozen=True, slots=True)
class Scope:
    """Which part of the books: days from ``first`` to ``last`` (both in it), a currency, an entity.

    ``entity_id``: None is every entity, an empty text the house's own.
    """

    first: date | None = None
    last: date | None = None
    currency: str | None = None
    entity_id: str | None = None


@dataclass(frozen=True, slots=True)
class JournalPosting:
    """One side of an entry, with the customer it is kept for."""

    ledger_account: str
    amount_minor: int
    customer_id: str | None
    customer_number: str | None
    customer_name: str | None


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """An entry as the books tell it."""

    id: str
    booked_on: date
    happened_on: date | None
    source_kind: str
    source_id: str
    description: str
    entity_id: str | None
    recorded_at: datetime
    currency: str
    postings: tuple[JournalPosting, ...]


def _entity(column: Any, entity_id: str | None) -> Any:
    return column.is_(None) if not entity_id else column == entity_id


def _entries(scope: Scope) -> Select[Any]:
    """Entries of a scope; the currency is a posting's, so entries of another one are left to the caller."""
    query = select(ledger_entry)
    if scope.first is not None:
        query = query.where(ledger_entry.c.booked_on >= scope.first)
    if scope.last is not None:
        query = query.where(ledger_entry.c.booked_on <= scope.last)
    if scope.entity_id is not None:
        query = query.where(_entity(ledger_entry.c.entity_id, scope.entity_id))
    return query


async def journal_pages(connection: AsyncConnection, scope: Scope) -> AsyncIterator[list[JournalEntry]]:
    """Every entry with postings, by day and id: always in the same order."""
    entry = ledger_entry.c
    after: tuple[date, str] | None = None
    while True:
        page = _entries(scope).order_by(entry.booked_on, entry.id).limit(_PAGE)
        if after is not None:
            page = page.where(beyond(entry.booked_on, entry.id, after))
        rows = (await connection.execute(page)).all()
        if not rows:
            return
        told = await with_postings(connection, rows, page.with_only_columns(entry.id))
        yield [one for one in told if scope.currency in (None, one.currency)]
        after = (rows[-1].booked_on, rows[-1].id)


async def journal_newest(
    connection: AsyncConnection, scope: Scope, *, ledger_account: str = "", account_id: str = "",
    source_kind: str = "", before: tuple[date, str] | None = None, limit: int = 100,
) -> list[JournalEntry]:  # fmt: skip
    """Entries with postings, newest day first; of a ledger account or heading, a customer, a kind.

    ``before``: go on after that day and id.
    """
    entry, side = ledger_entry.c, posting.c
    page = _entries(scope).order_by(entry.booked_on.desc(), entry.id.desc()).limit(limit)
    sides = select(side.seq).where(side.entry_id == entry.id)
    asked = sides
    if scope.currency is not None:
        asked = asked.where(side.currency == scope.currency)
    if ledger_account:
        under = side.ledger_account.startswith(f"{ledger_account}:", autoescape=True)
        asked = asked.where((side.ledger_account == ledger_account) | under)
    if account_id:
        asked = asked.where(side.account_id == account_id)
    page = page.where(asked.exists())
    if source_kind:
        page = page.where(entry.source_kind == source_kind)
    if before is not None:
        page = page.where(
            (entry.booked_on < before[0]) | and_(entry.booked_on == before[0], entry.id < before[1])
        )
    rows = (await connection.execute(page)).all()
    return await with_postings(connection, rows, page.with_only_columns(entry.id))


async def source_kinds(connection: AsyncConnection) -> list[str]:
    """Every kind of source that was booked."""
    query = select(ledger_entry.c.source_kind).distinct().order_by(ledger_entry.c.source_kind)
    return [row.source_kind for row in await connection.execute(query)]


async def with_postings(connection: AsyncConnection, rows: Any, chosen: Select[Any]) -> list[JournalEntry]:
    """Entries that have postings, in the order of ``rows``; ``chosen`` selects the same entries' ids."""
    ids = chosen.subquery()
    query = (
        select(
            posting.c.entry_id, posting.c.currency, posting.c.ledger_account, posting.c.amount_minor,
            posting.c.account_id, account.c.number, account.c.name,
        )
        .join(ids, ids.c.id == posting.c.entry_id)
        .outerjoin(account, account.c.id == posting.c.account_id)
        .order_by(posting.c.seq)
    )  # fmt: skip
    sides: dict[str, list[JournalPosting]] = {}
    currencies: dict[str, str] = {}
    for entry_id, currency, name, amount, owner, number, owner_name in await connection.execute(query):
        sides.setdefault(entry_id, []).append(JournalPosting(name, amount, owner, number, owner_name))
        currencies[entry_id] = currency
    return [
        JournalEntry(
            row.id, row.booked_on, row.happened_on, row.source_kind, row.source_id, row.description,
            row.entity_id, row.recorded_at, currencies[row.id], tuple(sides[row.id]),
        )
        for row in rows
        if row.id in sides
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class AccountUse:
    """A ledger account (of a customer, where they are told apart) with its sum in a scope."""

    ledger_account: str
    customer_number: str | None
    customer_name: str | None
    currency: str
    amount_minor: int
    first_on: date


async def account_uses(
    connection: AsyncConnection, scope: Scope, *, by_customer: bool = False
) -> list[AccountUse]:
    """What was moved in the scope, by ledger account and currency, in order."""
    entry, side = ledger_entry.c, posting.c
    told = [side.ledger_account, side.currency]
    owner = [account.c.number, account.c.name] if by_customer else []
    query = select(*told, func.sum(side.amount_minor), func.min(entry.booked_on), *owner).join(
        ledger_entry, entry.id == side.entry_id
    )
    if by_customer:
        query = query.outerjoin(account, account.c.id == side.account_id)
    if scope.first is not None:
        query = query.where(entry.booked_on >= scope.first)
    if scope.last is not None:
        query = query.where(entry.booked_on <= scope.last)
    if scope.currency is not None:
        query = query.where(side.currency == scope.currency)
    if scope.entity_id is not None:
        query = query.where(_entity(entry.entity_id, scope.entity_id))
    rows = (await connection.execute(query.group_by(*told, *owner))).all()
    found = [
        AccountUse(
            row[0], row[4] if by_customer else None, row[5] if by_customer else None, row[1], int(row[2]),
            row[3],
        )
        for row in rows
    ]  # fmt: skip
    return sorted(found, key=lambda one: (one.ledger_account, one.customer_number or "", one.currency))


async def codes(connection: AsyncConnection) -> dict[str, str]:
    """The operator's own codes by ledger account or heading."""
    rows = await connection.execute(select(ledger_code.c.ledger_account, ledger_code.c.code))
    return {row.ledger_account: row.code for row in rows}


def _pages(query: Select[Any], day: Any, key: Any, scope: Scope) -> Select[Any]:
    if scope.first is not None:
        query = query.where(day >= scope.first)
    if scope.last is not None:
        query = query.where(day <= scope.last)
    return query.order_by(day, key).limit(_PAGE)


async def _all_pages(
    connection: AsyncConnection, query: Select[Any], day: Any, key: Any, scope: Scope
) -> AsyncIterator[list[Any]]:
    """Rows by day and key; the first two columns of ``query`` are these."""
    page = _pages(query, day, key, scope)
    rows = list(await connection.execute(page))
    while rows:
        yield rows
        last = rows[-1]
        rows = list(await connection.execute(page.where(beyond(day, key, (last[0], last[1])))))


async def invoice_pages(connection: AsyncConnection, scope: Scope) -> AsyncIterator[list[Any]]:
    """Numbered invoices and credit notes by the day of issue, with their customers."""
    corrected = invoice.alias("corrected")
    query = (
        select(
            invoice.c.issued_on, invoice.c.number, invoice.c.kind, account.c.number.label("customer_number"),
            account.c.name.label("customer_name"), invoice.c.entity_id, invoice.c.due_on,
            invoice.c.cycle_start, invoice.c.cycle_end, invoice.c.currency, invoice.c.net_minor,
            invoice.c.tax_minor, invoice.c.total_minor, corrected.c.number.label("corrects"),
        )
        .join(account, account.c.id == invoice.c.account_id)
        .outerjoin(corrected, corrected.c.id == invoice.c.corrects_id)
        .where(invoice.c.number.is_not(None))
    )  # fmt: skip
    if scope.currency is not None:
        query = query.where(invoice.c.currency == scope.currency)
    if scope.entity_id is not None:
        query = query.where(_entity(invoice.c.entity_id, scope.entity_id))
    async for rows in _all_pages(connection, query, invoice.c.issued_on, invoice.c.number, scope):
        yield rows


async def payment_pages(connection: AsyncConnection, scope: Scope) -> AsyncIterator[list[Any]]:
    """Payments by the day they were received, with their customers."""
    query = select(
        payment.c.received_on, payment.c.id, account.c.number.label("customer_number"),
        account.c.name.label("customer_name"), account.c.entity_id, payment.c.method, payment.c.amount_minor,
        payment.c.currency, payment.c.received_at, payment.c.idempotency_key, payment.c.recorded_by,
        payment.c.note,
    ).join(account, account.c.id == payment.c.account_id)  # fmt: skip
    if scope.currency is not None:
        query = query.where(payment.c.currency == scope.currency)
    if scope.entity_id is not None:
        query = query.where(_entity(account.c.entity_id, scope.entity_id))
    async for rows in _all_pages(connection, query, payment.c.received_on, payment.c.id, scope):
        yield rows
