"""Plans in the panel: by form with everything it offers, and the next version from text."""

from __future__ import annotations

import html
import json
import re

from ui_client import Panels, open_panel
from ui_world import Provider

from billing.catalogue.offer_file import offer_as_json
from billing.config import BillingSettings
from billing.store.plan_rows import plan_versions
from core.clock import FakeClock
from core.secrets import Sealer

ROUTER = {
    "kind": "plan", "code": "home-r", "name": "Home with router", "price": "49.00", "period": "week",
    "period_count": "2", "proration": "thirty_days", "tax_included": "yes", "allowance_gb": "100",
    "tier1_price": "0.50", "item1_kind": "rental", "item1_name": "Router", "item1_amount": "4.50",
    "item2_kind": "one_time", "item2_name": "Installation", "item2_amount": "99",
    "item3_kind": "deposit", "item3_name": "Deposit", "item3_amount": "50",
    "item4_kind": "discount", "item4_name": "Welcome", "item4_amount": "10 %", "item4_periods": "3",
    "contract_months": "24", "contract_fee": "remaining", "contract_share": "50", "contract_renews": "12",
}  # fmt: skip


async def test_a_plan_with_everything_is_made_by_form_and_again_from_its_text(
    valley: Provider, valley_panel: Panels
) -> None:
    browser = await valley_panel.as_("billing")
    profile = valley.plans["home-25"][1]
    made = await browser.submit("/plans/new", "/plans/new", **ROUTER, service_profile_id=profile)
    [version_id] = re.findall(r"pv_\w+", made.location)
    async with valley.workplace.reading() as connection:
        version = (await plan_versions(connection, [version_id]))[version_id]
    items = {one["code"]: one for one in offer_as_json(version)["items"]}
    assert items["recurring"]["period"] == {"unit": "week", "count": 2}
    assert (items["recurring"]["tax_included"], items["recurring"]["proration"]) == (True, "thirty_days")
    assert items["rental_1"]["price_minor"] == 450
    assert items["discount_4"]["discount"] == {
        "percent_ppm": 100_000, "amount_minor": None, "of": [], "periods": 3,
    }  # fmt: skip
    assert version.contract is not None
    assert (version.contract["term_months"], version.contract["share_ppm"]) == (24, 500_000)
    page = await browser.get(f"/plans/{version_id}")
    for words in (
        "Router",
        "each 2 weeks, in advance",
        "for 3 periods",
        "24 months",
        "50 %",
        "100 GB a cycle included",
        "$0.50 a GB",
    ):
        assert words in page.text, words
    [shown] = re.findall(r"<textarea[^>]*>(.*?)</textarea>", page.text, re.DOTALL)
    again = (await browser.get(f"/plans/new?from={version_id}")).form("/plans/new")
    assert {name: again[name] for name in ROUTER} == {
        **ROUTER,
        "item2_amount": "99.00",
        "item3_amount": "50.00",
    }
    text = json.loads(html.unescape(shown))
    text["items"][0]["price_minor"] = 5900
    again = await browser.submit(f"/plans/{version_id}", f"/plans/{version_id}/next", text=json.dumps(text))
    assert "$59.00" in (await browser.get(again.location)).text
    other = {**text, "items": [{**text["items"][0], "code": "base"}]}
    other = await browser.submit(f"/plans/{version_id}", f"/plans/{version_id}/next", text=json.dumps(other))
    assert "/plans/new?from=" not in (await browser.get(other.location)).text, "the form cannot say its code"
    assert "older" in (await browser.get(again.location)).text


async def test_what_is_wrong_with_a_plan_is_said_beside_its_field(
    valley: Provider, valley_panel: Panels
) -> None:
    browser = await valley_panel.as_("billing")
    profile = valley.plans["home-25"][1]
    for typed, words in (
        ({"price": "x"}, "f-price"),
        ({"period": "fortnight"}, "f-period"),
        ({"item4_amount": "110 %"}, "a share like 10 %"),
        ({"item1_kind": "other"}, "f-item1_kind"),
        ({"contract_months": "0"}, "f-contract_months"),
        ({"contract_ends": "yes"}, "either ends or renews"),
        ({"tier1_gb": "10", "tier2_price": "1", "tier2_gb": "5"}, "f-tier1_gb"),
    ):
        refused = await browser.submit(
            "/plans/new", "/plans/new", **{**ROUTER, "service_profile_id": profile, **typed}
        )
        assert refused.status == 422, typed
        assert words in refused.text, typed
    version_id = valley.plans["home-25"][0]
    at = f"/plans/{version_id}"
    for text, words in (
        ("{", "is not JSON"), ("[]", "one JSON object"), ('{"code": "x"}', "name: is missing"),
        ('{"code": "x", "name": "X", "currency": "USD", "items": [], "profile": "no"}', "no service profile"),
        ('{"code": "x", "name": "X", "currency": "USD", "items": [{"code": "Y"}]}', "small letters"),
    ):  # fmt: skip
        refused = await browser.submit(at, f"{at}/next", text=text)
        assert refused.status == 422, text
        assert words in refused.text, text
    assert (await browser.get("/plans/pv_none")).status == 404


async def test_a_plan_form_begins_with_the_house_s_currency_no_profile_and_folds_what_is_empty(
    valley: Provider, sealer: Sealer, wrist_watch: FakeClock
) -> None:
    terms = BillingSettings(currency="KWD")
    async with open_panel(valley.workplace, sealer, wrist_watch, billing=terms) as browser:
        await browser.sign_in("billing")
        page = await browser.get("/plans/new")
        form = page.form("/plans/new")
        assert (form["currency"], form["service_profile_id"]) == ("KWD", "")
        assert page.text.count("<details") == 2
        assert '<details class="fold" open' not in page.text
        typed = {"code": "x", "name": "X", "price": "1.250", "item3_name": "Router", "item3_amount": "much"}
        refused = await browser.submit("/plans/new", "/plans/new", **typed)
        assert refused.status == 422
        assert ">Service profile</a> is missing" in refused.text
        assert ">Item 3: amount</a> " in refused.text
        assert refused.text.count('<details class="fold" open') == 1
        for path in ("/promotions/new", "/resellers", "/bank", "/documents", "/dunning/policies/new"):
            assert 'value="KWD"' in (await browser.get(path)).text, path
