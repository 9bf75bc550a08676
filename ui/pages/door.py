"""Signing in and out, and the first own password."""

from __future__ import annotations

from aiohttp import web

from core.refusal import Refusal
from ui.operators import choose_password
from ui.permissions import Permission
from ui.sign_in import NewSignIn, TooManyFailures
from ui.web.forms import Form
from ui.web.guard import cookie_name, door_cookie_name, door_token, drop_cookie, new_door, set_cookie
from ui.web.visit import Routes, Visit

routes = Routes()

_NOT_RIGHT = "Name or password is not right."
_TOO_MANY = "Too many failed attempts. Wait 15 minutes, or ask an owner to reset the password."


@routes.get("/sign-in", Permission.PUBLIC)
async def show_sign_in(visit: Visit) -> web.StreamResponse:
    """The door."""
    if visit.sign_in is not None:
        return visit.see("/")
    return _door(visit, Form(), visit.query("next"))


@routes.post("/sign-in", Permission.PUBLIC)
async def sign_in(visit: Visit) -> web.StreamResponse:
    """Name and password."""
    form = await visit.form()
    address = visit.request.remote or "unknown"
    opened = await visit.panel.sign_ins.open(form.value("name"), form.value("password"), address)
    if not isinstance(opened, NewSignIn):
        limited = isinstance(opened, TooManyFailures)
        form.faults[""] = _TOO_MANY if limited else _NOT_RIGHT
        return _door(visit, form, form.value("next"), status=429 if limited else 401)
    response = visit.see(
        "/password" if opened.operator.must_change_password else _own_path(form.value("next"))
    )
    set_cookie(visit.panel, response, cookie_name(visit.panel), opened.token)
    drop_cookie(visit.panel, response, door_cookie_name(visit.panel))
    return response


@routes.post("/sign-out", Permission.SIGNED_IN)
async def sign_out(visit: Visit) -> web.StreamResponse:
    """End this sign-in, here and on the server."""
    if visit.sign_in is not None:
        await visit.panel.sign_ins.end(visit.sign_in)
    response = visit.see("/sign-in", "signed_out")
    drop_cookie(visit.panel, response, cookie_name(visit.panel))
    return response


@routes.get("/password", Permission.SIGNED_IN)
async def show_password(visit: Visit) -> web.StreamResponse:
    """The form for a new password."""
    return visit.page("password.html", form=Form())


@routes.post("/password", Permission.SIGNED_IN)
async def change_password(visit: Visit) -> web.StreamResponse:
    """A new password ends every sign-in of this operator and begins a fresh one here."""
    form = await visit.form()
    typed = {name: form.value(name) for name in ("current", "chosen", "again")}
    passwords, found = visit.panel.passwords, visit.operator
    outcome = await visit.attempt(form, lambda work: choose_password(work, passwords, found, **typed))
    if isinstance(outcome, Refusal):
        return visit.page("password.html", form=form, status=422)
    renewed = await visit.panel.sign_ins.renew(found)
    response = visit.see("/", "password")
    set_cookie(visit.panel, response, cookie_name(visit.panel), renewed.token)
    return response


def _door(visit: Visit, form: Form, onward: str, status: int = 200) -> web.Response:
    door = visit.request.cookies.get(door_cookie_name(visit.panel)) or new_door()
    response = visit.page(
        "sign_in.html", form=form, onward=_own_path(onward), csrf=door_token(visit.panel, door), status=status
    )
    set_cookie(visit.panel, response, door_cookie_name(visit.panel), door)
    return response


def _own_path(path: str) -> str:
    """A path on this panel to go on to; anything that could lead elsewhere becomes the dashboard."""
    plain = path.isascii() and path.isprintable() and "\\" not in path
    return path if plain and path.startswith("/") and not path.startswith("//") else "/"
