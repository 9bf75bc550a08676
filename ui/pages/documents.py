"""Documents: letterhead, logo and templates; statements and receipts; many invoices at once."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

from aiohttp import web

from billing.config import IssuerSettings
from billing.delivery.print_letters import mark_printed, print_letters
from billing.delivery.queue import queue_invoice, queue_statement
from billing.documents.bulk import Choice, chosen_invoices, printed_invoices, printers, zipped
from billing.documents.deposit_slip import print_deposit_slip
from billing.documents.keep_look import change_look, find_look, find_said, set_logo, set_template
from billing.documents.logo import LARGEST_LOGO
from billing.documents.look import EDITABLE
from billing.documents.receipt import print_receipt, receipt_of
from billing.documents.render import printed_pdf
from billing.documents.statement import print_statement, statement_of
from billing.documents.try_look import try_look
from billing.store.entity_rows import find_entity, list_entities
from core.periods import local_date
from core.refusal import Refusal
from core.work import Work
from ui.document_desk import document_at
from ui.permissions import Permission
from ui.read import subscriber
from ui.web.documents import html_document, pdf_document
from ui.web.forms import Form
from ui.web.visit import Handler, Routes, Visit, missing

routes = Routes()

_TEXTS = (
    "name",
    "email",
    "phone",
    "website",
    "tax_number",
    "bank",
    "iban",
    "bic",
    "locale",
    "pay_url",
    "documents_url",
)
_PAPERS = {"auto": "As the country has it", "a4": "A4", "us-letter": "US letter"}
_TEMPLATE_BODY = 256 * 1024


@routes.get("/documents", Permission.LOOK)
async def documents(visit: Visit) -> web.StreamResponse:
    """Letterhead, templates, and what can be printed together."""
    return await _page(visit, None)


async def _brand(visit: Visit) -> str:
    """Whose documents: a legal entity's by ``entity`` in the address, else the house's."""
    brand = visit.query("entity")
    if brand:
        async with visit.reading() as connection:
            if await find_entity(connection, brand) is None:
                raise missing()
    return brand


def _place(path: str, brand: str) -> str:
    return f"{path}?entity={brand}" if brand else path


async def _page(visit: Visit, form: Form | None, status: int = 200) -> web.Response:
    brand = await _brand(visit)
    async with visit.reading() as connection:
        entities = await list_entities(connection)
        said = await find_said(connection, brand)
    issuer = IssuerSettings() if brand else visit.panel.billing.issuer
    stands = {name: str(getattr(said, name) or "") for name in _TEXTS}
    stands |= {
        "address": "\n".join(said.address or ()), "payment_instructions": said.payment_instructions or "",
        "closing": said.closing or "", "accent": said.accent, "paper": said.paper,
        "payment_code": "yes" if said.payment_code == "auto" else "",
        "usage_chart": "yes" if said.usage_chart else "",
    }  # fmt: skip
    today = _today(visit)
    return visit.page(
        "documents.html", form=form.over(stands) if form else Form(stands), said=said, issuer=issuer,
        locale=visit.panel.billing.locale, papers=_PAPERS, editable=EDITABLE, today=today,
        month_start=today.replace(day=1), status=status, brand=brand, entities=entities,
        where=_place("", brand),
    )  # fmt: skip


def _today(visit: Visit) -> date:
    return local_date(visit.panel.workplace.clock.now(), visit.panel.settings.time_zone)


@routes.post("/documents/look", Permission.MONEY)
async def save_look(visit: Visit) -> web.StreamResponse:
    """Another letterhead, from now on."""
    form = await visit.form()
    changes: dict[str, Any] = {name: form.optional(name, longest=300) for name in _TEXTS}
    address = form.optional("address", longest=1_000)
    changes |= {
        "address": [line.strip() for line in address.splitlines() if line.strip()] if address else None,
        "payment_instructions": form.optional("payment_instructions", longest=600),
        "closing": form.optional("closing", longest=600), "accent": form.optional("accent", longest=7),
        "paper": form.choice("paper", _PAPERS),
        "payment_code": "auto" if form.flag("payment_code") else "none",
        "usage_chart": form.flag("usage_chart"),
    }  # fmt: skip
    if form.ok:
        settings, brand = visit.panel.billing, await _brand(visit)
        outcome = await visit.attempt(form, lambda work: change_look(work, settings, changes, brand=brand))
        if not isinstance(outcome, Refusal):
            return visit.see(_place("/documents", brand), "look")
    return await _page(visit, form, status=422)


@routes.post("/documents/logo", Permission.MONEY, largest_body=LARGEST_LOGO + 4_096)
async def save_logo(visit: Visit) -> web.StreamResponse:
    """Another logo from now on, or none."""
    posted = await visit.request.post()
    file, form, settings, brand = posted.get("logo"), Form(), visit.panel.billing, await _brand(visit)
    if str(posted.get("act", "")) == "remove":
        await visit.attempt(form, lambda work: set_logo(work, settings, None, brand=brand))
        return visit.see(_place("/documents", brand), "look")
    content = file.file.read() if isinstance(file, web.FileField) and file.filename else b""
    if not content:
        form.blame("logo", "is missing: choose a PNG or SVG file")
    else:
        outcome = await visit.attempt(form, lambda work: set_logo(work, settings, content, brand=brand))
        if not isinstance(outcome, Refusal):
            return visit.see(_place("/documents", brand), "look")
    return await _page(visit, form, status=422)


async def _logo(visit: Visit) -> web.StreamResponse:
    """The logo in force."""
    brand = await _brand(visit)
    async with visit.reading() as connection:
        look = await find_look(connection, visit.panel.billing, brand=brand)
    if look.logo is None:
        raise missing()
    return web.Response(body=look.logo.content, content_type=look.logo.media_type)


@routes.get("/documents/templates/{name}", Permission.LOOK)
async def template(visit: Visit) -> web.StreamResponse:
    """One template's source."""
    brand = await _brand(visit)
    async with visit.reading() as connection:
        look = await find_look(connection, visit.panel.billing, brand=brand)
    name = visit.path("name")
    if name not in EDITABLE:
        raise missing()
    return _template_page(visit, name, Form({"source": look.source(name)}), is_own=name in look.templates)


