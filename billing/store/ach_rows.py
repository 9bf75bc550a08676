"""Originators, customers' bank accounts, batches of debits and what came back, in the database."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import bindparam, func, insert, or_, select, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.store.rows import insert_if_absent
from billing.store.tables import (
    account,
    ach_batch,
    ach_entry,
    ach_originator,
    ach_return,
    autopay,
    bank_account,
    bank_file,
    invoice,
)

# Originators and bank accounts


async def insert_originator(connection: AsyncConnection, values: dict[str, Any]) -> bool:
    """A new originator; False when its name is taken."""
    return await insert_if_absent(connection, ach_originator, values)


async def change_originator(connection: AsyncConnection, originator_id: str, profile: dict[str, Any]) -> None:
    """What the bank told anew; files that were made stay as they are."""
    await connection.execute(
        update(ach_originator).where(ach_originator.c.id == originator_id).values(profile=profile)
    )


async def find_originator(connection: AsyncConnection, id_or_name: str) -> Row[Any] | None:
    """The originator with that id or name."""
    query = select(ach_originator).where(
        or_(ach_originator.c.id == id_or_name, ach_originator.c.name == id_or_name)
    )
    return (await connection.execute(query)).one_or_none()


async def list_originators(connection: AsyncConnection) -> list[Row[Any]]:
    """Every originator by name."""
    return list(await connection.execute(select(ach_originator).order_by(ach_originator.c.name)))


async def insert_bank_account(connection: AsyncConnection, values: dict[str, Any]) -> None:
    """A customer's bank account."""
    await connection.execute(insert(bank_account).values(values))


async def find_bank_account(connection: AsyncConnection, bank_account_id: str) -> Row[Any] | None:
    """The bank account with that id."""
    query = select(bank_account).where(bank_account.c.id == bank_account_id)
    return (await connection.execute(query)).one_or_none()


async def bank_accounts_of(
    connection: AsyncConnection, account_id: str, *, ended_too: bool = False
) -> list[Row[Any]]:
    """The account's bank accounts, newest first."""
    query = (
        select(bank_account)
        .where(bank_account.c.account_id == account_id)
        .order_by(bank_account.c.recorded_at.desc(), bank_account.c.id.desc())
    )
    if not ended_too:
        query = query.where(bank_account.c.ended_at.is_(None))
    return list(await connection.execute(query))


async def end_bank_account(connection: AsyncConnection, bank_account_id: str, at: datetime, why: str) -> None:
    """No further debit from it."""
    await connection.execute(
        update(bank_account)
        .where(bank_account.c.id == bank_account_id, bank_account.c.ended_at.is_(None))
        .values(ended_at=at, ended_because=why, autopay=False)
    )


async def set_autopay(connection: AsyncConnection, bank_account_id: str, on: bool) -> None:
    """Whether due invoices are debited by themselves."""
    await connection.execute(
        update(bank_account).where(bank_account.c.id == bank_account_id).values(autopay=on)
    )


async def set_usable_from(connection: AsyncConnection, days: Mapping[str, date]) -> None:
    """From when debits may follow the prenotes that were sent."""
    if days:
        await connection.execute(
            update(bank_account)
            .where(bank_account.c.id == bindparam("b_id"))
            .values(usable_from=bindparam("b_day")),
            [{"b_id": one, "b_day": day} for one, day in days.items()],
        )


# Choosing


async def debtors_by_bank_account(connection: AsyncConnection, due_until: date) -> list[str]:
    """Accounts with an autopay bank account and an open invoice that is due by then."""
    query = (
        select(bank_account.c.account_id)
        .join(invoice, invoice.c.account_id == bank_account.c.account_id)
        .where(
            bank_account.c.ended_at.is_(None), bank_account.c.autopay, invoice.c.open_minor > 0,
            invoice.c.status == "finalised", invoice.c.due_on <= due_until,
        )
        .distinct()
        .order_by(bank_account.c.account_id)
    )  # fmt: skip
    return [row.account_id for row in await connection.execute(query)]


