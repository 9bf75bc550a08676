"""Subscriptions, one-off charges and credit notes in the panel."""

from __future__ import annotations

import re

from sqlalchemy import select
from test_ui_api import program
from ui_client import Panels
from ui_world import Provider

from billing.catalogue.define_plan import define_offer
from billing.store import tables as billing
from core.refusal import granted


async def _subscription(valley: Provider, name: str) -> str:
    async with valley.workplace.reading() as connection:
        found = await connection.scalar(
            select(billing.subscription.c.id).where(
                billing.subscription.c.account_id == valley.accounts[name],
                billing.subscription.c.ends_on.is_(None),
            )
        )
    return str(found)


async def test_an_order_is_shown_before_it_is_given_and_can_be_taken_back(
    valley: Provider, valley_panel: Panels
) -> None:
    browser = await valley_panel.as_("network")
    sub = await _subscription(valley, "Willa Thornbury")
    page, order = f"/subscriptions/{sub}", f"/subscriptions/{sub}/order"
    assert f'href="{page}"' in (await browser.get(f"/subscribers/{valley.accounts['Willa Thornbury']}")).text
    form = f"{order}?kind=plan"
    plan = {"plan_version_id": valley.plans["home-100"][0], "when": "now"}
    shown = await browser.submit(form, order, **plan)
    assert shown.status == 200
    assert "Without it" in shown.text
    assert len(re.findall('class="total"', shown.text)) == 2
    assert (await browser.get(page)).text.count("Home 100") == 0  # nothing is changed by looking
    given = await browser.submit(form, order, **plan, sure="yes")
    assert given.location == f"{page}?notice=subscription_changed"
    changed = (await browser.get(page)).text
    assert "Plan: Home 100 v1" in changed
    [change_id] = re.findall(r"kind=withdraw&amp;change=(sch_\w+)", changed)
    back = f"{order}?kind=withdraw&change={change_id}"
    refused = await browser.submit(back, order, reason="")
    assert refused.status == 422
    taken = await browser.submit(back, order, reason="clicked in error", sure="yes")
    assert taken.location == f"{page}?notice=subscription_changed"
    assert "withdrawn" in (await browser.get(page)).text.lower()
    for typed, words in (
        ({"kind": "pause", "when": "on"}, "name the day"),
        ({"kind": "pause", "when": "on", "on": "2001-01-01"}, "runs from"),
        ({"kind": "end", "when": "now", "on": "2026-03-31"}, "typed but not chosen"),
        ({"kind": "end", "when": "never", "on": "2026-03-31"}, "not one of the choices"),
        ({"kind": "quantity", "quantity": "0"}, "must be a whole number"),
        ({"kind": "resume", "when": "now"}, "not paused"),
        ({"kind": "other"}, "not one of the choices"),
        ({"kind": "end", "waive_early_end": "yes"}, "who may move money"),
    ):
        refused = await browser.submit(f"{order}?kind=quantity", order, **typed)
        assert refused.status == 422, typed
        assert words in refused.text, typed
    assert (await browser.get(f"{order}?kind=other")).status == 404
    assert (await browser.get("/subscriptions/sub_none")).status == 404


async def test_an_addon_is_sold_with_its_plan(valley: Provider, valley_panel: Panels) -> None:
    account, sub = valley.accounts["Willa Thornbury"], await _subscription(valley, "Willa Thornbury")
    async with valley.workplace.work("operator:test") as work:
        item = {"code": "recurring", "kind": "recurring", "name": "Static IPv4", "price_minor": 500}
        addon = granted(
            await define_offer(
                work, code="static-ip", name="Static IP", currency="USD", kind="addon", items=[item]
            )
        )
    browser = await valley_panel.as_("billing")
    action = f"/subscribers/{account}/addons/new"
    sold = await browser.submit(action, action, plan_version_id=addon, parent_id=sub, quantity="2")
    assert sold.location.endswith("?notice=subscribed")
    assert "Static IP × 2" in (await browser.get(f"/subscriptions/{sub}")).text
    refused = await browser.submit(action, action, plan_version_id="pv_none", parent_id=sub)
    assert refused.status == 422


