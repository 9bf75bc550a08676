"""Bank statements: import with a preview, the inbox of money nobody was found for, learnt payers."""

from __future__ import annotations

import json

from aiohttp import web

from billing.payments.bank.decide_line import (
    assign_line,
    ignore_line,
    reverse_by_line,
    undo_line,
    withdraw_payer_rule,
)
from billing.payments.bank.define_house_account import define_house_account
from billing.payments.bank.import_statement import Preview, import_statement, preview_statement
from billing.payments.bank.read_statement import LARGEST_FILE
from billing.store import bank_rows
from core.money import parse_amount
from core.refusal import Refusal
from ui.pages.ach import uploaded
from ui.permissions import Permission
from ui.read import money, money_moves, subscriber
from ui.read.rows import EXPORT
from ui.web.csv_files import csv_file
from ui.web.forms import Form
from ui.web.visit import Routes, Visit, missing

routes = Routes()
WHERE = "/bank"
_BODY = LARGEST_FILE + 64 * 1024
_SHOWN = 100


@routes.get(WHERE, Permission.LOOK)
async def inbox(visit: Visit) -> web.StreamResponse:
    """The inbox, what was decided lately, statements, accounts of the house, learnt payers."""
    return await _page(visit, Form())


async def _page(
    visit: Visit, form: Form, *, status: int = 200, preview: Preview | None = None, shown: str = ""
) -> web.Response:
    async with visit.reading() as connection:
        lines = await money_moves.inbox(connection, limit=EXPORT if visit.wants_csv else _SHOWN)
        if visit.wants_csv:
            return csv_file("bank-inbox", money_moves.InboxLine, lines)
        done = await money_moves.decided(connection)
        homes = await bank_rows.list_house_accounts(connection)
        statements = await bank_rows.list_statements(connection, limit=20)
        rules = await bank_rows.list_rules(connection, limit=200)
        waiting = await bank_rows.count_open(connection)
        certain = (
            [one.match.certain.account_id for one in preview.lines if one.match.certain] if preview else []
        )
        names = await money.names_of_accounts(connection, certain)
    mappings = {one.name: json.dumps(one.csv_mapping, indent=1) for one in homes if one.csv_mapping}
    return visit.page(
        "bank.html", lines=lines, done=done, homes=homes, statements=statements, rules=rules, form=form,
        waiting=waiting, preview=preview, shown=shown, names=names, mappings=mappings, status=status,
    )  # fmt: skip


@routes.post(WHERE + "/accounts", Permission.MONEY)
async def house_account(visit: Visit) -> web.StreamResponse:
    """Define a bank account of the house, and how its bank writes CSV."""
    form = await visit.form()
    name, currency = form.text("name", longest=80), form.text("currency", longest=3)
    identification = form.optional("identification", longest=60) or ""
    typed = form.optional("csv_mapping", longest=4_000)
    mapping = None
    if typed is not None:
        try:
            mapping = json.loads(typed)
        except ValueError as trouble:
            form.blame("csv_mapping", f"is not JSON: {trouble}")
        if form.ok and not isinstance(mapping, dict):
            form.blame("csv_mapping", 'must be an object such as {"booked": "Date", "amount": "Amount"}')
    if form.ok:
        made = await visit.attempt(
            form,
            lambda work: define_house_account(
                work, name=name, currency=currency, identification=identification, csv_mapping=mapping
            ),
        )
        if not isinstance(made, Refusal):
            return visit.see(WHERE, "saved")
    return await _page(visit, form, status=422)


