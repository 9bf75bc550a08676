"""Taxes and exemptions in the panel and over the API."""

from __future__ import annotations

from typing import Any

import aiohttp
from sqlalchemy import select
from test_ui_acts import actions, rows
from test_ui_api import program
from ui_client import Browser, Page, Panels
from ui_world import Provider

from billing.store import tables as billing


async def _upload(browser: Browser, path: str, fields: dict[str, str], field: str, content: bytes) -> Page:
    form = aiohttp.FormData(fields)
    form.add_field(field, content, filename=f"{field}.bin", content_type="application/octet-stream")
    return await browser.post(path, {}, files=form)


async def _standing(panel: Panels, name: str) -> list[Any]:
    table = billing.tax_rule
    query = (
        select(table).where(table.c.name == name, table.c.withdrawn_at.is_(None)).order_by(table.c.valid_from)
    )
    return await rows(panel, query)


async def test_a_rule_is_defined_replaced_ended_and_withdrawn(valley: Provider, valley_panel: Panels) -> None:
    browser = await valley_panel.as_("billing")
    terms = {
        "name": "E911", "effect": "tax", "country": "US", "region": "CO", "county": "Gunnison", "method": "per_line",
        "percent": "", "amount": "1.51", "currency": "USD", "classes": "voice", "kinds": "recurring",
        "valid_from": "2026-01-01", "rounding": "half_up", "rounded_per": "line",
    }  # fmt: skip
    refused = await browser.submit("/taxes/new", "/taxes/new", **terms | {"kinds": ""})
    assert refused.status == 422
    assert "which lines it is for" in refused.text
    made = await browser.submit("/taxes/new", "/taxes/new", **terms)
    [rule] = await _standing(valley_panel, "E911")
    assert made.location == f"/taxes/{rule.id}?notice=created"
    page = (await browser.get(made.location or "")).text
    assert "1.51 USD a line" in page
    assert "tax:US-CO/Gunnison" in page
    again = await browser.submit("/taxes/new", "/taxes/new", **terms)
    assert again.status == 422
    replacing = f"/taxes/new?from={rule.id}"
    assert 'value="1.51"' in (await browser.get(replacing)).text
    await browser.submit(replacing, "/taxes/new", amount="1.75", valid_from="2026-07-01")
    before, after = await _standing(valley_panel, "E911")
    assert [str(one.valid_until) for one in (before, after)] == ["2026-07-01", "None"]
    path = f"/taxes/{after.id}"
    assert (await browser.submit(path, f"{path}/end", valid_until="2026-06-01")).status == 422
    ended = await browser.submit(path, f"{path}/end", valid_until="2027-01-01")
    path = (ended.location or "").partition("?")[0]
    assert (await browser.submit(path, f"{path}/withdraw", reason="")).status == 422
    gone = await browser.submit(path, f"{path}/withdraw", reason="the county never passed it")
    assert gone.location == "/taxes?notice=saved"
    assert len(await _standing(valley_panel, "E911")) == 1
    assert "withdrawn" in (await browser.get(path)).text
    assert len(await actions(valley_panel, "billing.tax_rule_withdrawn")) == 1
    assert (await browser.get("/taxes/tax_nothing")).status == 404


async def test_an_address_is_tried_and_the_list_is_searched(valley: Provider, valley_panel: Panels) -> None:
    viewer = await valley_panel.as_("viewer")
    page = (await viewer.get("/taxes?try_price=49.00&try_region=CO&try_on=2026-03-01")).text
    assert "State sales tax 2.9 %" in page
    assert "$50.42" in page
    wrong = (await viewer.get("/taxes?try_price=much&try_on=never&try_quantity=x&try_account=nobody")).text
    assert "is not an amount" in wrong
    assert "there is no account" in (await viewer.get("/taxes?try_price=1&try_account=nobody")).text
    assert "Nothing is called so." in (await viewer.get("/taxes?text=nothing-of-the-sort")).text
    assert "State sales tax" in (await viewer.get("/taxes?text=sales&past=yes")).text
    assert (await viewer.get("/taxes/new")).status == 403


async def test_the_table_that_is_exported_can_be_imported(valley: Provider, valley_panel: Panels) -> None:
    browser = await valley_panel.as_("billing")
    exported = (await browser.get("/taxes?format=csv")).text
    fields = (await browser.get("/taxes/import")).form("/taxes/import")
    same = await _upload(browser, "/taxes/import", fields, "file", exported.encode())
    assert "0 rules imported, 1 line stood already" in " ".join(same.text.split())
    wrong = await _upload(browser, "/taxes/import", fields, "file", b"country,rate\nUS,much\nUSA,5\n")
    assert wrong.status == 422
    assert "2 faults" in wrong.text
    more = await _upload(
        browser,
        "/taxes/import",
        fields,
        "file",
        b"country,state,zip,rate,from\nUS,CO,81230,4.08,2026-01-01\n",
    )
    assert "1 rule imported" in more.text
    assert (await _upload(browser, "/taxes/import", fields, "file", b"\xff\xfe")).status == 422


