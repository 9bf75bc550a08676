"""Invoices, lines, rated charges and bill runs in the database."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from typing import Any, cast

from sqlalchemy import BigInteger, bindparam, case, func, insert, or_, select, update
from sqlalchemy.engine import Row
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.credited import Credited, Standing
from billing.domain.invoicing import InvoicedPart
from billing.domain.ledger import DEPOSIT
from billing.domain.owed import Key
from billing.domain.usage_parts import RatedBefore
from billing.store.tables import (
    account,
    allocation,
    bill_run,
    invoice,
    invoice_line,
    payment,
    plan,
    plan_version,
    rated_charge,
    subscription,
)
from core.periods import Period
from core.store.among import among
from core.store.many_rows import insert_many

RATED_BEFORE = tuple(
    rated_charge.c[name]
    for name in (
        "plan_version_id", "item_code", "period_start", "period_end", "usage_close_id", "closes", "octets_in",
        "octets_out", "amount_minor",
    )
)  # fmt: skip
"""The columns of ``RatedBefore``."""

DATABASE_TROUBLE = (OperationalError, InterfaceError)
"""The database itself failed: no account's fault."""

# What was invoiced and rated before


async def invoiced_parts(
    connection: AsyncConnection,
    subscription_ids: Collection[str],
    since: date,
    before: datetime | None = None,
) -> dict[str, list[InvoicedPart]]:
    """What lines of plan items charged for periods from ``since`` on, by subscription; usage is apart.

    ``before``: only lines of invoices written before that instant.
    """
    line = invoice_line.c
    query = select(
        line.subscription_id, line.plan_version_id, line.item_code, line.charged_for, line.quoted_minor
    ).where(
        among(connection, line.subscription_id, subscription_ids),
        line.charged_for >= since,
        line.kind.not_in(["usage", "tax", "charge", "credit"]),
    )
    if before is not None:
        query = query.join(invoice, invoice.c.id == line.invoice_id).where(invoice.c.created_at < before)
    found: dict[str, list[InvoicedPart]] = {}
    for row in await connection.execute(query):
        found.setdefault(row[0], []).append(InvoicedPart(row[1], row[2], row[3], row[4]))
    return found


async def credited_parts(
    connection: AsyncConnection, subscription_ids: Collection[str], as_of: Row[Any] | None = None
) -> dict[str, list[Credited]]:
    """What credit notes gave back of charges for an item and period, by subscription.

    ``as_of``: only by notes that were written when the invoice in that row was drafted.
    """
    line = invoice_line.c
    query = (
        select(
            line.subscription_id, line.plan_version_id, line.item_code, line.charged_for, line.period_start,
            line.period_end, line.quoted_minor, invoice.c.number,
        )
        .join(invoice, invoice.c.id == line.invoice_id)
        .where(
            among(connection, line.subscription_id, subscription_ids),
            line.charged_for.is_not(None),
            line.kind == "credit",
        )
        .order_by(invoice.c.number, line.position)
    )  # fmt: skip
    if as_of is not None:
        query = query.where(invoice.c.created_at <= as_of.created_at, invoice.c.corrects_id != as_of.id)
    found: dict[str, dict[Key, Credited]] = {}
    for subscription_id, version_id, code, day, start, end, quoted, number in await connection.execute(query):
        of_one = found.setdefault(subscription_id, {})
        standing = of_one.get((version_id, code, day))
        days, amount, notes = Period(start, end), -quoted, (number,)
        if standing is not None:
            days = Period(min(start, standing.days.start), max(end, standing.days.end))
            amount, notes = amount + standing.quoted_minor, (*standing.notes, number)
        of_one[version_id, code, day] = Credited(version_id, code, day, days, amount, notes)
    return {one: list(parts.values()) for one, parts in found.items()}


async def standing_parts(connection: AsyncConnection, lines: Sequence[Row[Any]]) -> dict[str, list[Standing]]:
    """What stands of all charges for the days of ``lines``, less differences and credits, by subscription."""
    of_periods = [one for one in lines if one.charged_for is not None and one.subscription_id is not None]
    if not of_periods:
        return {}
    line = invoice_line.c
    names = line.subscription_id, line.plan_version_id, line.item_code, line.charged_for
    query = (
        select(*names, func.max(line.period_end), func.sum(line.quoted_minor, type_=BigInteger))
        .where(
            line.subscription_id.in_({one.subscription_id for one in of_periods}),
            line.charged_for <= max(max(one.charged_for, one.period_end) for one in of_periods),
            or_(
                line.charged_for >= min(one.charged_for for one in of_periods),
                line.period_end > min(one.charged_for for one in of_periods),
            ),
            line.kind.not_in(["tax", "surcharge", "charge"]),
            line.revenue.is_distinct_from(DEPOSIT),
        )
        .group_by(*names)
        .order_by(*names)
    )
    found: dict[str, list[Standing]] = {}
    for subscription_id, version_id, code, day, end, amount in await connection.execute(query):
        standing = Standing(version_id, code, day, Period(day, max(day, end or day)), int(amount))
        found.setdefault(subscription_id, []).append(standing)
    return found


async def rated_parts(
    connection: AsyncConnection, subscription_ids: Collection[str], since: date
) -> dict[str, list[RatedBefore]]:
    """The rated charges of days from ``since`` on, by subscription."""
    rated = rated_charge.c
    found: dict[str, list[RatedBefore]] = {}
    for part in (rated.closes.is_(None), rated.closes.is_not(None)):  # each has its own index
        query = select(rated.subscription_id, *RATED_BEFORE).where(
            among(connection, rated.subscription_id, subscription_ids), part, rated.period_end > since
        )
        for subscription_id, *row in await connection.execute(query):
            found.setdefault(subscription_id, []).append(cast("RatedBefore", tuple(row)))
    return found


