"""The audit trail."""

from __future__ import annotations

from aiohttp import web

from ui.permissions import Permission
from ui.read import trail
from ui.read.rows import EXPORT, PAGE
from ui.web.csv_files import csv_file
from ui.web.visit import Routes, Visit

routes = Routes()


@routes.get("/audit", Permission.OWN)
async def audit(visit: Visit) -> web.StreamResponse:
    """Who did what to whom, newest first."""
    before, subject = visit.query("before"), visit.query("subject")
    number = int(before) if before.isascii() and before.isdigit() and len(before) < 19 else None
    async with visit.reading() as connection:
        limit = EXPORT if visit.wants_csv else PAGE + 1
        rows = await trail.list_audit(connection, subject=subject, before=number, limit=limit)
    if visit.wants_csv:
        return csv_file("audit", trail.AuditRow, rows)
    last = rows[PAGE - 1].seq if len(rows) > PAGE else None
    return visit.page("audit.html", rows=rows[:PAGE], before=last, subject=subject, first_page=number is None)
