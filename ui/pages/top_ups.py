"""Buy a top-up for a subscriber."""

from __future__ import annotations

from aiohttp import web

from billing.rating.top_up_now import top_up_now
from billing.rating.usage_standing import usage_standings
from core.refusal import Refusal
from ui.pages.subscriber import subscriber_page
from ui.permissions import Permission
from ui.read import subscriber
from ui.web.forms import GENERAL
from ui.web.visit import Routes, Visit, missing

routes = Routes()


@routes.post("/subscribers/{account_id}/top-ups", Permission.MONEY)
async def buy(visit: Visit) -> web.StreamResponse:
    """More to use at once, and a charge on the next invoice; sent twice, it is bought once."""
    form, account_id = await visit.form(), visit.path("account_id")
    key, code = form.text("top_up_key", longest=80), form.text("code", longest=40)
    wanted = form.text("subscription", longest=40)
    async with visit.reading() as connection:
        if await subscriber.account_heading(connection, account_id) is None:
            raise missing()
        now = visit.panel.workplace.clock.now()
        running = await usage_standings(connection, visit.panel.usage, account_id, now)
    if wanted not in {one.subscription_id for one in running} or not key.startswith("panel:"):
        form.faults.setdefault(GENERAL, "The form is out of date: reload the page.")
    if not form.ok:
        return await subscriber_page(visit, account_id, form, status=422)
    receipt = await visit.attempt(
        form,
        lambda work: top_up_now(
            work, visit.panel.usage, subscription_id=wanted, code=code, source=key,
            settings=visit.panel.billing,
        ),
    )  # fmt: skip
    if isinstance(receipt, Refusal):
        return await subscriber_page(visit, account_id, form, status=422)
    return visit.see(
        f"/subscribers/{account_id}", "topped_up_again" if receipt.outcome == "exists" else "topped_up"
    )
