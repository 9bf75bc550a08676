"""Contracts and equipment of one account: how long it is bound, what of ours stands there."""

from __future__ import annotations

from aiohttp import web

from billing.store import equipment_rows
from billing.subscriptions.lend_equipment import lend_equipment, return_equipment
from billing.subscriptions.turn_contracts import contracts_of
from core.periods import local_date
from core.refusal import Refusal
from ui.permissions import Permission
from ui.read import agreements as read
from ui.read import subscriber
from ui.web.csv_files import csv_file
from ui.web.forms import Form
from ui.web.visit import Routes, Visit, missing

routes = Routes()


@routes.get("/equipment", Permission.LOOK)
async def equipment(visit: Visit) -> web.StreamResponse:
    """What is at customers' places, or by serial number where a piece is and was."""
    serial = visit.query("serial").strip()
    async with visit.reading() as connection:
        found = await equipment_rows.loans(connection, serial=serial[:80], out=not serial, limit=1_000)
    if visit.wants_csv:
        return csv_file("equipment", equipment_rows.Loan, found)
    return visit.page("equipment.html", loans=found, serial=serial)


@routes.get("/subscribers/{account_id}/agreements", Permission.LOOK)
async def agreements(visit: Visit) -> web.StreamResponse:
    """What binds the account, and what was lent to it."""
    return await _page(visit, Form())


async def _page(visit: Visit, form: Form, status: int = 200) -> web.Response:
    account_id = visit.path("account_id")
    async with visit.reading() as connection:
        heading = await subscriber.account_heading(connection, account_id)
        if heading is None:
            raise missing()
        today = local_date(visit.panel.workplace.clock.now(), heading.time_zone)
        contracts = await contracts_of(connection, account_id, today)
        loans = await equipment_rows.loans(connection, account_id=account_id)
        running = await read.running_subscriptions(connection, account_id, today)
    return visit.page(
        "agreements.html", account=heading, contracts=contracts, loans=loans, today=today, form=form,
        running=running, return_days=visit.panel.billing.equipment_return_days, status=status,
    )  # fmt: skip


@routes.post("/subscribers/{account_id}/equipment", Permission.SUBSCRIBERS)
async def lend(visit: Visit) -> web.StreamResponse:
    """It is at the customer's; sent twice, it is there once."""
    form, account_id = await visit.form(), visit.path("account_id")
    async with visit.reading() as connection:
        heading = await subscriber.account_heading(connection, account_id)
        if heading is None:
            raise missing()
        today = local_date(visit.panel.workplace.clock.now(), heading.time_zone)
        running = [one for one, _ in await read.running_subscriptions(connection, account_id, today)]
    subscription_id = form.choice("subscription_id", running)
    name, serial = form.text("name", longest=120), form.text("serial", longest=80)
    value = form.amount("value", heading.currency, zero=True) if form.optional("value") else 0
    lent_on = form.optional_date("lent_on")
    if form.ok:
        done = await visit.attempt(
            form,
            lambda work: lend_equipment(
                work, subscription_id=subscription_id, name=name, serial=serial, value_minor=value,
                lent_on=lent_on,
            ),
        )  # fmt: skip
        if not isinstance(done, Refusal):
            return visit.see(f"/subscribers/{account_id}/agreements", "saved")
    return await _page(visit, form, status=422)


@routes.post("/subscribers/{account_id}/equipment/{loan_id}/return", Permission.SUBSCRIBERS)
async def give_back(visit: Visit) -> web.StreamResponse:
    """It came back; its rental stops."""
    form, account_id, loan_id = await visit.form(), visit.path("account_id"), visit.path("loan_id")
    returned_on, note = form.optional_date("returned_on"), form.optional("note", longest=500)
    if form.ok:
        done = await visit.attempt(
            form,
            lambda work: return_equipment(work, loan_id=loan_id, returned_on=returned_on, note=note or ""),
        )
        if not isinstance(done, Refusal):
            notice = "rental_over" if done.follows != "none" else "saved"
            return visit.see(f"/subscribers/{account_id}/agreements", notice)
    return await _page(visit, form, status=422)
