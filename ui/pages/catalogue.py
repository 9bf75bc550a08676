"""Plans, add-ons and bundles: their versions, by form or as text."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from billing.catalogue.offer_file import offer_as_json, read_offer
from billing.set_up import define_offer
from billing.store import plan_rows
from core.quantities import format_rate
from core.refusal import Refusal
from ui import offer_form
from ui.permissions import Permission
from ui.read import money, network
from ui.web.csv_files import csv_file
from ui.web.forms import Form
from ui.web.visit import Routes, Visit, missing

routes = Routes()


@routes.get("/plans", Permission.LOOK)
async def plans(visit: Visit) -> web.StreamResponse:
    """What is sold."""
    async with visit.reading() as connection:
        rows = await money.list_plans(connection)
    if visit.wants_csv:
        return csv_file("plans", money.PlanRow, rows)
    return visit.page("plans.html", plans=rows)


@routes.get("/plans/new", Permission.MONEY)
async def new_plan(visit: Visit) -> web.StreamResponse:
    """The form for a plan version; ``from`` a version it begins with what that one says."""
    version_id = visit.query("from")
    if version_id:
        async with visit.reading() as connection:
            found = (await plan_rows.plan_versions(connection, [version_id])).get(version_id)
        stands = None if found is None else offer_form.form_of(found)
        if stands is None:
            raise missing()
        return await _plan_form(visit, Form(stands))
    return await _plan_form(visit, Form({**offer_form.USUAL, "currency": visit.panel.billing.currency}))


@routes.post("/plans/new", Permission.MONEY)
async def create_plan(visit: Visit) -> web.StreamResponse:
    """A new version of a plan; a version is never edited."""
    form = await visit.form()
    asked = offer_form.read_offer_form(form)
    if form.ok:
        made = await visit.attempt(form, lambda work: define_offer(work, **asked))
        if not isinstance(made, Refusal):
            return visit.see(f"/plans/{made}", "created")
    return await _plan_form(visit, form, status=422)


async def _plan_form(visit: Visit, form: Form, status: int = 200) -> web.Response:
    async with visit.reading() as connection:
        profiles = await network.list_profiles(connection)
    rows = range(1, offer_form.ROWS + 1)
    return visit.page(
        "plan_new.html", form=form, words=offer_form,
        profiles=[(one.id, f"{one.name} ({format_rate(one.rate_down_bps)})") for one in profiles],
        tiers=range(1, offer_form.TIERS + 1), rows=rows, status=status,
        later_rows=[f"item{at}_{name}" for at in rows if at > 1 for name in ("name", "amount", "periods")],
    )  # fmt: skip


@routes.get("/plans/{version_id}", Permission.LOOK)
async def plan(visit: Visit) -> web.StreamResponse:
    """One version with all its items, and its text to make the next one of."""
    text = await _text_of(visit, visit.path("version_id"))
    return await _plan_page(visit, Form({"text": text}))


async def _text_of(visit: Visit, version_id: str) -> str:
    async with visit.reading() as connection:
        found = (await plan_rows.plan_versions(connection, [version_id])).get(version_id)
        if found is None:
            raise missing()
        names = {one.id: one.name for one in await network.list_profiles(connection)}
    described = {**offer_as_json(found), "profile": names.get(found.service_profile_id or "")}
    return json.dumps(described, indent=2, ensure_ascii=False)


async def _plan_page(visit: Visit, form: Form, status: int = 200) -> web.Response:
    version_id = visit.path("version_id")
    async with visit.reading() as connection:
        found = (await plan_rows.plan_versions(connection, [version_id])).get(version_id)
        if found is None:
            raise missing()
        rows = [one for one in await money.list_plans(connection) if one.code == found.code]
    contract = json.loads(form.value("text") or "{}") if form.ok else {}
    return visit.page(
        "plan.html", offer=found, versions=rows, form=form, status=status,
        by_form=offer_form.form_of(found) is not None,
        contract=contract.get("contract") if isinstance(contract, dict) else None, fees=offer_form.FEES,
    )  # fmt: skip


@routes.post("/plans/{version_id}/next", Permission.MONEY)
async def next_version(visit: Visit) -> web.StreamResponse:
    """The next version, or another plan, from text."""
    form = await visit.form()
    described = _described(form)
    offer = read_offer(described) if form.ok else {}
    if isinstance(offer, Refusal):
        form.blame("text", f"{offer.field}: {offer.message}")
    if not form.ok or isinstance(offer, Refusal):
        return await _plan_page(visit, form, status=422)
    async with visit.reading() as connection:
        profiles = {one.name: one.id for one in await network.list_profiles(connection)}
    named = described.get("profile")
    if named is not None and named not in profiles:
        form.blame("text", f"profile: there is no service profile {named!r}")
        return await _plan_page(visit, form, status=422)
    profile_id = None if named is None else profiles[named]
    made = await visit.attempt(form, lambda work: define_offer(work, **offer, service_profile_id=profile_id))
    if isinstance(made, Refusal):
        return await _plan_page(visit, form, status=422)
    return visit.see(f"/plans/{made}", "created")


def _described(form: Form) -> dict[str, Any]:
    text = form.value("text")
    if len(text) > 40_000:
        form.blame("text", "is too long: use at most 40,000 characters")
        return {}
    try:
        found = json.loads(text)
    except ValueError as trouble:
        form.blame("text", f"is not JSON: {trouble}")
        return {}
    if not isinstance(found, dict):
        form.blame("text", "must be one JSON object")
        return {}
    return found
