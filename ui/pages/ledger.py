"""The ledger: trial balance, journal, closed days and locks, recognition, account codes, exports."""

from __future__ import annotations

from aiohttp import web

from billing.ledger.close_day import close_days
from billing.ledger.exports import EXPORTS, prepare_export
from billing.ledger.lock_period import lock_period, reopen_period
from billing.ledger.map_accounts import set_account_code
from billing.ledger.recognise import EarnedLine, lines_behind, recognitions, schedule
from core.periods import local_date
from core.refusal import Refusal
from ui.permissions import Permission
from ui.read import ledger
from ui.read.rows import EXPORT, PAGE
from ui.web.csv_files import csv_file
from ui.web.forms import Form
from ui.web.text_files import text_stream
from ui.web.visit import Routes, Visit, missing

routes = Routes()


@routes.get("/ledger", Permission.LOOK)
async def balance(visit: Visit) -> web.StreamResponse:
    """The trial balance at the end of a day, and the exports."""
    return await _balance_page(visit, Form())


async def _balance_page(visit: Visit, export: Form, status: int = 200) -> web.Response:
    form = Form({"on": visit.query("on")})
    on = form.optional_date("on")
    async with visit.reading() as connection:
        rows = await ledger.balance_rows(connection, on)
        if visit.wants_csv:
            return csv_file("trial-balance", ledger.BalanceRow, rows)
        currencies = await ledger.currencies(connection)
        entities = await ledger.entities(connection)
        days = await ledger.open_days(connection)
    return visit.page(
        "ledger.html", rows=rows, totals=ledger.totals(rows), form=form, export=export, days=days,
        formats=[(one.name, one.title) for one in EXPORTS.values()],
        currencies=[(one, one) for one in currencies], entities=[(one, one) for one in entities],
        status=status,
    )  # fmt: skip


@routes.get("/ledger/export/{format}", Permission.LOOK)
async def export_books(visit: Visit) -> web.StreamResponse:
    """The books as a file for another program."""
    names = ("first", "last", "currency", "entity", "by_customer", "opening")
    form = Form({name: visit.query(name) for name in names})
    first, last = form.optional_date("first"), form.optional_date("last")
    if not form.ok:
        return await _balance_page(visit, form, status=422)
    async with visit.reading() as connection:
        prepared = await prepare_export(
            connection, visit.path("format"), first=first, last=last, currency=form.value("currency"),
            entity=form.value("entity"), by_customer=form.flag("by_customer"), opening=form.flag("opening"),
        )  # fmt: skip
        if not isinstance(prepared, Refusal):
            content_type = prepared.export.content_type
            return await text_stream(
                visit.request, prepared.file_name, content_type, prepared.write(connection)
            )
    if prepared.code == "bad_format":
        raise missing()
    form.refuse(prepared)
    return await _balance_page(visit, form, status=422)


@routes.get("/ledger/journal", Permission.LOOK)
async def journal(visit: Visit) -> web.StreamResponse:
    """Entries with their postings, newest first."""
    names = ("first", "last", "account", "customer", "kind", "currency")
    asked = {name: visit.query(name) for name in names}
    form = Form(asked)
    first, last = form.optional_date("first"), form.optional_date("last")
    before = visit.query("before")
    async with visit.reading() as connection:
        found = await ledger.journal(
            connection, first=first, last=last, currency=asked["currency"].upper(), before=before,
            ledger_account=asked["account"], customer=asked["customer"], source_kind=asked["kind"],
            limit=EXPORT if visit.wants_csv else PAGE + 1,
        )  # fmt: skip
        kinds = await ledger.source_kinds(connection)
    if found is None:
        form.blame("customer", "is unknown: give the number of an account")
    entries = found or []
    if visit.wants_csv:
        return csv_file("journal", ledger.JournalRow, ledger.journal_lines(entries))
    last_shown = entries[PAGE - 1] if len(entries) > PAGE else None
    following = f"{last_shown.booked_on},{last_shown.id}" if last_shown else ""
    return visit.page(
        "ledger_journal.html", entries=entries[:PAGE], form=form, asked=asked, following=following,
        before=before,
        kinds=[(one, one.replace("_", " ")) for one in kinds],
    )  # fmt: skip


@routes.get("/ledger/closes", Permission.LOOK)
async def closes(visit: Visit) -> web.StreamResponse:
    """Closed days, locks and reopenings with their hashes."""
    return await _closes_page(visit, Form(), Form())