async def awaiting_prenote(connection: AsyncConnection) -> list[Row[Any]]:
    """Bank accounts whose prenote is in no batch yet that was not cancelled."""
    asked = (
        select(ach_entry.c.bank_account_id)
        .join(ach_batch, ach_batch.c.id == ach_entry.c.batch_id)
        .where(
            ach_entry.c.kind == "prenote", ach_entry.c.state != "removed", ach_batch.c.state != "cancelled"
        )
    )
    query = (
        select(bank_account)
        .where(
            bank_account.c.ended_at.is_(None), bank_account.c.usable_from.is_(None),
            bank_account.c.id.not_in(asked),
        )
        .order_by(bank_account.c.id)
    )  # fmt: skip
    return list(await connection.execute(query))


async def accounts_with_live_entry(connection: AsyncConnection, account_ids: Collection[str]) -> set[str]:
    """Those of the accounts with a debit that is drafted, approved or on its way."""
    query = (
        select(ach_entry.c.account_id)
        .join(ach_batch, ach_batch.c.id == ach_entry.c.batch_id)
        .where(
            ach_entry.c.account_id.in_(account_ids), ach_entry.c.kind == "debit",
            ach_entry.c.state.in_(["drafted", "in_flight"]), ach_batch.c.state != "cancelled",
        )
    )  # fmt: skip
    return {row.account_id for row in await connection.execute(query)}


async def accounts_paying_by_gateway(connection: AsyncConnection, account_ids: Collection[str]) -> set[str]:
    """Those of the accounts whose invoices a gateway collects by itself."""
    query = select(autopay.c.account_id).where(autopay.c.account_id.in_(account_ids), autopay.c.enabled)
    return {row.account_id for row in await connection.execute(query)}


# Batches


async def insert_batch(
    connection: AsyncConnection, values: dict[str, Any], entries: Sequence[dict[str, Any]]
) -> None:
    """A draft with its entries."""
    await connection.execute(insert(ach_batch).values(values))
    if entries:
        await connection.execute(insert(ach_entry), list(entries))


async def lock_batch(connection: AsyncConnection, batch_id: str) -> Row[Any] | None:
    """The batch, held against other writers until this transaction ends."""
    query = select(ach_batch).where(ach_batch.c.id == batch_id).with_for_update()
    return (await connection.execute(query)).one_or_none()


async def change_batch(connection: AsyncConnection, batch_id: str, **values: Any) -> None:
    """Another state of the batch."""
    await connection.execute(update(ach_batch).where(ach_batch.c.id == batch_id).values(**values))


async def modifiers_used(connection: AsyncConnection, originator_id: str, day: date) -> set[str]:
    """The file id modifiers of that day's files."""
    query = select(ach_batch.c.file_modifier).where(
        ach_batch.c.originator_id == originator_id, ach_batch.c.file_made_on == day
    )
    return {row.file_modifier for row in await connection.execute(query)}


async def entries_of(connection: AsyncConnection, batch_id: str) -> list[Row[Any]]:
    """The batch's entries with account and bank account, in order of account number."""
    query = (
        select(
            ach_entry, account.c.number.label("account_number"), account.c.name.label("account_name"),
            bank_account.c.holder_name, bank_account.c.account_type, bank_account.c.routing_number,
            bank_account.c.number_sealed, bank_account.c.last_four, bank_account.c.sec_code,
            bank_account.c.ended_at.label("bank_account_ended_at"),
        )
        .join(account, account.c.id == ach_entry.c.account_id)
        .join(bank_account, bank_account.c.id == ach_entry.c.bank_account_id)
        .where(ach_entry.c.batch_id == batch_id)
        .order_by(account.c.number, ach_entry.c.id)
    )  # fmt: skip
    return list(await connection.execute(query))


async def set_entry(connection: AsyncConnection, entry_id: str, **values: Any) -> None:
    """Another state of one entry."""
    await connection.execute(update(ach_entry).where(ach_entry.c.id == entry_id).values(**values))


async def entry_of_trace(connection: AsyncConnection, trace_number: str) -> Row[Any] | None:
    """The entry that was sent with that trace number, with its batch's days."""
    query = (
        select(ach_entry, ach_batch.c.effective_on, ach_batch.c.settles_on)
        .join(ach_batch, ach_batch.c.id == ach_entry.c.batch_id)
        .where(ach_entry.c.trace_number == trace_number)
    )
    return (await connection.execute(query)).one_or_none()


