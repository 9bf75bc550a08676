"""Money that moves after it came: allocations by hand, refunds, deposits, deposit slips."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import TypeVar

from aiohttp import web

from billing.domain.allocation import AllocationRule
from billing.payments.allocate_by_hand import (
    allocate_by_hand,
    let_rule_decide,
    set_allocation_rule,
    take_back_allocation,
)
from billing.payments.deposits import release_deposit, take_deposit
from billing.payments.draw_slip import METHODS as SLIP_METHODS
from billing.payments.draw_slip import draw_slip
from billing.payments.refund import METHODS, end_refund, order_refund
from billing.payments.reverse_payment import win_dispute
from billing.store import money_out_rows, payment_rows
from core.refusal import Refusal
from core.work import Work
from ui.pages.receivables import REFUND_WORDS, payment_page
from ui.permissions import Permission
from ui.read import money, money_moves, subscriber
from ui.read.rows import EXPORT
from ui.web.csv_files import csv_file
from ui.web.forms import Form
from ui.web.visit import Routes, Visit, missing

routes = Routes()
T = TypeVar("T")


def new_key() -> str:
    """What makes a form sent twice one order."""
    return f"panel:{secrets.token_hex(12)}"


async def _on_payment(
    visit: Visit, form: Form, notice: str, action: Callable[[Work], Awaitable[T | Refusal]]
) -> web.Response:
    payment_id = visit.path("payment_id")
    async with visit.reading() as connection:
        if await money.payment_page(connection, payment_id) is None:
            raise missing()
    if form.ok:
        outcome = await visit.attempt(form, action)
        if not isinstance(outcome, Refusal):
            return visit.see(f"/payments/{payment_id}", notice)
    return await payment_page(visit, form, status=422)


async def _currency(visit: Visit) -> str:
    async with visit.reading() as connection:
        found = await payment_rows.find_payment(connection, visit.path("payment_id"))
    return "USD" if found is None else str(found.currency)


def _some(form: Form, name: str, currency: str) -> int | None:
    """An amount, or None for all there is."""
    return form.amount(name, currency) if form.value(name).strip() else None


@routes.post("/payments/{payment_id}/allocate", Permission.MONEY)
async def allocate(visit: Visit) -> web.StreamResponse:
    """Give a payment's rest to an invoice."""
    form, currency = await visit.form(), await _currency(visit)
    invoice, key = form.text("invoice", longest=40), form.text("key", longest=100)
    amount = _some(form, "give", currency)
    return await _on_payment(
        visit, form, "allocated",
        lambda work: allocate_by_hand(
            work, payment_id=visit.path("payment_id"), invoice=invoice, amount_minor=amount, key=key,
            settings=visit.panel.billing,
        ),
    )  # fmt: skip


@routes.post("/payments/{payment_id}/take-back", Permission.MONEY)
async def take_back(visit: Visit) -> web.StreamResponse:
    """Take a payment's money off an invoice; it stays in hand."""
    form = await visit.form()
    invoice, key = form.text("invoice", longest=40), form.text("key", longest=100)
    reason = form.text("why", longest=300)
    return await _on_payment(
        visit, form, "taken_back",
        lambda work: take_back_allocation(
            work, payment_id=visit.path("payment_id"), invoice=invoice, reason=reason, key=key,
            settings=visit.panel.billing,
        ),
    )  # fmt: skip


@routes.post("/payments/{payment_id}/by-rule", Permission.MONEY)
async def by_rule(visit: Visit) -> web.StreamResponse:
    """The payment's rest follows the account's rule again."""
    return await _on_payment(
        visit, await visit.form(), "allocated",
        lambda work: let_rule_decide(
            work, payment_id=visit.path("payment_id"), settings=visit.panel.billing
        ),
    )  # fmt: skip


@routes.post("/payments/{payment_id}/refund", Permission.MONEY)
async def refund(visit: Visit) -> web.StreamResponse:
    """Promise a payment's rest back to the customer."""
    form, currency = await visit.form(), await _currency(visit)
    amount, method = form.amount("refund", currency), form.choice("refund_by", METHODS)
    reason, key = form.text("refund_reason", longest=300), form.text("key", longest=100)
    payment_id = visit.path("payment_id")

    async def order(work: Work) -> object | Refusal:
        found = await payment_rows.find_payment(work.connection, payment_id)
        account_id = "" if found is None else str(found.account_id)
        return await order_refund(
            work, account_id=account_id, amount_minor=amount, method=method, reason=reason,
            idempotency_key=key, payment_id=payment_id,
        )  # fmt: skip

    return await _on_payment(visit, form, "refund_ordered", order)


