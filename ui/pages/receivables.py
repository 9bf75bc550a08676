"""Money late or wrong: promises, immunity, payments taken back; and what the next invoice would say."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import TypeVar

from aiohttp import web

from billing.dunning.exceptions import record_promise, set_immunity
from billing.invoicing.preview_invoice import preview_invoice
from billing.payments.refund import METHODS
from billing.payments.reverse_payment import KINDS, reverse_payment
from billing.store.payment_rows import find_payment
from billing.taxes.set_engine import asked_tax_engine
from core.refusal import Refusal
from core.work import Work
from ui.pages.subscriber import subscriber_page
from ui.permissions import Permission
from ui.read import money, money_moves, subscriber
from ui.web.forms import Form
from ui.web.visit import Routes, Visit, missing

routes = Routes()

T = TypeVar("T")
KIND_WORDS = {
    "mistake": "A typing error", "nsf": "A bounced cheque or transfer",
    "chargeback": "A disputed card payment", "ach_return": "A returned debit",
}  # fmt: skip
REFUND_WORDS = {"cash": "Cash", "cheque": "Cheque", "transfer": "Bank transfer", "gateway": "The way it came"}


async def _decide(
    visit: Visit, form: Form, notice: str, action: Callable[[Work], Awaitable[T | Refusal]]
) -> web.Response:
    """One decision about an account, then its page again."""
    account_id = visit.path("account_id")
    async with visit.reading() as connection:
        if await subscriber.account_heading(connection, account_id) is None:
            raise missing()
    if form.ok:
        outcome = await visit.attempt(form, action)
        if not isinstance(outcome, Refusal):
            return visit.see(f"/subscribers/{account_id}", notice)
    return await subscriber_page(visit, account_id, form, status=422)


@routes.post("/subscribers/{account_id}/promise", Permission.MONEY)
async def promise(visit: Visit) -> web.StreamResponse:
    """Note a promise to pay; nothing worsens until its day has passed."""
    form, account_id = await visit.form(), visit.path("account_id")
    until = form.optional_date("until")
    if until is None:
        form.blame("until", "is missing: choose the last day of the promise")
    return await _decide(
        visit,
        form,
        "promise",
        lambda work: record_promise(work, account_id=account_id, until=until, settings=visit.panel.billing),
    )


@routes.post("/subscribers/{account_id}/promise/forget", Permission.MONEY)
async def forget_promise(visit: Visit) -> web.StreamResponse:
    """The promise no longer counts; the ladder decides at once."""
    form, account_id = await visit.form(), visit.path("account_id")
    return await _decide(
        visit,
        form,
        "promise_gone",
        lambda work: record_promise(work, account_id=account_id, until=None, settings=visit.panel.billing),
    )


@routes.post("/subscribers/{account_id}/immunity", Permission.MONEY)
async def immunity(visit: Visit) -> web.StreamResponse:
    """Let dunning leave the account alone, or no longer."""
    form, account_id = await visit.form(), visit.path("account_id")
    immune = form.choice("immune", ["yes", "no"]) == "yes"
    return await _decide(
        visit, form, "immune" if immune else "immune_no_more",
        lambda work: set_immunity(work, account_id=account_id, immune=immune, settings=visit.panel.billing),
    )  # fmt: skip


@routes.get("/payments/{payment_id}", Permission.LOOK)
async def payment(visit: Visit) -> web.StreamResponse:
    """One payment: what it paid, and the form that takes it back."""
    return await payment_page(visit, Form())


@routes.post("/payments/{payment_id}/reverse", Permission.MONEY)
async def reverse(visit: Visit) -> web.StreamResponse:
    """Take a payment back, whole or in part; sent twice, it is reversed once."""
    form, payment_id = await visit.form(), visit.path("payment_id")
    reason = form.text("reason", longest=300)
    async with visit.reading() as connection:
        found = await money.payment_page(connection, payment_id)
    if found is None:
        raise missing()
    kind = form.choice("kind", KINDS) if form.value("kind") else "mistake"
    amount = form.amount("amount", found.currency) if form.value("amount").strip() else None
    source = f"panel:{key}" if (key := form.optional("key", longest=100)) else None
    if not form.ok:
        return await payment_page(visit, form, status=422)
    outcome = await visit.attempt(
        form,
        lambda work: reverse_payment(
            work, payment_id=payment_id, reason=reason, settings=visit.panel.billing, kind=kind,
            amount_minor=amount, source=source, fee_minor=None if form.flag("fee") else 0,
        ),
    )  # fmt: skip
    if isinstance(outcome, Refusal) and outcome.code == "already_reversed":
        return visit.see(f"/payments/{payment_id}", "reversed_again")
    if isinstance(outcome, Refusal):
        return await payment_page(visit, form, status=422)
    return visit.see(
        f"/payments/{payment_id}", "reversed_again" if outcome.outcome == "exists" else "reversed"
    )


async def payment_page(visit: Visit, form: Form, status: int = 200) -> web.Response:
    """One payment: what it pays, what was taken back of it, and what can be done with it."""
    async with visit.reading() as connection:
        page = await money.payment_page(connection, visit.path("payment_id"))
        if page is None:
            raise missing()
        row = await find_payment(connection, page.id)
        reversals = await money_moves.reversals_of(connection, page.id)
        claims = await money_moves.open_invoices(connection, page.account_id)
    return visit.page(
        "payment.html", payment=page, form=form, status=status, reversals=reversals, claims=claims,
        reference=(row.reference if row else None) or "", in_hand=bool(row and row.by_hand),
        kinds=[(one, KIND_WORDS[one]) for one in KINDS], key=secrets.token_hex(12),
        refund_by=[(one, REFUND_WORDS[one]) for one in METHODS],
    )  # fmt: skip


@routes.get("/subscribers/{account_id}/next-invoice", Permission.LOOK)
async def next_invoice(visit: Visit) -> web.StreamResponse:
    """What the next invoice would say if the cycle turned now; nothing is written."""
    panel, account_id = visit.panel, visit.path("account_id")
    async with asked_tax_engine(panel.workplace, panel.sealer) as engine, visit.reading() as connection:
        account = await subscriber.account_heading(connection, account_id)
        if account is None:
            raise missing()
        draft = await preview_invoice(
            connection, panel.usage, account_id, panel.workplace.clock.now(), panel.billing, engine=engine
        )
    if isinstance(draft, Refusal):
        return visit.page("next_invoice.html", account=account, draft=None, trouble=draft.message)
    return visit.page("next_invoice.html", account=account, draft=draft, trouble="")