async def entries_to_settle(connection: AsyncConnection, today: date, limit: int) -> list[Row[Any]]:
    """Debits in flight whose money counts from ``today`` or before."""
    query = (
        select(ach_entry.c.id, ach_entry.c.account_id, ach_entry.c.payment_id, ach_batch.c.settles_on)
        .join(ach_batch, ach_batch.c.id == ach_entry.c.batch_id)
        .where(ach_entry.c.state == "in_flight", ach_batch.c.settles_on <= today)
        .order_by(ach_entry.c.account_id, ach_entry.c.id)
        .limit(limit)
    )
    return list(await connection.execute(query))


async def list_batches(connection: AsyncConnection, limit: int = 100) -> list[Row[Any]]:
    """Batches with originator, count and sum of what is not removed, newest first."""
    counted = ach_entry.c.state != "removed"
    query = (
        select(
            ach_batch.c.id, ach_batch.c.state, ach_batch.c.effective_on, ach_batch.c.same_day,
            ach_batch.c.drafted_at, ach_batch.c.drafted_by, ach_batch.c.approved_by, ach_batch.c.sent_at,
            ach_batch.c.settles_on, ach_batch.c.file_name, ach_batch.c.file_sha256,
            ach_originator.c.name.label("originator"), func.count(ach_entry.c.id).label("entries"),
            func.coalesce(func.sum(ach_entry.c.amount_minor), 0).label("total_minor"),
        )
        .join(ach_originator, ach_originator.c.id == ach_batch.c.originator_id)
        .outerjoin(ach_entry, (ach_entry.c.batch_id == ach_batch.c.id) & counted)
        .group_by(ach_batch.c.id, ach_originator.c.name)
        .order_by(ach_batch.c.drafted_at.desc(), ach_batch.c.id.desc())
        .limit(limit)
    )  # fmt: skip
    return list(await connection.execute(query))


# Files that came, and returns


async def insert_file(connection: AsyncConnection, values: dict[str, Any]) -> bool:
    """A file from a bank; False when the same octets came before."""
    return await insert_if_absent(connection, bank_file, values)


async def file_of_hash(connection: AsyncConnection, kind: str, sha256: str) -> Row[Any] | None:
    """The file with those octets."""
    query = select(bank_file).where(bank_file.c.kind == kind, bank_file.c.sha256 == sha256)
    return (await connection.execute(query)).one_or_none()


async def set_summary(connection: AsyncConnection, file_id: str, summary: dict[str, Any]) -> None:
    """What a file changed."""
    await connection.execute(update(bank_file).where(bank_file.c.id == file_id).values(summary=summary))


async def list_files(connection: AsyncConnection, kinds: Collection[str], limit: int = 100) -> list[Row[Any]]:
    """Files of those kinds, newest first."""
    query = (
        select(bank_file)
        .where(bank_file.c.kind.in_(kinds))
        .order_by(bank_file.c.imported_at.desc(), bank_file.c.id.desc())
        .limit(limit)
    )
    return list(await connection.execute(query))


async def insert_return(connection: AsyncConnection, values: dict[str, Any]) -> bool:
    """An answer to an entry; False when it is on record."""
    return await insert_if_absent(connection, ach_return, values)


async def list_returns(
    connection: AsyncConnection, *, file_id: str = "", account_id: str = "", limit: int = 200
) -> list[Row[Any]]:
    """Answers with the accounts they concern, newest first."""
    query = (
        select(ach_return, account.c.id.label("account_id"), account.c.number.label("account_number"),
               account.c.name.label("account_name"), ach_entry.c.payment_id)
        .outerjoin(ach_entry, ach_entry.c.id == ach_return.c.entry_id)
        .outerjoin(account, account.c.id == ach_entry.c.account_id)
        .order_by(ach_return.c.recorded_at.desc(), ach_return.c.id.desc())
        .limit(limit)
    )  # fmt: skip
    if file_id:
        query = query.where(ach_return.c.bank_file_id == file_id)
    if account_id:
        query = query.where(account.c.id == account_id)
    return list(await connection.execute(query))
