"""One-off charges of an account, and credit notes for what is invoiced."""

from __future__ import annotations

import secrets

from aiohttp import web

from billing.invoicing.add_charge import add_charge, withdraw_charge
from billing.invoicing.credit_note import Creditable, creditable_lines, issue_credit_note
from billing.invoicing.invoice_now import invoice_now
from billing.store import charge_rows
from billing.taxes.set_engine import asked_tax_engine
from core.refusal import Refusal
from ui.permissions import Permission
from ui.read import money, subscriber
from ui.read.rows import EXPORT
from ui.web.csv_files import csv_file
from ui.web.forms import GENERAL, Form
from ui.web.visit import Routes, Visit, missing

routes = Routes()

_WAYS = {"charge": "Charge", "credit": "Credit"}


@routes.get("/subscribers/{account_id}/charges", Permission.LOOK)
async def charges(visit: Visit) -> web.StreamResponse:
    """What is charged once: waiting, billed or withdrawn."""
    return await _page(visit, visit.path("account_id"), Form({"way": "charge", "tax_class": "fee"}))


async def _page(visit: Visit, account_id: str, form: Form, status: int = 200) -> web.StreamResponse:
    async with visit.reading() as connection:
        account = await subscriber.account_heading(connection, account_id)
        if account is None:
            raise missing()
        rows = await charge_rows.list_charges(
            connection, account_id, limit=EXPORT if visit.wants_csv else 100
        )
    if visit.wants_csv:
        return csv_file("charges", charge_rows.ListedCharge, rows)
    return visit.page(
        "charges.html", account=account, charges=rows, form=form, ways=_WAYS.items(), status=status,
        charge_key=form.value("charge_key") or f"panel:{secrets.token_hex(12)}",
    )  # fmt: skip


@routes.post("/subscribers/{account_id}/charges", Permission.MONEY)
async def add(visit: Visit) -> web.StreamResponse:
    """For the next invoice; sent twice, it is charged once."""
    form, account_id = await visit.form(), visit.path("account_id")
    async with visit.reading() as connection:
        account = await subscriber.account_heading(connection, account_id)
    if account is None:
        raise missing()
    way = form.choice("way", _WAYS)
    amount_minor = form.amount("amount", account.currency)
    description = form.text("description", longest=200)
    tax_class = form.text("tax_class", longest=40)
    bill_from, key = form.optional_date("bill_from"), form.text("charge_key", longest=80)
    if not key.startswith("panel:"):
        form.faults.setdefault(GENERAL, "The form is out of date: reload the page.")
    if not form.ok:
        return await _page(visit, account_id, form, status=422)
    made = await visit.attempt(
        form,
        lambda work: add_charge(
            work, account_id=account_id, kind=way, description=description,
            amount_minor=-amount_minor if way == "credit" else amount_minor, tax_class=tax_class,
            tax_included=form.flag("tax_included"), revenue="fees", source=key, bill_from=bill_from,
        ),
    )  # fmt: skip
    if isinstance(made, Refusal):
        return await _page(visit, account_id, form, status=422)
    return visit.see(f"/subscribers/{account_id}/charges", "charge_added")


@routes.post("/subscribers/{account_id}/charges/invoice", Permission.MONEY)
async def invoice_them(visit: Visit) -> web.StreamResponse:
    """Those that wait, on an invoice of their own; asked twice, there is one."""
    form, account_id, panel = await visit.form(), visit.path("account_id"), visit.panel
    async with asked_tax_engine(panel.workplace, panel.sealer) as engine:
        issued = await invoice_now(
            panel.workplace, account_id=account_id, actor=f"operator:{visit.operator.name}",
            settings=panel.billing, engine=engine,
        )  # fmt: skip
    if isinstance(issued, Refusal):
        form.blame(GENERAL, issued.message)
        return await _page(visit, account_id, form, status=422)
    return visit.see(f"/invoices/{issued.id}", "created")


@routes.post("/charges/{charge_id}/withdraw", Permission.MONEY)
async def withdraw(visit: Visit) -> web.StreamResponse:
    """Takes back a charge that no invoice has yet."""
    form, charge_id = await visit.form(), visit.path("charge_id")
    async with visit.reading() as connection:
        found = await charge_rows.find_charge(connection, charge_id)
    if found is None:
        raise missing()
    reason = form.optional("reason", longest=300) or "withdrawn in the panel"
    outcome = await visit.attempt(
        form, lambda work: withdraw_charge(work, charge_id=charge_id, reason=reason)
    )
    if isinstance(outcome, Refusal):
        return await _page(visit, found.account_id, form, status=422)
    return visit.see(f"/subscribers/{found.account_id}/charges", "charge_withdrawn")


@routes.get("/invoices/{invoice_id}/credit", Permission.MONEY)
async def credit_form(visit: Visit) -> web.StreamResponse:
    """The form of a credit note: so much of each line."""
    return await _credit_page(visit, Form())


async def _credit_page(visit: Visit, form: Form, status: int = 200) -> web.StreamResponse:
    invoice, lines = await _creditable(visit)
    return visit.page(
        "invoice_credit.html", invoice=invoice, lines=lines, form=form, status=status,
        credit_key=form.value("credit_key") or f"panel:{secrets.token_hex(12)}",
    )  # fmt: skip


async def _creditable(visit: Visit) -> tuple[money.InvoicePage, list[Creditable]]:
    async with visit.reading() as connection:
        invoice = await money.invoice_page(connection, visit.path("invoice_id"))
        if invoice is None or invoice.number is None or invoice.kind == "credit_note":
            raise missing()
        return invoice, await creditable_lines(connection, invoice.id)


@routes.post("/invoices/{invoice_id}/credit", Permission.MONEY)
async def credit(visit: Visit) -> web.StreamResponse:
    """Issues it; sent twice, it is issued once."""
    form = await visit.form()
    invoice, lines = await _creditable(visit)
    reason, key = form.text("reason", longest=300), form.text("credit_key", longest=80)
    whole = form.flag("whole")
    amounts = {
        one.position: form.amount(f"line{one.position}", invoice.currency)
        for one in lines
        if not whole and form.value(f"line{one.position}").strip()
    }
    if not whole and not amounts and form.ok:
        form.blame(GENERAL, "Say how much of which line, or credit all that is left.")
    if not key.startswith("panel:"):
        form.faults.setdefault(GENERAL, "The form is out of date: reload the page.")
    if not form.ok:
        return await _credit_page(visit, form, status=422)
    made = await visit.attempt(
        form,
        lambda work: issue_credit_note(
            work, invoice=invoice.id, reason=reason, source=key,
            amounts_minor=None if whole else amounts, settings=visit.panel.billing,
        ),
    )  # fmt: skip
    if isinstance(made, Refusal):
        return await _credit_page(visit, form, status=422)
    return visit.see(
        f"/invoices/{made.id}", "credit_note" if made.outcome == "issued" else "credit_note_again"
    )
