"""Promotions in the panel, over the API, and a customer who redeems a code."""

from __future__ import annotations

from sqlalchemy import select
from test_ui_acts import actions, rows
from test_ui_api import program
from ui_client import Panels
from ui_world import Provider

from billing.payments.gateways.pay_link import pay_path
from billing.store import tables as billing
from core.secrets import Sealer


async def test_a_promotion_is_defined_given_ended_and_withdrawn(
    valley: Provider, valley_panel: Panels, sealer: Sealer
) -> None:
    browser = await valley_panel.as_("billing")
    typed = {
        "code": "spring",
        "name": "Spring <b>",
        "percent": "12.5",
        "recurring": "yes",
        "plan_codes": "home-25",
    }
    wrong = await browser.submit("/promotions/new", "/promotions/new", **typed | {"amount": "5.00"})
    assert wrong.status == 422
    assert "not both" in wrong.text
    made = await browser.submit("/promotions/new", "/promotions/new", **typed)
    assert made.location == "/promotions/SPRING?notice=created"
    assert "12.5 % off" in (await browser.get("/promotions/SPRING")).text
    assert "Spring &lt;b&gt;" in (await browser.get("/promotions")).text
    assert "SPRING" in (await browser.get("/promotions?format=csv")).text
    account, other = valley.accounts["Willa Thornbury"], valley.accounts["Vale Creamery"]
    path = f"/subscribers/{account}/promotions"
    assert "Nobody uses it yet." in (await browser.get(path)).text
    for notice in ("redeemed", "redeemed_again"):
        done = await browser.submit(path, path, code="Spring")
        assert done.location == f"{path}?notice={notice}"
    refused = await browser.submit(
        f"/subscribers/{other}/promotions", f"/subscribers/{other}/promotions", code="spring"
    )
    assert refused.status == 422
    assert "is for home-25: change the plan first" in refused.text
    [use] = await rows(valley_panel, select(billing.promotion_use))
    page = (await browser.get("/promotions/SPRING")).text
    assert "Willa Thornbury" in page
    drafted = (await browser.get(f"/subscribers/{account}/next-invoice")).text
    assert "Spring &lt;b&gt;" in drafted
    ended = await browser.submit(path, f"{path}/{use.id}/end", reason="by mistake")
    assert ended.location == f"{path}?notice=saved"
    gone = await browser.submit("/promotions/SPRING", "/promotions/SPRING/withdraw", reason="sold out")
    assert gone.location == "/promotions/SPRING?notice=saved"
    for action in ("defined", "redeemed", "ended", "withdrawn"):
        assert len(await actions(valley_panel, f"billing.promotion_{action}")) == 1
    assert (await browser.get("/promotions/NOTHING")).status == 404
    assert (await browser.get("/subscribers/acc_nothing/promotions")).status == 404
    assert (await (await valley_panel.as_("viewer")).get("/promotions/new")).status == 403


async def test_programs_and_customers_redeem(valley: Provider, valley_panel: Panels, sealer: Sealer) -> None:
    browser = await valley_panel.as_("billing")
    typed = {"name": "Ten", "percent": "", "amount": "10.00", "recurring": "yes"}
    for code in ("TEN", "MINE"):
        await browser.submit("/promotions/new", "/promotions/new", **typed | {"code": code})
    script = await program(valley, valley_panel, "act")
    account = valley.accounts["Otis Marsh"]
    status, body = await script.ask(f"/promotions/ten/redeem?account={account}", "POST")
    assert (status, body["redeemed"]["outcome"]) == (200, "redeemed")
    status, again = await script.ask(f"/promotions/ten/redeem?account={account}", "POST")
    assert (again["redeemed"]["outcome"], again["redeemed"]["use_id"]) == (
        "exists",
        body["redeemed"]["use_id"],
    )
    assert {one["code"]: one["uses"] for one in (await script.found("/promotions"))["promotions"]} == {
        "TEN": 1, "MINE": 0,
    }  # fmt: skip
    [use] = (await script.found(f"/promotion-uses?account={account}"))["uses"]
    status, ended = await script.ask(f"/promotion-uses/{use['id']}/end?reason=test", "POST")
    assert (status, ended["ends_on"]) == (200, use["from_on"])
    status, wrong = await script.ask(f"/promotions/nope/redeem?account={account}", "POST")
    assert (status, wrong["error"]["field"]) == (422, "code")

    link, customer = pay_path(valley.sealer, account), valley_panel.base
    done = await customer.ask("POST", link, data={"act": "code", "value": "mine"})
    assert (done.status, done.location) == (303, f"{link}?done=code")
    assert "the code counts from your next invoice on" in (await customer.get(done.location)).text
    for number in range(11):
        tried = await customer.ask("POST", link, data={"act": "code", "value": f"GUESS{number}"})
        assert tried.status == 422
    assert "Too many codes" in tried.text
    assert (await customer.ask("POST", link, data={"act": "code", "value": "TEN"})).status == 422
    assert (await customer.ask("POST", link, data={"act": "close_my_account"})).status == 422
