"""Realms and their home servers: whose sign-ins another RADIUS server answers."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from aaa.define_realm import (
    change_home_server,
    change_realm,
    define_realm,
    register_home_server,
    remove_home_server,
    remove_realm,
)
from aaa.domain.realm import PASSED
from aaa.list_realms import HomeServerLine, RealmLine, list_home_servers, list_realms
from core.refusal import Refusal
from core.secrets import Secret
from ui.permissions import Permission
from ui.read import network
from ui.web.csv_files import csv_file
from ui.web.forms import Form
from ui.web.visit import Routes, Visit, missing

routes = Routes()


@routes.get("/realms", Permission.LOOK)
async def realms(visit: Visit) -> web.StreamResponse:
    """All realms and home servers."""
    return await _list_page(visit, Form())


async def _list_page(visit: Visit, form: Form, status: int = 200) -> web.StreamResponse:
    async with visit.reading() as connection:
        rows = await list_realms(connection)
        servers = await list_home_servers(connection)
    if visit.wants_csv:
        return csv_file("realms", RealmLine, rows)
    return visit.page("realms.html", realms=rows, servers=servers, form=form, status=status)


@routes.get("/realms/new", Permission.NETWORK)
async def new_realm(visit: Visit) -> web.StreamResponse:
    """The form for a realm."""
    return await _realm_page(visit, Form({"passes": "\n".join(PASSED), "accounting": "yes"}), None)


@routes.post("/realms/new", Permission.NETWORK)
async def create_realm(visit: Visit) -> web.StreamResponse:
    """A new realm."""
    form = await visit.form()
    asked = _read_realm(form)
    if form.ok:
        made = await visit.attempt(form, lambda work: define_realm(work, **asked))
        if not isinstance(made, Refusal):
            return visit.see("/realms", "created")
    return await _realm_page(visit, form, None, status=422)


@routes.get("/realms/{realm_id}/edit", Permission.NETWORK)
async def edit_realm(visit: Visit) -> web.StreamResponse:
    """The form with what stands now."""
    found = await _realm(visit)
    shown = {
        "name": found.name, "servers": ", ".join(found.servers), "passes": "\n".join(found.passes),
        "strip": "yes" if found.strip else "", "accounting": "yes" if found.accounting else "",
        "enabled": "yes" if found.enabled else "", "profile_id": found.profile_id or "",
    }  # fmt: skip
    return await _realm_page(visit, Form(shown), found)


@routes.post("/realms/{realm_id}/edit", Permission.NETWORK)
async def save_realm(visit: Visit) -> web.StreamResponse:
    """Change a realm."""
    form, found = await visit.form(), await _realm(visit)
    asked = _read_realm(form) | {"enabled": form.flag("enabled")}
    if form.ok:
        done = await visit.attempt(form, lambda work: change_realm(work, realm_name=found.id, **asked))
        if not isinstance(done, Refusal):
            return visit.see("/realms", "saved")
    return await _realm_page(visit, form, found, status=422)


@routes.post("/realms/{realm_id}/remove", Permission.NETWORK)
async def drop_realm(visit: Visit) -> web.StreamResponse:
    """Forget a realm."""
    form, found = await visit.form(), await _realm(visit)
    done = await visit.attempt(form, lambda work: remove_realm(work, realm_name=found.id))
    if isinstance(done, Refusal):
        return await _list_page(visit, form, status=422)
    return visit.see("/realms", "saved")


@routes.get("/home-servers/new", Permission.NETWORK)
async def new_server(visit: Visit) -> web.StreamResponse:
    """The form for a home server."""
    preset = {
        "auth_port": "1812", "accounting_port": "1813", "signs_replies": "yes", "status_check": "yes",
        "timeout_ms": "2000", "tries": "2", "dead_s": "30",
    }  # fmt: skip
    return _server_page(visit, Form(preset), None)


@routes.post("/home-servers/new", Permission.NETWORK)
async def create_server(visit: Visit) -> web.StreamResponse:
    """A new home server; its secret is sealed before it is stored."""
    form = await visit.form()
    asked, typed = _read_server(form), form.secret("secret")
    if typed is None:
        form.blame("secret", "is missing: type the secret that the home server has for us")
    if form.ok and typed:
        secret = Secret(typed)
        made = await visit.attempt(
            form, lambda work: register_home_server(work, visit.panel.sealer, secret=secret, **asked)
        )
        if not isinstance(made, Refusal):
            return visit.see("/realms", "created")
    return _server_page(visit, form, None, status=422)


@routes.get("/home-servers/{server_id}/edit", Permission.NETWORK)
async def edit_server(visit: Visit) -> web.StreamResponse:
    """The form with what stands now, without the secret."""
    found = await _server(visit)
    shown = {
        "name": found.name, "address": found.address, "auth_port": str(found.auth_port or ""),
        "accounting_port": str(found.accounting_port or ""), "timeout_ms": str(found.timeout_ms),
        "tries": str(found.tries), "dead_s": str(found.dead_s),
        "signs_replies": "yes" if found.signs_replies else "",
        "status_check": "yes" if found.status_check else "", "enabled": "yes" if found.enabled else "",
    }  # fmt: skip
    return _server_page(visit, Form(shown), found)


@routes.post("/home-servers/{server_id}/edit", Permission.NETWORK)
async def save_server(visit: Visit) -> web.StreamResponse:
    """Change a home server; an empty secret leaves the present one."""
    form, found = await visit.form(), await _server(visit)
    asked = _read_server(form) | {"enabled": form.flag("enabled")}
    if typed := form.secret("secret"):
        asked["secret"] = Secret(typed)
    if form.ok:
        done = await visit.attempt(
            form, lambda work: change_home_server(work, visit.panel.sealer, server=found.id, **asked)
        )
        if not isinstance(done, Refusal):
            return visit.see("/realms", "saved")
    return _server_page(visit, form, found, status=422)


@routes.post("/home-servers/{server_id}/remove", Permission.NETWORK)
async def drop_server(visit: Visit) -> web.StreamResponse:
    """Forget a home server that no realm asks."""
    form, found = await visit.form(), await _server(visit)
    done = await visit.attempt(form, lambda work: remove_home_server(work, server=found.id))
    if isinstance(done, Refusal):
        return await _list_page(visit, form, status=422)
    return visit.see("/realms", "saved")


async def _realm(visit: Visit) -> RealmLine:
    async with visit.reading() as connection:
        rows = await list_realms(connection)
    found = next((one for one in rows if one.id == visit.path("realm_id")), None)
    if found is None:
        raise missing()
    return found


async def _server(visit: Visit) -> HomeServerLine:
    async with visit.reading() as connection:
        rows = await list_home_servers(connection)
    found = next((one for one in rows if one.id == visit.path("server_id")), None)
    if found is None:
        raise missing()
    return found


def _read_realm(form: Form) -> dict[str, Any]:
    servers = _list_of(form.optional("servers", longest=2_000) or "")
    return {
        "name": form.text("name", longest=253), "servers": servers or None,
        "strip": form.flag("strip"), "accounting": form.flag("accounting"),
        "passes": _list_of(form.optional("passes", longest=4_000) or ""),
        "profile_id": form.optional("profile_id", longest=40),
    }  # fmt: skip


def _list_of(text: str) -> list[str]:
    return [one.strip() for one in text.replace(",", "\n").splitlines() if one.strip()]


def _read_server(form: Form) -> dict[str, Any]:
    return {
        "name": form.text("name", longest=80), "address": form.text("address", longest=45),
        "auth_port": form.optional_integer("auth_port", least=1, most=65_535),
        "accounting_port": form.optional_integer("accounting_port", least=1, most=65_535),
        "signs_replies": form.flag("signs_replies"), "status_check": form.flag("status_check"),
        "timeout_ms": form.integer("timeout_ms", least=100, most=30_000, default=2_000),
        "tries": form.integer("tries", least=1, most=10, default=2),
        "dead_s": form.integer("dead_s", least=1, most=3_600, default=30),
    }  # fmt: skip


async def _realm_page(visit: Visit, form: Form, found: RealmLine | None, status: int = 200) -> web.Response:
    async with visit.reading() as connection:
        servers = await list_home_servers(connection)
        profiles = [(one.id, one.name) for one in await network.list_profiles(connection)]
    return visit.page(
        "realm_form.html", form=form, realm=found, servers=servers, profiles=profiles, status=status
    )


def _server_page(visit: Visit, form: Form, found: HomeServerLine | None, status: int = 200) -> web.Response:
    return visit.page("home_server_form.html", form=form, server=found, status=status)
