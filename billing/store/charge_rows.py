"""One-off charges: rows to values and back. A charge is billed when an invoice line names it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import exists, func, select, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.charge import OneOffCharge
from billing.store.rows import insert_if_absent
from billing.store.tables import account, charge, invoice, invoice_line
from core.database import insert_for
from core.store.among import among

_CHARGE = [
    charge.c[name]
    for name in (
        "id", "account_id", "subscription_id", "kind", "description", "quantity", "quoted_minor",
        "tax_included", "tax_class", "revenue", "happened_on", "bill_from", "period_end", "source",
        "explanation",
    )
]  # fmt: skip


async def insert_charge(connection: AsyncConnection, values: dict[str, Any]) -> bool:
    """A new charge; False when its source is charged already."""
    return await insert_if_absent(connection, charge, values)


async def insert_charges(connection: AsyncConnection, rows: Sequence[dict[str, Any]]) -> None:
    """New charges; those whose source is charged already are left as they stand."""
    if rows:
        await connection.execute(insert_for(connection, charge).on_conflict_do_nothing(), list(rows))


async def charge_of_source(connection: AsyncConnection, source: str) -> Row[Any] | None:
    """The charge made of that event, withdrawn ones too."""
    return (await connection.execute(select(charge).where(charge.c.source == source))).one_or_none()


async def find_charge(connection: AsyncConnection, charge_id: str) -> Row[Any] | None:
    """The charge with that id."""
    return (await connection.execute(select(charge).where(charge.c.id == charge_id))).one_or_none()


async def is_billed(connection: AsyncConnection, charge_id: str) -> bool:
    """Whether an invoice line is made of it."""
    query = select(exists().where(invoice_line.c.charge_id == charge_id))
    return bool((await connection.execute(query)).scalar())


async def withdraw_charge(connection: AsyncConnection, charge_id: str, at: datetime) -> None:
    """It is not asked for after all."""
    await connection.execute(update(charge).where(charge.c.id == charge_id).values(withdrawn_at=at))


async def charges_on(connection: AsyncConnection, invoice_id: str) -> list[OneOffCharge]:
    """The charges that an invoice's lines are made of, in the order of the lines."""
    query = (
        select(*_CHARGE)
        .join(invoice_line, invoice_line.c.charge_id == charge.c.id)
        .where(invoice_line.c.invoice_id == invoice_id)
        .order_by(invoice_line.c.position)
    )
    return [OneOffCharge(*row) for row in await connection.execute(query)]


async def waiting_charges(
    connection: AsyncConnection, account_ids: Collection[str], until: date
) -> dict[str, list[OneOffCharge]]:
    """Charges to bill on an invoice issued on ``until``, by account, in the order of their days."""
    billed = exists().where(invoice_line.c.charge_id == charge.c.id)
    query = (
        select(*_CHARGE)
        .where(
            among(connection, charge.c.account_id, account_ids),
            charge.c.withdrawn_at.is_(None),
            charge.c.bill_from <= until,
            ~billed,
        )
        .order_by(charge.c.account_id, charge.c.happened_on, charge.c.id)
    )
    found: dict[str, list[OneOffCharge]] = {}
    for row in await connection.execute(query):
        found.setdefault(row.account_id, []).append(OneOffCharge(*row))
    return found


@dataclass(frozen=True, slots=True)
class ListedCharge:
    """A one-off charge with what became of it. ``state``: waiting, billed or withdrawn."""

    id: str
    account_id: str
    subscription_id: str | None
    kind: str
    description: str
    quoted_minor: int
    currency: str
    tax_included: bool
    happened_on: date
    bill_from: date
    source: str
    recorded_by: str
    state: str
    invoice_id: str | None
    invoice_number: str | None


async def list_charges(connection: AsyncConnection, account_id: str, *, limit: int) -> list[ListedCharge]:
    """The account's charges, newest first, each with the invoice it came on first."""
    on = (
        select(invoice_line.c.charge_id, func.min(invoice_line.c.invoice_id).label("invoice_id"))
        .where(invoice_line.c.charge_id.is_not(None))
        .group_by(invoice_line.c.charge_id)
        .subquery()
    )
    query = (
        select(
            *(charge.c[name] for name in _LISTED), account.c.currency, on.c.invoice_id,
            invoice.c.number.label("invoice_number"),
        )
        .join(account, account.c.id == charge.c.account_id)
        .join(on, on.c.charge_id == charge.c.id, isouter=True)
        .join(invoice, invoice.c.id == on.c.invoice_id, isouter=True)
        .where(charge.c.account_id == account_id)
        .order_by(charge.c.happened_on.desc(), charge.c.id.desc())
        .limit(limit)
    )  # fmt: skip
    return [
        ListedCharge(
            one.id, one.account_id, one.subscription_id, one.kind, one.description, one.quoted_minor,
            one.currency, one.tax_included, one.happened_on, one.bill_from, one.source, one.recorded_by,
            "withdrawn" if one.withdrawn_at else "billed" if one.invoice_id else "waiting",
            one.invoice_id, one.invoice_number,
        )
        for one in await connection.execute(query)
    ]  # fmt: skip


_LISTED = (
    "id", "account_id", "subscription_id", "kind", "description", "quoted_minor", "tax_included",
    "happened_on", "bill_from", "source", "recorded_by", "withdrawn_at",
)  # fmt: skip