@routes.post("/payments/{payment_id}/reversals/{reversal_id}/won", Permission.MONEY)
async def won(visit: Visit) -> web.StreamResponse:
    """A dispute was won: the money is there again."""
    form = await visit.form()
    reason = form.text("won_because", longest=300)
    return await _on_payment(
        visit, form, "dispute_won",
        lambda work: win_dispute(work, reversal_id=visit.path("reversal_id"), reason=reason),
    )  # fmt: skip


@routes.get("/unallocated", Permission.LOOK)
async def unallocated(visit: Visit) -> web.StreamResponse:
    """Money that pays nothing yet, and the rules by which money is allocated."""
    return await _unallocated_page(visit, Form())


async def _unallocated_page(visit: Visit, form: Form, status: int = 200) -> web.Response:
    async with visit.reading() as connection:
        rows = await money_moves.unallocated(connection, limit=EXPORT if visit.wants_csv else 200)
        told = await payment_rows.rules(connection)
        ids = [name for scope, name in told if scope == "account"]
        names = await money.names_of_accounts(connection, ids)
    if visit.wants_csv:
        return csv_file("unallocated", money_moves.UnallocatedRow, rows)
    return visit.page(
        "unallocated.html", rows=rows, told=sorted(told.items()), names=names, form=form,
        rules=[(one.value, one.value.capitalize()) for one in AllocationRule], status=status,
    )  # fmt: skip


@routes.post("/unallocated/rule", Permission.MONEY)
async def set_rule(visit: Visit) -> web.StreamResponse:
    """Whose turn it is when money does not pay everything."""
    form = await visit.form()
    scope, rule = (
        form.choice("scope", ["house", "class", "account"]),
        form.choice("rule", [*AllocationRule, ""]),
    )
    named = form.optional("scope_id", longest=40) or ""

    async def act(work: Work) -> object | Refusal:
        scope_id = named
        if scope == "account":
            scope_id = await subscriber.account_id_of(work.connection, named) or named
        return await set_allocation_rule(work, scope=scope, scope_id=scope_id, rule=rule or None)

    if form.ok and not isinstance(await visit.attempt(form, act), Refusal):
        return visit.see("/unallocated", "saved")
    return await _unallocated_page(visit, form, status=422)


@routes.get("/refunds", Permission.LOOK)
async def refunds(visit: Visit) -> web.StreamResponse:
    """Refunds: what is due, and what became of the others."""
    return await _refunds_page(visit, Form())


async def _refunds_page(visit: Visit, form: Form, status: int = 200) -> web.Response:
    async with visit.reading() as connection:
        rows = await money_moves.list_refunds(connection, limit=EXPORT if visit.wants_csv else 200)
    if visit.wants_csv:
        return csv_file("refunds", money_moves.RefundRow, rows)
    return visit.page("refunds.html", refunds=rows, form=form, status=status)


@routes.post("/refunds/{refund_id}/end", Permission.MONEY)
async def finish_refund(visit: Visit) -> web.StreamResponse:
    """A refund was paid out, or could not be."""
    form = await visit.form()
    outcome = form.choice("outcome", ["paid", "failed"])
    reference, told = form.optional("reference", longest=140), form.optional("told", longest=300) or ""
    if form.ok:
        done = await visit.attempt(
            form,
            lambda work: end_refund(
                work, refund_id=visit.path("refund_id"), outcome=outcome, reference=reference, told=told
            ),
        )
        if not isinstance(done, Refusal):
            return visit.see("/refunds", "saved")
    return await _refunds_page(visit, form, status=422)


@routes.get("/subscribers/{account_id}/deposits", Permission.LOOK)
async def deposits(visit: Visit) -> web.StreamResponse:
    """An account's deposits."""
    return await _deposits_page(visit, Form())


