"""Contracts of one account: how long it is bound, what follows, what leaving today would cost."""

from __future__ import annotations

from aiohttp import web

from billing.subscriptions.turn_contracts import contracts_of
from core.periods import local_date
from ui.permissions import Permission
from ui.read import subscriber
from ui.web.visit import Routes, Visit, missing

routes = Routes()


@routes.get("/subscribers/{account_id}/agreements", Permission.LOOK)
async def agreements(visit: Visit) -> web.StreamResponse:
    """What binds the account."""
    account_id = visit.path("account_id")
    async with visit.reading() as connection:
        heading = await subscriber.account_heading(connection, account_id)
        if heading is None:
            raise missing()
        today = local_date(visit.panel.workplace.clock.now(), heading.time_zone)
        contracts = await contracts_of(connection, account_id, today)
    return visit.page("agreements.html", account=heading, contracts=contracts, today=today)
