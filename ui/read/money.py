"""Plans, and one invoice with its lines."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.store.tables import service, service_profile
from billing.domain.catalogue import PlanVersion
from billing.domain.items import PERIODIC
from billing.payments.receive_payment import METHODS
from billing.store.plan_rows import plan_versions
from billing.store.tables import (
    account,
    allocation,
    invoice,
    invoice_line,
    payment,
    plan,
    plan_version,
    subscription,
)


@dataclass(frozen=True, slots=True)
class PlanRow:
    """One plan version."""

    id: str
    code: str
    name: str
    version: int
    price_minor: int
    currency: str
    allowance_octets: int | None
    overage_tiers: list[dict[str, Any]]
    metered: str
    tax_class: str
    profile: str
    profile_id: str = field(metadata={"csv": False})
    subscriptions: int
    newest: bool
    kind: str = "plan"
    items: tuple[str, ...] = field(default=(), metadata={"csv": False})
    period: str = "cycle"


@dataclass(frozen=True, slots=True)
class LineRow:
    """One invoice line."""

    position: int
    kind: str
    description: str
    quantity: str
    period_start: date | None
    period_end: date | None
    amount_minor: int
    currency: str


@dataclass(frozen=True, slots=True)
class InvoicePayment:
    """What a payment gave to an invoice."""

    payment_id: str
    received_on: date
    method: str
    amount_minor: int


@dataclass(frozen=True, slots=True)
class InvoicePage:
    """One invoice."""

    id: str
    number: str | None
    account_id: str
    account_number: str
    bill_to: dict[str, Any]
    issued_on: date
    due_on: date
    cycle_start: date
    cycle_end: date
    currency: str
    net_minor: int
    tax_minor: int
    total_minor: int
    open_minor: int
    status: str
    kind: str
    lines: list[LineRow]
    payments: list[InvoicePayment]


def _period_of_price(version: PlanVersion) -> str:
    """What the price is for: ``cycle`` of the account, ``month``, ``2 weeks``; of unlike ones, ``period``."""
    cadences = {item.cadence for item in version.items if item.kind in PERIODIC}
    if len(cadences) > 1:
        return "period"
    cadence = next(iter(cadences), None)
    if cadence is None:
        return "cycle"
    return cadence.unit if cadence.count == 1 else f"{cadence.count} {cadence.unit}s"


async def list_plans(connection: AsyncConnection) -> list[PlanRow]:
    """Plan versions, the newest of each plan first."""
    counts = (
        select(subscription.c.plan_version_id, func.count())
        .where(subscription.c.ends_on.is_(None))
        .group_by(subscription.c.plan_version_id)
    )
    sold = {row[0]: int(row[1]) for row in await connection.execute(counts)}
    profiles = {
        row.id: row.name
        for row in await connection.execute(select(service_profile.c.id, service_profile.c.name))
    }
    rows: list[PlanRow] = []
    seen: set[str] = set()
    versions = (await plan_versions(connection)).values()
    for one in sorted(versions, key=lambda one: (one.code, -one.version)):
        usage = one.usage_item.usage if one.usage_item is not None else None
        rows.append(
            PlanRow(
                one.id, one.code, one.name, one.version, one.price_minor, one.currency, one.allowance_octets,
                list(usage.model.as_json(usage.unit).get("tiers", ())) if usage and usage.model else [],
                "" if usage is None else usage.metered, one.tax_class,
                profiles.get(one.service_profile_id or "", ""), one.service_profile_id or "",
                sold.get(one.id, 0), one.code not in seen, one.kind, tuple(item.name for item in one.items),
                _period_of_price(one),
            )
        )  # fmt: skip
        seen.add(one.code)
    return rows


async def invoice_page(connection: AsyncConnection, invoice_id: str) -> InvoicePage | None:
    """The invoice with that id, its lines and the payments that went to it."""
    query = (
        select(invoice, account.c.number.label("account_number"))
        .join(account, account.c.id == invoice.c.account_id)
        .where(invoice.c.id == invoice_id)
    )
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        return None
    return InvoicePage(
        row.id, row.number, row.account_id, row.account_number, row.bill_to, row.issued_on, row.due_on,
        row.cycle_start, row.cycle_end, row.currency, row.net_minor, row.tax_minor, row.total_minor,
        row.open_minor, row.status, row.kind, await _lines(connection, row.id, row.currency),
        await _payments_of(connection, row.id),
    )  # fmt: skip


async def _lines(connection: AsyncConnection, invoice_id: str, currency: str) -> list[LineRow]:
    query = (
        select(invoice_line).where(invoice_line.c.invoice_id == invoice_id).order_by(invoice_line.c.position)
    )
    return [
        LineRow(
            row.position, row.kind, row.description, row.quantity or "", row.period_start, row.period_end,
            row.amount_minor, currency,
        )
        for row in await connection.execute(query)
    ]  # fmt: skip


async def _payments_of(connection: AsyncConnection, invoice_id: str) -> list[InvoicePayment]:
    given = func.sum(allocation.c.amount_minor)
    query = (
        select(payment.c.id, payment.c.received_on, payment.c.method, given)
        .join(allocation, allocation.c.payment_id == payment.c.id)
        .where(allocation.c.invoice_id == invoice_id)
        .group_by(payment.c.id, payment.c.received_on, payment.c.method)
        .having(given != 0)
        .order_by(payment.c.id)
    )
    return [InvoicePayment(row[0], row[1], row[2], int(row[3])) for row in await connection.execute(query)]


@dataclass(frozen=True, slots=True)
class PaymentPage:
    """One payment. ``paid``: invoice id, its number, minor units that went to it."""

    id: str
    account_id: str
    account_number: str
    account_name: str
    received_on: date
    received_at: datetime
    method: str
    amount_minor: int
    unallocated_minor: int
    currency: str
    recorded_by: str
    note: str
    reversed_at: datetime | None
    reversal_reason: str
    paid: list[tuple[str, str, int]]

    @property
    def reversible(self) -> bool:
        """False once it was taken back, and for an invoice's credit, which is no money."""
        return self.reversed_at is None and self.method in METHODS