def _template_page(visit: Visit, name: str, form: Form, *, is_own: bool, status: int = 200) -> web.Response:
    return visit.page(
        "document_template.html", name=name, what=EDITABLE[name], form=form, is_own=is_own, status=status,
        where=_place("", visit.query("entity")),
    )  # fmt: skip


@routes.post("/documents/templates/{name}", Permission.MONEY, largest_body=_TEMPLATE_BODY)
async def save_template(visit: Visit) -> web.StreamResponse:
    """Try a source with made-up documents; show the sample, or use it from now on."""
    name, form, settings = visit.path("name"), await visit.form(), visit.panel.billing
    if name not in EDITABLE:
        raise missing()
    brand = await _brand(visit)
    async with visit.reading() as connection:
        look = await find_look(connection, settings, brand=brand)
    is_own = name in look.templates
    if form.value("act") == "reset":
        await visit.attempt(form, lambda work: set_template(work, settings, name, None, brand=brand))
        return visit.see(_place(f"/documents/templates/{name}", brand), "look")
    source = form.value("source").replace("\r\n", "\n")
    made = await try_look(replace(look, templates={**look.templates, name: source}), name)
    if isinstance(made, Refusal):
        form.refuse(made)
        return _template_page(visit, name, form, is_own=is_own, status=422)
    if form.value("act") == "preview":
        if name.endswith(".typ"):
            return pdf_document(made, "sample", shown=True)
        return html_document(made.decode())
    outcome = await visit.attempt(form, lambda work: set_template(work, settings, name, source, brand=brand))
    if isinstance(outcome, Refusal):
        return _template_page(visit, name, form, is_own=is_own, status=422)
    return visit.see(_place(f"/documents/templates/{name}", brand), "look")


