"""One account on the ladder: its policy, promises, disputes, deferrals, immunity, debts given up, history."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from aiohttp import web

from billing.dunning.define_policy import change_dunning_policy
from billing.dunning.exceptions import (
    OUTCOMES,
    lift_deferral,
    open_dispute,
    place_deferral,
    record_promise,
    set_immunity,
    settle_dispute,
)
from billing.dunning.write_off import write_off_invoice
from billing.store import dunning_policy_rows
from core.refusal import Refusal
from core.work import Work
from ui.permissions import Permission
from ui.read import dunning, subscriber
from ui.web.forms import Form
from ui.web.visit import Routes, Visit, missing

routes = Routes()
PAGE = "/subscribers/{account_id}/dunning"
T = TypeVar("T")


@routes.get(PAGE, Permission.LOOK)
async def exceptions(visit: Visit) -> web.StreamResponse:
    """All that there is about it."""
    return await _page(visit, Form())


async def _page(visit: Visit, form: Form, status: int = 200) -> web.Response:
    account_id = visit.path("account_id")
    async with visit.reading() as connection:
        heading = await subscriber.account_heading(connection, account_id)
        if heading is None:
            raise missing()
        view = await subscriber.account_view(connection, account_id, visit.panel.workplace.clock.now())
        found = await dunning.exceptions_of(connection, account_id)
        history = await subscriber.dunning_history(connection, account_id)
        names = await dunning_policy_rows.names(connection)
    return visit.page(
        "subscriber_dunning.html", account=heading, view=view, found=found, history=history, form=form,
        policies=list(names.items()), outcomes=[(one, one.capitalize()) for one in OUTCOMES], status=status,
    )  # fmt: skip


async def _act(visit: Visit, form: Form, action: Callable[[Work], Awaitable[T | Refusal]]) -> web.Response:
    account_id = visit.path("account_id")
    if form.ok:
        outcome = await visit.attempt(form, action)
        if not isinstance(outcome, Refusal):
            return visit.see(PAGE.format(account_id=account_id), "saved")
    return await _page(visit, form, status=422)


async def _currency(visit: Visit) -> str:
    async with visit.reading() as connection:
        heading = await subscriber.account_heading(connection, visit.path("account_id"))
    if heading is None:
        raise missing()
    return heading.currency


def _amount(form: Form, currency: str) -> int | None:
    return form.amount("amount", currency) if form.value("amount").strip() else None


@routes.post(PAGE + "/promise", Permission.MONEY)
async def promise(visit: Visit) -> web.StreamResponse:
    """A promise of an amount, with a note; nothing worsens until its day has passed."""
    form, account_id, currency = await visit.form(), visit.path("account_id"), await _currency(visit)
    until, amount = form.optional_date("until"), _amount(form, currency)
    note = form.optional("note", longest=500)
    if until is None:
        form.blame("until", "is missing: choose the last day of the promise")
    return await _act(
        visit, form,
        lambda work: record_promise(
            work, account_id=account_id, until=until, amount_minor=amount, note=note,
            settings=visit.panel.billing,
        ),
    )  # fmt: skip


@routes.post(PAGE + "/immunity", Permission.MONEY)
async def immunity(visit: Visit) -> web.StreamResponse:
    """Leave the account alone, up to a day and with a reason."""
    form, account_id = await visit.form(), visit.path("account_id")
    immune = form.choice("immune", ["yes", "no"]) == "yes"
    until, reason = form.optional_date("immune_until"), form.optional("reason", longest=500)
    return await _act(
        visit, form,
        lambda work: set_immunity(
            work, account_id=account_id, immune=immune, until=until if immune else None, reason=reason,
            settings=visit.panel.billing,
        ),
    )  # fmt: skip


@routes.post(PAGE + "/dispute", Permission.MONEY)
async def dispute(visit: Visit) -> web.StreamResponse:
    """An amount no longer counts as overdue."""
    form, account_id, currency = await visit.form(), visit.path("account_id"), await _currency(visit)
    reason, invoice = form.text("reason", longest=500), form.optional("invoice", longest=40)
    amount, until = _amount(form, currency), form.optional_date("dispute_until")
    return await _act(
        visit, form,
        lambda work: open_dispute(
            work, account_id=account_id, reason=reason, invoice=invoice, amount_minor=amount, until=until,
            settings=visit.panel.billing,
        ),
    )  # fmt: skip


@routes.post(PAGE + "/dispute/{dispute_id}", Permission.MONEY)
async def end_dispute(visit: Visit) -> web.StreamResponse:
    """Say how a dispute ended; the ladder decides at once."""
    form, dispute_id = await visit.form(), visit.path("dispute_id")
    outcome, note = form.choice("outcome", OUTCOMES), form.optional("note", longest=500)
    return await _act(
        visit, form,
        lambda work: settle_dispute(
            work, dispute_id=dispute_id, outcome=outcome, note=note, settings=visit.panel.billing
        ),
    )  # fmt: skip


@routes.post(PAGE + "/deferral", Permission.MONEY)
async def deferral(visit: Visit) -> web.StreamResponse:
    """Put dunning off by hand: a ticket, an outage that only people know of."""
    form, account_id = await visit.form(), visit.path("account_id")
    source, reason = form.text("source", longest=120), form.text("reason", longest=500)
    until = form.optional_date("deferral_until")
    return await _act(
        visit, form,
        lambda work: place_deferral(
            work, source=source, reason=reason, account_ids=[account_id], until=until,
            settings=visit.panel.billing,
        ),
    )  # fmt: skip


@routes.post(PAGE + "/lift", Permission.MONEY)
async def lift(visit: Visit) -> web.StreamResponse:
    """A deferral of this account is over."""
    form, account_id = await visit.form(), visit.path("account_id")
    source = form.text("source", longest=120)
    return await _act(
        visit, form,
        lambda work: lift_deferral(
            work, source=source, account_id=account_id, settings=visit.panel.billing
        ),
    )  # fmt: skip


@routes.post(PAGE + "/policy", Permission.MONEY)
async def policy(visit: Visit) -> web.StreamResponse:
    """A ladder of its own, or its class's again."""
    form, account_id = await visit.form(), visit.path("account_id")
    chosen = form.optional("policy", longest=80)
    return await _act(
        visit, form,
        lambda work: change_dunning_policy(work, account_id=account_id, dunning_policy=chosen),
    )  # fmt: skip


@routes.post(PAGE + "/write-off", Permission.MONEY)
async def write_off(visit: Visit) -> web.StreamResponse:
    """Give up what is open on an invoice."""
    form, account_id = await visit.form(), visit.path("account_id")
    number, reason, forgive = (
        form.text("number", longest=40),
        form.text("reason", longest=500),
        form.flag("forgive"),
    )
    async with visit.reading() as connection:
        if await subscriber.account_heading(connection, account_id) is None:
            raise missing()
        owed = (await dunning.exceptions_of(connection, account_id)).open_invoices
    if form.ok and number not in {one for one, _ in owed}:
        form.blame("number", "is not one of this account's open invoices: choose one")
    return await _act(
        visit, form,
        lambda work: write_off_invoice(work, invoice=number, reason=reason, forgive=forgive),
    )  # fmt: skip
