"""Debits by ACH: who originates, customers' bank accounts, batches, files, and what comes back."""

from __future__ import annotations

from aiohttp import web

from billing.domain.nacha import ACCOUNT_TYPES, SEC_CODES
from billing.payments.ach.define_originator import define_originator
from billing.payments.ach.draft_batch import (
    approve_ach_batch,
    cancel_ach_batch,
    draft_ach_batch,
    remove_ach_entry,
)
from billing.payments.ach.import_returns import LARGEST_FILE, import_ach_returns
from billing.payments.ach.keep_bank_account import end_bank_account, keep_bank_account, set_bank_autopay
from billing.payments.ach.make_file import make_ach_file
from billing.store import ach_rows
from core.refusal import Refusal
from core.secrets import Secret
from ui.permissions import Permission
from ui.read import subscriber
from ui.web.forms import Form
from ui.web.visit import Routes, Visit, missing

routes = Routes()
WHERE = "/ach"
_BODY = LARGEST_FILE + 64 * 1024
_SEC_WORDS = {"PPD": "Signed by a person (PPD)", "CCD": "By a company (CCD)", "WEB": "By internet (WEB)"}
_PROFILE = {
    "destination": 9, "destination_name": 23, "origin": 10, "origin_name": 23, "company_name": 16,
    "company_id": 10, "odfi": 8, "description": 10,
}  # fmt: skip


@routes.get(WHERE, Permission.LOOK)
async def overview(visit: Visit) -> web.StreamResponse:
    """Batches, what came back, and who originates."""
    return await _page(visit, Form({"settle_days": "3", "description": "INTERNET"}))


async def _page(visit: Visit, form: Form, status: int = 200) -> web.Response:
    async with visit.reading() as connection:
        batches = await ach_rows.list_batches(connection)
        returns = await ach_rows.list_returns(connection, limit=100)
        originators = await ach_rows.list_originators(connection)
    return visit.page(
        "ach.html", batches=batches, returns=returns, originators=originators, form=form, status=status
    )


@routes.post(WHERE + "/originators", Permission.MONEY)
async def originator(visit: Visit) -> web.StreamResponse:
    """Define who hands in files, or tell anew."""
    form = await visit.form()
    name = form.text("name", longest=80)
    profile = {one: form.text(one, longest=width) for one, width in _PROFILE.items()}
    days = form.integer("settle_days", least=0, most=30)
    if form.ok:
        made = await visit.attempt(
            form, lambda work: define_originator(work, name=name, settle_days=days, **profile)
        )
        if not isinstance(made, Refusal):
            return visit.see(WHERE, "saved")
    return await _page(visit, form, status=422)


@routes.post(WHERE + "/batches", Permission.MONEY)
async def draft(visit: Visit) -> web.StreamResponse:
    """Draft a batch of what is due."""
    form = await visit.form()
    name = form.text("originator", longest=80)
    effective, until = form.optional_date("effective_on"), form.optional_date("due_until")
    numbers = (form.optional("account_ids", longest=4_000) or "").replace(",", " ").split()
    same_day = form.flag("same_day")
    if form.ok:
        async with visit.reading() as connection:
            ids = [await subscriber.account_id_of(connection, one) or one for one in numbers]
        made = await visit.attempt(
            form,
            lambda work: draft_ach_batch(
                work, originator=name, effective_on=effective, due_until=until,
                same_day=same_day, account_ids=ids or None,
            ),
        )  # fmt: skip
        if not isinstance(made, Refusal):
            return visit.see(f"{WHERE}/{made.batch_id}", "created")
    return await _page(visit, form, status=422)


@routes.get(WHERE + "/{batch_id}", Permission.LOOK)
async def batch(visit: Visit) -> web.StreamResponse:
    """One batch with its entries."""
    return await _batch_page(visit, Form())


async def _batch_page(visit: Visit, form: Form, status: int = 200) -> web.Response:
    async with visit.reading() as connection:
        rows = await ach_rows.list_batches(connection, limit=10_000)
        found = next((one for one in rows if one.id == visit.path("batch_id")), None)
        if found is None:
            raise missing()
        entries = await ach_rows.entries_of(connection, found.id)
    return visit.page("ach_batch.html", batch=found, entries=entries, form=form, status=status)


@routes.post(WHERE + "/{batch_id}/approve", Permission.MONEY)
async def approve(visit: Visit) -> web.StreamResponse:
    """Approve a draft."""
    form, batch_id = await visit.form(), visit.path("batch_id")
    done = await visit.attempt(form, lambda work: approve_ach_batch(work, batch_id=batch_id))
    if isinstance(done, Refusal):
        return await _batch_page(visit, form, status=422)
    return visit.see(f"{WHERE}/{batch_id}", "saved")


@routes.post(WHERE + "/{batch_id}/cancel", Permission.MONEY)
async def cancel(visit: Visit) -> web.StreamResponse:
    """Give up a batch of which no file was made."""
    form, batch_id = await visit.form(), visit.path("batch_id")
    reason = form.text("reason", longest=300)
    if form.ok:
        done = await visit.attempt(
            form, lambda work: cancel_ach_batch(work, batch_id=batch_id, reason=reason)
        )
        if not isinstance(done, Refusal):
            return visit.see(f"{WHERE}/{batch_id}", "saved")
    return await _batch_page(visit, form, status=422)


@routes.post(WHERE + "/{batch_id}/entries/{entry_id}/remove", Permission.MONEY)
async def remove(visit: Visit) -> web.StreamResponse:
    """Take an entry out of a draft."""
    form, batch_id = await visit.form(), visit.path("batch_id")
    done = await visit.attempt(
        form, lambda work: remove_ach_entry(work, batch_id=batch_id, entry_id=visit.path("entry_id"))
    )
    if isinstance(done, Refusal):
        return await _batch_page(visit, form, status=422)
    return visit.see(f"{WHERE}/{batch_id}", "saved")


