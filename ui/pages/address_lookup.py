"""Who had an address at a time: asked with a reason, answered with evidence, kept on record."""

from __future__ import annotations

import asyncio
import re

from aiohttp import web

from aaa.find_holder import LONGEST_TOLERANCE_S, HolderQuestion
from core.instants import read_instant
from core.refusal import Refusal
from ui.address_document import address_pdf
from ui.permissions import Permission
from ui.read.address_report import AddressReport, address_report
from ui.read.sessions import choices
from ui.web.forms import Form
from ui.web.visit import Routes, Visit

routes = Routes()
_REFERENCE = re.compile(r"inq_[0-9a-z]{1,36}")


@routes.get("/sessions/at", Permission.SUBSCRIBERS)
async def ask(visit: Visit) -> web.StreamResponse:
    """The form."""
    preset = {"address": visit.query("address"), "at": visit.query("at"), "tolerance_s": "60"}
    return await _page(visit, Form(preset | {"zone": visit.panel.settings.time_zone}), None)


@routes.post("/sessions/at", Permission.SUBSCRIBERS)
async def answer(visit: Visit) -> web.StreamResponse:
    """The answer on a page, or as the PDF of the same report."""
    form = await visit.form()
    question = _question(form)
    if question is None:
        return await _page(visit, form, None, status=422)
    found = await visit.attempt(form, lambda work: address_report(work, question))
    if isinstance(found, Refusal):
        return await _page(visit, form, None, status=422)
    if form.value("format") == "pdf":
        body = await asyncio.to_thread(address_pdf, found, visit.panel.settings)
        name = f'attachment; filename="{found.answer.reference}.pdf"'
        return web.Response(
            body=body, headers={"Content-Type": "application/pdf", "Content-Disposition": name}
        )
    return await _page(visit, form, found)


def _question(form: Form) -> HolderQuestion | None:
    address, reason = form.text("address", longest=60), form.text("reason", longest=300)
    typed, zone_name = form.text("at", longest=40), form.optional("zone", longest=60)
    tolerance_s = form.integer("tolerance_s", least=0, most=LONGEST_TOLERANCE_S, default=60)
    reference = form.value("reference")
    if not form.ok:
        return None
    try:
        at = read_instant(typed, zone_name)
    except ValueError as trouble:
        form.blame("at", str(trouble))
        return None
    return HolderQuestion(
        address, at, reason, tolerance_s, form.optional("nas"),
        reference=reference if _REFERENCE.fullmatch(reference) else None,
    )  # fmt: skip


async def _page(visit: Visit, form: Form, found: AddressReport | None, status: int = 200) -> web.Response:
    async with visit.reading() as connection:
        offered = await choices(connection)
    answer = found.answer if found else None
    return visit.page(
        "address_lookup.html", form=form, report=found, answer=answer, offered=offered, status=status
    )
