"""Accounts: rows to values and back."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, exists, insert, or_, select, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.catalogue import Account
from billing.store.rows import insert_if_absent
from billing.store.tables import (
    account,
    charge,
    dunning_state,
    invoice,
    payer_change,
    payment,
    posting,
    subscription,
)
from core.store.among import among

EARLIEST_INVOICE_DAYS = 28
"""An invoice is issued at most so many days before its cycle turns."""

_ACCOUNT = [
    account.c[name]
    for name in (
        "id", "number", "name", "email", "phone", "street", "city", "region", "postal_code", "country",
        "currency", "time_zone", "anchor_day", "payment_terms_days", "dunning_policy_id", "next_cycle_on",
        "closed_on", "account_class", "payer_account_id", "entity_id", "cycle_unit", "cycle_count",
        "cycle_from", "invoice_offset_days", "locale", "delivery", "former_cycles",
    )
]  # fmt: skip


async def insert_account(connection: AsyncConnection, values: dict[str, Any]) -> bool:
    """A new account; False when its number is taken."""
    return await insert_if_absent(connection, account, values)


async def find_account(connection: AsyncConnection, id_or_number: str) -> Account | None:
    """The account with that id or number."""
    query = select(*_ACCOUNT).where(or_(account.c.id == id_or_number, account.c.number == id_or_number))
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else Account(*row)


async def lock_account(connection: AsyncConnection, account_id: str) -> Account | None:
    """The account, held against other writers until this transaction ends."""
    query = select(*_ACCOUNT).where(account.c.id == account_id).with_for_update()
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else Account(*row)


async def lock_accounts(connection: AsyncConnection, account_ids: Collection[str]) -> list[Account]:
    """Several accounts, locked in the order of their ids so that no two transactions wait for each other."""
    query = (
        select(*_ACCOUNT)
        .where(among(connection, account.c.id, account_ids))
        .order_by(account.c.id)
        .with_for_update()
    )
    return [Account(*row) for row in await connection.execute(query)]


async def accounts_by_id(connection: AsyncConnection, account_ids: Collection[str]) -> dict[str, Account]:
    """The accounts, not locked."""
    query = select(*_ACCOUNT).where(among(connection, account.c.id, account_ids))
    return {row.id: Account(*row) for row in await connection.execute(query)}


async def paid_for(connection: AsyncConnection, payer_ids: Collection[str]) -> list[Account]:
    """The accounts that others among ``payer_ids`` pay for."""
    query = (
        select(*_ACCOUNT)
        .where(among(connection, account.c.payer_account_id, payer_ids))
        .order_by(account.c.id)
    )
    return [Account(*row) for row in await connection.execute(query)]


async def accounts_due(connection: AsyncConnection, latest: date) -> list[tuple[str, str, date, int]]:
    """``(account id, time zone, next cycle, offset)`` of accounts whose invoice may be due by ``latest``."""
    query = (
        select(account.c.id, account.c.time_zone, account.c.next_cycle_on, account.c.invoice_offset_days)
        .where(account.c.next_cycle_on <= latest + timedelta(days=EARLIEST_INVOICE_DAYS))
        .order_by(account.c.id)
    )
    return [(row[0], row[1], row[2], row[3]) for row in await connection.execute(query)]


async def set_next_cycle(connection: AsyncConnection, account_id: str, day: date | None) -> None:
    """Note which cycle is to be invoiced next."""
    await set_next_cycles(connection, [(account_id, day)])


async def set_next_cycles(connection: AsyncConnection, turns: Sequence[tuple[str, date | None]]) -> None:
    """Note for many accounts which cycle is to be invoiced next."""
    if turns:
        await connection.execute(
            update(account).where(account.c.id == bindparam("b_id")).values(next_cycle_on=bindparam("b_day")),
            [{"b_id": account_id, "b_day": day} for account_id, day in turns],
        )


async def set_cycle_origin(connection: AsyncConnection, account_id: str, day: date) -> None:
    """The day from which the account's cycles are counted."""
    await connection.execute(update(account).where(account.c.id == account_id).values(cycle_from=day))


async def insert_dunning_state(connection: AsyncConnection, values: dict[str, Any]) -> None:
    """The state every account is born with: clear."""
    await connection.execute(insert(dunning_state).values(values))


async def account_number_taken(connection: AsyncConnection, number: str) -> bool:
    """Whether an account carries the number."""
    return bool((await connection.execute(select(exists().where(account.c.number == number)))).scalar())


async def update_account(connection: AsyncConnection, account_id: str, values: Mapping[str, Any]) -> None:
    """What an operator changed."""
    await connection.execute(update(account).where(account.c.id == account_id).values(**values))


async def has_money(connection: AsyncConnection, account_id: str) -> bool:
    """Whether anything in a currency is on record: a subscription, charge, invoice, payment or posting."""
    for table in (subscription, charge, invoice, payment, posting):
        found = select(exists().where(table.c.account_id == account_id))
        if (await connection.execute(found)).scalar():
            return True
    return False


async def has_postings(connection: AsyncConnection, account_id: str) -> bool:
    """Whether the ledger has anything of the account."""
    return bool(
        (await connection.execute(select(exists().where(posting.c.account_id == account_id)))).scalar()
    )


# Who pays for whom, by day


async def insert_payer(connection: AsyncConnection, values: Mapping[str, Any]) -> None:
    """Who pays for an account from a day on."""
    await connection.execute(insert(payer_change).values(**values))


async def payers_waiting(
    connection: AsyncConnection, *, account_id: str | None = None, latest: date | None = None
) -> list[Row[Any]]:
    """What is planned for a day to come, of one account or of all, up to a day; with the account's zone."""
    query = (
        select(payer_change, account.c.time_zone)
        .join(account, account.c.id == payer_change.c.account_id)
        .where(payer_change.c.applied_at.is_(None), payer_change.c.withdrawn_at.is_(None))
        .order_by(payer_change.c.from_on, payer_change.c.id)
    )
    if account_id is not None:
        query = query.where(payer_change.c.account_id == account_id)
    if latest is not None:
        query = query.where(payer_change.c.from_on <= latest)
    return list(await connection.execute(query))


async def payers_of(connection: AsyncConnection, account_id: str) -> list[Row[Any]]:
    """Who paid for the account and will, newest first, with the payer's number and name."""
    payer = account.alias()
    query = (
        select(payer_change, payer.c.number, payer.c.name)
        .outerjoin(payer, payer.c.id == payer_change.c.payer_id)
        .where(payer_change.c.account_id == account_id)
        .order_by(payer_change.c.from_on.desc(), payer_change.c.recorded_at.desc(), payer_change.c.id)
    )
    return list(await connection.execute(query))


async def end_waiting_payers(connection: AsyncConnection, account_id: str, now: datetime) -> int:
    """Withdraw what was planned for a day to come; how many that were."""
    done = await connection.execute(
        update(payer_change)
        .where(
            payer_change.c.account_id == account_id,
            payer_change.c.applied_at.is_(None),
            payer_change.c.withdrawn_at.is_(None),
        )
        .values(withdrawn_at=now)
    )
    return done.rowcount


async def mark_payer_applied(connection: AsyncConnection, payer_row_id: str, now: datetime) -> None:
    """Its day came."""
    await connection.execute(
        update(payer_change).where(payer_change.c.id == payer_row_id).values(applied_at=now)
    )
