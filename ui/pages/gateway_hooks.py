"""Where gateways tell what happened: signed, kept at once, answered without detail."""

from __future__ import annotations

import asyncio

from aiohttp import web

from billing.payments.gateways.port import GATEWAYS, BadSignatureError, GatewayLockedError
from billing.payments.gateways.take_event import take_event
from core.log import logger
from ui.permissions import Permission
from ui.web.visit import Routes, Visit

routes = Routes()

LARGEST_HOOK = 256 * 1024
_PATIENCE_S = 15.0  # a gateway waits about that long, and sends it again
_log = logger("ui")


@routes.post("/hooks/{gateway}", Permission.PROVEN, largest_body=LARGEST_HOOK)
async def hook(visit: Visit) -> web.StreamResponse:
    """One webhook: 200 when it is kept, also the second time; 400 when the gateway did not sign it."""
    name, panel = visit.path("gateway"), visit.panel
    if name not in GATEWAYS:
        return web.Response(status=404)
    body = await visit.request.read()
    try:
        async with asyncio.timeout(_PATIENCE_S):
            outcome = await take_event(
                panel.workplace, panel.gateways, name=name, body=body, headers=visit.request.headers,
                settings=panel.billing,
            )  # fmt: skip
    except (BadSignatureError, GatewayLockedError) as trouble:
        panel.webhooks.count(name, "refused")
        _log.warning("webhook_refused", gateway=name, source=visit.request.remote, reason=str(trouble))
        return web.Response(status=400)
    panel.webhooks.count(name, "again" if outcome == "again" else "taken")
    return web.Response(status=200)
