"""Links for customers on the panel's own address; the portal has them too."""

from __future__ import annotations

from aiohttp import web

from ui.pay_desk import pay_desk_of
from ui.permissions import Permission
from ui.web.visit import Routes, Visit

routes = Routes()


@routes.get("/pay/{subject}/{mark}", Permission.PROVEN, keeps_awake=False)
async def pay(visit: Visit) -> web.StreamResponse:
    """What the link is for."""
    return await pay_desk_of(visit.panel).show(visit.request)


@routes.post("/pay/{subject}/{mark}", Permission.PROVEN, largest_body=4 * 1024)
async def go(visit: Visit) -> web.StreamResponse:
    """To the gateway's page."""
    return await pay_desk_of(visit.panel).go(visit.request)
