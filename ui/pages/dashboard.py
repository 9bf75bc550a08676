"""The first screen."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from billing.clock_doubt import clock_standing, vouch_for_clock
from core.periods import local_date
from core.refusal import Refusal
from ui.permissions import Permission
from ui.read import dashboard, network, services
from ui.web.csv_files import csv_file
from ui.web.forms import Form
from ui.web.visit import Routes, Visit

routes = Routes()


@routes.get("/", Permission.LOOK)
async def show(visit: Visit) -> web.StreamResponse:
    """Everything that wants attention, on one page."""
    return visit.page("dashboard.html", **await _state(visit))


@routes.get("/live", Permission.LOOK, keeps_awake=False)
async def live(visit: Visit) -> web.StreamResponse:
    """The moving part of the dashboard, asked for every few seconds."""
    return visit.page("dashboard_live.html", **await _state(visit))


async def _state(visit: Visit) -> dict[str, Any]:
    now = visit.panel.workplace.clock.now()
    async with visit.reading() as connection:
        return {
            "figures": await dashboard.figures(connection, local_date(now, visit.panel.settings.time_zone)),
            "issues": await dashboard.open_issues(connection),
            "runs": await dashboard.bill_runs(connection),
            "movements": await dashboard.movements(connection),
            "towers": await network.list_towers(connection, now),
            "rejects": await services.recent_rejects(connection, limit=6),
        }


@routes.get("/movements", Permission.LOOK)
async def movements(visit: Visit) -> web.StreamResponse:
    """Recent suspensions and restorations."""
    async with visit.reading() as connection:
        rows = await dashboard.movements(connection, limit=100)
    if visit.wants_csv:
        return csv_file("movements", dashboard.Movement, rows)
    return visit.page("movements.html", movements=rows)


@routes.get("/issues", Permission.LOOK)
async def issues(visit: Visit) -> web.StreamResponse:
    """Open health issues."""
    async with visit.reading() as connection:
        rows = await dashboard.open_issues(connection, limit=500)
        standing = await clock_standing(connection, visit.panel.workplace.clock, visit.panel.billing)
    if visit.wants_csv:
        return csv_file("health-issues", dashboard.IssueRow, rows)
    return visit.page("issues.html", issues=rows, standing=standing, form=Form())


@routes.post("/clock/trust", Permission.MONEY)
async def trust_clock(visit: Visit) -> web.StreamResponse:
    """Somebody has looked at the clock and says that it is right: billing may begin, or go on."""
    form = await visit.form()
    outcome = await visit.attempt(form, lambda work: vouch_for_clock(work, visit.panel.billing))
    if isinstance(outcome, Refusal):
        async with visit.reading() as connection:
            rows = await dashboard.open_issues(connection, limit=500)
            standing = await clock_standing(connection, visit.panel.workplace.clock, visit.panel.billing)
        return visit.page("issues.html", issues=rows, standing=standing, form=form, status=422)
    return visit.see("/issues", "clock")
