"""The portal: what a subscriber in the walled garden sees, whatever address he asked for.

It runs on its own plain-HTTP listener, because a device behind a redirect expects no TLS. It asks for nothing
and tells nothing about the account: who sits behind an address is not proven by the address.
"""

from __future__ import annotations

import asyncio
import ipaddress
from urllib.parse import urlsplit

from aiohttp import web

from aaa.domain.effect import Effect
from aaa.entitlements import entitlement_of, services_at
from core.log import logger
from core.work import Workplace
from ui.authority_files import authority_file
from ui.config import UiSettings
from ui.pay_desk import PayDesk
from ui.read.database import PATIENCE_S
from ui.web.guard import HEADERS
from ui.web.render import Templates
from ui.web.static_files import serve_static

log = logger("ui")

PORTAL_BODY = 4 * 1024
_PAY_LINK = "/pay/{subject}/{mark}"


async def portal_page(
    workplace: Workplace, templates: Templates, settings: UiSettings, address: str | None
) -> str:
    """The page for whoever asks from ``address``."""
    effect = await _effect_at(workplace, address)
    return templates.render("portal.html", effect=str(effect) if effect else None, settings=settings)


async def _effect_at(workplace: Workplace, address: str | None) -> Effect | None:
    """The strongest effect on a service at that address; None when unknown, or not to be looked up now."""
    try:
        plain = _plain(address or "")
        async with asyncio.timeout(PATIENCE_S), workplace.reading() as connection:
            found = [await entitlement_of(connection, one) for one in await services_at(connection, plain)]
    except ValueError:
        return None
    except Exception as trouble:  # noqa: BLE001 - the subscriber gets the general page while the database is away
        log.warning("portal_lookup_failed", error=type(trouble).__name__)
        return None
    effects = [one.effect for one in found if one is not None]
    return max(effects, key=lambda effect: effect.rank) if effects else None


def _plain(address: str) -> str:
    """The address without an IPv6 zone, and IPv4 that came in IPv6 dress as IPv4."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return str(mapped or parsed)


def build_portal(
    workplace: Workplace, templates: Templates, settings: UiSettings, desk: PayDesk | None = None
) -> web.Application:
    """The listener's application: any host and path leads to the portal page, a pay link to ``desk``."""
    home = urlsplit(settings.portal_url or "")

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path.startswith("/static/"):
            return serve_static(request, templates.assets.files, request.path.removeprefix("/static/"))
        if request.path.startswith("/pki/"):
            found = await authority_file(workplace, request.path.removeprefix("/pki/"))
            if found is not None:
                return found
        if settings.portal_url and (request.host != home.netloc or request.path != (home.path or "/")):
            return web.Response(status=302, headers={"Location": settings.portal_url})
        page = await portal_page(workplace, templates, settings, request.remote)
        return web.Response(text=page, content_type="text/html")

    async def add_headers(_request: web.Request, response: web.StreamResponse) -> None:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers["Server"] = "hilltop"

    app = web.Application(client_max_size=PORTAL_BODY)
    if desk is not None:
        app.router.add_get(_PAY_LINK, desk.show)
        app.router.add_post(_PAY_LINK, desk.go)
    app.router.add_route("*", "/{path:.*}", answer)
    app.on_response_prepare.append(add_headers)
    return app
