"""SNMP targets: the list, a new one, one with its bindings and how it lets us in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from aiohttp import web

from core.refusal import Refusal
from core.secrets import Secret
from core.work import Work
from snmp.set_up import (
    bind,
    change_credentials,
    change_target,
    disable_target,
    enable_target,
    register_target,
    unbind,
)
from ui.permissions import Permission
from ui.read import network, services, snmp
from ui.web.csv_files import csv_file
from ui.web.forms import Form
from ui.web.visit import Routes, Visit, missing

routes = Routes()

T = TypeVar("T")
VERSIONS = {"2c": "2c (community)", "3": "3 (user and passwords)"}
_MBIT = 10**6
_LONGEST_INTERVAL_S = 3_600


@routes.get("/snmp", Permission.LOOK)
async def targets(visit: Visit) -> web.StreamResponse:
    """All targets with their last answer."""
    async with visit.reading() as connection:
        rows = await snmp.list_targets(connection)
    if visit.wants_csv:
        return csv_file("snmp-targets", snmp.TargetRow, rows)
    return visit.page("snmp.html", targets=rows)


@routes.get("/snmp/new", Permission.NETWORK)
async def new_target(visit: Visit) -> web.StreamResponse:
    """The form for a target."""
    return await _new_page(visit, Form({"port": "161", "poll_interval_s": "300", "version": "2c"}))


@routes.post("/snmp/new", Permission.NETWORK)
async def create_target(visit: Visit) -> web.StreamResponse:
    """A new target; its credentials are sealed before they are stored."""
    form = await visit.form()
    async with visit.reading() as connection:
        sites = [one for one, _ in await network.list_sites(connection)]
    asked: dict[str, Any] = {
        "name": form.text("name", longest=80), "site_id": form.choice("site_id", ["", *sites]) or None,
        **_read_place(form), **_read_login(form),
    }  # fmt: skip
    if form.ok:
        made = await visit.attempt(form, lambda work: register_target(work, visit.panel.sealer, **asked))
        if not isinstance(made, Refusal):
            return visit.see(f"/snmp/{made}", "created")
    return await _new_page(visit, form, status=422)


@routes.get("/snmp/{target_id}", Permission.LOOK)
async def target(visit: Visit) -> web.StreamResponse:
    """One target: what it last answered, and whose interfaces are whose."""
    return await _page(visit, None)


async def _page(visit: Visit, form: Form | None, status: int = 200) -> web.Response:
    async with visit.reading() as connection:
        found = next(iter(await snmp.list_targets(connection, visit.path("target_id"))), None)
        if found is None:
            raise missing()
        bindings = await snmp.bindings_of_target(connection, found.id)
    if visit.wants_csv:
        return csv_file("snmp-bindings", snmp.BindingRow, bindings)
    stands = {
        "address": found.address, "port": str(found.port), "poll_interval_s": str(found.poll_interval_s),
        "version": found.version, "username": found.username,
    }  # fmt: skip
    shown = form.over(stands) if form else Form({**stands, "bills": "yes"})
    return visit.page(
        "snmp_target.html", target=found, bindings=bindings, form=shown, versions=VERSIONS, status=status
    )


async def _change(
    visit: Visit, form: Form, notice: str, action: Callable[[Work], Awaitable[T | Refusal]]
) -> web.Response:
    target_id = visit.path("target_id")
    async with visit.reading() as connection:
        if not await snmp.list_targets(connection, target_id):
            raise missing()
    if form.ok:
        outcome = await visit.attempt(form, action)
        if not isinstance(outcome, Refusal):
            return visit.see(f"/snmp/{target_id}", notice)
    return await _page(visit, form, status=422)


@routes.post("/snmp/{target_id}/edit", Permission.NETWORK)
async def save_target(visit: Visit) -> web.StreamResponse:
    """Another address, or another pace."""
    form, target_id = await visit.form(), visit.path("target_id")
    place = _read_place(form)
    return await _change(visit, form, "saved", lambda work: change_target(work, target_id, **place))


@routes.post("/snmp/{target_id}/credentials", Permission.NETWORK)
async def save_credentials(visit: Visit) -> web.StreamResponse:
    """Other credentials, all of them at once."""
    form, target_id = await visit.form(), visit.path("target_id")
    login = _read_login(form)
    return await _change(
        visit, form, "saved",
        lambda work: change_credentials(work, visit.panel.sealer, target_id, **login),
    )  # fmt: skip


@routes.post("/snmp/{target_id}/enabled", Permission.NETWORK)
async def set_enabled(visit: Visit) -> web.StreamResponse:
    """Leave a target alone, or poll it again."""
    form, target_id = await visit.form(), visit.path("target_id")
    wanted = enable_target if form.flag("enabled") else disable_target
    return await _change(visit, form, "saved", lambda work: wanted(work, target_id))


@routes.post("/snmp/{target_id}/bind", Permission.NETWORK)
async def bind_interface(visit: Visit) -> web.StreamResponse:
    """Say whose interface it is; the same said twice is refused as taken."""
    form, target_id = await visit.form(), visit.path("target_id")
    whose = form.text("service", longest=253)
    async with visit.reading() as connection:
        service_id = await services.find_service(connection, whose) if whose else None
    if service_id is None:
        form.blame("service", "is nobody: type the name or MAC that signs in, or the service's id")
    asked: dict[str, Any] = {
        "target_id": target_id, "if_name": form.text("if_name", longest=120), "service_id": service_id,
        "reversed": form.flag("reversed"), "bills": form.flag("bills"),
        "rate_cap_bps": form.scaled("rate_cap_mbit", _MBIT, most=100_000, required=False),
    }  # fmt: skip
    return await _change(visit, form, "bound", lambda work: bind(work, **asked))


@routes.post("/snmp/{target_id}/unbind", Permission.NETWORK)
async def unbind_interface(visit: Visit) -> web.StreamResponse:
    """The interface meters nobody any more."""
    form, target_id = await visit.form(), visit.path("target_id")
    if_name = form.text("if_name", longest=120)
    return await _change(
        visit, form, "unbound", lambda work: unbind(work, target_id=target_id, if_name=if_name)
    )


def _read_place(form: Form) -> dict[str, Any]:
    return {
        "address": form.text("address", longest=64),
        "port": form.integer("port", least=1, most=65_535, default=161),
        "poll_interval_s": form.integer("poll_interval_s", least=10, most=_LONGEST_INTERVAL_S, default=300),
    }


def _read_login(form: Form) -> dict[str, Any]:
    """Version and secrets; what the version has no use for is left out, whatever a browser filled in."""
    version = form.choice("version", VERSIONS)
    wanted = ("community",) if version == "2c" else ("auth", "privacy")
    typed = {name: form.secret(name) for name in wanted}
    username = None if version == "2c" else form.optional("username", longest=32)
    return {
        "version": version, "username": username,
        **{name: Secret(text) for name, text in typed.items() if text},
    }  # fmt: skip


async def _new_page(visit: Visit, form: Form, status: int = 200) -> web.Response:
    async with visit.reading() as connection:
        sites = await network.list_sites(connection)
    return visit.page("snmp_new.html", form=form, sites=sites, versions=VERSIONS, status=status)
