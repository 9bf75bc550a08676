"""Resellers: rows to values and back, and what they may earn by."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import and_, func, insert, or_, select, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.commission import (
    ALLOCATION,
    INVOICE,
    REFUND,
    Assignment,
    CommissionLine,
    CommissionTerms,
    Source,
    share,
)
from billing.domain.ledger import CREDIT_METHOD, DEPOSIT
from billing.store.rows import insert_if_absent
from billing.store.tables import (
    account,
    allocation,
    charge,
    commission_line,
    commission_payout,
    commission_statement,
    credit_use,
    invoice,
    invoice_line,
    payer_change,
    payment,
    posting,
    reseller,
    reseller_account,
    reseller_terms,
    subscription,
)
from core.periods import local_date
from core.store.among import among
from core.store.many_rows import insert_many


@dataclass(frozen=True, slots=True)
class Reseller:
    """Who sells for the house or one of its entities, in one currency."""

    id: str
    name: str
    email: str | None
    phone: str | None
    currency: str
    entity_id: str | None


_RESELLER = tuple(reseller.c[name] for name in ("id", "name", "email", "phone", "currency", "entity_id"))


async def insert_reseller(connection: AsyncConnection, values: Mapping[str, Any]) -> bool:
    """A new one; False when its id is taken."""
    return await insert_if_absent(connection, reseller, dict(values))


async def update_reseller(connection: AsyncConnection, reseller_id: str, values: Mapping[str, Any]) -> None:
    """Another name or way to reach it."""
    await connection.execute(update(reseller).where(reseller.c.id == reseller_id).values(**values))


async def list_resellers(connection: AsyncConnection) -> list[Reseller]:
    """All of them, by name."""
    rows = await connection.execute(select(*_RESELLER).order_by(reseller.c.name, reseller.c.id))
    return [Reseller(*row) for row in rows]


async def find_reseller(
    connection: AsyncConnection, reseller_id: str, *, lock: bool = False
) -> Reseller | None:
    """The one with that id; ``lock`` holds it against others until the transaction ends."""
    query = select(*_RESELLER).where(reseller.c.id == reseller_id)
    row = (await connection.execute(query.with_for_update() if lock else query)).one_or_none()
    return None if row is None else Reseller(*row)


# Terms and accounts


async def insert_terms(connection: AsyncConnection, values: Mapping[str, Any]) -> None:
    """Other terms from a day on."""
    await connection.execute(insert(reseller_terms).values(**values))


async def terms_rows(connection: AsyncConnection, reseller_id: str) -> list[Row[Any]]:
    """All terms in the order in which they were written."""
    query = select(reseller_terms).where(reseller_terms.c.reseller_id == reseller_id)
    return list(await connection.execute(query.order_by(reseller_terms.c.recorded_at, reseller_terms.c.id)))


async def terms_of(connection: AsyncConnection, reseller_id: str) -> list[CommissionTerms]:
    """The same as values."""
    return [
        CommissionTerms(row.valid_from, row.basis, row.percent_ppm, row.flat_minor)
        for row in await terms_rows(connection, reseller_id)
    ]


async def insert_assignment(connection: AsyncConnection, values: Mapping[str, Any]) -> None:
    """An account is a reseller's from a day on."""
    await connection.execute(insert(reseller_account).values(**values))


async def end_assignment(connection: AsyncConnection, assignment_id: str, values: Mapping[str, Any]) -> None:
    """It no longer is, from a day on."""
    await connection.execute(
        update(reseller_account).where(reseller_account.c.id == assignment_id).values(**values)
    )


async def assignments_of_account(connection: AsyncConnection, account_id: str) -> list[Row[Any]]:
    """Whose the account was and is, oldest first."""
    query = select(reseller_account).where(reseller_account.c.account_id == account_id)
    return list(await connection.execute(query.order_by(reseller_account.c.from_on, reseller_account.c.id)))


async def assignment_rows(connection: AsyncConnection, reseller_id: str) -> list[Row[Any]]:
    """The reseller's accounts, past ones too, newest first, with number and name."""
    query = (
        select(reseller_account, account.c.number, account.c.name)
        .join(account, account.c.id == reseller_account.c.account_id)
        .where(reseller_account.c.reseller_id == reseller_id)
        .order_by(reseller_account.c.from_on.desc(), account.c.number)
    )
    return list(await connection.execute(query))


async def assignments(connection: AsyncConnection, reseller_id: str) -> list[Assignment]:
    """The same as values."""
    return [
        Assignment(row.account_id, row.from_on, row.until_on)
        for row in await assignment_rows(connection, reseller_id)
    ]