async def test_a_certificate_is_kept_with_its_picture_and_withdrawn(
    valley: Provider, valley_panel: Panels
) -> None:
    browser = await valley_panel.as_("billing")
    account_id = valley.accounts["Vale Creamery"]
    [account] = await rows(valley_panel, select(billing.account).where(billing.account.c.id == account_id))
    blank = await browser.get(f"/exemptions/new?account={account.number}")
    assert f'href="/subscribers/{account.id}"' in blank.text, "the way back"
    typed = blank.form("/exemptions/new") | {
        "certificate": "CO-98-1", "valid_from": "2026-01-01", "valid_until": "2027-01-01",
        "taxes": "State sales tax", "note": "dairy",
    }  # fmt: skip
    wrong = await _upload(browser, "/exemptions/new", typed | {"taxes": "Sails tax"}, "scan", b"%PDF-1")
    assert wrong.status == 422
    assert "no tax rule has" in wrong.text
    unsafe = await _upload(browser, "/exemptions/new", typed, "scan", b"<script>")
    assert unsafe.status == 422
    made = await _upload(browser, "/exemptions/new", typed, "scan", b"%PDF-1.7 exempt")
    assert made.location == "/exemptions?notice=created"
    [kept] = await rows(valley_panel, select(billing.tax_exemption))
    shown = await browser.get(f"/exemptions?account={account_id}")
    assert "CO-98-1" in shown.text
    assert "Vale Creamery" in (await browser.get("/exemptions?format=csv")).text
    picture = await browser.get(f"/exemptions/{kept.id}/scan")
    assert picture.text == "%PDF-1.7 exempt"
    assert picture.headers["Content-Type"].startswith("application/pdf")
    assert "attachment" in picture.headers["Content-Disposition"]
    tried = await browser.get(
        f"/taxes?try_price=49.00&try_region=CO&try_account={account.number}&try_on=2026-03-01"
    )
    assert "exempt by certificate CO-98-1" in tried.text
    gone = await browser.submit("/exemptions", f"/exemptions/{kept.id}/withdraw", reason="expired early")
    assert gone.location == "/exemptions?notice=saved"
    assert "Nobody is exempt." in (await browser.get("/exemptions")).text
    assert (await browser.get("/exemptions?account=acc_nothing")).status == 404
    assert (await browser.get("/exemptions/exm_nothing/scan")).status == 404


async def test_programs_define_try_and_exempt(valley: Provider, valley_panel: Panels) -> None:
    script = await program(valley, valley_panel, "act")
    status, made = await script.ask(
        "/tax-rules?name=Fund&country=US&percent=37.6&share=64.9&classes=voip&effect=surcharge&valid_from=2026-01-01",
        "POST",
    )
    assert status == 200
    tried = await script.found("/taxes/try?price=30.00&country=US&class=voip&on=2026-03-01")
    assert (tried["net_minor"], tried["gross_minor"], tried["taxes"][0]["rate"]) == (
        3_000,
        3_732,
        "37.6 % of 64.9 %",
    )
    status, ended = await script.ask(f"/tax-rules/{made['id']}/end?valid_until=2026-04-01", "POST")
    assert status == 200
    [fund] = (await script.found("/tax-rules?text=Fund"))["rules"]
    assert (fund["id"], fund["percent"], fund["valid_until"]) == (ended["id"], "37.6", "2026-04-01")
    [account] = await rows(
        valley_panel,
        select(billing.account).where(billing.account.c.id == valley.accounts["Vale Creamery"]),
    )
    status, _ = await script.ask(
        f"/tax-exemptions?account={account.number}&certificate=C-1&valid_from=2026-01-01&taxes=Fund", "POST"
    )
    assert status == 200
    exempt = await script.found(
        f"/taxes/try?price=30.00&country=US&class=voip&on=2026-03-01&account={account.number}"
    )
    assert exempt["exempt"] == [{"tax": "Fund", "certificate": "C-1"}]
    assert len((await script.found("/tax-exemptions"))["exemptions"]) == 1
    for path, field in (
        ("/taxes/try?price=much&country=US", "price"), ("/taxes/try?price=1&country=US&on=never", "on"),
        ("/taxes/try?price=1&country=US&quantity=x", "quantity"),
    ):  # fmt: skip
        status, body = await script.ask(path)
        assert (status, body["error"]["field"]) == (422, field)
