"""Towers with their devices, NASes, and what was refused."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from aaa.domain import identity
from aaa.set_up import register_nas
from core.refusal import Refusal
from core.secrets import Secret
from provisioning.set_up import approve_parked, register_device, register_site, set_known_outage
from ui.permissions import Permission
from ui.read import network, services
from ui.read.rows import EXPORT
from ui.web.csv_files import csv_file
from ui.web.forms import Form
from ui.web.visit import Routes, Visit, missing

routes = Routes()

DRIVERS = {"routeros": "MikroTik RouterOS (SSH)", "linux_nftables": "Linux nftables (SSH)"}
DIALECTS = {"mikrotik": "MikroTik", "wispr": "WISPr", "generic": "Generic"}
SIGNATURES = {"auto": "Learn (require once seen)", "require": "Require", "off": "Off"}
_MAC_WORDS = {
    "mikrotik": "As RouterOS sends it", "colon": "AA:BB:CC:DD:EE:FF", "hyphen": "AA-BB-CC-DD-EE-FF",
    "dotted": "aabb.ccdd.eeff", "plain": "aabbccddeeff",
}  # fmt: skip
MAC_FORMATS = {one: _MAC_WORDS.get(one, one) for one in identity.MAC_FORMATS}
_OPTIONS_SHOWN = 2_000


@routes.get("/towers", Permission.LOOK)
async def towers(visit: Visit) -> web.StreamResponse:
    """All towers."""
    async with visit.reading() as connection:
        rows = await network.list_towers(connection, visit.panel.workplace.clock.now())
    if visit.wants_csv:
        return csv_file("towers", network.TowerRow, rows)
    return visit.page("towers.html", towers=rows)


@routes.get("/towers/new", Permission.NETWORK)
async def new_tower(visit: Visit) -> web.StreamResponse:
    """The form for a tower."""
    return visit.page("tower_new.html", form=Form())


@routes.post("/towers/new", Permission.NETWORK)
async def create_tower(visit: Visit) -> web.StreamResponse:
    """A new tower."""
    form = await visit.form()
    name = form.text("name", longest=80)
    latitude = form.optional_decimal("latitude", least=-90, most=90)
    longitude = form.optional_decimal("longitude", least=-180, most=180)
    if form.ok:
        made = await visit.attempt(
            form, lambda work: register_site(work, name=name, latitude=latitude, longitude=longitude)
        )
        if not isinstance(made, Refusal):
            return visit.see(f"/towers/{made}", "created")
    return visit.page("tower_new.html", form=form, status=422)


@routes.get("/towers/{site_id}", Permission.LOOK)
async def tower(visit: Visit) -> web.StreamResponse:
    """One tower: devices, NASes, what is still to be done there."""
    now, site_id = visit.panel.workplace.clock.now(), visit.path("site_id")
    async with visit.reading() as connection:
        view = await network.tower_view(connection, site_id)
        if view is None:
            raise missing()
        devices = await network.list_devices(connection, now, site_id)
        nases = await network.list_nases(connection, site_id)
        tasks = await network.open_tasks(connection, site_id)
    return visit.page("tower.html", tower=view, devices=devices, nases=nases, tasks=tasks)


@routes.post("/towers/{site_id}/outage", Permission.NETWORK)
async def outage(visit: Visit) -> web.StreamResponse:
    """Say that the tower is known to be down, or up again."""
    form, site_id = await visit.form(), visit.path("site_id")
    down = form.flag("outage")
    outcome = await visit.attempt(form, lambda work: set_known_outage(work, site_id, down))
    if isinstance(outcome, Refusal):
        raise missing()
    return visit.see(f"/towers/{site_id}", "outage_on" if down else "outage_off")


@routes.post("/towers/{site_id}/approve", Permission.NETWORK)
async def approve(visit: Visit) -> web.StreamResponse:
    """Let suspensions go on that the cap on one tower has parked."""
    site_id = visit.path("site_id")
    async with visit.reading() as connection:
        if await network.tower_view(connection, site_id) is None:
            raise missing()
    async with visit.work() as work:
        await approve_parked(work, site_id)
    return visit.see(f"/towers/{site_id}", "saved")


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
    return await _device_form(visit, preset)


@routes.post("/devices/new", Permission.NETWORK)
async def create_device(visit: Visit) -> web.StreamResponse:
    """A new device; its credentials are sealed before they are stored."""
    form = await visit.form()
    password, private_key = form.secret("password"), form.secret("private_key")
    asked: dict[str, Any] = {
        "site_id": form.text("site_id", longest=40), "name": form.text("name", longest=80),
        "driver": form.choice("driver", DRIVERS), "address": form.text("address", longest=64),
        "port": form.integer("port", least=1, most=65_535, default=22),
        "username": form.text("username", longest=80), "host_key": form.optional("host_key", longest=2_000),
        "options": _read_options(form),
    }  # fmt: skip
    if form.ok:
        made = await visit.attempt(
            form,
            lambda work: register_device(
                work, visit.panel.sealer, password=Secret(password) if password else None,
                private_key=Secret(private_key) if private_key else None, **asked,
            ),
        )  # fmt: skip
        if not isinstance(made, Refusal):
            return visit.see(f"/towers/{asked['site_id']}", "created")
    return await _device_form(visit, form, status=422)


def _read_options(form: Form) -> dict[str, Any] | None:
    typed = form.optional("options", longest=_OPTIONS_SHOWN)
    if typed is None:
        return None
    try:
        options = json.loads(typed)
    except ValueError:
        options = None
    if not isinstance(options, dict):
        form.faults.setdefault("options", 'is not a JSON object: write it like {"list": "hilltop-suspended"}')
        return None
    return options


async def _device_form(visit: Visit, form: Form, status: int = 200) -> web.Response:
    async with visit.reading() as connection:
        sites = await network.list_sites(connection)
    return visit.page("device_new.html", form=form, sites=sites, drivers=DRIVERS, status=status)


@routes.get("/nases", Permission.LOOK)
async def nases(visit: Visit) -> web.StreamResponse:
    """All NASes."""
    async with visit.reading() as connection:
        rows = await network.list_nases(connection)
    if visit.wants_csv:
        return csv_file("nases", network.NasRow, rows)
    return visit.page("nases.html", nases=rows)


@routes.get("/nases/new", Permission.NETWORK)
async def new_nas(visit: Visit) -> web.StreamResponse:
    """The form for a NAS."""
    preset = {"site_id": visit.query("tower"), "dynauth_port": "3799", "dialect": "mikrotik"}
    return await _nas_form(visit, Form(preset))


@routes.post("/nases/new", Permission.NETWORK)
async def create_nas(visit: Visit) -> web.StreamResponse:
    """A new NAS; its secret is sealed before it is stored."""
    form = await visit.form()
    secret = form.secret("secret")
    if secret is None:
        form.blame("secret", "is missing: type the secret that the NAS has")
    asked: dict[str, Any] = {
        "name": form.text("name", longest=80), "network": form.text("network", longest=64),
        "dialect": form.choice("dialect", DIALECTS), "identifier": form.optional("identifier", longest=253),
        "message_authenticator": form.choice("message_authenticator", SIGNATURES),
        "mac_format": form.choice("mac_format", MAC_FORMATS), "site_id": form.optional("site_id", longest=40),
        "octets_reversed": form.flag("octets_reversed"),
        "dynauth_port": form.integer("dynauth_port", least=1, most=65_535, default=3_799),
    }  # fmt: skip
    if form.ok and secret:
        made = await visit.attempt(
            form, lambda work: register_nas(work, visit.panel.sealer, secret=Secret(secret), **asked)
        )
        if not isinstance(made, Refusal):
            return visit.see("/nases", "created")
    return await _nas_form(visit, form, status=422)


async def _nas_form(visit: Visit, form: Form, status: int = 200) -> web.Response:
    async with visit.reading() as connection:
        sites = await network.list_sites(connection)
    return visit.page(
        "nas_new.html", form=form, sites=sites, dialects=DIALECTS, signatures=SIGNATURES,
        mac_formats=MAC_FORMATS, status=status,
    )  # fmt: skip


@routes.get("/rejects", Permission.LOOK)
async def rejects(visit: Visit) -> web.StreamResponse:
    """Refused sign-ins with their reasons."""
    async with visit.reading() as connection:
        rows = await services.recent_rejects(connection, EXPORT if visit.wants_csv else 200)
    if visit.wants_csv:
        return csv_file("rejects", services.RejectRow, rows)
    return visit.page("rejects.html", rejects=rows)
