"""What answers without a sign-in: static files, health, and the portal page on the panel's own address."""

from __future__ import annotations

from aiohttp import web
from sqlalchemy import text

from core.log import logger
from ui.permissions import Permission
from ui.portal import portal_page
from ui.web.static_files import serve_static
from ui.web.visit import Routes, Visit

routes = Routes()
log = logger("ui")


@routes.get("/static/{name}", Permission.PUBLIC, keeps_awake=False)
async def static_file(visit: Visit) -> web.StreamResponse:
    """A file by its exact name, from memory."""
    return serve_static(visit.request, visit.panel.templates.assets.files, visit.path("name"))


@routes.get("/favicon.ico", Permission.PUBLIC, keeps_awake=False)
async def icon(visit: Visit) -> web.StreamResponse:
    """The mark, for pages that link none."""
    return serve_static(visit.request, visit.panel.templates.assets.files, "hilltop.svg")


@routes.get("/healthz", Permission.PUBLIC, keeps_awake=False)
async def health(visit: Visit) -> web.StreamResponse:
    """Whether the panel can reach its database: 200 or 503."""
    try:
        async with visit.reading() as connection:
            await connection.execute(text("SELECT 1"))
    except Exception as trouble:  # noqa: BLE001 - any failure to read is the answer
        log.warning("health_database_unreachable", error=type(trouble).__name__)
        return web.json_response({"status": "failing", "database": "unreachable"}, status=503)
    return web.json_response({"status": "ok", "database": "reachable"})


@routes.get("/portal", Permission.PUBLIC, keeps_awake=False)
async def portal(visit: Visit) -> web.StreamResponse:
    """The page that walled-garden subscribers are sent to."""
    page = await portal_page(
        visit.panel.workplace, visit.panel.templates, visit.panel.settings, visit.request.remote
    )
    return web.Response(text=page, content_type="text/html")
