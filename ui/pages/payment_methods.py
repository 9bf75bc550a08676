"""Cards and bank accounts of one account: what is saved, charged and paid by itself."""

from __future__ import annotations

import asyncio

from aiohttp import web

from billing.payments.gateways.charge_method import begin_charge, send_charge
from billing.payments.gateways.pay_link import pay_path
from billing.payments.gateways.plan_autopay import autopay_outlook
from billing.payments.gateways.saved_methods import choose_default, remove_method
from billing.payments.gateways.set_autopay import RULES, set_autopay
from core.refusal import Refusal
from ui.permissions import Permission
from ui.read import gateways, subscriber
from ui.web.forms import Form
from ui.web.visit import Routes, Visit, missing

routes = Routes()

_LONGEST_WAIT_S = 25.0
_CHARGES = 30
_ENDS = {"succeeded": "charged", "failed": "declined", "abandoned": "declined"}
_RULE_WORDS = {"before_due": "days before the invoice is due", "after_issue": "days after its issue"}


@routes.get("/subscribers/{account_id}/methods", Permission.LOOK)
async def methods(visit: Visit) -> web.StreamResponse:
    """What the account pays with, and what became of each charge."""
    return await _page(visit, Form())


@routes.post("/subscribers/{account_id}/charge", Permission.MONEY)
async def charge(visit: Visit) -> web.StreamResponse:
    """Charge now; pressed twice it charges once."""
    form, account_id = await visit.form(), visit.path("account_id")
    async with visit.reading() as connection:
        account = await subscriber.account_heading(connection, account_id)
        known = [one.id for one in await gateways.methods_of(connection, account_id)]
    if account is None:
        raise missing()
    amount_minor = form.amount("amount", account.currency)
    method_id = form.choice("method_id", known)
    key = form.text("key", longest=60)
    if not form.ok:
        return await _page(visit, form, status=422)
    begun = await visit.attempt(
        form,
        lambda work: begin_charge(
            work, account_id=account_id, amount_minor=amount_minor, cause="operator", method_id=method_id,
            source_key=f"panel:{account_id}:{key}",
        ),
    )  # fmt: skip
    if isinstance(begun, Refusal):
        return await _page(visit, form, status=422)
    panel = visit.panel
    try:
        async with asyncio.timeout(_LONGEST_WAIT_S):
            state = await send_charge(panel.workplace, panel.gateways, panel.sealer, begun, panel.billing)
    except TimeoutError:
        return visit.see(f"/subscribers/{account_id}/methods", "charge_under_way")
    return visit.see(f"/subscribers/{account_id}/methods", _ENDS.get(str(state), "charge_under_way"))


@routes.post("/subscribers/{account_id}/autopay", Permission.MONEY)
async def autopay(visit: Visit) -> web.StreamResponse:
    """Automatic payment on or off, its day and its card."""
    form, account_id = await visit.form(), visit.path("account_id")
    async with visit.reading() as connection:
        known = [one.id for one in await gateways.methods_of(connection, account_id)]
    enabled = form.choice("enabled", ["yes", "no"]) == "yes"
    rule = form.choice("day_rule", RULES)
    days = form.integer("days", least=0, most=60)
    method_id = form.choice("method_id", ["", *known]) or None
    if form.ok:
        outcome = await visit.attempt(
            form,
            lambda work: set_autopay(
                work, account_id=account_id, enabled=enabled, method_id=method_id, day_rule=rule, days=days,
                settings=visit.panel.billing,
            ),
        )  # fmt: skip
        if not isinstance(outcome, Refusal):
            return visit.see(f"/subscribers/{account_id}/methods", "saved")
    return await _page(visit, form, status=422)


@routes.post("/subscribers/{account_id}/methods/{method_id}/default", Permission.MONEY)
async def default(visit: Visit) -> web.StreamResponse:
    """What is charged when nothing else is said."""
    form = await visit.form()
    outcome = await visit.attempt(form, lambda work: choose_default(work, method_id=visit.path("method_id")))
    if isinstance(outcome, Refusal):
        raise missing()
    return visit.see(f"/subscribers/{visit.path('account_id')}/methods", "saved")


@routes.post("/subscribers/{account_id}/methods/{method_id}/remove", Permission.MONEY)
async def remove(visit: Visit) -> web.StreamResponse:
    """Forget it, at the gateway and here."""
    form, panel = await visit.form(), visit.panel
    outcome = await remove_method(
        panel.workplace, panel.gateways, panel.sealer, method_id=visit.path("method_id"),
        actor=f"operator:{visit.operator.name}",
    )  # fmt: skip
    if isinstance(outcome, Refusal):
        form.refuse(outcome)
        return await _page(visit, form, status=422)
    return visit.see(f"/subscribers/{visit.path('account_id')}/methods", "method_removed")


async def _page(visit: Visit, form: Form, status: int = 200) -> web.Response:
    account_id, sealer = visit.path("account_id"), visit.panel.sealer
    async with visit.reading() as connection:
        account = await subscriber.account_heading(connection, account_id)
        if account is None:
            raise missing()
        saved = await gateways.methods_of(connection, account_id)
        terms = await gateways.autopay_of(connection, account_id)
        charges = await gateways.charges_of(connection, account_id, _CHARGES)
        invoices = await gateways.open_invoices(connection, account_id)
        known = await gateways.gateways(connection)
        outlook = await autopay_outlook(connection, account_id, visit.panel.billing)
    base = (visit.panel.settings.public_url or f"{visit.request.scheme}://{visit.request.host}").rstrip("/")
    settings = visit.panel.billing.autopay
    return visit.page(
        "payment_methods.html", form=form, account=account, methods=saved, charges=charges, terms=terms,
        currency=account.currency, invoices=[(one, base + pay_path(sealer, one.id)) for one in invoices],
        save_link=base + pay_path(sealer, account_id), gateways=known, status=status,
        key=form.value("key") or _new_key(visit), rule_words=list(_RULE_WORDS.items()),
        rule=terms.day_rule if terms else settings.day_rule, days=terms.days if terms else settings.days,
        choices=[(one.id, f"{one.brand} {one.last4}") for one in saved], outlook=outlook,
        retry_days=settings.retry_days,
    )  # fmt: skip


def _new_key(visit: Visit) -> str:
    return visit.panel.workplace.ids.new("key")