async def _deposits_page(visit: Visit, form: Form, status: int = 200) -> web.Response:
    account_id = visit.path("account_id")
    async with visit.reading() as connection:
        heading = await subscriber.account_heading(connection, account_id)
        if heading is None:
            raise missing()
        held = await money_out_rows.deposits_of(connection, account_id)
        currency = await subscriber.currency_of(connection, account_id)
    return visit.page(
        "deposits.html", account=heading, deposits=held, currency=currency, form=form, key=new_key(),
        refund_by=[(one, REFUND_WORDS[one]) for one in METHODS if one != "gateway"], status=status,
    )  # fmt: skip


@routes.post("/subscribers/{account_id}/deposits", Permission.MONEY)
async def keep_deposit(visit: Visit) -> web.StreamResponse:
    """Keep credit of the account as a deposit."""
    form, account_id = await visit.form(), visit.path("account_id")
    async with visit.reading() as connection:
        currency = await subscriber.currency_of(connection, account_id)
    amount, reason = form.amount("amount", currency), form.text("reason", longest=300)
    key = form.text("key", longest=100)
    if form.ok:
        done = await visit.attempt(
            form,
            lambda work: take_deposit(
                work, account_id=account_id, amount_minor=amount, reason=reason, idempotency_key=key
            ),
        )
        if not isinstance(done, Refusal):
            return visit.see(f"/subscribers/{account_id}/deposits", "saved")
    return await _deposits_page(visit, form, status=422)


@routes.post("/subscribers/{account_id}/deposits/{deposit_id}/release", Permission.MONEY)
async def give_deposit_back(visit: Visit) -> web.StreamResponse:
    """Give a deposit back, to the account's invoices or to the customer."""
    form, account_id = await visit.form(), visit.path("account_id")
    async with visit.reading() as connection:
        currency = await subscriber.currency_of(connection, account_id)
    amount, reason = _some(form, "release", currency), form.text("release_reason", longest=300)
    refund_by = form.choice("refund_by", ["", *METHODS]) or None
    key = form.text("key", longest=90)
    if form.ok:
        done = await visit.attempt(
            form,
            lambda work: release_deposit(
                work, deposit_id=visit.path("deposit_id"), reason=reason, amount_minor=amount,
                refund_by=refund_by, idempotency_key=key,
            ),
        )  # fmt: skip
        if not isinstance(done, Refusal):
            return visit.see(f"/subscribers/{account_id}/deposits", "saved")
    return await _deposits_page(visit, form, status=422)


@routes.get("/deposit-slips", Permission.LOOK)
async def slips(visit: Visit) -> web.StreamResponse:
    """Lists of cheques and cash for the bank."""
    return await _slips_page(visit, Form())


async def _slips_page(visit: Visit, form: Form, status: int = 200) -> web.Response:
    async with visit.reading() as connection:
        rows = await money_out_rows.list_slips(connection)
        waiting = await money_out_rows.waiting_for_slips(connection, SLIP_METHODS)
    return visit.page("deposit_slips.html", slips=rows, waiting=waiting, form=form, status=status)


@routes.post("/deposit-slips", Permission.MONEY)
async def new_slip(visit: Visit) -> web.StreamResponse:
    """Draw a slip of what waits."""
    form = await visit.form()
    method, _, currency = form.value("method").partition(" ")
    if method not in SLIP_METHODS:
        form.blame("method", "is not one of the choices: pick one")
    if form.ok:
        made = await visit.attempt(
            form,
            lambda work: draw_slip(
                work,
                method=method,
                currency=currency or visit.panel.billing.currency,
                time_zone=visit.panel.settings.time_zone,
            ),
        )
        if not isinstance(made, Refusal):
            return visit.see(f"/deposit-slips/{made.slip_id}", "created")
    return await _slips_page(visit, form, status=422)


@routes.get("/deposit-slips/{slip_id}", Permission.LOOK)
async def slip(visit: Visit) -> web.StreamResponse:
    """One slip with its payments."""
    async with visit.reading() as connection:
        found = await money_out_rows.find_slip(connection, visit.path("slip_id"))
        if found is None:
            raise missing()
        items = await money_out_rows.slip_items(connection, found.id)
    return visit.page("deposit_slip.html", slip=found, items=items)
