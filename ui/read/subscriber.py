"""One subscriber: the account, what is owed, and the way down or up the dunning ladder."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import Row, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.store.tables import service
from billing.domain.dunning import Debtor, decide_stage
from billing.domain.dunning_policy import Ladders
from billing.dunning.debtors import load_cases
from billing.ledger.verify import account_balance
from billing.store import mail_rows
from billing.store.plan_rows import plan_versions
from billing.store.tables import (
    account,
    dunning_event,
    dunning_state,
    invoice,
    subscription,
)
from core.periods import local_date

_AHEAD_DAYS = 100


@dataclass(frozen=True, slots=True)
class NextStage:
    """What dunning does next when nothing is paid."""

    stage: str
    on: date
    because: str


@dataclass(frozen=True, slots=True)
class DunningView:
    """Where an account stands on the ladder."""

    stage: str
    since: datetime | None
    promise_until: date | None
    immune: bool
    oldest_due_on: date | None
    next_stage: NextStage | None


@dataclass(frozen=True, slots=True)
class AccountView:
    """The account's own page."""

    id: str
    number: str
    name: str
    email: str | None
    phone: str | None
    address: list[str]
    currency: str
    time_zone: str
    anchor_day: int
    payment_terms_days: int
    created_at: datetime
    closed_on: date | None
    balance_minor: int
    overdue_minor: int
    service_ids: list[str]
    dunning: DunningView
    dead_address: str | None  # why nothing is mailed to the account's address


@dataclass(frozen=True, slots=True)
class SubscriptionRow:
    """What an account has signed up to."""

    id: str
    kind: str
    quantity: int
    service_id: str | None
    plan_name: str
    version: int
    price_minor: int
    currency: str
    allowance_octets: int | None
    starts_on: date
    ends_on: date | None


@dataclass(frozen=True, slots=True)
class DunningEventRow:
    """One step on the ladder."""

    on_date: date
    from_stage: str
    to_stage: str
    because: Any


async def account_view(connection: AsyncConnection, account_id: str, now: datetime) -> AccountView | None:
    """The account with its balance at ``now``, by its own calendar."""
    row = (await connection.execute(select(account).where(account.c.id == account_id))).one_or_none()
    if row is None:
        return None
    today = local_date(now, row.time_zone)
    return AccountView(
        id=row.id, number=row.number, name=row.name, email=row.email, phone=row.phone, address=_address(row),
        currency=row.currency, time_zone=row.time_zone, anchor_day=row.anchor_day,
        payment_terms_days=row.payment_terms_days, created_at=row.created_at, closed_on=row.closed_on,
        balance_minor=await account_balance(connection, account_id),
        overdue_minor=await _overdue(connection, account_id, today),
        service_ids=await _service_ids(connection, account_id),
        dunning=await _dunning_view(connection, row, now),
        dead_address=await _dead_address(connection, row.email),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class AccountHeading:
    """Enough of an account to head a page and to sell in its currency."""

    id: str
    number: str
    name: str
    currency: str
    time_zone: str


async def account_heading(connection: AsyncConnection, account_id: str) -> AccountHeading | None:
    """The account in short; None for an unknown one."""
    columns = (account.c.id, account.c.number, account.c.name, account.c.currency, account.c.time_zone)
    row = (await connection.execute(select(*columns).where(account.c.id == account_id))).one_or_none()
    return None if row is None else AccountHeading(*row)


async def account_id_of(connection: AsyncConnection, id_or_number: str) -> str | None:
    """The id of the account with that number or id."""
    chosen = or_(account.c.id == id_or_number, account.c.number == id_or_number)
    return (await connection.execute(select(account.c.id).where(chosen).limit(1))).scalar_one_or_none()


async def currency_of(connection: AsyncConnection, account_id: str) -> str:
    """What an account pays in; dollars for an unknown one, of which the use case tells."""
    found = await account_heading(connection, account_id)
    return "USD" if found is None else found.currency


async def time_zone_of(connection: AsyncConnection, account_id: str) -> str | None:
    """The zone an account lives in; None for an unknown account."""
    query = select(account.c.time_zone).where(account.c.id == account_id)
    return (await connection.execute(query)).scalar_one_or_none()


async def _dead_address(connection: AsyncConnection, email: str | None) -> str | None:
    found = await mail_rows.dead_address(connection, email) if email else None
    return None if found is None else str(found.reason)


def _address(row: Row[Any]) -> list[str]:
    town = " ".join(part for part in (row.city, row.region, row.postal_code) if part)
    return [part for part in (row.street, town, row.country) if part]


async def _service_ids(connection: AsyncConnection, account_id: str) -> list[str]:
    query = select(service.c.id).where(service.c.account_id == account_id).order_by(service.c.id)
    return list((await connection.execute(query)).scalars())


async def _overdue(connection: AsyncConnection, account_id: str, today: date) -> int:
    query = select(func.coalesce(func.sum(invoice.c.open_minor), 0)).where(
        invoice.c.account_id == account_id, invoice.c.open_minor > 0, invoice.c.due_on < today
    )
    return int((await connection.execute(query)).scalar_one())


async def _dunning_view(connection: AsyncConnection, row: Row[Any], now: datetime) -> DunningView:
    state = (
        await connection.execute(select(dunning_state).where(dunning_state.c.account_id == row.id))
    ).one_or_none()
    [case] = await load_cases(connection, [row.id], now)
    debtor = case.debtor
    return DunningView(
        str(debtor.stage), state.since if state else None, debtor.promise_until, debtor.immune,
        min((one.due_on for one in debtor.unpaid), default=None),
        next_stage(debtor, case.ladders, case.today) if debtor.unpaid else None,
    )  # fmt: skip


def next_stage(debtor: Debtor, ladders: Ladders, today: date) -> NextStage | None:
    """The first day after ``today`` on which the ladder decides on a worse stage, looking a season ahead."""
    for offset in range(1, _AHEAD_DAYS):
        on = today + timedelta(days=offset)
        decided = decide_stage(debtor, ladders, on)
        if decided.stage.rank > debtor.stage.rank:
            return NextStage(str(decided.stage), on, decided.because)
    return None


async def subscriptions_of(connection: AsyncConnection, account_id: str) -> list[SubscriptionRow]:
    """What the account has signed up to, newest first."""
    query = (
        select(
            subscription.c.id, subscription.c.service_id, subscription.c.plan_version_id,
            subscription.c.starts_on, subscription.c.ends_on, subscription.c.quantity,
        )
        .where(subscription.c.account_id == account_id)
        .order_by(subscription.c.id.desc())
    )  # fmt: skip
    rows = (await connection.execute(query)).all()
    versions = await plan_versions(connection, {row.plan_version_id for row in rows})
    return [
        SubscriptionRow(
            row.id, offer.kind, row.quantity, row.service_id, offer.name, offer.version, offer.price_minor,
            offer.currency, offer.allowance_octets, row.starts_on, row.ends_on,
        )
        for row in rows
        for offer in [versions[row.plan_version_id]]
    ]  # fmt: skip


async def dunning_history(connection: AsyncConnection, account_id: str) -> list[DunningEventRow]:
    """The account's latest steps on the ladder, newest first."""
    query = (
        select(
            dunning_event.c.on_date,
            dunning_event.c.from_stage,
            dunning_event.c.to_stage,
            dunning_event.c.because,
        )
        .where(dunning_event.c.account_id == account_id)
        .order_by(dunning_event.c.seq.desc())
        .limit(20)
    )
    return [DunningEventRow(*row) for row in await connection.execute(query)]
