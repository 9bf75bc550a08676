"""Gateways: their keys, whether these are taken, and the webhooks that came."""

from __future__ import annotations

from aiohttp import web

from billing.payments.gateways.check_gateway import check_gateway
from billing.payments.gateways.keep_gateway import keep_gateway
from billing.payments.gateways.port import GATEWAYS
from core.refusal import Refusal
from core.secrets import Secret
from ui.permissions import Permission
from ui.read import gateways as read
from ui.web.forms import Form
from ui.web.visit import Routes, Visit

routes = Routes()

NAMES = {"stripe": "Stripe", "authorizenet": "Authorize.net"}
_EVENTS = 40


@routes.get("/gateways", Permission.LOOK)
async def show(visit: Visit) -> web.StreamResponse:
    """What is set up, and how to set up one."""
    return await _page(visit, Form())


@routes.post("/gateways", Permission.OWN)
async def keep(visit: Visit) -> web.StreamResponse:
    """Keep the access; a key that is left empty stays as it was."""
    form = await visit.form()
    name = form.choice("gateway", GATEWAYS)
    login, base_url = form.optional("login", longest=80), form.optional("base_url")
    enabled = form.flag("enabled")
    key, webhook_key = form.secret("key"), form.secret("webhook_key")
    if form.ok:
        outcome = await visit.attempt(
            form,
            lambda work: keep_gateway(
                work, visit.panel.sealer, name=name, enabled=enabled, login=login, base_url=base_url,
                key=Secret(key.strip()) if key else None,
                webhook_key=Secret(webhook_key.strip()) if webhook_key else None,
            ),
        )  # fmt: skip
        if not isinstance(outcome, Refusal):
            return visit.see("/gateways", "saved")
    return await _page(visit, form, status=422)


@routes.post("/gateways/{gateway}/check", Permission.OWN)
async def check(visit: Visit) -> web.StreamResponse:
    """Ask the gateway whether it takes our keys."""
    form, panel = await visit.form(), visit.panel
    outcome = await check_gateway(panel.workplace, panel.gateways, name=visit.path("gateway"))
    if isinstance(outcome, Refusal):
        form.refuse(outcome)
        return await _page(visit, form, status=422)
    return visit.see("/gateways", "gateway_answers")


async def _page(visit: Visit, form: Form, status: int = 200) -> web.Response:
    async with visit.reading() as connection:
        known = await read.gateways(connection)
        events = await read.latest_events(connection, _EVENTS)
    base = (visit.panel.settings.public_url or f"{visit.request.scheme}://{visit.request.host}").rstrip("/")
    return visit.page(
        "gateways.html", form=form, gateways=known, events=events, names=NAMES, choices=list(NAMES.items()),
        hooks=f"{base}/hooks/", status=status,
    )  # fmt: skip
