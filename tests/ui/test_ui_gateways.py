"""Cards in the panel and behind links: webhooks over HTTP, a customer who pays, an operator who charges."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from playwright.async_api import async_playwright
from ui_client import Panels, open_panel
from ui_world import make_operators

sys.path.append(str(Path(__file__).parents[1] / "billing"))

from billing_story import Town
from gateway_lab import NAMES, POOR
from gateway_till import Till, till

from appliance.panel_acts import panel_acts
from appliance.wiring import MeteredUsage
from billing.payments.gateways.pay_link import pay_path
from billing.store import gateway_rows
from billing.store.tables import autopay, gateway, gateway_event, payment_method
from core.clock import FakeClock
from core.refusal import granted
from core.secrets import Sealer
from core.store.tables import audit
from core.work import Workplace
from ui.api_tokens import make_token
from ui.app import build_app
from ui.config import UiSettings
from ui.pay_desk import pay_desk_of
from ui.portal import build_portal
from ui.web.visit import PANEL


@dataclass
class Shop(Till):
    """The till with a panel in front."""

    panel: Any = None


@pytest.fixture(params=NAMES)
async def shop(
    request: pytest.FixtureRequest,
    workplace: Workplace,
    clock: FakeClock,
    sealer: Sealer,
    wrist_watch: FakeClock,
) -> AsyncIterator[Shop]:
    await make_operators(workplace)
    async with till(Town(workplace, clock), request.param, sealer) as found:
        settings = UiSettings(metrics_allow=["127.0.0.1"])
        async with open_panel(workplace, sealer, wrist_watch, settings) as browser:
            found.other.sandbox.world.hook_url = f"{browser.address}/hooks/{found.other.name}"
            yield Shop(
                found.town, found.other, sealer, found.gateways, found.settings, Panels(workplace, browser)
            )


async def test_webhooks_come_over_http_twice_and_forged_ones_get_no_detail(shop: Shop) -> None:
    account = await shop.debtor()
    charge, _ = await shop.charge(account)
    hook = shop.other.sandbox.world.hooks[-1]
    states = await shop.other.sandbox.world.deliver(copies=2)
    assert set(states) == {200}
    base = shop.panel.base
    path = f"/hooks/{shop.other.name}"
    for body, headers, state in (
        (hook.body + b" ", hook.headers, 400),
        (hook.body, {}, 400),
        (b"", hook.headers, 400),
        (b"x" * 300_000, hook.headers, 413),
    ):
        page = await base.ask("POST", path, data=body, headers=headers)
        assert (page.status, b"ignature" in page.body) == (state, False)
    assert (await base.ask("POST", "/hooks/nobody", data=b"{}")).status == 404
    assert (await base.get(path)).status == 405
    metrics = (await base.get("/metrics")).text
    assert f'hilltop_webhooks_total{{gateway="{shop.other.name}",outcome="refused"}} 3.0' in metrics
    assert f'outcome="again"}} {len(states) / 2}' in metrics
    kept = await shop.rows(gateway_event)
    assert len(kept) == len(states) // 2
    await shop.turn()
    await shop.paid_once()
    assert await shop.state(charge) == "succeeded"


async def test_a_customer_pays_by_the_link_on_his_invoice(shop: Shop) -> None:
    await shop.debtor()
    (invoice,) = await shop.town.invoices()
    link, browser = pay_path(shop.sealer, invoice.id), shop.panel.base
    page = await browser.get(link)
    assert (page.status, "$30.00" in page.text, invoice.number in page.text) == (200, True, True)
    go = await browser.ask("POST", link)
    assert go.status == 200
    sandbox = shop.other.access.base_url or ""
    assert f"form-action 'self' {sandbox}" in go.headers["Content-Security-Policy"]
    if shop.other.name == "stripe":
        (reference,) = [one for one in shop.other.sandbox.sessions if f"{sandbox}/c/pay/{one}" in go.text]
        back = shop.other.sandbox.type_card(reference)
    else:
        back = shop.other.sandbox.type_card(go.form(f"{sandbox}/payment/payment")["token"])
    assert back == f"{browser.address}{link}?back=1"
    page = await browser.get(f"{link}?back=1")
    assert "Thank you" in page.text
    assert "nothing" in (await browser.ask("POST", link)).text.lower()
    await shop.paid_once()


@pytest.mark.browser
@pytest.mark.skipif(not Path("/usr/bin/chromium").exists(), reason="needs Chromium (apt install chromium)")
async def test_a_browser_goes_to_the_gateways_page_and_back(
    workplace: Workplace, clock: FakeClock, sealer: Sealer, wrist_watch: FakeClock
) -> None:
    """The policy of our pages lets a form lead to this one gateway, which only a browser can tell."""
    async with (
        till(Town(workplace, clock), "authorizenet", sealer) as shop,
        open_panel(workplace, sealer, wrist_watch) as panel,
        async_playwright() as playwright,
    ):
        account = await shop.town.account()
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = await browser.new_page()
        await page.goto(panel.address + pay_path(sealer, account))
        await page.click("button")
        await page.click("button")
        await page.wait_for_url(f"{shop.other.access.base_url}/customer/addPayment")
        await page.click("button")
        await page.wait_for_url("**?back=1")
        assert "Visa 4242" in await page.inner_text("main")
        await browser.close()


async def test_without_a_gateway_the_link_offers_no_button_that_fails(shop: Shop) -> None:
    account = await shop.debtor()
    (invoice,) = await shop.town.invoices()
    async with shop.town.workplace.work("operator:owner") as work:
        row = await gateway_rows.find_gateway(work.connection, shop.other.name)
        assert row is not None
        await gateway_rows.keep_gateway(work.connection, {**row._mapping, "enabled": False})
    for subject in (invoice.id, account):
        link = pay_path(shop.sealer, subject)
        shown, asked = await shop.panel.base.get(link), await shop.panel.base.ask("POST", link)
        assert (shown.status, asked.status) == (200, 422)
        for page in (shown, asked):
            assert "$30.00" in page.text and "Cards cannot be taken here" in page.text
            assert "Pay $30.00" not in page.text and "Save a card" not in page.text


async def test_a_link_that_we_did_not_make_leads_nowhere(shop: Shop) -> None:
    account = await shop.debtor()
    other = await shop.town.account("Bob")
    mark = pay_path(shop.sealer, account).rpartition("/")[2]
    browser = shop.panel.base
    for path in (f"/pay/{other}/{mark}", f"/pay/{account}/{mark[:-1]}0x", f"/pay/{account}/", "/pay/é/é"):
        for method in ("GET", "POST"):
            assert (await browser.ask(method, path)).status in {404, 405}


async def test_a_customer_saves_a_card_and_his_invoices_pay_themselves(shop: Shop) -> None:
    account = await shop.town.account()
    link, browser = pay_path(shop.sealer, account), shop.panel.base
    go = await browser.ask("POST", link, data={"autopay": "yes"})
    if shop.other.name == "stripe":
        shop.other.sandbox.type_card(list(shop.other.sandbox.sessions)[-1])
    else:
        shop.other.sandbox.type_card(go.form(f"{shop.other.access.base_url}/customer/addPayment")["token"])
    page = await browser.get(f"{link}?back=1")
    assert "4242" in page.text and "paid by themselves" in page.text
    (terms,) = await shop.rows(autopay)
    assert terms.enabled
    off = await browser.ask("POST", link, data={"act": "autopay_off"})
    assert (off.status, off.location) == (303, f"{link}?done=autopay_off")
    assert not (await shop.rows(autopay))[0].enabled
    await browser.ask("POST", link, data={"act": "autopay_on"})
    assert (await shop.rows(autopay))[0].enabled
    (method,) = await shop.rows(payment_method)
    other = pay_path(shop.sealer, await shop.town.account("Bob"))
    await browser.ask("POST", other, data={"act": "forget", "value": method.id})
    assert (await shop.rows(payment_method))[0].removed_at is None
    for _ in range(2):
        gone = await browser.ask("POST", link, data={"act": "forget", "value": method.id})
        assert gone.location == f"{link}?done=forget"
    assert (await shop.rows(payment_method))[0].removed_at is not None
    assert (await browser.ask("POST", link, data={"act": "autopay_on"})).status == 422


async def test_an_operator_charges_once_sees_why_it_failed_and_forgets_the_card(shop: Shop) -> None:
    account = await shop.debtor()
    await shop.save(account, POOR)
    billing = await shop.panel.as_("billing")
    path = f"/subscribers/{account}/methods"
    good, poor = [
        row.id for row in sorted(await shop.rows(payment_method), key=lambda row: row.last4 != "4242")
    ]
    fields = (await billing.get(path)).form(f"/subscribers/{account}/charge")
    typed = fields | {"amount": "30.00", "method_id": poor}
    assert "notice=declined" in (await billing.post(f"/subscribers/{account}/charge", typed)).location
    shown = (await billing.get(path)).text
    assert "Soft" in shown or "soft" in shown
    assert "1, 3, 5 days after the first try" in shown
    fields = (await billing.get(path)).form(f"/subscribers/{account}/charge")
    typed = fields | {"amount": "30.00", "method_id": good}
    for _ in range(2):
        assert "notice=charged" in (await billing.post(f"/subscribers/{account}/charge", typed)).location
    await shop.paid_once()
    again = await billing.post(f"/subscribers/{account}/charge", typed | {"amount": "nothing"})
    assert again.status == 422
    page = await billing.get(path)
    removed = await billing.post(f"{path}/{poor}/remove", page.form(f"{path}/{poor}/remove"))
    assert "notice=method_removed" in removed.location
    fields = page.form(f"/subscribers/{account}/autopay") | {"enabled": "yes", "days": "3"}
    assert "notice=saved" in (await billing.post(f"/subscribers/{account}/autopay", fields)).location
    (terms,) = await shop.rows(autopay)
    assert (terms.enabled, terms.days) == (True, 3)
    assert (
        await (await shop.panel.as_("viewer")).post(f"/subscribers/{account}/charge", typed)
    ).status == 403


async def test_a_program_charges_once_for_each_key_and_sees_the_steps(shop: Shop) -> None:
    account = await shop.debtor()
    async with shop.town.workplace.work("operator:owner") as work:
        token = granted(await make_token(work, "shop", "act")).reveal()
    headers = {"Authorization": f"Bearer {token}"}

    async def ask(method: str, path: str) -> Any:
        page = await shop.panel.base.ask(method, f"/api/v1/accounts/{path}", headers=headers)
        return page.status, json.loads(page.text)

    for _ in range(2):
        status, body = await ask("POST", f"{account}/charges?amount_minor=3000&key=k1")
        assert (status, body["charge"]["state"]) == (200, "succeeded"), body
    await shop.paid_once()
    status, body = await ask("GET", "A-1/charges")
    assert status == 404 and body["error"]["field"] == "account"
    _, body = await ask("GET", f"{account}/charges")
    assert [step["state"] for step in body["charges"][0]["steps"]] == ["begun", "sent", "succeeded"]
    _, body = await ask("GET", f"{account}/payment-methods")
    (method,) = body["methods"]
    assert (method["last4"], method["expires_on"], body["save_path"]) == (
        "4242", "2031-12-31", pay_path(shop.sealer, account),
    )  # fmt: skip
    assert (await ask("POST", f"{account}/charges?amount_minor=0&key=k2"))[0] == 422


async def test_the_portal_takes_a_subscriber_in_the_walled_garden_to_the_page(shop: Shop) -> None:
    await shop.debtor()
    (invoice,) = await shop.town.invoices()
    app = build_app(
        shop.town.workplace, shop.sealer, MeteredUsage(), UiSettings(), acts=panel_acts(shop.sealer)
    )
    panel = app[PANEL]
    portal = build_portal(shop.town.workplace, panel.templates, panel.settings, pay_desk_of(panel))
    async with TestClient(TestServer(portal)) as client:
        link = pay_path(shop.sealer, invoice.id)
        page = await client.get(link)
        assert (page.status, "$30.00" in await page.text()) == (200, True)
        go = await client.post(link)
        assert (shop.other.access.base_url or "") in await go.text()
        assert (await client.get("/pay/inv_x/y")).status == 404
        assert "$30.00" not in await (await client.get("/anything/else")).text()
    await panel.gateways.close()


async def test_the_owner_sets_keys_that_nobody_sees_again(shop: Shop) -> None:
    owner = await shop.panel.as_("owner")
    fields = (await owner.get("/gateways")).form("/gateways")
    typed = fields | {
        "gateway": shop.other.name, "login": shop.other.access.login or "", "enabled": "yes",
        "base_url": shop.other.access.base_url or "", "key": "sk_test_quite_wrong",
    }  # fmt: skip
    assert "notice=saved" in (await owner.post("/gateways", typed)).location
    check = f"/gateways/{shop.other.name}/check"
    wrong = await owner.post(check, (await owner.get("/gateways")).form(check))
    assert wrong.status == 422 and "quite_wrong" not in wrong.text
    typed["key"] = shop.other.access.key.reveal()
    assert "notice=saved" in (await owner.post("/gateways", typed)).location
    fields = (await owner.get("/gateways")).form(check)
    assert "notice=gateway_answers" in (await owner.post(check, fields)).location
    page = (await owner.get("/gateways")).text
    kept = [str(row) for table in (gateway, audit) for row in await shop.rows(table)]
    for secret in (
        "sk_test_quite_wrong",
        shop.other.access.key.reveal(),
        shop.other.access.webhook_key.reveal(),
    ):  # type: ignore[union-attr]
        assert secret not in page and not [one for one in kept if secret in one]
    assert (await owner.post("/gateways", typed | {"base_url": "ftp://x"})).status == 422
    assert (await (await shop.panel.as_("billing")).post("/gateways", typed)).status == 403