async def test_a_charge_is_added_once_and_an_invoice_credited_once(
    valley: Provider, valley_panel: Panels
) -> None:
    browser, account = await valley_panel.as_("billing"), valley.accounts["Willa Thornbury"]
    charges = f"/subscribers/{account}/charges"
    typed = {"description": "Visit on site", "amount": "40.00", "way": "charge", "charge_key": "panel:1"}
    for _ in range(2):
        assert (await browser.submit(charges, charges, **typed)).location == f"{charges}?notice=charge_added"
    page = (await browser.get(charges)).text
    assert page.count("Visit on site") == 2  # its row, and the question of its button
    [action] = re.findall(r"/charges/chg_\w+/withdraw", page)
    assert (await browser.submit(charges, action)).location == f"{charges}?notice=charge_withdrawn"
    assert (await browser.submit(charges, charges, **{**typed, "amount": "x"})).status == 422
    await browser.submit(charges, charges, **{**typed, "charge_key": "panel:2"})
    alone = await browser.submit(charges, f"{charges}/invoice")
    assert "Visit on site" in (await browser.get(alone.location)).text
    token = (await browser.get(charges)).form(charges)["csrf"]
    again = await browser.post(f"{charges}/invoice", {"csrf": token})
    assert (again.status, "no one-off charge waits" in again.text) == (422, True)
    async with valley.workplace.reading() as connection:
        invoice = await connection.scalar(
            select(billing.invoice.c.id).where(
                billing.invoice.c.account_id == account, billing.invoice.c.net_minor > 0
            )
        )
    credit = f"/invoices/{invoice}/credit"
    nothing = await browser.submit(credit, credit, reason="a day without")
    assert nothing.status == 422
    assert "how much of which line" in nothing.text
    order = {"reason": "a day without", "line1": "1.00", "credit_key": "panel:2"}
    first = await browser.submit(credit, credit, **order)
    assert first.location.endswith("?notice=credit_note")
    shown = (await browser.get(first.location.partition("?")[0])).text
    assert "It pays what is open first" in shown
    assert "<dt>Due</dt>" not in shown
    assert "Credit note CN-" in (await browser.get(first.location)).text
    again = await browser.submit(credit, credit, **order)
    assert again.location == first.location + "_again"
    much = await browser.submit(credit, credit, reason="more", line1="9999.00", credit_key="panel:3")
    assert much.status == 422
    assert "left to credit" in much.text


async def test_programs_preview_and_order_charge_and_credit(valley: Provider, valley_panel: Panels) -> None:
    script = await program(valley, valley_panel, "act")
    account = valley.accounts["Otis Marsh"]
    [sub] = (await script.found(f"/subscriptions?account={account}"))["subscriptions"]
    at = f"/subscriptions/{sub['id']}"
    assert {"home-25", "home-100"} <= {one["code"] for one in (await script.found("/plans"))["plans"]}
    wanted = "kind=pause&on=2026-03-20&until=2026-03-25"
    told = await script.found(f"{at}/preview?{wanted}")
    assert told["difference_minor"] < 0
    assert len((await script.found(at))["phases"]) == 1
    status, given = await script.ask(f"{at}/orders?{wanted}", "POST")
    assert (status, given) == (200, {"from_on": "2026-03-20"})
    shown = await script.found(at)
    assert [one["paused"] for one in shown["phases"]] == [False, True, False]
    assert (await script.ask(f"{at}/orders?kind=resume", "POST"))[0] == 422
    assert (await script.ask("/subscriptions/sub_none/orders?kind=end", "POST"))[0] == 422
    charge = f"/charges?account={account}&description=Visit&amount=40.00&key=t-7"
    first, again = (await script.ask(charge, "POST"))[1], (await script.ask(charge, "POST"))[1]
    assert first == again
    refused, body = await script.ask(charge.replace("40.00", "41.00"), "POST")
    assert (refused, body["error"]["field"]) == (422, "source")
    assert (await script.ask(f"/charges/{first['id']}/withdraw?reason=mistake", "POST"))[0] == 200
    [charged] = (await script.found(f"/charges?account={account}"))["charges"]
    assert charged["state"] == "withdrawn"
    async with valley.workplace.reading() as connection:
        invoice = await connection.scalar(
            select(billing.invoice.c.id).where(billing.invoice.c.account_id == account)
        )
    credit = f"/invoices/{invoice}/credit?reason=outage&key=o-1&line=1&amount_minor=100"
    assert (await script.ask(credit, "POST"))[1]["outcome"] == "issued"
    assert (await script.ask(credit, "POST"))[1]["outcome"] == "exists"
    assert (await script.ask(credit.replace("&line=1", "").replace("o-1", "o-2"), "POST"))[0] == 422