@routes.get("/documents/sample/{name}", Permission.LOOK)
async def sample(visit: Visit) -> web.StreamResponse:
    """A made-up document as it would be printed now."""
    name = visit.path("name")
    if name not in EDITABLE:
        raise missing()
    brand = await _brand(visit)
    async with visit.reading() as connection:
        look = await find_look(connection, visit.panel.billing, brand=brand)
    made = await try_look(look, name)
    if isinstance(made, Refusal):
        return _template_page(visit, name, Form({"source": look.source(name)}), is_own=True, status=422)
    return pdf_document(made, "sample", shown=True) if name.endswith(".typ") else html_document(made.decode())


# Many at once


async def _bulk(visit: Visit) -> web.StreamResponse:
    """Invoices of a run or of days as one archive, streamed while it is printed."""
    form = Form({name: visit.query(name) for name in ("from", "until", "run", "delivery", "form")})
    choice = Choice(
        bill_run_id=form.value("run") or None, from_on=form.optional_date("from"),
        until_on=form.optional_date("until"), delivery=form.value("delivery") or None,
    )  # fmt: skip
    if form.ok:
        async with visit.reading() as connection:
            ids = await chosen_invoices(connection, choice)
        if not isinstance(ids, Refusal):
            return await _stream(visit, ids, is_sheaf=form.value("form") == "print")
        form.refuse(ids)
    return await _page(visit, form, status=422)


async def _stream(visit: Visit, ids: list[str], *, is_sheaf: bool) -> web.StreamResponse:
    panel = visit.panel
    headers = {
        "Content-Type": "application/zip",
        "Content-Disposition": f'attachment; filename="invoices-{_today(visit)}.zip"',
    }
    answer = web.StreamResponse(headers=headers)
    await answer.prepare(visit.request)
    async with printers() as pool:
        files = printed_invoices(
            panel.workplace,
            panel.billing,
            panel.usage,
            panel.sealer,
            ids,
            pool,
            form="print" if is_sheaf else "zip",
        )
        async with aclosing(zipped(files)) as parts:
            async for part in parts:
                await answer.write(part)
    await answer.write_eof()
    return answer


async def _letters(visit: Visit) -> web.StreamResponse:
    """The letters that wait as one PDF; they wait on until they are marked."""
    panel = visit.panel
    made = await print_letters(panel.workplace, panel.billing, panel.usage, panel.sealer, _today(visit))
    if isinstance(made, Refusal):
        return visit.see("/mail?channel=letter", "no_letters")
    files, _ = made

    async def each() -> Any:
        for one in files:
            yield one

    if len(files) == 1:
        return pdf_document(files[0][1], "letters")
    body = b"".join([part async for part in zipped(each())])
    headers = {"Content-Type": "application/zip", "Content-Disposition": 'attachment; filename="letters.zip"'}
    return web.Response(body=body, headers=headers)


@routes.post("/documents/letters/printed", Permission.MONEY)
async def letters_printed(visit: Visit) -> web.StreamResponse:
    """The letters that waited when the page was shown are in their envelopes."""
    form = await visit.form()
    ids = form.value("ids").split()
    await visit.attempt(form, lambda work: _marked(work, ids))
    return visit.see("/mail?channel=letter", "letters_printed")


async def _marked(work: Work, ids: list[str]) -> int:
    return await mark_printed(work, ids)