# What may earn


@dataclass(frozen=True, slots=True)
class _Net:
    """What an invoice charges one account without tax and deposits, of how much in all."""

    invoice_id: str
    account_id: str
    issued_on: date
    earned_on: date
    total_minor: int
    net_minor: int


async def money_sources(connection: AsyncConnection, account_ids: Collection[str]) -> list[Source]:
    """What is invoiced to the accounts, or to who pays for them, and the money that came or went for it."""
    payers = await _payers(connection, account_ids)
    nets = await _nets(connection, account_ids, payers)
    by_invoice: dict[str, list[_Net]] = {}
    for one in nets:
        by_invoice.setdefault(one.invoice_id, []).append(one)
    sources = [
        Source(INVOICE, one.invoice_id, one.account_id, one.issued_on, one.earned_on, one.net_minor)
        for one in nets
    ]
    sources += await _allocated(connection, payers, by_invoice)
    sources += await _refunded(connection, payers, by_invoice)
    return sources


async def _payers(connection: AsyncConnection, account_ids: Collection[str]) -> list[str]:
    paid_by = select(account.c.payer_account_id).where(
        among(connection, account.c.id, account_ids), account.c.payer_account_id.is_not(None)
    )
    before = select(payer_change.c.payer_id).where(
        among(connection, payer_change.c.account_id, account_ids), payer_change.c.payer_id.is_not(None)
    )
    found = {*account_ids, *(await connection.execute(paid_by)).scalars()}
    return sorted(found | set((await connection.execute(before)).scalars()))


async def _nets(
    connection: AsyncConnection, account_ids: Collection[str], payers: Collection[str]
) -> list[_Net]:
    corrected = invoice.alias("corrected")
    owner = func.coalesce(subscription.c.account_id, charge.c.account_id, invoice.c.account_id)
    first = func.coalesce(corrected.c.issued_on, invoice.c.issued_on, type_=invoice.c.issued_on.type)
    columns = (invoice.c.id, owner, invoice.c.issued_on, first, invoice.c.total_minor)
    query = (
        select(*columns, func.sum(invoice_line.c.amount_minor))
        .select_from(invoice_line)
        .join(invoice, invoice.c.id == invoice_line.c.invoice_id)
        .outerjoin(subscription, subscription.c.id == invoice_line.c.subscription_id)
        .outerjoin(charge, charge.c.id == invoice_line.c.charge_id)
        .outerjoin(corrected, corrected.c.id == invoice.c.corrects_id)
        .where(
            among(connection, invoice.c.account_id, payers), invoice.c.number.is_not(None),
            invoice_line.c.kind != "tax",
            or_(invoice_line.c.revenue.is_(None), invoice_line.c.revenue != DEPOSIT),
        )
        .group_by(*columns)
    )  # fmt: skip
    wanted = set(account_ids)
    return [_Net(*row[:5], int(row[5])) for row in await connection.execute(query) if row[1] in wanted]


async def _allocated(
    connection: AsyncConnection, payers: Collection[str], nets: Mapping[str, Sequence[_Net]]
) -> list[Source]:
    """Money that pays an invoice; what takes it off again earns as of the day it came."""
    first = func.min(allocation.c.at).over(partition_by=[allocation.c.payment_id, allocation.c.invoice_id])
    query = (
        select(
            allocation.c.id, allocation.c.invoice_id, allocation.c.amount_minor, allocation.c.at,
            first.label("first_at"), account.c.time_zone,
        )
        .join(payment, payment.c.id == allocation.c.payment_id)
        .join(invoice, invoice.c.id == allocation.c.invoice_id)
        .join(account, account.c.id == invoice.c.account_id)
        .where(payment.c.method != CREDIT_METHOD, among(connection, invoice.c.account_id, payers))
    )  # fmt: skip
    found = []
    for row in await connection.execute(query):
        day = local_date(row.at, row.time_zone)
        earned = day if row.amount_minor > 0 else local_date(row.first_at, row.time_zone)
        found += [
            Source(ALLOCATION, row.id, one.account_id, day, earned,
                   share(row.amount_minor, one.net_minor, one.total_minor))
            for one in nets.get(row.invoice_id, ())
            if one.total_minor
        ]  # fmt: skip
    return found


