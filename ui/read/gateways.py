"""Payments through gateways for screens and programs: no token and no key is ever among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.store import equipment_rows, gateway_rows, promotion_rows
from billing.store.equipment_rows import Loan
from billing.store.promotion_rows import PromotionUse
from billing.store.schema.gateways import IN_FLIGHT
from billing.store.tables import (
    account,
    autopay,
    gateway,
    gateway_charge,
    gateway_charge_step,
    gateway_event,
    hosted_page,
    invoice,
    payment_method,
)
from billing.subscriptions.turn_contracts import ContractView, contracts_of
from core.periods import local_date


@dataclass(frozen=True, slots=True)
class GatewayView:
    """A gateway that is set up. ``sandbox``: where it really is, when it is not the gateway itself."""

    name: str
    enabled: bool
    login: str
    has_webhook_key: bool
    sandbox: str
    changed_at: datetime
    changed_by: str


@dataclass(frozen=True, slots=True)
class EventView:
    """A webhook, and what came of it."""

    gateway: str
    event_id: str
    kind: str
    received_at: datetime
    outcome: str


@dataclass(frozen=True, slots=True)
class MethodView:
    """A saved card or bank account."""

    id: str
    gateway: str
    kind: str
    brand: str
    last4: str
    expires_on: date | None
    is_default: bool
    added_at: datetime


@dataclass(frozen=True, slots=True)
class StepView:
    """One step of a charge."""

    state: str
    at: datetime
    told_by: str
    said: str


@dataclass(frozen=True, slots=True)
class ChargeView:
    """A charge with its steps. ``said``: why it was declined or what it waits for, in the gateway's words."""

    id: str
    key: str
    gateway: str
    cause: str
    amount_minor: int
    currency: str
    begun_at: datetime
    begun_by: str
    state: str
    decline_kind: str
    decline_code: str
    said: str
    reference: str
    method: str
    payment_id: str
    steps: list[StepView]


@dataclass(frozen=True, slots=True)
class AutopayView:
    """How an account pays by itself."""

    enabled: bool
    method_id: str
    day_rule: str
    days: int
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class OpenInvoice:
    """An invoice that wants money."""

    id: str
    number: str
    due_on: date
    open_minor: int
    currency: str


@dataclass(frozen=True, slots=True)
class PayView:
    """What a customer sees behind a link. ``invoice_id`` None: the link saves a card.

    ``takes_cards``: a gateway is set up and open, so there is a page to lead to.
    """

    account_id: str
    account_number: str
    invoice_id: str | None
    invoice_number: str
    open_minor: int
    currency: str
    due_on: date | None
    under_way: bool
    saved: str
    autopay: bool
    takes_cards: bool
    methods: Sequence[MethodView] = ()
    invoices: Sequence[OpenInvoice] = ()
    promotions: Sequence[PromotionUse] = ()
    contracts: Sequence[ContractView] = ()
    equipment: Sequence[Loan] = ()


@dataclass(frozen=True, slots=True)
class OpenPage:
    """A gateway's page that was not used yet."""

    id: str


async def gateways(connection: AsyncConnection) -> list[GatewayView]:
    """Every gateway that was set up."""
    rows = await connection.execute(select(gateway).order_by(gateway.c.name))
    return [
        GatewayView(
            row.name, row.enabled, row.login or "", row.webhook_key_sealed is not None, row.base_url or "",
            row.changed_at, row.changed_by,
        )
        for row in rows
    ]  # fmt: skip


async def latest_events(connection: AsyncConnection, limit: int) -> list[EventView]:
    """Webhooks, newest first."""
    rows = await connection.execute(select(gateway_event).order_by(gateway_event.c.seq.desc()).limit(limit))
    return [
        EventView(row.gateway, row.event_id, row.kind, row.received_at, row.outcome or "waits for the worker")
        for row in rows
    ]


async def methods_of(connection: AsyncConnection, account_id: str) -> list[MethodView]:
    """The account's cards and bank accounts, the default first."""
    table = payment_method
    query = (
        select(table)
        .where(table.c.account_id == account_id, table.c.removed_at.is_(None))
        .order_by(table.c.is_default.desc(), table.c.added_at.desc(), table.c.id)
    )
    return [
        MethodView(
            row.id, row.gateway, row.kind, row.brand, row.last4, row.expires_on, row.is_default, row.added_at
        )
        for row in await connection.execute(query)
    ]


