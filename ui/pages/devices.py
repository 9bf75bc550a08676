"""Devices that enforce: the list, a new one, changes, a forgotten host key."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from core.refusal import Refusal
from core.secrets import Secret
from provisioning.set_up import change_device, register_device
from ui.permissions import Permission
from ui.read import network
from ui.read.network import DeviceFields
from ui.web.csv_files import csv_file
from ui.web.forms import Form
from ui.web.visit import Routes, Visit, missing

routes = Routes()

DRIVERS = {"routeros": "MikroTik RouterOS (SSH)", "linux_nftables": "Linux nftables (SSH)"}
_OPTIONS_SHOWN = 2_000


@routes.get("/devices", Permission.LOOK)
async def devices(visit: Visit) -> web.StreamResponse:
    """All devices."""
    async with visit.reading() as connection:
        rows = await network.list_devices(connection, visit.panel.workplace.clock.now())
    if visit.wants_csv:
        return csv_file("devices", network.DeviceRow, rows)
    return visit.page("devices.html", devices=rows)


@routes.get("/devices/new", Permission.NETWORK)
async def new_device(visit: Visit) -> web.StreamResponse:
    """The form for a device."""
    preset = Form({"site_id": visit.query("tower"), "port": "22", "driver": "routeros"})
    return await _form_page(visit, preset, None)


@routes.post("/devices/new", Permission.NETWORK)
async def create_device(visit: Visit) -> web.StreamResponse:
    """A new device; its credentials are sealed before they are stored."""
    form = await visit.form()
    asked = await _read(visit, form) | {"host_key": form.optional("host_key", longest=2_000)}
    if form.ok:
        made = await visit.attempt(
            form, lambda work: register_device(work, visit.panel.sealer, **asked, **_secrets(form))
        )
        if not isinstance(made, Refusal):
            return visit.see(f"/towers/{asked['site_id']}", "created")
    return await _form_page(visit, form, None, status=422)


@routes.get("/devices/{device_id}/edit", Permission.NETWORK)
async def edit_device(visit: Visit) -> web.StreamResponse:
    """The form with what stands now; secrets are not shown, and stay when left empty."""
    found = await _found(visit)
    return await _form_page(visit, Form(_shown(found)), found)


def _shown(found: DeviceFields) -> dict[str, str]:
    options = json.dumps(found.options, ensure_ascii=False, indent=1) if found.options else ""
    return {
        "name": found.name, "site_id": found.site_id, "driver": found.driver, "address": found.address,
        "port": str(found.port), "username": found.username, "options": options,
        "enabled": "yes" if found.enabled else "",
    }  # fmt: skip


@routes.post("/devices/{device_id}/edit", Permission.NETWORK)
async def save_device(visit: Visit) -> web.StreamResponse:
    """Save the fields; the device gets a fresh start, what waited for it is due now."""
    form, found = await visit.form(), await _found(visit)
    asked = await _read(visit, form) | {"enabled": form.flag("enabled")}
    if form.ok:
        outcome = await visit.attempt(
            form,
            lambda work: change_device(work, visit.panel.sealer, found.id, **asked, **_secrets(form)),
        )
        if not isinstance(outcome, Refusal):
            return visit.see(f"/towers/{asked['site_id']}", "saved")
    return await _form_page(visit, form, found, status=422)


@routes.post("/devices/{device_id}/forget-key", Permission.NETWORK)
async def forget_host_key(visit: Visit) -> web.StreamResponse:
    """Forget the pinned host key of a device that was replaced; the next contact pins anew."""
    form, found = await visit.form(), await _found(visit)
    outcome = await visit.attempt(
        form, lambda work: change_device(work, visit.panel.sealer, found.id, host_key=None)
    )
    if isinstance(outcome, Refusal):
        return await _form_page(visit, form.over(_shown(found)), found, status=422)
    return visit.see(f"/towers/{found.site_id}", "key_forgotten")


async def _found(visit: Visit) -> DeviceFields:
    async with visit.reading() as connection:
        found = await network.device_fields(connection, visit.path("device_id"))
    if found is None:
        raise missing()
    return found


async def _read(visit: Visit, form: Form) -> dict[str, Any]:
    async with visit.reading() as connection:
        sites = [identity for identity, _ in await network.list_sites(connection)]
    return {
        "site_id": form.choice("site_id", sites), "name": form.text("name", longest=80),
        "driver": form.choice("driver", DRIVERS), "address": form.text("address", longest=64),
        "port": form.integer("port", least=1, most=65_535, default=22),
        "username": form.text("username", longest=80), "options": _read_options(form),
    }  # fmt: skip


def _secrets(form: Form) -> dict[str, Any]:
    """The secrets that were typed; those left empty are not named."""
    typed = {name: form.secret(name) for name in ("password", "private_key")}
    return {name: Secret(text) for name, text in typed.items() if text}


def _read_options(form: Form) -> dict[str, Any]:
    typed = form.optional("options", longest=_OPTIONS_SHOWN)
    if typed is None:
        return {}
    try:
        options = json.loads(typed)
    except (ValueError, RecursionError):
        options = None
    if not isinstance(options, dict):
        form.blame("options", 'is not a JSON object: write it like {"list": "hilltop-suspended"}')
        return {}
    return options


async def _form_page(visit: Visit, form: Form, found: DeviceFields | None, status: int = 200) -> web.Response:
    async with visit.reading() as connection:
        sites = await network.list_sites(connection)
    return visit.page(
        "device_form.html", form=form, device=found, sites=sites, drivers=DRIVERS, status=status
    )
