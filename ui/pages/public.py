"""What answers without a sign-in: static files, health, and the portal page on the panel's own address."""

from __future__ import annotations

from aiohttp import web

from core.release import image, version
from ui.permissions import Permission
from ui.portal import portal_page
from ui.read.database import wellbeing
from ui.web.static_files import serve_static
from ui.web.visit import Routes, Visit

routes = Routes()


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
    """Whether the machine does its work, for a watcher without a sign-in: 200 or 503."""
    told: dict[str, object] = {"status": "ok", "version": version()}
    if (found := image()) is not None:
        told["image"] = found
    state = await wellbeing(visit.panel.workplace)
    failing = set(visit.panel.absent_roles())
    if state is None:
        told["database"] = "unreachable"
    else:
        told |= {"database": "reachable", "schema": state.schema}
        failing.update(state.failing)
    if failing:
        told["roles"] = sorted(failing)
    if failing or state is None:
        return web.json_response(told | {"status": "failing"}, status=503)
    return web.json_response(told)


@routes.get("/portal", Permission.PUBLIC, keeps_awake=False)
async def portal(visit: Visit) -> web.StreamResponse:
    """The page that walled-garden subscribers are sent to."""
    page = await portal_page(
        visit.panel.workplace, visit.panel.templates, visit.panel.settings, visit.request.remote
    )
    return web.Response(text=page, content_type="text/html")
