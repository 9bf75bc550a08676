"""The house's bank accounts, their statements' lines, and what was decided of each, in the database."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, insert, or_, select, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.bank_matching import KnownAccount, KnownInvoice
from billing.store.rows import insert_if_absent
from billing.store.tables import (
    account,
    bank_line,
    bank_line_decision,
    bank_statement,
    house_account,
    invoice,
    payer_rule,
)


async def insert_house_account(connection: AsyncConnection, values: dict[str, Any]) -> bool:
    """A bank account of the house; False when its name is taken."""
    return await insert_if_absent(connection, house_account, values)


async def change_house_account(connection: AsyncConnection, house_account_id: str, **values: Any) -> None:
    """Another identification or mapping."""
    await connection.execute(
        update(house_account).where(house_account.c.id == house_account_id).values(**values)
    )


async def find_house_account(
    connection: AsyncConnection, id_or_name: str, *, lock: bool = False
) -> Row[Any] | None:
    """The house's account with that id or name; with ``lock`` held, so that imports follow one another."""
    query = select(house_account).where(
        or_(house_account.c.id == id_or_name, house_account.c.name == id_or_name)
    )
    return (await connection.execute(query.with_for_update() if lock else query)).one_or_none()


async def list_house_accounts(connection: AsyncConnection) -> list[Row[Any]]:
    """Every bank account of the house by name."""
    return list(await connection.execute(select(house_account).order_by(house_account.c.name)))


async def insert_statement(connection: AsyncConnection, values: dict[str, Any]) -> None:
    """A statement that came."""
    await connection.execute(insert(bank_statement).values(values))


async def set_new_lines(connection: AsyncConnection, statement_id: str, count: int) -> None:
    """How many of its lines were not known before."""
    await connection.execute(
        update(bank_statement).where(bank_statement.c.id == statement_id).values(new_lines=count)
    )


async def list_statements(connection: AsyncConnection, limit: int = 100) -> list[Row[Any]]:
    """Statements with the account they are of, newest first."""
    query = (
        select(bank_statement, house_account.c.name.label("house_account"), house_account.c.currency)
        .join(house_account, house_account.c.id == bank_statement.c.house_account_id)
        .order_by(bank_statement.c.recorded_at.desc(), bank_statement.c.id.desc())
        .limit(limit)
    )
    return list(await connection.execute(query))


async def known_keys(connection: AsyncConnection, house_account_id: str, keys: Sequence[str]) -> set[str]:
    """Those of the keys that are lines already."""
    found: set[str] = set()
    for start in range(0, len(keys), 500):
        query = select(bank_line.c.line_key).where(
            bank_line.c.house_account_id == house_account_id,
            bank_line.c.line_key.in_(keys[start : start + 500]),
        )
        found |= {row.line_key for row in await connection.execute(query)}
    return found


async def insert_lines(connection: AsyncConnection, rows: Sequence[dict[str, Any]]) -> None:
    """Lines that were not known before."""
    if rows:
        await connection.execute(insert(bank_line), list(rows))


async def find_line(connection: AsyncConnection, line_id: str) -> Row[Any] | None:
    """The line with that id."""
    return (await connection.execute(select(bank_line).where(bank_line.c.id == line_id))).one_or_none()


async def lock_line(connection: AsyncConnection, line_id: str) -> Row[Any] | None:
    """The line, held against other writers until this transaction ends."""
    query = select(bank_line).where(bank_line.c.id == line_id).with_for_update()
    return (await connection.execute(query)).one_or_none()


async def set_line_state(connection: AsyncConnection, line_id: str, state: str) -> None:
    """Where the line stands."""
    await connection.execute(update(bank_line).where(bank_line.c.id == line_id).values(state=state))


async def insert_decision(connection: AsyncConnection, values: dict[str, Any]) -> None:
    """What was decided of a line."""
    await connection.execute(insert(bank_line_decision).values(values))


async def decisions_of(connection: AsyncConnection, line_id: str) -> list[Row[Any]]:
    """Every decision about a line, in order."""
    query = (
        select(bank_line_decision)
        .where(bank_line_decision.c.line_id == line_id)
        .order_by(bank_line_decision.c.seq)
    )
    return list(await connection.execute(query))


async def list_lines(
    connection: AsyncConnection, *, state: str = "open", statement_id: str = "", limit: int = 100
) -> list[Row[Any]]:
    """Lines in that state with the house's account, oldest first (decided ones newest first)."""
    query = select(bank_line, house_account.c.name.label("house_account")).join(
        house_account, house_account.c.id == bank_line.c.house_account_id
    )
    if state:
        query = query.where(bank_line.c.state == state)
    if statement_id:
        query = query.where(bank_line.c.statement_id == statement_id)
    order = bank_line.c.booked_on if state == "open" else bank_line.c.booked_on.desc()
    return list(await connection.execute(query.order_by(order, bank_line.c.id).limit(limit)))


async def count_open(connection: AsyncConnection) -> int:
    """How many lines wait in the inbox."""
    query = select(func.count()).select_from(bank_line).where(bank_line.c.state == "open")
    return int((await connection.execute(query)).scalar_one())


# Who may have paid


async def known_accounts(connection: AsyncConnection, currency: str) -> list[KnownAccount]:
    """Every account that pays in the currency."""
    query = select(account.c.id, account.c.number, account.c.name).where(account.c.currency == currency)
    return [KnownAccount(*row) for row in await connection.execute(query)]


async def known_invoices(connection: AsyncConnection, currency: str) -> list[KnownInvoice]:
    """Every numbered invoice that asked for money: a paid one too says who is paying."""
    query = select(invoice.c.id, invoice.c.number, invoice.c.account_id, invoice.c.open_minor).where(
        invoice.c.currency == currency, invoice.c.number.is_not(None), invoice.c.total_minor > 0
    )
    return [KnownInvoice(*row) for row in await connection.execute(query)]


async def insert_rule(connection: AsyncConnection, values: dict[str, Any]) -> None:
    """A payer whose account the house now knows."""
    await connection.execute(insert(payer_rule).values(values))


async def payer_accounts(connection: AsyncConnection) -> dict[str, str]:
    """Account id by payer's mark, of the rules that stand; the newest for a payer counts."""
    query = (
        select(payer_rule.c.payer_mark, payer_rule.c.account_id)
        .where(payer_rule.c.withdrawn_at.is_(None))
        .order_by(payer_rule.c.learnt_at, payer_rule.c.id)
    )
    return {row.payer_mark: row.account_id for row in await connection.execute(query)}


async def withdraw_rules(
    connection: AsyncConnection, at: datetime, by: str, *, rule_id: str = "", payer_mark: str = ""
) -> int:
    """Forget a rule, or what is known of a payer; how many rules that were."""
    statement = update(payer_rule).where(payer_rule.c.withdrawn_at.is_(None))
    chosen = payer_rule.c.id == rule_id if rule_id else payer_rule.c.payer_mark == payer_mark
    done = await connection.execute(statement.where(chosen).values(withdrawn_at=at, withdrawn_by=by))
    return int(done.rowcount)


async def list_rules(connection: AsyncConnection, limit: int = 500) -> list[Row[Any]]:
    """The rules that stand with their accounts, newest first."""
    query = (
        select(
            payer_rule, account.c.number.label("account_number"), account.c.name.label("account_name"),
        )
        .join(account, account.c.id == payer_rule.c.account_id)
        .where(payer_rule.c.withdrawn_at.is_(None))
        .order_by(payer_rule.c.learnt_at.desc(), payer_rule.c.id.desc())
        .limit(limit)
    )  # fmt: skip
    return list(await connection.execute(query))
