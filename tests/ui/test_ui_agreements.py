"""Contracts and equipment on screen, for programs, and on the customer's own page."""

from __future__ import annotations

from sqlalchemy import select, update
from test_ui_acts import rows
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


async def test_equipment_is_lent_found_and_taken_back(valley: Provider, valley_panel: Panels) -> None:
    account = valley.accounts["Otis Marsh"]
    browser, path = await valley_panel.as_("network"), f"/subscribers/{account}/agreements"
    typed = {"name": "Router <b>", "serial": "SN-7", "value": "80.00", "lent_on": ""}
    wrong = await browser.submit(path, f"/subscribers/{account}/equipment", **typed | {"value": "much"})
    assert wrong.status == 422
    for _ in range(2):
        lent = await browser.submit(path, f"/subscribers/{account}/equipment", **typed)
        assert lent.location == f"{path}?notice=saved"
    [loan] = await rows(valley_panel, select(billing.equipment_loan))
    assert "Router &lt;b&gt;" in (await browser.get("/equipment")).text
    assert "SN-7" in (await browser.get("/equipment?format=csv")).text
    assert "No piece has that number." in (await browser.get("/equipment?serial=SN-8")).text
    customer = (await valley_panel.base.get(pay_path(valley.sealer, account))).text
    assert "Our equipment at your place" in customer
    back = f"/subscribers/{account}/equipment/{loan.id}/return"
    assert (await browser.submit(path, back, returned_on="2030-01-01")).status == 422
    assert (await browser.submit(path, back, returned_on="")).location == f"{path}?notice=saved"
    assert "Nothing is lent." in (await browser.get("/equipment")).text
    script = await program(valley, valley_panel, "act")
    asked = f"subscription={loan.subscription_id}&name=Radio&serial=SN-9"
    status, made = await script.ask(f"/equipment?{asked}", "POST")
    assert (status, made["lent"]["outcome"]) == (200, "lent")
    assert [one["serial"] for one in (await script.found("/equipment"))["loans"]] == ["SN-9"]
    assert len((await script.found(f"/equipment?account={account}"))["loans"]) == 2
    status, done = await script.ask(f"/equipment/{made['lent']['loan_id']}/return", "POST")
    assert (status, done["returned"]["outcome"]) == (200, "returned")
