"""Payments and bill runs."""

from __future__ import annotations

from aiohttp import web

from ui.permissions import Permission
from ui.read import dashboard, money, receivables
from ui.read.rows import EXPORT, PAGE
from ui.web.csv_files import csv_file
from ui.web.visit import Routes, Visit

routes = Routes()


@routes.get("/payments", Permission.LOOK)
async def payments(visit: Visit) -> web.StreamResponse:
    """Payments, newest first."""
    before = visit.query("before")
    async with visit.reading() as connection:
        limit = EXPORT if visit.wants_csv else PAGE + 1
        rows = await receivables.list_payments(connection, before=before, limit=limit)
    if visit.wants_csv:
        return csv_file("payments", receivables.PaymentRow, rows)
    following = f"/payments?before={rows[PAGE - 1].id}" if len(rows) > PAGE else None
    return visit.page("payments.html", payments=rows[:PAGE], next_page=following, first_page=not before)


@routes.get("/bill-runs", Permission.LOOK)
async def bill_runs(visit: Visit) -> web.StreamResponse:
    """Bill runs, newest first, with the accounts each one parked."""
    async with visit.reading() as connection:
        rows = await dashboard.bill_runs(connection, limit=EXPORT if visit.wants_csv else PAGE)
        parked = [one["account_id"] for row in rows[:10] for one in row.parked[:50]]
        names = await money.names_of_accounts(connection, parked)
    if visit.wants_csv:
        return csv_file("bill-runs", dashboard.BillRunRow, rows)
    return visit.page("bill_runs.html", runs=rows, names=names, state=visit.panel.bill_runs)


@routes.post("/bill-runs", Permission.MONEY)
async def run_now(visit: Visit) -> web.StreamResponse:
    """Bill everything that is due now."""
    runs = visit.panel.bill_runs
    await runs.start(f"operator:{visit.operator.name}")
    if runs.trouble:
        return visit.see("/bill-runs")
    return visit.see("/bill-runs", "bill_running" if runs.running else "bill_run")
