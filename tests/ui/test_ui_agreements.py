"""Contracts on screen, for programs, and on the customer's own page."""

from __future__ import annotations

from sqlalchemy import update
from test_ui_api import program
from ui_client import Panels
from ui_world import Provider

from billing.payments.gateways.pay_link import pay_path
from billing.store import tables as billing

CONTRACT = {"term_months": 24, "fee": "flat", "fee_minor": 15000, "renews_months": 12}


async def test_how_long_and_what_leaving_costs_is_told(valley: Provider, valley_panel: Panels) -> None:
    account = valley.accounts["Otis Marsh"]
    async with valley.workplace.work("operator:test") as work:
        await work.connection.execute(
            update(billing.plan_version)
            .where(billing.plan_version.c.id == valley.plans["home-100"][0])
            .values(contract=CONTRACT)
        )
    browser = await valley_panel.as_("viewer")
    page = (await browser.get(f"/subscribers/{account}/agreements")).text
    assert "renews for 12 months" in page
    assert "$150.00" in page
    other = (await browser.get(f"/subscribers/{valley.accounts['Hester Quill']}/agreements")).text
    assert "Nothing binds this account." in other
    assert (await browser.get("/subscribers/acc_nothing/agreements")).status == 404
    script = await program(valley, valley_panel)
    [told] = (await script.found(f"/accounts/{account}/contracts"))["contracts"]
    assert (told["fee_minor"], told["after"], told["renews_months"]) == (15000, "renews", 12)
    assert (await script.ask("/accounts/A-none/contracts"))[0] == 404
    customer = (await valley_panel.base.get(pay_path(valley.sealer, account))).text
    assert "Ending it today would cost $150.00 before tax." in customer
