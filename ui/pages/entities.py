"""Legal entities and brands: names, numbers, and a letterhead to begin with."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from billing.accounts.define_entity import OWN, change_entity, define_entity
from core.refusal import Refusal
from ui.permissions import Permission
from ui.read.entities import EntityRow, entity_list
from ui.web.csv_files import csv_file
from ui.web.forms import Form
from ui.web.visit import Routes, Visit, missing

routes = Routes()
WHERE = "/entities"


@routes.get(WHERE, Permission.LOOK)
async def show(visit: Visit) -> web.StreamResponse:
    """All of them, and the form for one more."""
    return await _page(visit, Form())


async def _page(visit: Visit, form: Form, status: int = 200) -> web.StreamResponse:
    async with visit.reading() as connection:
        rows = await entity_list(connection)
    if visit.wants_csv:
        return csv_file("entities", EntityRow, rows)
    settings = visit.panel.billing
    return visit.page("entities.html", entities=rows, form=form, settings=settings, status=status)


@routes.post(WHERE, Permission.MONEY)
async def create(visit: Visit) -> web.StreamResponse:
    """One more; logo and colours follow on its documents page."""
    form, settings = await visit.form(), visit.panel.billing
    entity_id, name = form.text("entity_id", longest=20), form.text("name", longest=120)
    prefixes = [form.text(field, longest=20) for field in ("invoice_prefix", "credit_note_prefix")]
    head: dict[str, Any] = {field: form.optional(field, longest=600) for field in OWN}
    if head["address"]:
        head["address"] = [line.strip() for line in head["address"].splitlines() if line.strip()]
    if form.ok:
        made = await visit.attempt(
            form,
            lambda work: define_entity(
                work, settings, entity_id=entity_id, name=name, invoice_prefix=prefixes[0],
                credit_note_prefix=prefixes[1], letterhead=head,
            ),
        )  # fmt: skip
        if not isinstance(made, Refusal):
            return visit.see(f"/documents?entity={made.id}", "created")
    return await _page(visit, form, status=422)


@routes.post(WHERE + "/{entity_id}", Permission.MONEY)
async def change(visit: Visit) -> web.StreamResponse:
    """Another name, or other prefixes while nothing is numbered."""
    form, settings, entity_id = await visit.form(), visit.panel.billing, visit.path("entity_id")
    name = form.text("new_name", longest=120)
    invoices, notes = form.optional("new_invoices", longest=20), form.optional("new_notes", longest=20)
    if form.ok:
        made = await visit.attempt(
            form,
            lambda work: change_entity(
                work, settings, entity_id=entity_id, name=name, invoice_prefix=invoices,
                credit_note_prefix=notes,
            ),
        )  # fmt: skip
        if not isinstance(made, Refusal):
            return visit.see(WHERE, "saved")
        if made.code == "unknown_entity":
            raise missing()
    return await _page(visit, form, status=422)
