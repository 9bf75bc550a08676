"""Plans and service profiles."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from billing.set_up import define_plan_version
from core.quantities import GB
from core.refusal import Refusal
from ui.permissions import Permission
from ui.read import money, network
from ui.web.csv_files import csv_file
from ui.web.forms import Form
from ui.web.visit import Routes, Visit

routes = Routes()

METERED = {"sum": "Download and upload", "down": "Download", "up": "Upload"}
_LARGEST_GB = 1_000_000
TIERS = 3


@routes.get("/plans", Permission.LOOK)
async def plans(visit: Visit) -> web.StreamResponse:
    """What is sold."""
    async with visit.reading() as connection:
        rows = await money.list_plans(connection)
    if visit.wants_csv:
        return csv_file("plans", money.PlanRow, rows)
    return visit.page("plans.html", plans=rows)


@routes.get("/plans/new", Permission.MONEY)
async def new_plan(visit: Visit) -> web.StreamResponse:
    """The form for a plan version."""
    return await _plan_form(visit, Form({"currency": "USD", "tax_class": "internet", "metered": "sum"}))


@routes.post("/plans/new", Permission.MONEY)
async def create_plan(visit: Visit) -> web.StreamResponse:
    """A new version of a plan; a version is never edited."""
    form = await visit.form()
    currency = form.text("currency", longest=3).upper()
    asked: dict[str, Any] = {
        "code": form.text("code", longest=40), "name": form.text("name", longest=120), "currency": currency,
        "price_minor": form.amount("price", currency, zero=True),
        "allowance_octets": form.scaled("allowance_gb", GB, most=_LARGEST_GB, required=False),
        "overage_tiers": _read_tiers(form, currency), "metered": form.choice("metered", METERED),
        "tax_class": form.text("tax_class", longest=40),
        "service_profile_id": form.text("service_profile_id", longest=40),
    }  # fmt: skip
    if form.ok:
        made = await visit.attempt(form, lambda work: define_plan_version(work, **asked))
        if not isinstance(made, Refusal):
            return visit.see("/plans", "created")
    return await _plan_form(visit, form, status=422)


def _read_tiers(form: Form, currency: str) -> list[dict[str, Any]]:
    """Up to three tiers: a price per GB, and up to how many GB; the last one typed has no end."""
    tiers: list[dict[str, Any]] = []
    for number in range(1, TIERS + 1):
        if not form.value(f"tier{number}_price").strip():
            continue
        up_to = form.scaled(f"tier{number}_gb", GB, most=_LARGEST_GB, required=False)
        price = form.amount(f"tier{number}_price", currency, zero=True)
        tiers.append({"up_to_octets": up_to, "minor_per_gb": str(price)})
    return tiers


async def _plan_form(visit: Visit, form: Form, status: int = 200) -> web.Response:
    async with visit.reading() as connection:
        profiles = await network.list_profiles(connection)
    return visit.page(
        "plan_new.html",
        form=form,
        profiles=profiles,
        metered=METERED,
        tiers=range(1, TIERS + 1),
        status=status,
    )
