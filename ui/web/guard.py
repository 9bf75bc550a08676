"""What stands before every page: size limits, sign-in, permission, forgery checks, error pages, headers."""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote, urlsplit

from aiohttp import web

from ui.permissions import Permission
from ui.store.operator_rows import SignIn
from ui.web.error_pages import Forged
from ui.web.visit import PANEL, VISIT, Declaration, Panel, Visit

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
    "Cache-Control": "no-store",
}
_LONGEST_LOOKUP_S = 15.0  # a database that hangs must not hang every page with it
_HSTS = "max-age=31536000"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_WITHOUT_SIGN_IN = frozenset({Permission.BEARER, Permission.PROVEN})
Endpoint = Callable[[web.Request], Awaitable[web.StreamResponse]]
DECLARATION = "hilltop_declaration"


def cookie_name(panel: Panel) -> str:
    """``__Host-`` binds the cookie to this host over TLS; browsers take the prefix only with Secure."""
    return "__Host-hilltop" if panel.settings.tls else "hilltop_sign_in"


def door_cookie_name(panel: Panel) -> str:
    """The cookie that ties the sign-in form to the browser before anybody is signed in."""
    return "__Host-hilltop-door" if panel.settings.tls else "hilltop_door"


def set_cookie(panel: Panel, response: web.StreamResponse, name: str, value: str) -> None:
    """A cookie for this host, unreadable to scripts."""
    response.set_cookie(name, value, path="/", httponly=True, samesite="Lax", secure=panel.settings.tls)


def drop_cookie(panel: Panel, response: web.StreamResponse, name: str) -> None:
    """Remove a cookie."""
    response.del_cookie(name, path="/", httponly=True, samesite="Lax", secure=panel.settings.tls)


def door_token(panel: Panel, door: str) -> str:
    """The token of the sign-in form for a door cookie."""
    key = panel.sealer.derive_key("panel-door")
    return hmac.new(key, door.encode(), "sha256").hexdigest()


def new_door() -> str:
    """A fresh value of the door cookie."""
    return secrets.token_urlsafe(18)


def declaration_of(handler: Any) -> Declaration | None:
    """What the route of ``handler`` declared; None for one added around ``Routes``."""
    found = getattr(handler, DECLARATION, None)
    return found if isinstance(found, Declaration) else None


@web.middleware
async def limits(request: web.Request, handler: Endpoint) -> web.StreamResponse:
    """Bodies have a stated length within what the route takes."""
    declared = declaration_of(request.match_info.handler)
    if request.method not in _SAFE:
        if request.content_length is None and request.body_exists:
            raise web.HTTPLengthRequired
        largest = declared.largest_body if declared else 0
        if (request.content_length or 0) > largest:
            raise web.HTTPRequestEntityTooLarge(largest, request.content_length or 0)
    return await handler(request)


@web.middleware
async def gate(request: web.Request, handler: Endpoint) -> web.StreamResponse:
    """Let in who may come in: signed in, permitted, and from our own page."""
    if request.match_info.http_exception is not None:
        return await handler(request)  # no such route, no such method
    declared = declaration_of(request.match_info.handler)
    if declared is None:
        raise web.HTTPForbidden
    panel = request.app[PANEL]
    if declared.permission in _WITHOUT_SIGN_IN:  # no cookie counts there, so no other site can use one
        request[VISIT] = Visit(request, panel, None)
        return await handler(request)
    token = request.cookies.get(cookie_name(panel), "")
    found = None
    if token and declared.knows_visitor:
        async with asyncio.timeout(_LONGEST_LOOKUP_S):
            found = await panel.sign_ins.find(token, touch=declared.keeps_awake)
    if declared.permission is not Permission.PUBLIC and found is None:
        return _to_sign_in(request)
    visit = Visit(request, panel, found)
    if found and declared.permission is not Permission.PUBLIC:
        if found.operator.must_change_password and declared.permission is not Permission.SIGNED_IN:
            return _go(request, "/password")
        if not visit.may(declared.permission):
            raise web.HTTPForbidden
    if request.method not in _SAFE:
        await _check_origin_and_token(request, panel, found)
    request[VISIT] = visit
    return await handler(request)


def _to_sign_in(request: web.Request) -> web.Response:
    if request.method == "GET" and request.headers.get("HX-Request") != "true" and request.path != "/":
        return _go(request, f"/sign-in?next={quote(request.path_qs, safe='')}")
    return _go(request, "/sign-in")


def _go(request: web.Request, path: str) -> web.Response:
    if request.headers.get("HX-Request") == "true":
        return web.Response(status=200, headers={"HX-Redirect": path})
    return web.Response(status=303, headers={"Location": path})


async def _check_origin_and_token(request: web.Request, panel: Panel, found: SignIn | None) -> None:
    origin = request.headers.get("Origin") or request.headers.get("Referer") or ""
    if not origin or urlsplit(origin).netloc != request.host:
        raise Forged("origin")
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        raise Forged("site")
    sent = request.headers.get("X-CSRF-Token")
    if sent is None:
        posted = await request.post()
        sent = str(posted.get("csrf", ""))
    if not hmac.compare_digest(sent.encode(), _expected_token(request, panel, found).encode()):
        raise Forged("token")


def _expected_token(request: web.Request, panel: Panel, found: SignIn | None) -> str:
    if found is not None:
        return found.csrf_token
    door = request.cookies.get(door_cookie_name(panel), "")
    if not door:
        raise Forged("door")
    return door_token(panel, door)


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """The security headers of every answer, error pages and files among them."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    if request.app[PANEL].settings.tls:
        response.headers["Strict-Transport-Security"] = _HSTS
    response.headers["Server"] = "hilltop"