@routes.post(WHERE + "/{batch_id}/file", Permission.MONEY)
async def file(visit: Visit) -> web.StreamResponse:
    """The batch's file: made once, the same octets ever after."""
    form, panel = await visit.form(), visit.panel
    made = await visit.attempt(
        form,
        lambda work: make_ach_file(
            work, panel.sealer, batch_id=visit.path("batch_id"), settings=panel.billing
        ),
    )
    if isinstance(made, Refusal):
        return await _batch_page(visit, form, status=422)
    return web.Response(
        body=made.content, content_type="text/plain",
        headers={"Content-Disposition": f'attachment; filename="{made.name}"', "Cache-Control": "no-store"},
    )  # fmt: skip


@routes.post(WHERE + "/returns/import", Permission.MONEY, largest_body=_BODY)
async def returns(visit: Visit) -> web.StreamResponse:
    """Import returns and notifications of change; the same file twice changes nothing."""
    content, name = await uploaded(visit)
    form, panel = Form(), visit.panel
    if not content:
        form.blame("file", "is missing: choose the file from the bank")
    if form.ok:
        taken = await visit.attempt(
            form,
            lambda work: import_ach_returns(
                work, panel.sealer, content=content, name=name, settings=panel.billing
            ),
        )
        if not isinstance(taken, Refusal):
            return visit.see(WHERE, "file_again" if taken.outcome == "exists" else "file_taken")
    return await _page(visit, form, status=422)


async def uploaded(visit: Visit) -> tuple[bytes, str]:
    """The octets and the name of the file that came with the form."""
    posted = (await visit.request.post()).get("file")
    if not isinstance(posted, web.FileField) or not posted.filename:
        return b"", ""
    return posted.file.read(), posted.filename


@routes.get("/subscribers/{account_id}/bank-accounts", Permission.LOOK)
async def bank_accounts(visit: Visit) -> web.StreamResponse:
    """An account's bank accounts for debits."""
    return await _bank_accounts_page(visit, Form())


async def _bank_accounts_page(visit: Visit, form: Form, status: int = 200) -> web.Response:
    async with visit.reading() as connection:
        heading = await subscriber.account_heading(connection, visit.path("account_id"))
        if heading is None:
            raise missing()
        kept = await ach_rows.bank_accounts_of(connection, visit.path("account_id"), ended_too=True)
        came_back = await ach_rows.list_returns(connection, account_id=visit.path("account_id"), limit=30)
    return visit.page(
        "bank_accounts.html", account=heading, kept=kept, returns=came_back, form=form, status=status,
        types=[(one, one.capitalize()) for one in ACCOUNT_TYPES],
        sec=[(one, _SEC_WORDS[one]) for one in SEC_CODES],
    )  # fmt: skip


@routes.post("/subscribers/{account_id}/bank-accounts", Permission.MONEY)
async def keep(visit: Visit) -> web.StreamResponse:
    """Keep a bank account; its number is sealed and shown no more."""
    form, account_id = await visit.form(), visit.path("account_id")
    number = form.secret("account_number") or ""
    authorised = form.optional_date("authorised_on")
    if authorised is None:
        form.blame("authorised_on", "is missing: the day of the customer's authorisation")
    holder, routing = form.text("holder_name", longest=80), form.text("routing_number", longest=12)
    kind, sec = form.choice("account_type", ACCOUNT_TYPES), form.choice("sec_code", SEC_CODES)
    mandate = form.text("mandate", longest=200)
    if form.ok and authorised is not None:
        done = await visit.attempt(
            form,
            lambda work: keep_bank_account(
                work, visit.panel.sealer, account_id=account_id, holder_name=holder, account_type=kind,
                routing_number=routing, account_number=Secret(number), sec_code=sec,
                authorised_on=authorised, mandate=mandate, autopay=form.flag("autopay"),
                prenote=form.flag("prenote"),
            ),
        )  # fmt: skip
        if not isinstance(done, Refusal):
            return visit.see(f"/subscribers/{account_id}/bank-accounts", "saved")
    return await _bank_accounts_page(visit, form, status=422)


@routes.post("/subscribers/{account_id}/bank-accounts/{bank_account_id}/end", Permission.MONEY)
async def end(visit: Visit) -> web.StreamResponse:
    """No further debit."""
    form, account_id = await visit.form(), visit.path("account_id")
    reason = form.text("end_reason", longest=300)
    if form.ok:
        done = await visit.attempt(
            form,
            lambda work: end_bank_account(work, bank_account_id=visit.path("bank_account_id"), reason=reason),
        )
        if not isinstance(done, Refusal):
            return visit.see(f"/subscribers/{account_id}/bank-accounts", "saved")
    return await _bank_accounts_page(visit, form, status=422)


@routes.post("/subscribers/{account_id}/bank-accounts/{bank_account_id}/autopay", Permission.MONEY)
async def autopay(visit: Visit) -> web.StreamResponse:
    """Whether due invoices are debited by themselves."""
    form, account_id = await visit.form(), visit.path("account_id")
    on = form.choice("on", ["yes", "no"]) == "yes"
    if form.ok:
        done = await visit.attempt(
            form,
            lambda work: set_bank_autopay(work, bank_account_id=visit.path("bank_account_id"), on=on),
        )
        if not isinstance(done, Refusal):
            return visit.see(f"/subscribers/{account_id}/bank-accounts", "saved")
    return await _bank_accounts_page(visit, form, status=422)