async def charges_of(
    connection: AsyncConnection, account_id: str, limit: int, *, charge_id: str = ""
) -> list[ChargeView]:
    """The account's charges, newest first, or one of them."""
    table = gateway_charge
    query = (
        select(table, payment_method.c.brand, payment_method.c.last4)
        .outerjoin(payment_method, payment_method.c.id == table.c.method_id)
        .where(table.c.account_id == account_id)
        .order_by(table.c.begun_at.desc(), table.c.id.desc())
        .limit(limit)
    )
    if charge_id:
        query = query.where(table.c.id == charge_id)
    rows = list(await connection.execute(query))
    steps = await _steps_of(connection, [row.id for row in rows])
    return [
        ChargeView(
            row.id, row.key, row.gateway, row.cause, row.amount_minor, row.currency, row.begun_at,
            row.begun_by, row.state, row.decline_kind or "", row.decline_code or "", row.said or "",
            row.reference or "", f"{row.brand} {row.last4}" if row.last4 else "the gateway's page",
            row.payment_id or "", steps[row.id],
        )
        for row in rows
    ]  # fmt: skip


async def _steps_of(connection: AsyncConnection, charge_ids: Sequence[str]) -> dict[str, list[StepView]]:
    found: dict[str, list[StepView]] = {one: [] for one in charge_ids}
    table = gateway_charge_step
    query = select(table).where(table.c.charge_id.in_(charge_ids)).order_by(table.c.seq)
    for row in await connection.execute(query):
        found[row.charge_id].append(StepView(row.state, row.at, row.told_by, row.said or ""))
    return found


async def autopay_of(connection: AsyncConnection, account_id: str) -> AutopayView | None:
    """How the account pays by itself; None: it never was asked to."""
    row = (await connection.execute(select(autopay).where(autopay.c.account_id == account_id))).one_or_none()
    if row is None:
        return None
    return AutopayView(row.enabled, row.method_id or "", row.day_rule, row.days, row.changed_at)


async def open_invoices(connection: AsyncConnection, account_id: str, limit: int = 12) -> list[OpenInvoice]:
    """What the account is to pay, oldest due date first."""
    query = (
        select(invoice.c.id, invoice.c.number, invoice.c.due_on, invoice.c.open_minor, invoice.c.currency)
        .where(invoice.c.account_id == account_id, invoice.c.status == "finalised", invoice.c.open_minor > 0)
        .order_by(invoice.c.due_on, invoice.c.number)
        .limit(limit)
    )
    return [OpenInvoice(*row) for row in await connection.execute(query)]


async def pay_view(connection: AsyncConnection, subject_id: str, now: datetime) -> PayView | None:
    """What a link for that invoice or account is about, by the account's own calendar."""
    bill = (
        await connection.execute(
            select(invoice).where(invoice.c.id == subject_id, invoice.c.number.is_not(None))
        )
    ).one_or_none()
    account_id = subject_id if bill is None else bill.account_id
    payer = (
        await connection.execute(
            select(account.c.id, account.c.number, account.c.currency, account.c.time_zone).where(
                account.c.id == account_id
            )
        )
    ).one_or_none()
    if payer is None:
        return None
    under_way = await connection.scalar(
        select(gateway_charge.c.id)
        .where(gateway_charge.c.account_id == account_id, gateway_charge.c.state.in_(IN_FLIGHT))
        .limit(1)
    )
    methods = await methods_of(connection, account_id)
    saved = ", ".join(f"{one.brand} {one.last4}" for one in methods)
    terms = await autopay_of(connection, account_id)
    pays_itself = terms is not None and terms.enabled
    takes_cards = any(one.enabled for one in await gateway_rows.all_gateways(connection))
    if bill is None:
        return PayView(
            payer.id, payer.number, None, "", 0, payer.currency, None, under_way is not None, saved,
            pays_itself, takes_cards, methods, await open_invoices(connection, payer.id),
            [one for one in await promotion_rows.uses(connection, account_id=payer.id) if not one.ended_on],
            await contracts_of(connection, payer.id, local_date(now, payer.time_zone)),
            await equipment_rows.loans(connection, account_id=payer.id, out=True),
        )  # fmt: skip
    return PayView(
        payer.id, payer.number, bill.id, bill.number, bill.open_minor, bill.currency, bill.due_on,
        under_way is not None, saved, pays_itself, takes_cards,
    )  # fmt: skip


async def open_pages_of(connection: AsyncConnection, subject_id: str) -> list[OpenPage]:
    """Pages that were opened for that invoice or account and not used yet, newest first."""
    query = (
        select(hosted_page.c.id)
        .where(
            hosted_page.c.state == "open",
            or_(hosted_page.c.invoice_id == subject_id, hosted_page.c.account_id == subject_id),
        )
        .order_by(hosted_page.c.id.desc())
    )
    return [OpenPage(row.id) for row in await connection.execute(query)]
