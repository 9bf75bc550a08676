"""An account's terms and payer in the panel and the API; the statement of who pays for others."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any
from urllib.parse import urlencode

from test_ui_api import program
from ui_client import Panels
from ui_world import Provider

from appliance.wiring import MeteredUsage
from billing.accounts.set_payer import set_payer
from billing.config import BillingSettings
from billing.documents.statement import print_statement, statement_of
from billing.invoicing.bill_run import bill_run
from core.refusal import granted


async def test_terms_are_changed_and_a_payer_is_set_and_cleared(
    valley: Provider, valley_panel: Panels
) -> None:
    browser = await valley_panel.as_("billing")
    (payer_name, payer), (_, child) = list(valley.accounts.items())[:2]
    page = f"/subscribers/{child}/account"
    contact = (await browser.get(page)).form(page) | {"email": "new@valley.example", "city": "Salida"}
    assert (await browser.post(page, contact)).location == f"{page}?notice=saved"
    typed = (await browser.get(page)).form(f"{page}/billing") | {
        "anchor_day": "15", "cycle_unit": "month", "delivery": "paper", "account_class": "farm",
    }  # fmt: skip
    saved = await browser.post(f"{page}/billing", typed)
    assert saved.location == f"{page}?notice=saved"
    text = (await browser.get(page)).text
    assert 'value="Salida"' in text
    assert 'value="farm"' in text
    for field, value, words in (
        ("currency", "EUR", "on its record"), ("invoice_offset_days", "soon", "whole number"),
        ("anchor_day", "32", "from 1 to 31"), ("locale", "xx_YY", "is not a locale"),
    ):  # fmt: skip
        refused = await browser.post(f"{page}/billing", typed | {field: value})
        assert refused.status == 422
        assert words in refused.text
    script = await program(valley, valley_panel, scope="act")
    number = (await script.found(f"/accounts/{payer}"))["number"]
    assert (await browser.submit(page, f"{page}/payer", payer="A-none")).status == 422
    saved = await browser.submit(page, f"{page}/payer", payer=number)
    assert saved.location == f"{page}?notice=saved"
    assert f'Paid for by <a href="/subscribers/{payer}">{payer_name}</a>' in (await browser.get(page)).text
    assert "Pays for" in (await browser.get(f"/subscribers/{payer}/account")).text
    found = await script.found(f"/accounts/{payer}")
    assert [one["id"] for one in found["children"]] == [child]
    looking = (await (await valley_panel.as_("viewer")).get(page)).text
    assert looking.count('<fieldset class="whole-form" disabled>') == 2, "what nobody may save is not typed"

    async def tell(path: str, **fields: str) -> tuple[int, Any]:
        return await script.ask(f"/accounts/{child}{path}?{urlencode(fields)}", "POST")

    assert (await tell("/payer"))[0] == 200
    assert await tell("", locale="de_DE", phone="-") == (200, {"changed": ["locale", "phone"]})
    status, body = await tell("", payment_terms_days="soon")
    assert (status, body["error"]["field"]) == (422, "payment_terms_days")
    assert (await script.found(f"/accounts/{child}"))["payer"] is None
    assert (await script.ask("/accounts/none"))[0] == 404


async def test_a_parents_statement_tells_what_was_for_its_children(valley: Provider) -> None:
    (_, parent), (child_name, child) = list(valley.accounts.items())[:2]
    async with valley.workplace.work("operator:test") as work:
        granted(await set_payer(work, account_id=child, payer_id=parent))
    first = date(2026, 4, 1)
    valley.clock.advance(timedelta(days=(first - valley.clock.now().date()).days + 1))
    granted(await bill_run(valley.workplace, MeteredUsage(), trust_clock=True))
    async with valley.workplace.reading() as connection:
        made = granted(await statement_of(connection, parent, first, date(2026, 4, 30), BillingSettings()))
    [(who, amount)] = made.family
    assert child_name in who
    assert print_statement(made)["family"]["rows"][0][1] == f"${amount / 100:.2f}"
