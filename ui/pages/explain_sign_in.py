"""Why a user name is accepted, walled or rejected: the decision that RADIUS would take now."""

from __future__ import annotations

from aiohttp import web

from core.refusal import Refusal
from ui.permissions import Permission
from ui.ports import SignInQuestion
from ui.read.services import service_view
from ui.read.sessions import choices
from ui.web.visit import Routes, Visit

routes = Routes()


@routes.get("/explain", Permission.LOOK)
async def explain(visit: Visit) -> web.StreamResponse:
    """The question, and its answer where a name is asked for."""
    user, nas, cpe, port = (visit.query(name) for name in ("user", "nas", "cpe", "port"))
    now = visit.panel.workplace.clock.now()
    asked = SignInQuestion(user, now, nas or None, cpe or None, port or None)
    async with visit.reading() as connection:
        found = await visit.panel.acts.explain(connection, asked) if user else None
        refusal = found if isinstance(found, Refusal) else None
        answer = None if isinstance(found, Refusal) else found
        offered = await choices(connection)
        service = await service_view(connection, answer["service_id"] or "") if answer else None
    return visit.page(
        "explain_sign_in.html", user=user, nas=nas, cpe=cpe, port=port, answer=answer,
        refusal=refusal, service=service, nases=[name for _, name in offered.nases],
        status=422 if refusal else 200,
    )  # fmt: skip
