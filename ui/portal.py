"""The portal: what a subscriber in the walled garden sees, whatever address he asked for.

It runs on its own plain-HTTP listener, because a device behind a redirect expects no TLS. It asks for nothing
and tells nothing about the account: who sits behind an address is not proven by the address. A line that is
held for its cap is offered the top-ups that its plan sells here (``ui.portal_top_ups``).
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from aiohttp import web

from aaa.domain.effect import Effect
from aaa.entitlements import entitlement_of, services_at
from core.log import logger
from core.refusal import Refusal
from core.work import Workplace
from ui.authority_files import authority_file
from ui.config import UiSettings
from ui.pay_desk import PayDesk
from ui.portal_top_ups import PortalOffer, PortalTopUps
from ui.read.database import PATIENCE_S
from ui.web.guard import HEADERS
from ui.web.render import Templates
from ui.web.static_files import serve_static

log = logger("ui")

DocumentAt = Callable[[str], Awaitable[web.Response]]
"""The document behind a link that was mailed, by its signed name."""
PORTAL_BODY = 4 * 1024
_PAY_LINK = "/pay/{subject}/{mark}"
_ORDERS = "/top-up"
_BOUGHT = "Bought. Your connection is being opened again; it takes a minute at most."
_NOT_BOUGHT = "Nothing was bought: open the page again and choose once more."


@dataclass(frozen=True, slots=True)
class Seen:
    """What the portal knows of an address: the strongest effect there, and what may be bought."""

    effect: Effect | None = None
    offers: Sequence[PortalOffer] = ()


async def portal_page(  # noqa: PLR0917 - what a page is made of
    workplace: Workplace,
    templates: Templates,
    settings: UiSettings,
    address: str | None,
    top_ups: PortalTopUps | None = None,
    said: str = "",
) -> str:
    """The page for whoever asks from ``address``; ``said`` is what became of an order."""
    seen = await _see(workplace, address, top_ups)
    effect = str(seen.effect) if seen.effect else None
    return templates.render(
        "portal.html", effect=effect, settings=settings, offers=seen.offers, said=said, bought=said == _BOUGHT
    )


async def _see(workplace: Workplace, address: str | None, top_ups: PortalTopUps | None) -> Seen:
    """Nothing when the address is unknown, or not to be looked up now."""
    try:
        plain = _plain(address or "")
        async with asyncio.timeout(PATIENCE_S), workplace.reading() as connection:
            found = [await entitlement_of(connection, one) for one in await services_at(connection, plain)]
            offers = [] if top_ups is None or not found else await top_ups.offers(connection, plain)
    except ValueError:
        return Seen()
    except Exception as trouble:  # noqa: BLE001 - the subscriber gets the general page while the database is away
        log.warning("portal_lookup_failed", error=type(trouble).__name__)
        return Seen()
    effects = [one.effect for one in found if one is not None]
    return Seen(max(effects, key=lambda effect: effect.rank) if effects else None, offers)


async def _order(top_ups: PortalTopUps, request: web.Request) -> str:
    """What became of an order for a top-up, in words for its page."""
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc != request.host:
        return _NOT_BOUGHT
    posted = await request.post()
    order = {name: value for name, value in posted.items() if isinstance(value, str)}
    try:
        async with asyncio.timeout(PATIENCE_S):
            receipt = await top_ups.buy(_plain(request.remote or ""), order)
    except Exception as trouble:  # noqa: BLE001 - the subscriber is told that nothing was bought
        log.warning("portal_order_failed", error=type(trouble).__name__)
        return _NOT_BOUGHT
    if isinstance(receipt, Refusal):
        return f"Nothing was bought: {receipt.message}."
    return _BOUGHT


def _plain(address: str) -> str:
    """The address without an IPv6 zone, and IPv4 that came in IPv6 dress as IPv4."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return str(mapped or parsed)


def build_portal(  # noqa: PLR0917 - what may be done there, one after the other
    workplace: Workplace,
    templates: Templates,
    settings: UiSettings,
    desk: PayDesk | None = None,
    top_ups: PortalTopUps | None = None,
    documents: DocumentAt | None = None,
) -> web.Application:
    """The listener's application: any host and path leads to the portal page, a pay link to ``desk``.

    Without ``top_ups`` nothing is sold here.
    """
    home = urlsplit(settings.portal_url or "")

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path.startswith("/static/"):
            return serve_static(request, templates.assets.files, request.path.removeprefix("/static/"))
        if request.path.startswith("/pki/"):
            found = await authority_file(workplace, request.path.removeprefix("/pki/"))
            if found is not None:
                return found
        if top_ups is not None and request.method == "POST" and request.path == _ORDERS:
            said = await _order(top_ups, request)
            page = await portal_page(workplace, templates, settings, request.remote, top_ups, said)
            return web.Response(text=page, content_type="text/html")
        if settings.portal_url and (request.host != home.netloc or request.path != (home.path or "/")):
            return web.Response(status=302, headers={"Location": settings.portal_url})
        page = await portal_page(workplace, templates, settings, request.remote, top_ups)
        return web.Response(text=page, content_type="text/html")

    async def add_headers(_request: web.Request, response: web.StreamResponse) -> None:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers["Server"] = "hilltop"

    app = web.Application(client_max_size=PORTAL_BODY)
    if desk is not None:
        app.router.add_get(_PAY_LINK, desk.show)
        app.router.add_post(_PAY_LINK, desk.go)
    if documents is not None:

        async def document(request: web.Request) -> web.StreamResponse:
            return await documents(request.match_info["name"])

        app.router.add_get("/document/{name}", document)
    app.router.add_route("*", "/{path:.*}", answer)
    app.on_response_prepare.append(add_headers)
    return app
