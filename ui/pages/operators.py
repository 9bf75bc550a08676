"""Operators: who may sign in here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from aiohttp import web

from core.refusal import Refusal
from core.secrets import Secret
from ui.operators import create_operator, reset_password, set_operator_enabled
from ui.permissions import Permission, Role
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
    visit: Visit, form: Form, *, issued: tuple[str, Secret] | None = None, status: int = 200
) -> web.Response:
    async with visit.reading() as connection:
        found = await operator_rows.all_operators(connection)
    rows = [
        OperatorRow(one.id, one.name, str(one.role), one.enabled, one.must_change_password, one.created_at)
        for one in found
    ]
    if visit.wants_csv:
        return csv_file("operators", OperatorRow, rows)
    shown = (issued[0], issued[1].reveal()) if issued else None
    return visit.page("operators.html", form=form, rows=rows, roles=list(Role), issued=shown, status=status)