async def _deposit_slip(visit: Visit) -> web.StreamResponse:
    """Cash and cheques of some days, for the bank."""
    form = Form({name: visit.query(name) for name in ("slip_from", "slip_until", "currency")})
    today = _today(visit)
    from_on = form.optional_date("slip_from") or today
    until_on = form.optional_date("slip_until") or today
    if form.ok:
        currency = (form.value("currency") or visit.panel.billing.currency)[:3].upper()
        async with visit.reading() as connection:
            made = await print_deposit_slip(connection, from_on, until_on, currency, visit.panel.billing)
        if not isinstance(made, Refusal):
            body = await asyncio.to_thread(printed_pdf, made[0], [made[1]])
            return pdf_document(body, f"deposit-{until_on}")
        form.refuse(made)
    return await _page(visit, form, status=422)


@routes.get("/documents/files/{name}", Permission.LOOK)
async def file(visit: Visit) -> web.StreamResponse:
    """The logo in force, or what is printed together."""
    made = _FILES.get(visit.path("name"))
    if made is None:
        raise missing()
    return await made(visit)


_FILES: dict[str, Handler] = {
    "logo": _logo, "invoices": _bulk, "letters": _letters, "deposit-slip": _deposit_slip,
}  # fmt: skip


# Of one account, invoice or payment


@routes.get("/subscribers/{account_id}/statement", Permission.LOOK)
async def statement(visit: Visit) -> web.StreamResponse:
    """The statement of an account over some days as PDF; the last ninety without a choice."""
    form = Form({name: visit.query(name) for name in ("from", "until")})
    until_on = form.optional_date("until") or _today(visit)
    from_on = form.optional_date("from") or until_on - timedelta(days=89)
    if not form.ok:
        raise missing()
    async with visit.reading() as connection:
        found = await statement_of(
            connection, visit.path("account_id"), from_on, until_on, visit.panel.billing
        )
    if isinstance(found, Refusal):
        raise missing()
    body = await asyncio.to_thread(printed_pdf, found.look, [print_statement(found)])
    return pdf_document(body, f"statement-{found.account_number}-{until_on}")


@routes.post("/subscribers/{account_id}/statement", Permission.MONEY)
async def send_statement(visit: Visit) -> web.StreamResponse:
    """Mail the statement."""
    account_id, form = visit.path("account_id"), await visit.form()
    async with visit.reading() as connection:
        if await subscriber.account_heading(connection, account_id) is None:
            raise missing()
    until_on = form.optional_date("until") or _today(visit)
    from_on = form.optional_date("from") or until_on - timedelta(days=89)
    outcome = await visit.attempt(form, lambda work: queue_statement(work, account_id, from_on, until_on))
    return visit.see(
        f"/subscribers/{account_id}", "mail_nobody" if isinstance(outcome, Refusal) else "mail_queued"
    )


@routes.get("/payments/{payment_id}/receipt", Permission.LOOK)
async def receipt(visit: Visit) -> web.StreamResponse:
    """The receipt of a payment as PDF."""
    async with visit.reading() as connection:
        found = await receipt_of(connection, visit.path("payment_id"), visit.panel.billing)
    if isinstance(found, Refusal):
        raise missing()
    body = await asyncio.to_thread(printed_pdf, found.look, [print_receipt(found)])
    return pdf_document(body, f"receipt-{found.payment_id}")


@routes.get("/document/{name}", Permission.PROVEN, keeps_awake=False)
async def linked(visit: Visit) -> web.StreamResponse:
    """An invoice behind a link that was mailed."""
    return await document_at(visit.panel, visit.path("name"))


@routes.post("/invoices/{invoice_id}/send", Permission.MONEY)
async def send_again(visit: Visit) -> web.StreamResponse:
    """Send an invoice to its account once more."""
    form, invoice_id = await visit.form(), visit.path("invoice_id")
    outcome = await visit.attempt(form, lambda work: queue_invoice(work, invoice_id, again=True))
    if isinstance(outcome, Refusal) and outcome.code == "unknown_invoice":
        raise missing()
    return visit.see(
        f"/invoices/{invoice_id}", "mail_nobody" if isinstance(outcome, Refusal) else "mail_queued"
    )
