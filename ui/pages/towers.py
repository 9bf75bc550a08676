"""Towers: the list, one tower, known outages, parked suspensions."""

from __future__ import annotations

from aiohttp import web

from core.refusal import Refusal
from provisioning.set_up import approve_parked, register_site, set_known_outage
from ui.permissions import Permission
from ui.read import network
from ui.web.csv_files import csv_file
from ui.web.forms import Form
from ui.web.visit import Routes, Visit, missing

routes = Routes()


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