async def _refunded(
    connection: AsyncConnection, payers: Collection[str], nets: Mapping[str, Sequence[_Net]]
) -> list[Source]:
    """Credit of a credit note that left the house as money."""
    query = (
        select(
            credit_use.c.seq, credit_use.c.amount_minor, credit_use.c.at, payment.c.idempotency_key,
            account.c.time_zone,
        )
        .join(payment, payment.c.id == credit_use.c.payment_id)
        .join(account, account.c.id == payment.c.account_id)
        .where(
            and_(credit_use.c.kind == "refund", payment.c.method == CREDIT_METHOD),
            among(connection, payment.c.account_id, payers),
        )
    )  # fmt: skip
    found = []
    for row in await connection.execute(query):
        note_id = row.idempotency_key.removeprefix(f"{CREDIT_METHOD}:")
        day = local_date(row.at, row.time_zone)
        found += [
            Source(REFUND, str(row.seq), one.account_id, day, one.earned_on,
                   -share(row.amount_minor, one.net_minor, one.total_minor))
            for one in nets.get(note_id, ())
            if one.total_minor
        ]  # fmt: skip
    return found


async def running_spans(
    connection: AsyncConnection, account_ids: Collection[str]
) -> dict[str, list[tuple[date, date | None]]]:
    """From when until when (exclusive) each account's subscriptions run."""
    query = select(subscription.c.account_id, subscription.c.starts_on, subscription.c.ends_on).where(
        among(connection, subscription.c.account_id, account_ids)
    )
    found: dict[str, list[tuple[date, date | None]]] = {}
    for row in await connection.execute(query):
        found.setdefault(row[0], []).append((row[1], row[2]))
    return found


# Statements


async def earned_keys(connection: AsyncConnection, reseller_id: str) -> set[tuple[str, str, str]]:
    """Sources that are on a statement already."""
    line = commission_line.c
    query = select(line.source_kind, line.source_id, line.account_id).where(line.reseller_id == reseller_id)
    return {(row[0], row[1], row[2]) for row in await connection.execute(query)}


async def statements_of(connection: AsyncConnection, reseller_id: str) -> list[Row[Any]]:
    """Newest first."""
    query = select(commission_statement).where(commission_statement.c.reseller_id == reseller_id)
    return list(await connection.execute(query.order_by(commission_statement.c.number.desc())))


async def insert_statement(
    connection: AsyncConnection, values: Mapping[str, Any], lines: Sequence[tuple[str, CommissionLine]]
) -> None:
    """A statement with its lines, each under its new id."""
    await connection.execute(insert(commission_statement).values(**values))
    await insert_many(
        connection,
        commission_line,
        [
            {
                "id": line_id, "statement_id": values["id"], "reseller_id": values["reseller_id"],
                "source_kind": one.source.kind, "source_id": one.source.source_id,
                "account_id": one.source.account_id, "happened_on": one.source.happened_on,
                "earned_on": one.source.earned_on, "net_minor": one.source.net_minor,
                "commission_minor": one.commission_minor,
            }
            for line_id, one in lines
        ],
    )  # fmt: skip


async def lines_of(connection: AsyncConnection, statement_id: str) -> list[Row[Any]]:
    """The lines of a statement with number and name of their accounts."""
    query = (
        select(commission_line, account.c.number, account.c.name)
        .join(account, account.c.id == commission_line.c.account_id)
        .where(commission_line.c.statement_id == statement_id)
        .order_by(account.c.number, commission_line.c.happened_on, commission_line.c.id)
    )
    return list(await connection.execute(query))


# Payouts


async def payable(connection: AsyncConnection, reseller_id: str) -> int:
    """What the ledger says that it is owed."""
    query = select(func.coalesce(func.sum(posting.c.amount_minor), 0)).where(
        posting.c.ledger_account == f"commission_payable:{reseller_id}"
    )
    return -int((await connection.execute(query)).scalar_one())


async def insert_payout(connection: AsyncConnection, values: Mapping[str, Any]) -> bool:
    """A payout; False when its key is known."""
    return await insert_if_absent(connection, commission_payout, dict(values))


async def payout_by_key(connection: AsyncConnection, key: str) -> Row[Any] | None:
    """The payout with that key."""
    query = select(commission_payout).where(commission_payout.c.idempotency_key == key)
    return (await connection.execute(query)).one_or_none()


async def payouts_of(connection: AsyncConnection, reseller_id: str) -> list[Row[Any]]:
    """Newest first."""
    query = select(commission_payout).where(commission_payout.c.reseller_id == reseller_id)
    return list(await connection.execute(query.order_by(commission_payout.c.recorded_at.desc())))
