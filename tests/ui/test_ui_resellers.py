"""Resellers in the panel and the API: defined, given terms and accounts, posted and paid, each once."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from test_ui_api import program
from ui_client import Panels
from ui_world import Provider

PAGE = "/resellers/shop"


async def test_a_reseller_earns_is_posted_and_paid(valley: Provider, valley_panel: Panels) -> None:
    browser = await valley_panel.as_("billing")
    made = await browser.submit(
        "/resellers", "/resellers", name="Ridge Shop", reseller_id="shop", currency="USD"
    )
    assert made.location == f"{PAGE}?notice=created"
    script = await program(valley, valley_panel, scope="act")
    (_, first), (_, second) = list(valley.accounts.items())[:2]
    number = (await script.found(f"/accounts/{first}"))["number"]
    for action, fields in (
        ("terms", {"percent": "12.5", "basis": "collected", "flat": "1.50", "valid_from": "2026-01-01"}),
        ("accounts", {"account": number, "from_on": "2026-01-01"}),
    ):
        done = await browser.submit(PAGE, f"{PAGE}/{action}", **fields)
        assert done.location == f"{PAGE}?notice=saved", done.text[-800:]
    assert f'Sold by <a href="{PAGE}">shop</a>' in (await browser.get(f"/subscribers/{first}/account")).text
    text = (await browser.get(PAGE)).text
    assert "12.5 % of net collected" in text
    assert "Month" in text
    for action, fields in (
        ("accounts", {"account": "A-none"}), ("accounts", {"account": number}), ("terms", {"percent": "200"}),
        ("post", {"until": ""}), ("post", {"until": "2030-01-01"}), ("release", {"account": "A-none"}),
    ):  # fmt: skip
        assert (await browser.submit(PAGE, f"{PAGE}/{action}", **fields)).status == 422, (action, fields)
    for _ in range(2):  # an impatient finger posts once
        assert (
            await browser.submit(PAGE, f"{PAGE}/post", until="2026-03-01")
        ).location == f"{PAGE}?notice=saved"
    [posted] = (await script.found(f"{PAGE}"))["statements"]
    assert posted["amount_minor"] > 0
    assert "2026-02" in (await browser.get(f"{PAGE}/statements/1")).text
    assert (await browser.get(f"{PAGE}/statements/1?format=csv")).text.startswith("account_number")
    assert (await browser.get(f"{PAGE}/statements/9")).status == 404
    form = (await browser.get(PAGE)).form(f"{PAGE}/pay") | {"method": "transfer"}
    for _ in range(2):
        assert (await browser.post(f"{PAGE}/pay", form)).status == 303
    [row] = (await script.found("/resellers"))["resellers"]
    assert (row["payable_minor"], row["accounts"]) == (0, 1)

    async def tell(path: str, **fields: str) -> Any:
        status, body = await script.ask(f"{path}?{urlencode(fields)}", "POST")
        assert status == 200, body
        return body

    await tell("/reseller-accounts/release", account=number)
    await tell("/resellers", id="east", name="East")
    await tell("/resellers/east/terms", percent_ppm="100000", flat="2.00")
    await tell("/resellers/east/accounts", account=second)
    assert (await script.found("/resellers/east/commission"))["currency"] == "USD"
    again = await tell(f"{PAGE}/statements", until_on="2026-03-01")
    assert (again["outcome"], again["number"]) == ("exists", 1)
    assert (await script.found(f"{PAGE}/statements/1"))["lines"]
    status, body = await script.ask(f"{PAGE}/payouts?amount=1.00&key=x&method=cash", "POST")
    assert (status, body["error"]["field"]) == (422, "amount")
    assert (await script.ask("/resellers/nobody"))[0] == 422
    viewer = await valley_panel.as_("viewer")
    assert (await viewer.get(PAGE)).status == 200
    assert (await viewer.get("/resellers/nobody")).status == 404
