"""One subscriber's page, and recording a payment on it."""

from __future__ import annotations

import secrets

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.payments.receive_payment import receive_payment
from billing.rating.usage_standing import usage_standings
from core.periods import local_date
from core.refusal import Refusal
from ui.permissions import Permission
from ui.read import allowances, receivables, services, subscriber
from ui.read.rows import EXPORT
from ui.read.sessions import latest_of
from ui.web.csv_files import csv_file
from ui.web.forms import Form
from ui.web.visit import Routes, Visit, missing

routes = Routes()

METHODS = {"cash": "Cash", "cheque": "Cheque", "transfer": "Bank transfer", "card": "Card terminal"}


@routes.get("/subscribers/{account_id}", Permission.LOOK)
async def show(visit: Visit) -> web.StreamResponse:
    """Account, money, and each service with its history."""
    return await subscriber_page(visit, visit.path("account_id"), Form())


async def subscriber_page(visit: Visit, account_id: str, form: Form, status: int = 200) -> web.Response:
    """The page; ``form`` carries what was wrong with a form on it."""
    async with visit.reading() as connection:
        zone = await subscriber.time_zone_of(connection, account_id)
        if zone is None:
            raise missing()
        today = local_date(visit.panel.workplace.clock.now(), zone)
        view = await subscriber.account_view(connection, account_id, visit.panel.workplace.clock.now())
        if view is None:
            raise missing()
        lines = [await _service_context(connection, one) for one in view.service_ids[:20]]
        context = {
            "invoices": await receivables.list_invoices(
                connection, account_id=account_id, today=today, limit=12
            ),
            "payments": await receivables.list_payments(connection, account_id=account_id, limit=12),
            "subscriptions": await subscriber.subscriptions_of(connection, account_id),
            "dunning_events": await subscriber.dunning_history(connection, account_id),
            "allowances": await usage_standings(
                connection, visit.panel.usage, account_id, visit.panel.workplace.clock.now()
            ),
            "top_ups": await allowances.top_ups_of(connection, account_id),
            "quota_events": await allowances.quota_events_of(connection, account_id),
        }
    return visit.page(
        "subscriber.html", account=view, lines=lines, hidden_lines=len(view.service_ids) - len(lines),
        today=today, form=form, methods=METHODS, status=status,
        payment_key=form.value("idempotency_key") or f"panel:{secrets.token_hex(12)}",
        top_up_key=f"panel:{secrets.token_hex(12)}", **context,
    )  # fmt: skip


async def _service_context(connection: AsyncConnection, service_id: str) -> dict[str, object]:
    return {
        "service": await services.service_view(connection, service_id),
        "sessions": await latest_of(connection, service_id, limit=6),
        "holds": await services.holds_of(connection, service_id),
        "history": await services.history_of(connection, service_id),
        "rejects": await services.rejects_of(connection, service_id, limit=6),
    }


@routes.post("/subscribers/{account_id}/payments", Permission.MONEY)
async def record_payment(visit: Visit) -> web.StreamResponse:
    """Record a payment; the key in the form makes a double submit one payment."""
    account_id = visit.path("account_id")
    form = await visit.form()
    async with visit.reading() as connection:
        zone = await subscriber.time_zone_of(connection, account_id)
        if zone is None:
            raise missing()
        view = await subscriber.account_view(connection, account_id, visit.panel.workplace.clock.now())
    currency = view.currency if view else "USD"
    amount_minor = form.amount("amount", currency)
    method = form.choice("method", METHODS)
    key = form.text("idempotency_key", longest=120)
    received_on = form.optional_date("received_on")
    note = form.optional("note", longest=500)
    if not key.startswith("panel:"):
        form.faults.setdefault("", "The form is out of date: reload the page.")
    if not form.ok:
        return await subscriber_page(visit, account_id, form, status=422)
    receipt = await visit.attempt(
        form,
        lambda work: receive_payment(
            work, account_id=account_id, amount_minor=amount_minor, currency=currency, method=method,
            idempotency_key=key, received_on=received_on, note=note,
        ),
    )  # fmt: skip
    if isinstance(receipt, Refusal):
        return await subscriber_page(visit, account_id, form, status=422)
    return visit.see(
        f"/subscribers/{account_id}", "payment_again" if receipt.outcome == "exists" else "payment"
    )


@routes.get("/subscribers/{account_id}/invoices.csv", Permission.LOOK)
async def invoices_csv(visit: Visit) -> web.StreamResponse:
    """The account's invoices as a file."""
    today = local_date(visit.panel.workplace.clock.now(), visit.panel.settings.time_zone)
    async with visit.reading() as connection:
        rows = await receivables.list_invoices(
            connection, account_id=visit.path("account_id"), today=today, limit=EXPORT
        )
    return csv_file("invoices", receivables.InvoiceRow, rows)


@routes.get("/subscribers/{account_id}/payments.csv", Permission.LOOK)
async def payments_csv(visit: Visit) -> web.StreamResponse:
    """The account's payments as a file."""
    async with visit.reading() as connection:
        rows = await receivables.list_payments(connection, account_id=visit.path("account_id"), limit=EXPORT)
    return csv_file("payments", receivables.PaymentRow, rows)
