"""Promotions: what is given by coupon and for referrals, and who uses it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from aiohttp import web
from sqlalchemy.engine import Row

from billing.catalogue.define_promotion import (
    ITEM_KINDS,
    define_promotion,
    gift_in_words,
    plain_code,
    time_in_words,
    withdraw_promotion,
)
from billing.store import promotion_rows
from billing.subscriptions.redeem_promotion import end_promotion, redeem_promotion
from core.money import format_money
from core.refusal import Refusal
from ui.permissions import Permission
from ui.read import subscriber
from ui.web.csv_files import csv_file
from ui.web.forms import Form
from ui.web.visit import Routes, Visit, missing

routes = Routes()

KIND_WORDS = {"recurring": "Recurring prices", "rental": "Rentals", "one_time": "One-time charges"}
_DURATIONS = {"periods": "periods of each item", "months": "months", "good": "for good"}


@dataclass(frozen=True, slots=True)
class PromotionRow:
    """One promotion for a spreadsheet."""

    code: str
    name: str
    gives: str
    lasts: str
    plans: list[str]
    items: list[str]
    redeem_from: date | None
    redeem_until: date | None
    uses: int
    max_uses: int | None
    new_only: bool
    withdrawn_at: datetime | None


def _row(one: Row[Any]) -> PromotionRow:
    return PromotionRow(
        one.code, one.name, gift_in_words(one, format_money), time_in_words(one), list(one.plan_codes),
        [*one.item_kinds, *one.item_codes], one.redeem_from, one.redeem_until, one.uses, one.max_uses,
        one.new_only, one.withdrawn_at,
    )  # fmt: skip


@routes.get("/promotions", Permission.LOOK)
async def promotions(visit: Visit) -> web.StreamResponse:
    """Every promotion, the newest first."""
    async with visit.reading() as connection:
        rows = [_row(one) for one in await promotion_rows.list_promotions(connection)]
    if visit.wants_csv:
        return csv_file("promotions", PromotionRow, rows)
    return visit.page("promotions.html", rows=rows, today=visit.panel.workplace.clock.now().date())


@routes.get("/promotions/new", Permission.MONEY)
async def new_promotion(visit: Visit) -> web.StreamResponse:
    """The form for a promotion."""
    stands = {"recurring": "yes", "rental": "yes", "lasts": "periods", "length": "3"}
    return _form_page(visit, Form({**stands, "currency": visit.panel.billing.currency}))


@routes.post("/promotions/new", Permission.MONEY)
async def create_promotion(visit: Visit) -> web.StreamResponse:
    """Define it; it never changes."""
    form = await visit.form()
    currency = form.text("currency", longest=3).upper()
    amounts = {
        name: form.amount(name.removesuffix("_minor"), currency) if form.optional(name[:-6]) else None
        for name in ("amount_minor", "referral_minor", "referred_minor")
    }
    lasts = form.choice("lasts", _DURATIONS)
    length = None if lasts == "good" else form.integer("length", least=1, most=1200)
    asked: dict[str, Any] = {
        "code": form.text("code", longest=40), "name": form.text("name", longest=120),
        "percent_ppm": form.scaled("percent", 10_000, most=100, required=False),
        "currency": currency if any(one is not None for one in amounts.values()) else None,
        "item_kinds": [kind for kind in ITEM_KINDS if form.flag(kind)],
        "item_codes": _names(form, "item_codes"), "plan_codes": _names(form, "plan_codes"),
        "months": length if lasts == "months" else None, "periods": length if lasts == "periods" else None,
        "redeem_from": form.optional_date("redeem_from"), "redeem_until": form.optional_date("redeem_until"),
        "max_uses": form.optional_integer("max_uses", least=1, most=10**9), "new_only": form.flag("new_only"),
        **amounts,
    }  # fmt: skip
    if form.ok:
        made = await visit.attempt(form, lambda work: define_promotion(work, **asked))
        if not isinstance(made, Refusal):
            return visit.see(f"/promotions/{plain_code(asked['code'])}", "created")
    return _form_page(visit, form, status=422)


def _names(form: Form, field: str) -> list[str]:
    text = form.optional(field, longest=2_000) or ""
    return [one.strip() for one in text.replace("\n", ",").split(",") if one.strip()]


def _form_page(visit: Visit, form: Form, status: int = 200) -> web.Response:
    return visit.page("promotion_new.html", form=form, kinds=KIND_WORDS, durations=_DURATIONS, status=status)


@routes.get("/promotions/{code}", Permission.LOOK)
async def promotion(visit: Visit) -> web.StreamResponse:
    """One promotion and who uses it."""
    return await _promotion_page(visit, Form())


async def _promotion_page(visit: Visit, form: Form, status: int = 200) -> web.Response:
    code = plain_code(visit.path("code"))
    async with visit.reading() as connection:
        found = [one for one in await promotion_rows.list_promotions(connection) if one.code == code]
        if not found:
            raise missing()
        used = await promotion_rows.uses(connection, code=code)
    return visit.page(
        "promotion.html", row=_row(found[0]), created=(found[0].created_at, found[0].created_by), uses=used,
        kinds=KIND_WORDS, form=form, status=status,
    )  # fmt: skip


@routes.post("/promotions/{code}/withdraw", Permission.MONEY)
async def withdraw(visit: Visit) -> web.StreamResponse:
    """Nobody gets it any more."""
    form, code = await visit.form(), visit.path("code")
    reason = form.text("reason")
    if form.ok:
        done = await visit.attempt(form, lambda work: withdraw_promotion(work, code=code, reason=reason))
        if not isinstance(done, Refusal):
            return visit.see(f"/promotions/{plain_code(code)}", "saved")
    return await _promotion_page(visit, form, status=422)


@routes.get("/subscribers/{account_id}/promotions", Permission.LOOK)
async def of_account(visit: Visit) -> web.StreamResponse:
    """What an account uses, and the form to redeem a code for it."""
    return await _account_page(visit, Form())


async def _account_page(visit: Visit, form: Form, status: int = 200) -> web.Response:
    account_id = visit.path("account_id")
    async with visit.reading() as connection:
        heading = await subscriber.account_heading(connection, account_id)
        if heading is None:
            raise missing()
        used = await promotion_rows.uses(connection, account_id=account_id)
    return visit.page("account_promotions.html", account=heading, uses=used, form=form, status=status)


@routes.post("/subscribers/{account_id}/promotions", Permission.MONEY)
async def redeem(visit: Visit) -> web.StreamResponse:
    """Give the account a promotion; sent twice, it is given once."""
    form, account_id = await visit.form(), visit.path("account_id")
    code = form.text("code", longest=40)
    from_on = form.optional_date("from_on")
    referred_by = form.optional("referred_by", longest=40)
    if form.ok:
        done = await visit.attempt(
            form,
            lambda work: redeem_promotion(
                work, code=code, account_id=account_id, from_on=from_on, referred_by=referred_by
            ),
        )
        if not isinstance(done, Refusal):
            return visit.see(
                f"/subscribers/{account_id}/promotions",
                "redeemed" if done.outcome == "redeemed" else "redeemed_again",
            )
    return await _account_page(visit, form, status=422)


@routes.post("/subscribers/{account_id}/promotions/{use_id}/end", Permission.MONEY)
async def end(visit: Visit) -> web.StreamResponse:
    """End it before its time."""
    form, account_id, use_id = await visit.form(), visit.path("account_id"), visit.path("use_id")
    reason, ends_on = form.text("reason"), form.optional_date("ends_on")
    if form.ok:
        done = await visit.attempt(
            form, lambda work: end_promotion(work, use_id=use_id, reason=reason, ends_on=ends_on)
        )
        if not isinstance(done, Refusal):
            return visit.see(f"/subscribers/{account_id}/promotions", "saved")
    return await _account_page(visit, form, status=422)