@routes.post(WHERE + "/import", Permission.MONEY, largest_body=_BODY)
async def take(visit: Visit) -> web.StreamResponse:
    """Preview a statement, or import it; the same file twice changes nothing."""
    posted = await visit.form()
    content, name = await uploaded(visit)
    form, panel = Form({"home": posted.value("home")}), visit.panel
    if not content:
        form.blame("file", "is missing: choose the file from the bank")
        return await _page(visit, form, status=422)
    home = posted.value("home")
    if posted.value("act") == "preview":
        async with visit.reading() as connection:
            seen = await preview_statement(connection, panel.sealer, house_account=home, content=content)
        if isinstance(seen, Refusal):
            form.refuse(seen)
            return await _page(visit, form, status=422)
        return await _page(visit, form, preview=seen, shown=name)
    taken = await visit.attempt(
        form,
        lambda work: import_statement(work, panel.sealer, house_account=home, content=content, name=name),
    )
    if isinstance(taken, Refusal):
        return await _page(visit, form, status=422)
    return visit.see(WHERE, "file_again" if taken.outcome == "exists" else "file_taken")


@routes.post(WHERE + "/lines/{line_id}/assign", Permission.MONEY)
async def assign(visit: Visit) -> web.StreamResponse:
    """Say whose a line is: one account, or ``NUMBER=AMOUNT`` for each part."""
    form, line_id = await visit.form(), visit.path("line_id")
    typed = (form.text("accounts", longest=2_000) or "").replace(",", " ").split()
    parts: list[tuple[str, int]] = []
    async with visit.reading() as connection:
        line = await bank_rows.find_line(connection, line_id)
        for one in typed:
            if line is None:
                raise missing()
            number, _, amount = one.partition("=")
            account_id = await subscriber.account_id_of(connection, number)
            if account_id is None:
                form.blame("accounts", f"there is no account {number}")
                break
            try:
                part = parse_amount(amount, line.currency) if amount else line.amount_minor
            except ValueError as trouble:
                form.blame("accounts", str(trouble))
                break
            parts.append((account_id, part))
    if form.ok:
        done = await visit.attempt(
            form,
            lambda work: assign_line(work, line_id=line_id, parts=parts, remember=form.flag("remember")),
        )
        if not isinstance(done, Refusal):
            return visit.see(WHERE, "assigned")
    return await _page(visit, form, status=422)


@routes.post(WHERE + "/lines/{line_id}/ignore", Permission.MONEY)
async def ignore(visit: Visit) -> web.StreamResponse:
    """The line is no customer's payment."""
    form = await visit.form()
    reason = form.text("reason", longest=300)
    if form.ok:
        done = await visit.attempt(
            form, lambda work: ignore_line(work, line_id=visit.path("line_id"), reason=reason)
        )
        if not isinstance(done, Refusal):
            return visit.see(WHERE, "saved")
    return await _page(visit, form, status=422)


@routes.post(WHERE + "/lines/{line_id}/reverse", Permission.MONEY)
async def reverse(visit: Visit) -> web.StreamResponse:
    """Money that went out took a payment back."""
    form = await visit.form()
    payment_id = form.text("payment_id", longest=40)
    if form.ok:
        done = await visit.attempt(
            form,
            lambda work: reverse_by_line(
                work, line_id=visit.path("line_id"), payment_id=payment_id, settings=visit.panel.billing
            ),
        )
        if not isinstance(done, Refusal):
            return visit.see(WHERE, "reversed")
    return await _page(visit, form, status=422)


@routes.post(WHERE + "/lines/{line_id}/undo", Permission.MONEY)
async def undo(visit: Visit) -> web.StreamResponse:
    """Open a decided line again."""
    form = await visit.form()
    reason = form.text("undo_reason", longest=300)
    if form.ok:
        done = await visit.attempt(
            form,
            lambda work: undo_line(
                work, line_id=visit.path("line_id"), reason=reason, settings=visit.panel.billing
            ),
        )
        if not isinstance(done, Refusal):
            return visit.see(WHERE, "saved")
    return await _page(visit, form, status=422)


@routes.post(WHERE + "/rules/{rule_id}/forget", Permission.MONEY)
async def forget(visit: Visit) -> web.StreamResponse:
    """Withdraw what was learnt of a payer."""
    form = await visit.form()
    done = await visit.attempt(form, lambda work: withdraw_payer_rule(work, rule_id=visit.path("rule_id")))
    if isinstance(done, Refusal):
        return await _page(visit, form, status=422)
    return visit.see(WHERE, "saved")
