"""Bill runs: how far one is, what it would say, what waits for approval, who is parked."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from billing.domain.outliers import Flag, Threshold
from billing.invoicing.approve_drafts import Approved, approve_draft, draft_again, reject_draft
from billing.invoicing.preview_run import preview_csv
from billing.store import draft_rows, parked_rows
from core.refusal import Refusal
from core.work import Work
from ui.permissions import Permission
from ui.read import bill_runs, dashboard, money
from ui.read.rows import EXPORT, PAGE
from ui.web.csv_files import csv_file
from ui.web.forms import Form
from ui.web.visit import Routes, Visit, missing

routes = Routes()
_SHOWN = 200
FLAG_WORDS = {
    Flag.PARKED: "cannot be billed", Flag.NEGATIVE: "below zero", Flag.ZERO: "nothing to pay",
    Flag.NO_TAX: "without tax", Flag.DEVIATES: "unlike the last ones", Flag.FIRST: "first invoice",
}  # fmt: skip
_BUSY = "Something else goes on here; wait until it is finished."


def _actor(visit: Visit) -> str:
    return f"operator:{visit.operator.name}"


@routes.get("/bill-runs", Permission.LOOK)
async def runs(visit: Visit) -> web.StreamResponse:
    """Bill runs, newest first, with the accounts each one parked."""
    if visit.wants_csv:
        async with visit.reading() as connection:
            rows = await dashboard.bill_runs(connection, limit=EXPORT)
        return csv_file("bill-runs", dashboard.BillRunRow, rows)
    return visit.page("bill_runs.html", **await _state(visit))


@routes.get("/bill-runs/live", Permission.LOOK, keeps_awake=False)
async def live(visit: Visit) -> web.StreamResponse:
    """The part of the page that changes while a run goes on."""
    return visit.page("bill_runs_live.html", **await _state(visit))


async def _state(visit: Visit) -> dict[str, Any]:
    async with visit.reading() as connection:
        rows = await dashboard.bill_runs(connection, limit=PAGE)
        shown = [one["account_id"] for row in rows[:10] for one in row.parked[:50]]
        return {
            "runs": rows, "names": await money.names_of_accounts(connection, shown),
            "state": visit.panel.bill_runs, "counts": await bill_runs.counts(connection),
            "live": await bill_runs.live_run(connection, visit.panel.workplace.clock.now()),
        }  # fmt: skip


@routes.post("/bill-runs", Permission.MONEY)
async def run_now(visit: Visit) -> web.StreamResponse:
    """Bill everything that is due now."""
    started = await visit.panel.bill_runs.start(_actor(visit))
    return await _ran(visit, "/bill-runs", started=started)


async def _ran(visit: Visit, page: str, *, started: bool) -> web.StreamResponse:
    state = visit.panel.bill_runs
    if not started:
        return visit.see(page, "bill_busy")
    if state.trouble:
        return visit.see(page)
    return visit.see(page, "bill_running" if state.running else "bill_run")


# A look ahead


@routes.get("/bill-runs/preview", Permission.LOOK)
async def preview(visit: Visit) -> web.StreamResponse:
    """The last look ahead: totals against the month before, and what is odd."""
    state = visit.panel.bill_runs
    if visit.wants_csv:
        if state.preview is None:
            raise missing()
        return web.Response(
            body=preview_csv(state.preview).encode(),
            headers={
                "Content-Type": "text/csv; charset=utf-8",
                "Content-Disposition": 'attachment; filename="bill-run-preview.csv"',
            },
        )
    terms = visit.panel.billing
    form = Form({"percent": str(terms.outlier_percent), "amount": str(terms.outlier_amount)})
    return await _preview_page(visit, form)


async def _preview_page(visit: Visit, form: Form, status: int = 200) -> web.Response:
    async with visit.reading() as connection:
        counts = await bill_runs.counts(connection)
    return visit.page(
        "bill_run_preview.html", form=form, counts=counts, **_looked_ahead(visit), status=status
    )


def _looked_ahead(visit: Visit) -> dict[str, Any]:
    state = visit.panel.bill_runs
    flag = visit.query("flag")
    flagged = [] if state.preview is None else state.preview.flagged
    chosen = [one for one in flagged if not flag or flag in one.flags]
    return {
        "state": state, "ahead": state.preview, "flagged": chosen[:_SHOWN],
        "more": max(len(chosen) - _SHOWN, 0), "flag": flag, "flag_words": FLAG_WORDS,
    }  # fmt: skip


@routes.get("/bill-runs/preview/live", Permission.LOOK, keeps_awake=False)
async def preview_live(visit: Visit) -> web.StreamResponse:
    """The part of the preview that changes while it is made."""
    return visit.page("bill_run_preview_live.html", **_looked_ahead(visit))


@routes.post("/bill-runs/preview", Permission.MONEY)
async def look_ahead(visit: Visit) -> web.StreamResponse:
    """Draft the whole run; nothing is written."""
    form = await visit.form()
    through = form.optional_date("through")
    percent = form.integer("percent", least=0, most=10_000, default=visit.panel.billing.outlier_percent)
    amount = form.integer("amount", least=0, most=10**9, default=visit.panel.billing.outlier_amount)
    if form.ok:
        if await visit.panel.bill_runs.start_preview(through, Threshold(percent, amount)):
            return visit.see("/bill-runs/preview")
        form.blame("", _BUSY)
    return await _preview_page(visit, form, status=422)


# Drafts that wait


@routes.get("/bill-runs/drafts", Permission.LOOK)
async def drafts(visit: Visit) -> web.StreamResponse:
    """Drafts that wait for a person, or were rejected."""
    return await _drafts_page(visit, Form())


async def _drafts_page(visit: Visit, form: Form, status: int = 200) -> web.StreamResponse:
    state = draft_rows.REJECTED if visit.query("state") == draft_rows.REJECTED else draft_rows.WAITING
    after = visit.query("after")
    now = visit.panel.workplace.clock.now()
    async with visit.reading() as connection:
        limit = EXPORT if visit.wants_csv else PAGE + 1
        rows = await bill_runs.draft_list(connection, state, after=after, limit=limit)
        if visit.wants_csv:
            return csv_file(f"drafts-{state}", bill_runs.DraftRow, rows)
        sums = await bill_runs.draft_sums(connection)
        counts = await bill_runs.counts(connection)
    following = rows[PAGE - 1].id if len(rows) > PAGE else None
    return visit.page(
        "bill_run_drafts.html", drafts=rows[:PAGE], chosen=state, sums=sums, counts=counts, form=form,
        following=following, seen_until=now.isoformat(), state=visit.panel.bill_runs,
        entities=sorted({one.entity for one in sums}), first_page=not after, status=status,
    )  # fmt: skip


@routes.post("/bill-runs/drafts/approve", Permission.MONEY)
async def approve_all(visit: Visit) -> web.StreamResponse:
    """Issue all that waited when the page was made, of one legal entity or of all."""
    form = await visit.form()
    seen_until = form.instant("seen_until")
    entity = form.optional("entity", longest=40)
    if form.ok and seen_until is not None:
        wanted = None if entity is None else "" if entity == "house" else entity
        if await visit.panel.bill_runs.start_approval(_actor(visit), seen_until, wanted):
            state = visit.panel.bill_runs
            notice = None if state.trouble else "approving" if state.acting else "approved"
            return visit.see("/bill-runs/drafts", notice)
        form.blame("", _BUSY)
    return await _drafts_page(visit, form, status=422)


@routes.post("/bill-runs/drafts/again", Permission.MONEY)
async def all_again(visit: Visit) -> web.StreamResponse:
    """Draft anew all that was rejected."""
    form = await visit.form()
    found = await visit.attempt(form, draft_again)
    if isinstance(found, Refusal):
        return await _drafts_page(visit, form, status=422)
    started = await visit.panel.bill_runs.start(_actor(visit), only=found)
    return await _ran(visit, "/bill-runs/drafts", started=started)


@routes.get("/bill-runs/drafts/{draft_id}", Permission.LOOK)
async def draft(visit: Visit) -> web.StreamResponse:
    """One draft with its lines."""
    return await _draft_page(visit, Form())


async def _draft_page(visit: Visit, form: Form, status: int = 200) -> web.Response:
    async with visit.reading() as connection:
        found = await bill_runs.draft_page(connection, visit.path("draft_id"))
    if found is None:
        raise missing()
    return visit.page("bill_run_draft.html", draft=found, one=found.row, form=form, status=status)


@routes.post("/bill-runs/drafts/{draft_id}/approve", Permission.MONEY)
async def approve(visit: Visit) -> web.StreamResponse:
    """Issue the invoice, if it still says the same."""
    form = await visit.form()
    panel, page = visit.panel, f"/bill-runs/drafts/{visit.path('draft_id')}"
    done = await approve_draft(
        panel.workplace, panel.usage, visit.path("draft_id"), actor=_actor(visit), settings=panel.billing,
        sealer=panel.sealer,
    )  # fmt: skip
    if isinstance(done, Approved) and not done.failed:
        notice = "draft_changed" if done.changed else "draft_gone" if done.gone else "draft_approved"
        return visit.see(page, notice)
    if isinstance(done, Refusal):
        form.refuse(done)
    else:
        form.blame("", done.failed[0].reason)
    return await _draft_page(visit, form, status=422)


@routes.post("/bill-runs/drafts/{draft_id}/reject", Permission.MONEY)
async def reject(visit: Visit) -> web.StreamResponse:
    """Keep it from becoming an invoice."""
    form = await visit.form()
    reason = form.text("reason", longest=300)
    if form.ok:
        draft_id = visit.path("draft_id")
        done = await visit.attempt(form, lambda work: reject_draft(work, draft_id=draft_id, reason=reason))
        if not isinstance(done, Refusal):
            return visit.see(f"/bill-runs/drafts/{draft_id}", "draft_rejected")
    return await _draft_page(visit, form, status=422)


@routes.post("/bill-runs/drafts/{draft_id}/again", Permission.MONEY)
async def again(visit: Visit) -> web.StreamResponse:
    """Draft its account anew."""
    form = await visit.form()
    page = f"/bill-runs/drafts/{visit.path('draft_id')}"

    async def act(work: Work) -> list[str] | Refusal:
        return await draft_again(work, draft_id=visit.path("draft_id"))

    found = await visit.attempt(form, act)
    if isinstance(found, Refusal):
        return await _draft_page(visit, form, status=422)
    return await _ran(visit, page, started=await visit.panel.bill_runs.start(_actor(visit), only=found))


# Parked accounts


@routes.get("/bill-runs/parked", Permission.LOOK)
async def parked(visit: Visit) -> web.StreamResponse:
    """Accounts that could not be billed, with the reason."""
    async with visit.reading() as connection:
        rows = await bill_runs.parked_list(connection, EXPORT if visit.wants_csv else _SHOWN)
        counts = await bill_runs.counts(connection)
    if visit.wants_csv:
        return csv_file("parked-accounts", bill_runs.ParkedRow, rows)
    return visit.page("bill_run_parked.html", rows=rows, counts=counts, state=visit.panel.bill_runs)


@routes.post("/bill-runs/parked/retry", Permission.MONEY)
async def retry_all(visit: Visit) -> web.StreamResponse:
    """Try every parked account again, and no others."""
    async with visit.reading() as connection:
        only = await parked_rows.parked_accounts(connection)
    started = await visit.panel.bill_runs.start(_actor(visit), only=only)
    return await _ran(visit, "/bill-runs/parked", started=started)


@routes.post("/bill-runs/parked/{account_id}/retry", Permission.MONEY)
async def retry(visit: Visit) -> web.StreamResponse:
    """Try one parked account again."""
    started = await visit.panel.bill_runs.start(_actor(visit), only=[visit.path("account_id")])
    return await _ran(visit, "/bill-runs/parked", started=started)
