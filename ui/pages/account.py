"""One account's terms: who he is, how he is billed, who pays."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from billing.accounts.change_account import DELIVERIES, TEXTS, change_account
from billing.accounts.set_payer import set_payer
from billing.domain.cadence import UNITS
from core.refusal import Refusal
from ui.permissions import Permission
from ui.read import accounts, subscriber
from ui.read.entities import entity_choices
from ui.web.forms import Form
from ui.web.visit import Routes, Visit, missing

routes = Routes()
PAGE = "/subscribers/{account_id}/account"
_DELIVERED = dict(zip(DELIVERIES, ("By mail", "On paper", "Not at all"), strict=True))
_BILLED = (
    "account_class", "currency", "anchor_day", "cycle_unit", "cycle_count", "invoice_offset_days",
    "payment_terms_days", "locale", "delivery",
)  # fmt: skip


@routes.get(PAGE, Permission.LOOK)
async def show(visit: Visit) -> web.StreamResponse:
    """The terms with their forms."""
    return await _page(visit, None)


async def _page(visit: Visit, form: Form | None, status: int = 200) -> web.Response:
    async with visit.reading() as connection:
        terms = await accounts.account_terms(connection, visit.path("account_id"))
        entities = await entity_choices(connection)
    if terms is None:
        raise missing()
    stands = {
        name: "" if getattr(terms, name) is None else str(getattr(terms, name))
        for name in (*TEXTS, "country", *_BILLED, "entity_id")
    }
    return visit.page(
        "account.html", account=terms, form=form.over(stands) if form else Form(stands), units=list(UNITS),
        deliveries=list(_DELIVERED.items()), entities=entities,
        locale=visit.panel.billing.locale, status=status,
    )  # fmt: skip


async def _change(visit: Visit, form: Form, changes: dict[str, Any]) -> web.Response:
    account_id = visit.path("account_id")
    if form.ok:
        done = await visit.attempt(
            form, lambda work: change_account(work, account_id=account_id, changes=changes)
        )
        if not isinstance(done, Refusal):
            return visit.see(PAGE.format(account_id=account_id), "saved")
    return await _page(visit, form, status=422)


@routes.post(PAGE, Permission.SUBSCRIBERS)
async def save_contact(visit: Visit) -> web.StreamResponse:
    """Name, address, e-mail and telephone; what was issued keeps its address."""
    form = await visit.form()
    changes: dict[str, Any] = {name: form.optional(name, longest=300) for name in TEXTS}
    return await _change(visit, form, {**changes, "country": form.text("country", longest=2)})


@routes.post(PAGE + "/billing", Permission.MONEY)
async def save_billing(visit: Visit) -> web.StreamResponse:
    """Class, cycle, due terms, language and delivery."""
    form = await visit.form()
    offset = form.value("invoice_offset_days").strip() or "0"
    if not offset.removeprefix("-").isdigit() or len(offset) > 4:
        form.blame("invoice_offset_days", "must be a whole number from -28 to 28")
        offset = "0"
    changes: dict[str, Any] = {
        "account_class": form.text("account_class", longest=40),
        "currency": form.text("currency", longest=3),
        "anchor_day": form.integer("anchor_day", least=1, most=31),
        "cycle_unit": form.choice("cycle_unit", UNITS),
        "cycle_count": form.integer("cycle_count", least=1, most=366),
        "invoice_offset_days": int(offset),
        "payment_terms_days": form.integer("payment_terms_days", least=0, most=365),
        "locale": form.optional("locale", longest=20),
        "delivery": form.choice("delivery", DELIVERIES),
    }
    if form.has("entity_id"):
        changes["entity_id"] = form.optional("entity_id", longest=20)
    return await _change(visit, form, changes)


@routes.post(PAGE + "/payer", Permission.MONEY)
async def save_payer(visit: Visit) -> web.StreamResponse:
    """Another account pays from a day on, or nobody else any more."""
    form, account_id = await visit.form(), visit.path("account_id")
    number, from_on = form.optional("payer", longest=40), form.optional_date("from_on")
    payer_id = None
    if number is not None:
        async with visit.reading() as connection:
            payer_id = await subscriber.account_id_of(connection, number)
        if payer_id is None:
            form.blame("payer", "there is no such account: type its number")
    if form.ok:
        done = await visit.attempt(
            form, lambda work: set_payer(work, account_id=account_id, payer_id=payer_id, from_on=from_on)
        )
        if not isinstance(done, Refusal):
            return visit.see(PAGE.format(account_id=account_id), "saved")
    return await _page(visit, form, status=422)
