"""The list of subscribers: search, filters, export."""

from __future__ import annotations

from urllib.parse import urlencode

from aiohttp import web

from core.periods import local_date
from ui.permissions import Permission
from ui.read.subscribers import FILTERS, SubscriberRow, every_subscriber, list_subscribers
from ui.web.csv_files import csv_stream
from ui.web.visit import Routes, Visit

routes = Routes()


@routes.get("/subscribers", Permission.LOOK)
async def show(visit: Visit) -> web.StreamResponse:
    """Search and filter; htmx asks for the rows alone."""
    search, status, after = visit.query("q"), visit.query("status"), visit.query("after")
    status = status if status in FILTERS else ""
    panel = visit.panel
    today = local_date(panel.workplace.clock.now(), panel.settings.time_zone)
    if visit.wants_csv:
        pages = every_subscriber(panel.workplace, search=search, status=status, today=today)
        return await csv_stream(visit.request, "subscribers", SubscriberRow, pages)
    async with visit.reading() as connection:
        page = await list_subscribers(connection, search=search, status=status, today=today, after=after)
    following = {"q": search, "status": status, "after": page.next_after or ""}
    return visit.page(
        "subscribers_rows.html" if visit.wants_fragment else "subscribers.html",
        rows=page.rows, search=search, chosen=status, filters=FILTERS,
        next_page=f"/subscribers?{urlencode(following)}" if page.next_after else None,
        first_page=not after,
    )  # fmt: skip
