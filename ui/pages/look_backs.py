"""Looking at money again: issued invoices drafted once more, and past usage under another plan."""

from __future__ import annotations

import json
from datetime import UTC, date, timedelta
from typing import Any

from aiohttp import web

from billing.domain.catalogue import PlanVersion
from billing.domain.items import parse_items
from billing.rating.what_if import Compared
from billing.store import plan_rows
from core.currencies import check_currency
from ui.permissions import Permission
from ui.read import bill_runs, money
from ui.web.csv_files import csv_file
from ui.web.forms import Form
from ui.web.look_backs import KEPT, LookBacks
from ui.web.visit import Routes, Visit, missing

routes = Routes()
_SHOWN = 200
_QUARTER = timedelta(days=92)
_BUSY = "Something else is looked at again; wait until it is finished."


def _today(visit: Visit) -> date:
    return visit.panel.workplace.clock.now().astimezone(UTC).date()


@routes.get("/bill-runs/replay", Permission.LOOK)
async def replay(visit: Visit) -> web.StreamResponse:
    """The last replay: how many invoices came out the same, and each line that did not."""
    today = _today(visit)
    last_month = (today.replace(day=1) - timedelta(days=1)).replace(day=1)
    stands = {"from": last_month.isoformat(), "to": today.isoformat()}
    return await _replay_page(visit, Form(stands))


async def _replay_page(visit: Visit, form: Form, status: int = 200) -> web.Response:
    async with visit.reading() as connection:
        counts = await bill_runs.counts(connection)
    return visit.page("bill_run_replay.html", form=form, counts=counts, **_seen(visit), status=status)


def _seen(visit: Visit) -> dict[str, Any]:
    state: LookBacks = visit.panel.look_backs
    return {"state": state, "shown": _SHOWN, "kept": KEPT}


@routes.get("/bill-runs/replay/live", Permission.LOOK, keeps_awake=False)
async def replay_live(visit: Visit) -> web.StreamResponse:
    """The part of the page that changes while invoices are drafted again."""
    return visit.page("bill_run_replay_live.html", **_seen(visit))


@routes.post("/bill-runs/replay", Permission.MONEY)
async def start_replay(visit: Visit) -> web.StreamResponse:
    """Draft again what was issued on these days; nothing is written."""
    form = await visit.form()
    first, last = _days(form, "from", "to")
    if form.ok and last < first:
        form.blame("to", "is before the first day")
    if form.ok:
        if await visit.panel.look_backs.start_replay(first, last):
            return visit.see("/bill-runs/replay")
        form.blame("", _BUSY)
    return await _replay_page(visit, form, status=422)


def _days(form: Form, *names: str) -> list[date]:
    found = []
    for name in names:
        typed = form.optional_date(name)
        if typed is None:
            form.blame(name, "is missing: choose a day")
        found.append(typed or date.min)
    return found


# Another plan


@routes.get("/bill-runs/what-if", Permission.LOOK)
async def what_if(visit: Visit) -> web.StreamResponse:
    """The last comparison: who would pay more under the plan, who less."""
    found = visit.panel.look_backs.compared
    if visit.wants_csv:
        if found is None:
            raise missing()
        return csv_file("what-if", Compared, found.rows)
    today = _today(visit)
    return await _what_if_page(visit, Form({"from": (today - _QUARTER).isoformat(), "to": today.isoformat()}))


async def _what_if_page(visit: Visit, form: Form, status: int = 200) -> web.Response:
    async with visit.reading() as connection:
        counts = await bill_runs.counts(connection)
        plans = await _newest(visit)
    choices = [(one.code, f"{one.name} ({one.code} v{one.version})") for one in plans]
    return visit.page(
        "bill_run_what_if.html", form=form, counts=counts, plans=choices, **_seen(visit), status=status
    )


async def _newest(visit: Visit) -> list[money.PlanRow]:
    async with visit.reading() as connection:
        return [one for one in await money.list_plans(connection) if one.newest and one.kind == "plan"]


@routes.get("/bill-runs/what-if/live", Permission.LOOK, keeps_awake=False)
async def what_if_live(visit: Visit) -> web.StreamResponse:
    """The part of the page that changes while usage is priced."""
    return visit.page("bill_run_what_if_live.html", **_seen(visit))


@routes.post("/bill-runs/what-if", Permission.MONEY)
async def start_what_if(visit: Visit) -> web.StreamResponse:
    """Price past usage under a plan; nothing is written."""
    form = await visit.form()
    first, end = _days(form, "from", "to")
    if form.ok and end <= first:
        form.blame("to", "is not after the first day")
    plan = await _proposed(visit, form)
    of = [form.value("of")] if form.value("of") else []
    if form.ok and plan is not None:
        if await visit.panel.look_backs.start_what_if(plan, first, end, of):
            return visit.see("/bill-runs/what-if")
        form.blame("", _BUSY)
    return await _what_if_page(visit, form, status=422)


async def _proposed(visit: Visit, form: Form) -> PlanVersion | None:
    """The newest version of the plan that was chosen, or the one that the text describes."""
    text = form.optional("text", longest=40_000)
    if text is not None:
        return _described(form, text, visit.panel.billing.currency)
    plans = {one.code: one.id for one in await _newest(visit)}
    code = form.value("plan")
    if code not in plans:
        form.blame("plan", "is missing: choose a plan, or give its text")
        return None
    async with visit.reading() as connection:
        return (await plan_rows.plan_versions(connection, [plans[code]]))[plans[code]]


def _described(form: Form, text: str, currency: str) -> PlanVersion | None:
    try:
        told = json.loads(text)
        items = parse_items(told["items"])
        name, code = str(told.get("name") or "Proposed"), str(told.get("code") or "proposed")
        return PlanVersion("proposed", code, name, 0, check_currency(told.get("currency") or currency), items)
    except (ValueError, AttributeError, TypeError, KeyError) as trouble:
        words = "has no items" if isinstance(trouble, KeyError) else str(trouble)
        form.blame("text", f"is no plan as its page writes it: {words}")
        return None