async def _closes_page(visit: Visit, lock: Form, reopen: Form, status: int = 200) -> web.Response:
    async with visit.reading() as connection:
        acts = await ledger.closing_acts(connection, EXPORT if visit.wants_csv else PAGE)
        days = await ledger.open_days(connection)
    if visit.wants_csv:
        return csv_file("ledger-closes", ledger.ActRow, acts)
    return visit.page("ledger_closes.html", acts=acts, days=days, lock=lock, reopen=reopen, status=status)


@routes.post("/ledger/close", Permission.MONEY)
async def close_now(visit: Visit) -> web.StreamResponse:
    """Close every day that is due."""
    form = await visit.form()
    outcome = await close_days(
        visit.panel.workplace, actor=f"operator:{visit.operator.name}", settings=visit.panel.billing
    )
    if isinstance(outcome, Refusal):
        form.refuse(outcome)
        return await _closes_page(visit, form, Form(), status=422)
    return visit.see("/ledger/closes", "days_closed" if outcome else "no_days_closed")


@routes.post("/ledger/lock", Permission.MONEY)
async def lock(visit: Visit) -> web.StreamResponse:
    """Nothing is booked any more through the end of a period."""
    form = await visit.form()
    period, reason = form.text("period", longest=20), form.optional("reason", longest=300) or ""
    if form.ok:
        outcome = await visit.attempt(
            form,
            lambda work: lock_period(work, period=period, reason=reason, settings=visit.panel.billing),
        )
        if not isinstance(outcome, Refusal):
            return visit.see("/ledger/closes", "period_locked")
    return await _closes_page(visit, form, Form(), status=422)


@routes.post("/ledger/reopen", Permission.OWN)
async def reopen(visit: Visit) -> web.StreamResponse:
    """A closed or locked period may be booked on again; the owner's act, with a reason."""
    form = await visit.form()
    period, reason = form.text("period", longest=20), form.text("reason", longest=300)
    if form.ok:
        outcome = await visit.attempt(form, lambda work: reopen_period(work, period=period, reason=reason))
        if not isinstance(outcome, Refusal):
            return visit.see("/ledger/closes", "period_reopened")
    return await _closes_page(visit, Form(), form, status=422)


@routes.get("/ledger/recognition", Permission.LOOK)
async def recognition(visit: Visit) -> web.StreamResponse:
    """What will be earned in which month, and what was recognised."""
    today = local_date(visit.panel.workplace.clock.now(), visit.panel.settings.time_zone)
    async with visit.reading() as connection:
        months = await schedule(connection, today)
        done = await recognitions(connection, PAGE)
    return visit.page("ledger_recognition.html", months=months, done=done)


@routes.get("/ledger/recognition/{entry_id}", Permission.LOOK)
async def earned(visit: Visit) -> web.StreamResponse:
    """The invoice lines behind a recognition."""
    async with visit.reading() as connection:
        behind = await lines_behind(connection, visit.path("entry_id"), EXPORT if visit.wants_csv else PAGE)
    if isinstance(behind, Refusal):
        raise missing()
    if visit.wants_csv:
        return csv_file("earned", EarnedLine, behind.lines)
    return visit.page("ledger_earned.html", behind=behind)


@routes.get("/ledger/accounts", Permission.LOOK)
async def accounts(visit: Visit) -> web.StreamResponse:
    """The chart of accounts with the operator's own codes."""
    return await _accounts_page(visit, Form())


async def _accounts_page(visit: Visit, form: Form, status: int = 200) -> web.Response:
    async with visit.reading() as connection:
        rows = await ledger.chart_rows(connection)
    return visit.page("ledger_accounts.html", rows=rows, form=form, status=status)


@routes.post("/ledger/accounts", Permission.MONEY)
async def code(visit: Visit) -> web.StreamResponse:
    """Give an account the code of the operator's own books, or take it away."""
    form = await visit.form()
    name, given = form.text("ledger_account", longest=60), form.optional("code", longest=120) or ""
    if form.ok:
        outcome = await visit.attempt(
            form, lambda work: set_account_code(work, ledger_account=name, code=given)
        )
        if not isinstance(outcome, Refusal):
            return visit.see("/ledger/accounts", "code_kept")
    return await _accounts_page(visit, form, status=422)
