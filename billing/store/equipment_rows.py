"""Equipment at customers' places: loans and returns in the database, inserted and never changed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import and_, exists, insert, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.equipment import idle_spans
from billing.store.rows import insert_if_absent
from billing.store.tables import account, charge, equipment_loan, equipment_return, subscription
from core.periods import Period
from core.store.among import among


@dataclass(frozen=True, slots=True)
class Loan:
    """A piece of equipment and where it is. ``returned_on`` None: at the customer's."""

    id: str
    account_id: str
    account_number: str
    account_name: str
    currency: str
    subscription_id: str
    name: str
    serial: str
    value_minor: int
    lent_on: date
    recorded_by: str
    returned_on: date | None
    note: str | None


async def insert_loan(connection: AsyncConnection, values: dict[str, Any]) -> None:
    """Something is at a customer's."""
    await connection.execute(insert(equipment_loan).values(values))


async def insert_return(connection: AsyncConnection, values: dict[str, Any]) -> bool:
    """It came back; False when it had before."""
    return await insert_if_absent(connection, equipment_return, values)


async def loans(
    connection: AsyncConnection,
    *,
    account_id: str = "",
    subscription_id: str = "",
    serial: str = "",
    loan_id: str = "",
    out: bool = False,
    limit: int = 500,
) -> list[Loan]:
    """Loans, the newest first; ``out``: only what is at customers' now."""
    loan, back = equipment_loan.c, equipment_return.c
    query = (
        select(
            loan.id, loan.account_id, account.c.number, account.c.name, account.c.currency,
            loan.subscription_id, loan.name, loan.serial, loan.value_minor, loan.lent_on, loan.recorded_by,
            back.returned_on, back.note,
        )
        .join(account, account.c.id == loan.account_id)
        .outerjoin(equipment_return, back.loan_id == loan.id)
        .order_by(loan.lent_on.desc(), loan.recorded_at.desc(), loan.id)
        .limit(limit)
    )  # fmt: skip
    for column, wanted in (
        (loan.account_id, account_id), (loan.subscription_id, subscription_id), (loan.serial, serial),
        (loan.id, loan_id),
    ):  # fmt: skip
        if wanted:
            query = query.where(column == wanted)
    if out:
        query = query.where(back.loan_id.is_(None))
    return [Loan(*tuple(row)) for row in await connection.execute(query)]


async def idle_of(
    connection: AsyncConnection, subscription_ids: Collection[str], as_of: datetime | None = None
) -> dict[str, tuple[Period, ...]]:
    """By subscription the days on which its equipment was not out; ``as_of``: as known then."""
    loan, back = equipment_loan.c, equipment_return.c
    known = back.loan_id == loan.id
    if as_of is not None:
        known = and_(known, back.recorded_at <= as_of)
    query = (
        select(loan.subscription_id, loan.lent_on, back.returned_on)
        .outerjoin(equipment_return, known)
        .where(among(connection, loan.subscription_id, subscription_ids))
    )
    if as_of is not None:
        query = query.where(loan.recorded_at <= as_of)
    found: dict[str, list[tuple[date, date | None]]] = {}
    for row in await connection.execute(query):
        found.setdefault(row[0], []).append((row[1], row[2]))
    return {one: spans for one, lent in found.items() if (spans := idle_spans(lent))}


async def turns_of(
    connection: AsyncConnection, subscription_ids: Collection[str], as_of: datetime
) -> dict[str, list[tuple[date, datetime]]]:
    """By subscription, from which day equipment came or went, and when that was written."""
    loan, back = equipment_loan.c, equipment_return.c
    lent = select(loan.subscription_id, loan.lent_on, loan.recorded_at).where(
        among(connection, loan.subscription_id, subscription_ids), loan.recorded_at <= as_of
    )
    returned = (
        select(loan.subscription_id, back.returned_on, back.recorded_at)
        .join(equipment_return, back.loan_id == loan.id)
        .where(among(connection, loan.subscription_id, subscription_ids), back.recorded_at <= as_of)
    )
    found: dict[str, list[tuple[date, datetime]]] = {}
    for query in (lent, returned):
        for row in await connection.execute(query):
            found.setdefault(row[0], []).append((row[1], row[2]))
    return found


def loan_source(loan_id: str) -> str:
    """The name of the charge for what never came back."""
    return f"equipment:{loan_id}"


async def overdue(connection: AsyncConnection, ended_by: date, limit: int = 500) -> list[Loan]:
    """What is out of subscriptions that ended by that day, has a value, and was not charged."""
    loan, back = equipment_loan.c, equipment_return.c
    charged = exists().where(charge.c.source == literal("equipment:").concat(loan.id))
    query = (
        select(
            loan.id, loan.account_id, account.c.number, account.c.name, account.c.currency,
            loan.subscription_id, loan.name, loan.serial, loan.value_minor, loan.lent_on, loan.recorded_by,
            back.returned_on, back.note,
        )
        .join(account, account.c.id == loan.account_id)
        .join(subscription, subscription.c.id == loan.subscription_id)
        .outerjoin(equipment_return, back.loan_id == loan.id)
        .where(back.loan_id.is_(None), loan.value_minor > 0, subscription.c.ends_on <= ended_by, ~charged)
        .order_by(loan.lent_on, loan.id)
        .limit(limit)
    )  # fmt: skip
    return [Loan(*tuple(row)) for row in await connection.execute(query)]
