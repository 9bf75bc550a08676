"""Exemptions: which account is free of which taxes, by which certificate, and a picture of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from aiohttp import web

from billing.domain.taxes.rule import format_ppm
from billing.store import tax_rows
from billing.taxes.grant_exemption import LARGEST_SCAN, grant_exemption, withdraw_exemption
from core.refusal import Refusal
from ui.permissions import Permission
from ui.read import subscriber
from ui.web.csv_files import csv_file
from ui.web.forms import Form
from ui.web.visit import Routes, Visit, missing

routes = Routes()
_BODY = LARGEST_SCAN + 64 * 1024
_ENDINGS = {"application/pdf": "pdf", "image/png": "png", "image/jpeg": "jpg"}


@dataclass(frozen=True, slots=True)
class ExemptionRow:
    """One exemption for a spreadsheet."""

    account: str
    name: str
    certificate: str
    taxes: list[str]
    authorities: list[str]
    classes: list[str]
    share: str
    issued_on: date | None
    valid_from: date
    valid_until: date | None
    note: str | None


@routes.get("/exemptions", Permission.LOOK)
async def exemptions(visit: Visit) -> web.StreamResponse:
    """Those that stand, of one account or all; those that end first before the others."""
    return await _list_page(visit, Form())


async def _list_page(visit: Visit, form: Form, status: int = 200) -> web.StreamResponse:
    account_id = visit.query("account") or None
    async with visit.reading() as connection:
        lines = await tax_rows.list_exemptions(connection, account_id)
        heading = None if account_id is None else await subscriber.account_heading(connection, account_id)
    if account_id is not None and heading is None:
        raise missing()
    if visit.wants_csv:
        return csv_file("exemptions", ExemptionRow, [_row(one) for one in lines])
    return visit.page(
        "exemptions.html", lines=lines, account=heading, account_id=account_id, form=form,
        today=_today(visit), share=format_ppm, status=status,
    )  # fmt: skip


def _row(line: tax_rows.ExemptionLine) -> ExemptionRow:
    one = line.exemption
    return ExemptionRow(
        line.account_number, line.account_name, one.certificate, sorted(one.taxes), sorted(one.authorities),
        sorted(one.tax_classes), format_ppm(one.share_ppm), one.issued_on, one.valid_from, one.valid_until,
        one.note,
    )  # fmt: skip


@routes.get("/exemptions/new", Permission.MONEY)
async def new_exemption(visit: Visit) -> web.StreamResponse:
    """The form for a certificate."""
    return await _form_page(visit, Form({"account": visit.query("account"), "share": "100"}))


@routes.post("/exemptions/new", Permission.MONEY, largest_body=_BODY)
async def create_exemption(visit: Visit) -> web.StreamResponse:
    """Free an account from taxes."""
    form = await visit.form()
    posted = (await visit.request.post()).get("scan")
    scan = posted.file.read() if isinstance(posted, web.FileField) and posted.filename else None
    account = form.text("account", longest=40)
    certificate = form.text("certificate", longest=80)
    valid_from = form.optional_date("valid_from")
    if valid_from is None:
        form.blame("valid_from", "is missing: choose the first day")
    valid_until, issued_on = form.optional_date("valid_until"), form.optional_date("issued_on")
    taxes, authorities = _names(form, "taxes"), _names(form, "authorities")
    classes = _names(form, "classes")
    share = form.scaled("share", 10_000, most=100) or 0
    note = form.optional("note", longest=2_000)
    if form.ok and valid_from is not None:
        first = valid_from
        made = await visit.attempt(
            form,
            lambda work: grant_exemption(
                work, account_id=account, certificate=certificate, valid_from=first, valid_until=valid_until,
                taxes=taxes, authorities=authorities, tax_classes=classes, share_ppm=share,
                issued_on=issued_on, note=note, scan=scan,
            ),
        )  # fmt: skip
        if not isinstance(made, Refusal):
            return visit.see("/exemptions", "created")
    return await _form_page(visit, form, status=422)


def _names(form: Form, field: str) -> list[str]:
    text = form.optional(field, longest=2_000) or ""
    return [one.strip() for one in text.replace("\n", ";").split(";") if one.strip()]


@routes.post("/exemptions/{exemption_id}/withdraw", Permission.MONEY)
async def withdraw(visit: Visit) -> web.StreamResponse:
    """Drafts from now on no longer read it."""
    form, exemption_id = await visit.form(), visit.path("exemption_id")
    reason = form.text("reason")
    if form.ok:
        done = await visit.attempt(
            form, lambda work: withdraw_exemption(work, exemption_id=exemption_id, reason=reason)
        )
        if not isinstance(done, Refusal):
            return visit.see("/exemptions", "saved")
    return await _list_page(visit, form, status=422)


@routes.get("/exemptions/{exemption_id}/scan", Permission.LOOK)
async def scan(visit: Visit) -> web.StreamResponse:
    """The picture of the certificate, to keep or print."""
    async with visit.reading() as connection:
        found = await tax_rows.scan_of(connection, visit.path("exemption_id"))
    if found is None:
        raise missing()
    media_type, content = found
    name = f"certificate.{_ENDINGS[media_type]}"
    return web.Response(
        body=content, content_type=media_type,
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )  # fmt: skip


async def _form_page(visit: Visit, form: Form, status: int = 200) -> web.Response:
    """For the account that was named, with the way back to it."""
    async with visit.reading() as connection:
        account_id = await subscriber.account_id_of(connection, form.value("account"))
        of = None if account_id is None else await subscriber.account_heading(connection, account_id)
    return visit.page("exemption_new.html", form=form, of=of, status=status)


def _today(visit: Visit) -> date:
    return visit.panel.workplace.clock.now().date()