# Writing


async def insert_invoices(
    connection: AsyncConnection,
    invoices: Sequence[dict[str, Any]],
    lines: Sequence[dict[str, Any]],
    charges: Sequence[dict[str, Any]],
) -> None:
    """Write finalised invoices with their lines and rated charges."""
    for table, rows in ((invoice, invoices), (invoice_line, lines), (rated_charge, charges)):
        await insert_many(connection, table, rows)


async def change_open(connection: AsyncConnection, paid: Mapping[str, int]) -> None:
    """Take ``paid`` minor units off the open amount of each invoice; the status follows."""
    if not paid:
        return
    left = invoice.c.open_minor - bindparam("b_paid", type_=BigInteger)
    statement = (
        update(invoice)
        .where(invoice.c.id == bindparam("b_id"))
        .values(open_minor=left, status=case((left == 0, "paid"), else_="finalised"))
    )
    await connection.execute(statement, [{"b_id": one, "b_paid": amount} for one, amount in paid.items()])


# Bill runs


async def unfinished_run(connection: AsyncConnection) -> Row[Any] | None:
    """The newest run that was begun and not finished."""
    query = (
        select(bill_run)
        .where(bill_run.c.finished_at.is_(None))
        .order_by(bill_run.c.started_at.desc(), bill_run.c.id.desc())
        .limit(1)
    )
    return (await connection.execute(query)).one_or_none()


async def insert_run(connection: AsyncConnection, run_id: str, through: date, started_at: datetime) -> None:
    """A run has begun."""
    await connection.execute(
        insert(bill_run).values(id=run_id, through=through, started_at=started_at, invoices=0, parked=[])
    )


async def begin_run(
    connection: AsyncConnection, run_id: str, through: date, *, accounts: int, at: datetime
) -> None:
    """A run begins to work, for the first time or again: so many accounts are due through that day."""
    await connection.execute(
        update(bill_run)
        .where(bill_run.c.id == run_id)
        .values(through=through, accounts=accounts, done=0, worked_since=at)
    )


async def advance_run(
    connection: AsyncConnection, run_id: str, *, invoices: int, drafts: int = 0, done: int = 0
) -> None:
    """A block is done, in the same transaction as its invoices and drafts.

    Two runs at once are one run and each passes over what the other did: no more is done than there is.
    """
    far = bill_run.c.done + done
    await connection.execute(
        update(bill_run)
        .where(bill_run.c.id == run_id)
        .values(
            invoices=bill_run.c.invoices + invoices,
            drafts=bill_run.c.drafts + drafts,
            done=case((far > bill_run.c.accounts, bill_run.c.accounts), else_=far),
        )
    )


async def finish_run(
    connection: AsyncConnection, run_id: str, finished_at: datetime, parked: list[dict[str, str]]
) -> tuple[int, int] | None:
    """The run has come to its end; returns how many invoices and drafts it made, those before a crash too.

    None when somebody else has ended it.
    """
    statement = (
        update(bill_run)
        .where(bill_run.c.id == run_id, bill_run.c.finished_at.is_(None))
        .values(finished_at=finished_at, parked=parked)
        .returning(bill_run.c.invoices, bill_run.c.drafts)
    )
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else (row.invoices, row.drafts)


# Reading for people


async def find_invoice(connection: AsyncConnection, id_or_number: str) -> Row[Any] | None:
    """The invoice row with that id or number."""
    query = select(invoice).where(or_(invoice.c.id == id_or_number, invoice.c.number == id_or_number))
    return (await connection.execute(query)).one_or_none()


async def lines_of(connection: AsyncConnection, invoice_id: str) -> list[Row[Any]]:
    """The lines in their order."""
    query = (
        select(invoice_line).where(invoice_line.c.invoice_id == invoice_id).order_by(invoice_line.c.position)
    )
    return list(await connection.execute(query))


async def credit_notes_of(
    connection: AsyncConnection, invoice_id: str
) -> list[tuple[Row[Any], list[Row[Any]]]]:
    """The credit notes on an invoice with their lines, in the order in which they were issued."""
    query = select(invoice).where(invoice.c.corrects_id == invoice_id).order_by(invoice.c.number)
    return [(row, await lines_of(connection, row.id)) for row in (await connection.execute(query)).all()]


async def charge_of(connection: AsyncConnection, line_id: str) -> Row[Any] | None:
    """The rated charge behind a usage line, with the names of its plan and service."""
    query = (
        select(
            rated_charge, plan.c.code, plan.c.name, plan_version.c.version, subscription.c.service_id,
        )
        .join(plan_version, plan_version.c.id == rated_charge.c.plan_version_id)
        .join(plan, plan.c.id == plan_version.c.plan_id)
        .join(subscription, subscription.c.id == rated_charge.c.subscription_id)
        .where(rated_charge.c.invoice_line_id == line_id)
    )  # fmt: skip
    return (await connection.execute(query)).one_or_none()


async def payments_on(connection: AsyncConnection, invoice_id: str) -> list[Row[Any]]:
    """Allocations to the invoice with the payment's day and method, in order."""
    query = (
        select(payment.c.received_on, payment.c.method, allocation.c.amount_minor)
        .join(payment, payment.c.id == allocation.c.payment_id)
        .where(allocation.c.invoice_id == invoice_id)
        .order_by(allocation.c.at, allocation.c.id)
    )
    return list(await connection.execute(query))


async def account_of(connection: AsyncConnection, account_id: str) -> Row[Any]:
    """Number, name and locale data of the account an invoice belongs to."""
    query = select(account).where(account.c.id == account_id)
    return (await connection.execute(query)).one()