async def payment_page(connection: AsyncConnection, payment_id: str) -> PaymentPage | None:
    """The payment with that id and what it paid."""
    query = (
        select(payment, account.c.number.label("account_number"), account.c.name.label("account_name"))
        .join(account, account.c.id == payment.c.account_id)
        .where(payment.c.id == payment_id)
    )
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        return None
    return PaymentPage(
        row.id, row.account_id, row.account_number, row.account_name, row.received_on, row.received_at,
        row.method, row.amount_minor, row.unallocated_minor, row.currency, row.recorded_by, row.note or "",
        row.reversed_at, row.reversal_reason or "", await _paid_by(connection, payment_id),
    )  # fmt: skip


async def _paid_by(connection: AsyncConnection, payment_id: str) -> list[tuple[str, str, int]]:
    given = func.sum(allocation.c.amount_minor)
    query = (
        select(invoice.c.id, invoice.c.number, given)
        .join(invoice, invoice.c.id == allocation.c.invoice_id)
        .where(allocation.c.payment_id == payment_id)
        .group_by(invoice.c.id, invoice.c.number)
        .having(given != 0)
        .order_by(invoice.c.number)
    )
    return [(row[0], row[1] or "", int(row[2])) for row in await connection.execute(query)]


async def running_plan(
    connection: AsyncConnection, service_id: str, today: date
) -> tuple[str, str, int] | None:
    """Code, name and version of the plan that runs on ``today`` or begins later; None without one."""
    query = (
        select(plan.c.code, plan.c.name, plan_version.c.version)
        .join(plan_version, plan_version.c.id == subscription.c.plan_version_id)
        .join(plan, plan.c.id == plan_version.c.plan_id)
        .where(
            subscription.c.service_id == service_id,
            or_(subscription.c.ends_on.is_(None), subscription.c.ends_on > today),
        )
        .order_by(subscription.c.starts_on.desc(), subscription.c.created_at.desc())
        .limit(1)
    )
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else (row[0], row[1], int(row[2]))


@dataclass(frozen=True, slots=True)
class Named:
    """What a service id means to people."""

    account_id: str
    account_number: str
    account_name: str
    label: str


async def names_of_services(connection: AsyncConnection, service_ids: list[str]) -> dict[str, Named]:
    """Account and label of each service."""
    found: dict[str, Named] = {}
    for start in range(0, len(service_ids), 500):
        query = (
            select(service.c.id, service.c.account_id, account.c.number, account.c.name, service.c.label)
            .join(account, account.c.id == service.c.account_id)
            .where(service.c.id.in_(service_ids[start : start + 500]))
        )
        for row in await connection.execute(query):
            found[row.id] = Named(row.account_id, row.number, row.name, row.label)
    return found


async def names_of_accounts(connection: AsyncConnection, account_ids: list[str]) -> dict[str, Named]:
    """Number and name of each account."""
    found: dict[str, Named] = {}
    for start in range(0, len(account_ids), 500):
        query = select(account.c.id, account.c.number, account.c.name).where(
            account.c.id.in_(account_ids[start : start + 500])
        )
        for row in await connection.execute(query):
            found[row.id] = Named(row.id, row.number, row.name, "")
    return found
