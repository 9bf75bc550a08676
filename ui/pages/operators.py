"""Operators: who may sign in here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from aiohttp import web

from aaa.domain.gear import LEVELS
from aaa.gear_logins import GearSignInLine, gear_sign_ins, levels_of
from core.refusal import Refusal
from core.secrets import Secret
from ui.operators import (
    GEAR_LEVELS,
    create_operator,
    give_gear,
    reset_password,
    set_operator_enabled,
    take_gear,
)
from ui.permissions import Permission, Role
from ui.read.rows import EXPORT
from ui.store import operator_rows
from ui.web.csv_files import csv_file
from ui.web.forms import Form
from ui.web.visit import Routes, Visit, missing

routes = Routes()


@dataclass(frozen=True, slots=True)
class OperatorRow:
    """One operator as others may see him."""

    id: str
    name: str
    role: str
    enabled: bool
    must_change_password: bool
    created_at: datetime
    gear: str


@routes.get("/operators", Permission.OWN)
async def operators(visit: Visit) -> web.StreamResponse:
    """All operators."""
    return await _page(visit, Form())


@routes.post("/operators", Permission.OWN)
async def create(visit: Visit) -> web.StreamResponse:
    """A new operator; the one-time password is shown once, here."""
    form = await visit.form()
    name, role = form.text("name", longest=40), form.choice("role", list(Role))
    if not form.ok:
        return await _page(visit, form, status=422)
    outcome = await visit.attempt(form, lambda work: create_operator(work, name, role))
    if isinstance(outcome, Refusal):
        return await _page(visit, form, status=422)
    return await _page(visit, Form(), issued=(name.lower(), outcome))


@routes.post("/operators/{operator_id}/reset", Permission.OWN)
async def reset(visit: Visit) -> web.StreamResponse:
    """A new one-time password for somebody who lost his."""
    form = await visit.form()
    name = await _name_of(visit)
    outcome = await visit.attempt(form, lambda work: reset_password(work, name))
    if isinstance(outcome, Refusal):
        return await _page(visit, form, status=422)
    return await _page(visit, Form(), issued=(name, outcome))


@routes.post("/operators/{operator_id}/gear", Permission.OWN)
async def give_to_gear(visit: Visit) -> web.StreamResponse:
    """A login to network gear, or a new one; its password is shown once, here."""
    form = await visit.form()
    name, operator_id, level = await _name_of(visit), visit.path("operator_id"), form.choice("level", LEVELS)
    if not form.ok:
        return await _page(visit, form, status=422)
    made = await visit.attempt(form, lambda work: give_gear(work, visit.panel.sealer, operator_id, level))
    if isinstance(made, Refusal):
        return await _page(visit, form, status=422)
    return await _page(visit, Form(), gear_issued=(name, made))


@routes.post("/operators/{operator_id}/gear-away", Permission.OWN)
async def take_from_gear(visit: Visit) -> web.StreamResponse:
    """No login to network gear any more."""
    form = await visit.form()
    await _name_of(visit)
    outcome = await visit.attempt(form, lambda work: take_gear(work, visit.path("operator_id")))
    if isinstance(outcome, Refusal):
        return await _page(visit, form, status=422)
    return visit.see("/operators", "saved")


@routes.get("/operators/gear", Permission.OWN)
async def gear_log(visit: Visit) -> web.StreamResponse:
    """Who signed in to which device, or tried to."""
    async with visit.reading() as connection:
        rows = await gear_sign_ins(connection, EXPORT if visit.wants_csv else 200)
    if visit.wants_csv:
        return csv_file("gear-sign-ins", GearSignInLine, rows)
    return visit.page("gear_sign_ins.html", rows=rows)


@routes.post("/operators/{operator_id}/enabled", Permission.OWN)
async def set_enabled(visit: Visit) -> web.StreamResponse:
    """Let somebody in, or keep him out."""
    form = await visit.form()
    await _name_of(visit)
    enabled, operator_id = form.flag("enabled"), visit.path("operator_id")
    outcome = await visit.attempt(form, lambda work: set_operator_enabled(work, operator_id, enabled))
    if isinstance(outcome, Refusal):
        return await _page(visit, form, status=422)
    return visit.see("/operators", "saved")


async def _name_of(visit: Visit) -> str:
    async with visit.reading() as connection:
        found = await operator_rows.operator_by_id(connection, visit.path("operator_id"))
    if found is None:
        raise missing()
    return found.name


async def _page(
    visit: Visit,
    form: Form,
    *,
    issued: tuple[str, Secret] | None = None,
    gear_issued: tuple[str, Secret] | None = None,
    status: int = 200,
) -> web.Response:
    async with visit.reading() as connection:
        found = await operator_rows.all_operators(connection)
        gear = await levels_of(connection)
    rows = [
        OperatorRow(
            one.id,
            one.name,
            str(one.role),
            one.enabled,
            one.must_change_password,
            one.created_at,
            gear.get(one.id, ""),
        )
        for one in found
    ]
    if visit.wants_csv:
        return csv_file("operators", OperatorRow, rows)
    shown = (issued[0], issued[1].reveal()) if issued else None
    gear_shown = (gear_issued[0], gear_issued[1].reveal()) if gear_issued else None
    return visit.page(
        "operators.html", form=form, rows=rows, roles=list(Role), issued=shown, gear_issued=gear_shown,
        levels={str(role): levels for role, levels in GEAR_LEVELS.items()}, status=status,
    )  # fmt: skip
