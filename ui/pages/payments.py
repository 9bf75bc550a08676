"""Payments."""

from __future__ import annotations

from aiohttp import web

from ui.permissions import Permission
from ui.read import receivables
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
