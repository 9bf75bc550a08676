"""Resellers: terms, accounts, what is earned, statements and payouts."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, date
from typing import Any

from aiohttp import web

from billing.accounts.commission import METHODS, draft_commission, pay_commission, post_commission
from billing.accounts.reseller import assign_account, change_terms, define_reseller, release_account
from billing.domain.commission import BASES
from core.refusal import Refusal
from core.work import Work
from ui.permissions import Permission
from ui.read import resellers, subscriber
from ui.read.entities import entity_choices
from ui.web.csv_files import csv_file
from ui.web.forms import Form
from ui.web.visit import Routes, Visit, missing

routes = Routes()
WHERE = "/resellers"
PAGE = WHERE + "/{reseller_id}"
_SHOWN = 200


@routes.get(WHERE, Permission.LOOK)
async def show(visit: Visit) -> web.StreamResponse:
    """All of them, and the form for one more."""
    return await _list_page(visit, Form())


async def _list_page(visit: Visit, form: Form, status: int = 200) -> web.StreamResponse:
    async with visit.reading() as connection:
        rows = await resellers.reseller_list(connection)
        entities = await entity_choices(connection)
    if visit.wants_csv:
        return csv_file("resellers", resellers.ResellerRow, rows)
    return visit.page("resellers.html", resellers=rows, entities=entities, form=form, status=status)


@routes.post(WHERE, Permission.MONEY)
async def create(visit: Visit) -> web.StreamResponse:
    """One more, without terms or accounts yet."""
    form = await visit.form()
    reseller_id, name = form.text("reseller_id", longest=20), form.text("name", longest=160)
    asked: dict[str, Any] = {
        "currency": form.text("currency", longest=3), "email": form.optional("email", longest=254),
        "phone": form.optional("phone", longest=40), "entity_id": form.optional("entity_id", longest=20),
    }  # fmt: skip
    if form.ok:
        made = await visit.attempt(
            form, lambda work: define_reseller(work, reseller_id=reseller_id, name=name, **asked)
        )
        if not isinstance(made, Refusal):
            return visit.see(f"{WHERE}/{made}", "created")
    return await _list_page(visit, form, status=422)


@routes.get(PAGE, Permission.LOOK)
async def one(visit: Visit) -> web.StreamResponse:
    """His page; as CSV what is earned and not posted."""
    return await _page(visit, Form())


async def _page(visit: Visit, form: Form, status: int = 200) -> web.StreamResponse:
    reseller_id, today = visit.path("reseller_id"), _today(visit)
    until_on = Form({"on": visit.query("until")}).optional_date("on") or today
    async with visit.reading() as connection:
        view = await resellers.reseller_view(connection, reseller_id)
        draft = await draft_commission(connection, reseller_id, until_on)
        if view is None or isinstance(draft, Refusal):
            raise missing()
        lines = await resellers.draft_lines(connection, draft)
    if visit.wants_csv:
        return csv_file(f"commission-{reseller_id}", resellers.LineRow, lines)
    return visit.page(
        "reseller.html", view=view, draft=draft, lines=lines[:_SHOWN], hidden=max(0, len(lines) - _SHOWN),
        form=form, today=today, month_start=today.replace(day=1),
        methods=[(m, m.capitalize()) for m in METHODS],
        bases=[(b, f"net {b}") for b in BASES],
        payout_key=f"panel:{secrets.token_hex(12)}", status=status,
    )  # fmt: skip


def _today(visit: Visit) -> date:
    return visit.panel.workplace.clock.now().astimezone(UTC).date()


async def _act(
    visit: Visit, form: Form, action: Callable[[Work], Awaitable[Any]], notice: str = "saved"
) -> web.StreamResponse:
    if form.ok:
        done = await visit.attempt(form, action)
        if not isinstance(done, Refusal):
            return visit.see(f"{WHERE}/{visit.path('reseller_id')}", notice)
    return await _page(visit, form, status=422)


async def _currency(visit: Visit) -> str:
    async with visit.reading() as connection:
        view = await resellers.reseller_view(connection, visit.path("reseller_id"))
    if view is None:
        raise missing()
    return view.reseller.currency


@routes.post(PAGE + "/terms", Permission.MONEY)
async def terms(visit: Visit) -> web.StreamResponse:
    """Other terms from a day on."""
    form, reseller_id, currency = await visit.form(), visit.path("reseller_id"), await _currency(visit)
    percent = form.optional_decimal("percent", least=0, most=100) or 0
    flat = form.amount("flat", currency, zero=True) if form.value("flat").strip() else 0
    basis, valid_from = form.choice("basis", BASES), form.optional_date("valid_from")
    return await _act(
        visit, form,
        lambda work: change_terms(
            work, reseller_id=reseller_id, basis=basis, percent_ppm=round(percent * 10_000), flat_minor=flat,
            valid_from=valid_from,
        ),
    )  # fmt: skip


async def _account(visit: Visit, form: Form) -> str:
    number = form.text("account", longest=40)
    async with visit.reading() as connection:
        found = await subscriber.account_id_of(connection, number) if number else None
    if number and found is None:
        form.blame("account", "there is no such account: type its number")
    return found or ""


@routes.post(PAGE + "/accounts", Permission.MONEY)
async def assign(visit: Visit) -> web.StreamResponse:
    """An account is his from a day on."""
    form, reseller_id = await visit.form(), visit.path("reseller_id")
    account_id, from_on = await _account(visit, form), form.optional_date("from_on")
    return await _act(
        visit, form,
        lambda work: assign_account(work, reseller_id=reseller_id, account_id=account_id, from_on=from_on),
    )  # fmt: skip


@routes.post(PAGE + "/release", Permission.MONEY)
async def release(visit: Visit) -> web.StreamResponse:
    """It no longer is."""
    form = await visit.form()
    account_id, until_on = await _account(visit, form), form.optional_date("until_on")
    return await _act(
        visit, form, lambda work: release_account(work, account_id=account_id, until_on=until_on)
    )


@routes.post(PAGE + "/post", Permission.MONEY)
async def post(visit: Visit) -> web.StreamResponse:
    """Post what is earned before a day; sent twice, it is posted once."""
    form, reseller_id = await visit.form(), visit.path("reseller_id")
    until_on = form.optional_date("until")
    if until_on is None:
        form.blame("until", "is missing: choose the first day that is not posted")
        return await _page(visit, form, status=422)
    return await _act(
        visit, form,
        lambda work: post_commission(
            work, reseller_id=reseller_id, until_on=until_on, settings=visit.panel.billing
        ),
    )  # fmt: skip


@routes.post(PAGE + "/pay", Permission.MONEY)
async def pay(visit: Visit) -> web.StreamResponse:
    """He was paid; the key in the form makes a double submit one payout."""
    form, reseller_id, currency = await visit.form(), visit.path("reseller_id"), await _currency(visit)
    amount, key = form.amount("amount", currency), form.text("idempotency_key", longest=120)
    method, reference = form.choice("method", METHODS), form.optional("reference", longest=140)
    return await _act(
        visit, form,
        lambda work: pay_commission(
            work, reseller_id=reseller_id, amount_minor=amount, method=method, idempotency_key=key,
            reference=reference,
        ),
    )  # fmt: skip


@routes.get(PAGE + "/statements/{number}", Permission.LOOK)
async def statement(visit: Visit) -> web.StreamResponse:
    """A posted statement, line by line; also as CSV."""
    reseller_id, number = visit.path("reseller_id"), visit.path("number")
    async with visit.reading() as connection:
        view = await resellers.reseller_view(connection, reseller_id)
        lines = (
            await resellers.statement_lines(connection, reseller_id, int(number))
            if number.isascii() and number.isdigit() and len(number) < 9
            else None
        )
    if view is None or lines is None:
        raise missing()
    if visit.wants_csv:
        return csv_file(f"commission-{reseller_id}-{number}", resellers.LineRow, lines)
    [head] = [one for one in view.statements if one.number == int(number)]
    return visit.page("reseller_statement.html", view=view, head=head, lines=lines)
