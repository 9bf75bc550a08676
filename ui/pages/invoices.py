"""Invoices: the list, one invoice, its document, and where each amount comes from."""

from __future__ import annotations

import asyncio

from aiohttp import web

from billing.documents.invoice_view import InvoiceView
from billing.documents.render import as_issued, invoice_html, invoice_pdf, invoice_view
from billing.invoicing.explain import explain_line
from core.periods import local_date
from core.refusal import Refusal
from ui.permissions import Permission
from ui.read import money, receivables
from ui.read.rows import EXPORT, PAGE
from ui.web.csv_files import csv_file
from ui.web.documents import html_document, pdf_document
from ui.web.visit import Routes, Visit, missing

routes = Routes()

STATUSES = {"": "All", "open": "Open", "overdue": "Overdue", "paid": "Paid", "credited": "Credited"}


@routes.get("/invoices", Permission.LOOK)
async def invoices(visit: Visit) -> web.StreamResponse:
    """Invoices, newest first."""
    before, status = visit.query("before"), visit.query("status")
    status = status if status in STATUSES else ""
    today = local_date(visit.panel.workplace.clock.now(), visit.panel.settings.time_zone)
    async with visit.reading() as connection:
        limit = EXPORT if visit.wants_csv else PAGE + 1
        rows = await receivables.list_invoices(
            connection, status=status, today=today, before=before, limit=limit
        )
    if visit.wants_csv:
        return csv_file("invoices", receivables.InvoiceRow, rows)
    last = rows[PAGE - 1].id if len(rows) > PAGE else None
    return visit.page(
        "invoices.html", invoices=rows[:PAGE], chosen=status, statuses=STATUSES, before=last,
        first_page=not before,
    )  # fmt: skip


@routes.get("/invoices/{invoice_id}", Permission.LOOK)
async def invoice(visit: Visit) -> web.StreamResponse:
    """One invoice: amounts, lines with their origin, payments."""
    async with visit.reading() as connection:
        page = await money.invoice_page(connection, visit.path("invoice_id"))
    if page is None:
        raise missing()
    if visit.wants_csv:
        return csv_file(f"invoice-{page.id}", money.LineRow, page.lines)
    return visit.page("invoice.html", invoice=page)


@routes.get("/invoices/{invoice_id}/document", Permission.LOOK)
async def document(visit: Visit) -> web.StreamResponse:
    """The invoice as the customer sees it, with what was paid since."""
    return html_document(invoice_html(await _view(visit)))


@routes.get("/invoices/{invoice_id}/pdf", Permission.LOOK)
async def pdf(visit: Visit) -> web.StreamResponse:
    """The invoice as PDF, as it was issued."""
    view = as_issued(await _view(visit))
    return pdf_document(await asyncio.to_thread(invoice_pdf, view), view.number)


async def _view(visit: Visit) -> InvoiceView:
    async with visit.reading() as connection:
        view = await invoice_view(
            connection, visit.path("invoice_id"), visit.panel.billing, visit.panel.usage, visit.panel.sealer
        )
    if isinstance(view, Refusal):
        raise missing()
    return view


@routes.get("/invoices/{invoice_id}/lines/{position}", Permission.LOOK)
async def explain(visit: Visit) -> web.StreamResponse:
    """The walk from a line to the readings behind it."""
    position = visit.path("position")
    async with visit.reading() as connection:
        page = await money.invoice_page(connection, visit.path("invoice_id"))
        if page is None or page.number is None or not (position.isascii() and position.isdigit()):
            raise missing()
        walked = await explain_line(connection, visit.panel.usage, page.number, int(position[:9]))
    if isinstance(walked, Refusal):
        raise missing()
    line = next((one for one in page.lines if one.position == int(position[:9])), None)
    if line is None:
        raise missing()
    return visit.page("explain.html", invoice=page, line=line, walk=walked)
