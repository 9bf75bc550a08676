"""What a plan includes, on screen: usage against allowance, top-ups by the office, a program, the subscriber."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer
from sqlalchemy import select, update
from ui_client import Panels
from ui_world import Provider

from aaa.entitlements import entitlement_of
from aaa.store import tables as aaa
from appliance.change_service import change_plan
from appliance.wiring import MeteredUsage
from billing.catalogue.define_plan import define_offer
from billing.config import BillingSettings
from billing.domain.dunning_policy import Stage
from billing.rating.watch_quota import QuotaWatch
from billing.store import tables as billing
from core.quantities import GB
from core.refusal import Refusal, granted
from core.secrets import Sealer
from ui.api_tokens import make_token
from ui.config import UiSettings
from ui.portal import build_portal
from ui.portal_top_ups import PortalTopUps
from ui.web.render import Templates

ADDRESS = "127.0.0.1"
TERMS: dict[str, Any] = {
    "allowance": {"octets": GB, "prorated": False},
    "cap": {"at_percent": 100, "effect": "walled_garden"},
    "top_ups": [
        {"code": "50gb", "name": "50 GB more", "octets": 50 * GB, "price_minor": 990, "portal": True},
        {"code": "office", "name": "Office pack", "octets": GB, "price_minor": 100},
    ],
}


@pytest.fixture
async def willa(valley: Provider) -> tuple[str, str]:
    """Account and service of somebody whose plan is used up; her line has the address of this machine."""
    account, service = valley.accounts["Willa Thornbury"], valley.services["Willa Thornbury"]
    async with valley.workplace.work("operator:test") as work:
        item = {"code": "usage", "kind": "usage", "name": "Data", "usage": TERMS}
        profile = valley.plans["home-25"][1]
        granted(
            await define_offer(
                work, code="small", name="Small", currency="USD", items=[item], service_profile_id=profile
            )
        )
        granted(await change_plan(work, service, "small"))
        await work.connection.execute(
            update(aaa.service).where(aaa.service.c.id == service).values(framed_ip=ADDRESS)
        )
    granted(await QuotaWatch(valley.workplace, MeteredUsage()).turn())
    await valley.settle()
    assert await _held(valley, service)
    return account, service


async def _held(valley: Provider, service: str) -> bool:
    async with valley.workplace.reading() as connection:
        found = await entitlement_of(connection, service)
    assert found is not None
    return "cap" in [one["holder"] for one in found.because]


async def _rows(valley: Provider, table: Any) -> list[Any]:
    async with valley.workplace.reading() as connection:
        return list(await connection.execute(select(table)))


async def test_the_office_sees_what_is_used_and_sells_more_once(
    valley: Provider, valley_panel: Panels, willa: tuple[str, str]
) -> None:
    account, service = willa
    browser = await valley_panel.as_("billing")
    shown, action = f"/subscribers/{account}", f"/subscribers/{account}/top-ups"
    page = await browser.get(shown)
    assert "Cap reached" in page.text
    assert re.search(r"of 1\.00 GB \(\d+ %\)", page.text)
    fields = page.form(action) | {"code": "50gb"}
    first, second = await browser.post(action, fields), await browser.post(action, fields)
    assert (first.location, second.location) == (
        f"{shown}?notice=topped_up",
        f"{shown}?notice=topped_up_again",
    )
    [top_up], [charge] = await _rows(valley, billing.top_up), await _rows(valley, billing.charge)
    assert (top_up.how, top_up.bought_by, charge.quoted_minor) == ("operator", "operator:billing", 990)
    await valley.settle()
    assert not await _held(valley, service)
    page = await browser.get(shown)
    assert "50.00 GB topped up" in page.text
    assert "Top-ups so far" in page.text
    refused = await browser.post(action, page.form(action) | {"code": "gold", "top_up_key": "panel:x"})
    assert refused.status == 422
    assert "has no top-up &#39;gold&#39;" in refused.text


async def test_who_may_only_look_buys_nothing(
    valley: Provider, valley_panel: Panels, willa: tuple[str, str]
) -> None:
    account, _ = willa
    browser = await valley_panel.as_("viewer")
    page = await browser.get(f"/subscribers/{account}")
    assert "Usage against allowance" in page.text
    assert "Buy top-up" not in page.text
    answer = await browser.post(f"/subscribers/{account}/top-ups", {"code": "50gb"})
    assert answer.status == 403
    assert await _rows(valley, billing.top_up) == []


async def test_a_program_reads_usage_and_buys_once(
    valley: Provider, valley_panel: Panels, willa: tuple[str, str]
) -> None:
    account, service = willa
    async with valley.workplace.work("operator:test") as work:
        token = granted(await make_token(work, "till", "act")).reveal()
    headers = {"Authorization": f"Bearer {token}"}
    page = await valley_panel.base.ask("GET", f"/api/v1/accounts/{account}/usage", headers=headers)
    [standing] = json.loads(page.text)["usage"]
    assert (standing["service_id"], standing["own_octets"], standing["is_capped"]) == (service, GB, True)
    path = f"/api/v1/services/{service}/top-ups?code=50gb&key=r-1"
    first, again = [await valley_panel.base.ask("POST", path, headers=headers) for _ in range(2)]
    receipts = [json.loads(one.text)["receipt"] for one in (first, again)]
    assert [one["outcome"] for one in receipts] == ["bought", "exists"]
    unknown = await valley_panel.base.ask(
        "POST", f"/api/v1/services/{service}/top-ups?code=gold&key=r-2", headers=headers
    )
    assert json.loads(unknown.text)["error"]["field"] == "code"
    nobody = await valley_panel.base.ask("GET", "/api/v1/accounts/A-0/usage", headers=headers)
    assert json.loads(nobody.text)["error"]["code"] == "account.unknown_id"
    assert len(await _rows(valley, billing.charge)) == 1


# -- the portal


@pytest.fixture
async def portal(valley: Provider, sealer: Sealer) -> AsyncIterator[TestServer]:
    settings = UiSettings(provider_name="Valley Wireless")
    shop = PortalTopUps(valley.workplace, MeteredUsage(), sealer, BillingSettings())
    app = build_portal(valley.workplace, Templates(settings, valley.clock), settings, top_ups=shop)
    server = TestServer(app, host=ADDRESS)
    await server.start_server()
    yield server
    await server.close()


async def _get(portal: TestServer) -> str:
    async with aiohttp.ClientSession() as session, session.get(portal.make_url("/")) as answer:
        return await answer.text()


async def _post(portal: TestServer, fields: dict[str, str], **headers: str) -> str:
    async with (
        aiohttp.ClientSession() as session,
        session.post(portal.make_url("/top-up"), data=fields, headers=headers) as answer,
    ):
        return await answer.text()


def _order(page: str) -> dict[str, str]:
    return dict(re.findall(r'name="(stamp|seal)" value="([^"]+)"', page))


async def test_a_subscriber_buys_more_for_his_own_line_once(
    valley: Provider, willa: tuple[str, str], portal: TestServer
) -> None:
    page = await _get(portal)
    assert "What your plan includes is used up" in page
    assert "50 GB more" in page
    assert "9.90" in page
    assert "Office pack" not in page
    for secret in ("Willa", "acc_", "sub_", "svc_"):
        assert secret not in page, secret
    order = _order(page)
    assert "Thank you" in await _post(portal, order)
    assert "Thank you" in await _post(portal, order)
    [top_up] = await _rows(valley, billing.top_up)
    assert (top_up.how, top_up.bought_by) == ("portal", "portal")
    await valley.settle()
    assert not await _held(valley, willa[1])
    assert "Your internet service is active" in await _get(portal)


@pytest.mark.parametrize("forged", ["seal", "stamp", "origin", "age", "nothing"])
async def test_an_order_that_the_page_did_not_make_buys_nothing(
    valley: Provider, willa: tuple[str, str], portal: TestServer, forged: str
) -> None:
    order, headers = _order(await _get(portal)), {}
    if forged in order:
        order[forged] = order[forged][:-1] + ("0" if order[forged][-1] != "0" else "1")
    elif forged == "origin":
        headers = {"Origin": "http://elsewhere.example"}
    elif forged == "age":
        valley.clock.advance(timedelta(seconds=1801))
    else:
        order = {}
    assert "Nothing was bought" in await _post(portal, order, **headers)
    assert await _rows(valley, billing.top_up) == []


async def test_who_owes_is_asked_to_pay_first(
    valley: Provider, willa: tuple[str, str], portal: TestServer
) -> None:
    order = _order(await _get(portal))
    async with valley.workplace.work("operator:test") as work:
        await work.connection.execute(
            update(billing.dunning_state)
            .where(billing.dunning_state.c.account_id == willa[0])
            .values(stage=Stage.SUSPENDED)
        )
    assert "please pay them first" in await _post(portal, order)
    assert await _rows(valley, billing.top_up) == []


async def test_an_address_that_two_lines_have_is_sold_nothing(
    valley: Provider, willa: tuple[str, str], sealer: Sealer
) -> None:
    shop = PortalTopUps(valley.workplace, MeteredUsage(), sealer, BillingSettings())
    async with valley.workplace.reading() as connection:
        [offer] = await shop.offers(connection, ADDRESS)
        assert await shop.offers(connection, "203.0.113.9") == []
    refused = await shop.buy("203.0.113.9", {"stamp": offer.stamp, "seal": offer.seal})
    assert isinstance(refused, Refusal)
    other = valley.services["Otis Marsh"]
    async with valley.workplace.work("operator:test") as work:
        await work.connection.execute(
            update(aaa.session).where(aaa.session.c.service_id == other).values(framed_ip=ADDRESS)
        )
    async with valley.workplace.reading() as connection:
        assert await shop.offers(connection, ADDRESS) == []
