"""Payments, refunds, deposits, bank statements and ACH in the panel: each act once, twice, and by the wrong role."""

from __future__ import annotations

import re
from typing import Any

import aiohttp
from sqlalchemy import select
from test_ui_api import program
from ui_client import Browser, Page, Panels
from ui_world import Provider

from billing.store import tables as billing

CSV = "day,amount,text,payer\n2026-03-02,30,for {number},Someone\n2026-03-03,7,?,Uncle Bob\n2026-03-04,-2,fee,\n"
MAPPING = '{"booked": "day", "amount": "amount", "remittance": ["text"], "payer_name": "payer"}'


async def rows(panel: Panels, query: Any) -> list[Any]:
    async with panel.workplace.reading() as connection:
        return list((await connection.execute(query)).all())


async def send(browser: Browser, shown_on: str, action: str, **typed: str) -> Page:
    """The form with that action on a page, filled in."""
    return await browser.post(action, (await browser.get(shown_on)).form(action) | typed)


async def upload(browser: Browser, shown_on: str, action: str, octets: bytes, **typed: str) -> Page:
    """A form with a file."""
    fields = (await browser.get(shown_on)).form(action) | typed
    data = aiohttp.FormData()
    for name, value in fields.items():
        data.add_field(name, value)
    data.add_field("file", octets, filename="bank.csv", content_type="text/csv")
    return await browser.post(action, data)


async def test_a_payment_is_allocated_refunded_and_taken_back_in_part(
    valley: Provider, valley_panel: Panels
) -> None:
    browser = await valley_panel.as_("billing")
    account = valley.accounts["Hester Quill"]
    action = f"/subscribers/{account}/payments"
    await send(browser, f"/subscribers/{account}", action, amount="500.00", method="cheque")
    [paid] = await rows(
        valley_panel,
        select(billing.payment).where(
            billing.payment.c.account_id == account, billing.payment.c.amount_minor == 50000
        ),
    )
    page = f"/payments/{paid.id}"
    shown = await browser.get(page)
    assert "Take off" in shown.text
    taken = await send(browser, page, f"{page}/take-back", why="wrong one")
    assert taken.headers["Location"].endswith("notice=taken_back")
    assert "In hand" in (await browser.get(page)).text
    fields = (await browser.get(page)).form(f"{page}/allocate") | {"give": "1.00"}
    for _ in range(2):  # an impatient finger allocates once
        assert (await browser.post(f"{page}/allocate", fields)).status == 303
    given = await rows(
        valley_panel, select(billing.allocation).where(billing.allocation.c.source.like("hand:%-g"))
    )
    assert [one.amount_minor for one in given] == [100]
    fields = (await browser.get(page)).form(f"{page}/refund") | {"refund": "2.00", "refund_reason": "asked"}
    for _ in range(2):
        assert (await browser.post(f"{page}/refund", fields)).status == 303
    [due] = await rows(valley_panel, select(billing.refund))
    assert (due.amount_minor, due.method) == (200, "cash")
    too_much = await send(browser, page, f"{page}/refund", refund="9000", refund_reason="x")
    assert too_much.status == 422
    assert "refund less" in too_much.text
    assert "asked" in (await browser.get("/refunds")).text
    ended = await send(browser, "/refunds", f"/refunds/{due.id}/end", outcome="paid", reference="77")
    assert ended.status == 303
    assert (
        await browser.post(f"{page}/by-rule", (await browser.get(page)).form(f"{page}/by-rule"))
    ).status == 303
    back = await send(browser, page, f"{page}/reverse", reason="bounced", kind="nsf", amount="3.00")
    assert back.status == 303
    [lost] = await rows(valley_panel, select(billing.reversal).where(billing.reversal.c.amount_minor == 300))
    assert (lost.kind, lost.payment_id) == ("nsf", paid.id)
    won = await send(browser, page, f"{page}/reversals/{lost.id}/won", won_because="it cleared")
    assert won.status == 303
    assert "came back" in (await browser.get(page)).text
    assert "Hester Quill" in (await browser.get("/unallocated")).text
    assert 'value="cheque USD">Cheques in USD: 1 payment<' in (await browser.get("/deposit-slips")).text
    foreign = await send(browser, "/deposit-slips", "/deposit-slips", method="cheque EUR")
    assert (foreign.status, "no cheque in EUR waits" in foreign.text) == (422, True)
    slip = await send(browser, "/deposit-slips", "/deposit-slips", method="cheque USD")
    assert "Hester Quill" in (await browser.get(slip.headers["Location"])).text
    assert "No cheque and no cash waits" in (await browser.get("/deposit-slips")).text


async def test_rules_and_deposits(valley: Provider, valley_panel: Panels) -> None:
    browser = await valley_panel.as_("billing")
    account = valley.accounts["Willa Thornbury"]
    [row] = await rows(valley_panel, select(billing.account).where(billing.account.c.id == account))
    saved = await send(
        browser, "/unallocated", "/unallocated/rule", scope="account", scope_id=row.number, rule="newest"
    )
    assert saved.status == 303
    assert row.number in (await browser.get("/unallocated")).text
    assert (
        await send(
            browser, "/unallocated", "/unallocated/rule", scope="account", scope_id="nobody", rule="newest"
        )
    ).status == 422
    where = f"/subscribers/{account}/deposits"
    early = await send(browser, where, where, amount="50", reason="router")
    assert early.status == 422
    assert 'href="#f-amount"' in early.text  # the field as it was typed, not the decision's minor units
    assert 'value="50"' in early.text
    await send(
        browser, f"/subscribers/{account}", f"/subscribers/{account}/payments", amount="300.00", method="cash"
    )
    assert (await send(browser, where, where, amount="50", reason="router")).status == 303
    [held] = await rows(valley_panel, select(billing.deposit))
    back = await send(
        browser, where, f"{where}/{held.id}/release", release="20", release_reason="end", refund_by="cheque"
    )
    assert back.status == 303
    assert "of $50.00" in (await browser.get(where)).text


async def test_a_statement_is_previewed_imported_and_decided(valley: Provider, valley_panel: Panels) -> None:
    browser = await valley_panel.as_("billing")
    account = valley.accounts["Otis Marsh"]
    [row] = await rows(valley_panel, select(billing.account).where(billing.account.c.id == account))
    assert (await send(browser, "/bank", "/bank/accounts", name="checking", csv_mapping="{")).status == 422
    assert (
        await send(browser, "/bank", "/bank/accounts", name="checking", csv_mapping=MAPPING)
    ).status == 303
    octets = CSV.format(number=row.number).encode()
    seen = await upload(browser, "/bank", "/bank/import", octets, act="preview")
    assert seen.status == 200
    assert f"payment of {row.number}" in seen.text
    assert await rows(valley_panel, select(billing.bank_line)) == []
    first = await upload(browser, "/bank", "/bank/import", octets, act="import")
    second = await upload(browser, "/bank", "/bank/import", octets, act="import")
    assert (first.headers["Location"], second.headers["Location"]) == (
        "/bank?notice=file_taken",
        "/bank?notice=file_again",
    )
    bad = await upload(browser, "/bank", "/bank/import", b"day,amount,text,payer\nsoon,1,,\n", act="import")
    assert bad.status == 422
    assert "line 2, day" in bad.text
    lines = {one.payer_name: one for one in await rows(valley_panel, select(billing.bank_line))}
    assert {name: one.state for name, one in lines.items()} == {
        "Someone": "assigned",
        "Uncle Bob": "open",
        "": "open",
    }
    uncle, fee = lines["Uncle Bob"].id, lines[""].id
    assert (await send(browser, "/bank", f"/bank/lines/{uncle}/assign", accounts="nobody")).status == 422
    assert (
        await send(browser, "/bank", f"/bank/lines/{uncle}/assign", accounts=row.number, remember="yes")
    ).status == 303
    assert (await send(browser, "/bank", f"/bank/lines/{fee}/ignore", reason="bank fee")).status == 303
    page = (await browser.get("/bank")).text
    assert "Uncle Bob" in page and "Nothing waits." in page
    assert (await send(browser, "/bank", f"/bank/lines/{uncle}/undo", undo_reason="wrong")).status == 303
    rule = re.search(r"/bank/rules/(pyr_\w+)/forget", page)
    assert rule is not None
    assert (await send(browser, "/bank", rule[0])).status == 303
    viewer = await valley_panel.as_("viewer")
    refused = await viewer.post(f"/bank/lines/{uncle}/ignore", {"reason": "x"})
    assert refused.status == 403


async def test_programs_do_the_same(valley: Provider, valley_panel: Panels) -> None:
    script = await program(valley, valley_panel, "act")
    [row] = await rows(valley_panel, select(billing.account).where(billing.account.c.name == "Otis Marsh"))
    paid = f"/payments?account={row.number}&amount=400.00&method=transfer&key=t-1&reference=77"
    first, second = await script.ask(paid, "POST"), await script.ask(paid, "POST")
    assert (first[0], first[1]["outcome"], second[1]["outcome"]) == (200, "received", "exists")
    assert first[1]["id"] == second[1]["id"]
    found = (await script.found("/payments/unallocated"))["payments"]
    assert first[1]["id"] in {one["payment_id"] for one in found}
    order = f"/refunds?account={row.number}&amount=1.50&method=cash&key=r-1&reason=asked"
    status, ordered = await script.ask(order, "POST")
    assert (status, ordered["outcome"]) == (200, "ordered")
    assert [one["id"] for one in (await script.found("/refunds?due=yes"))["refunds"]] == [ordered["id"]]
    assert (await script.ask(f"/refunds/{ordered['id']}/end?outcome=paid", "POST"))[1]["outcome"] == "paid"
    status, refused = await script.ask(f"/refunds/{ordered['id']}/end?outcome=failed&told=x", "POST")
    assert (status, refused["error"]["code"]) == (422, "already_ended")
    assert (await script.ask(order.replace("1.50", "x").replace("r-1", "r-2"), "POST"))[1]["error"][
        "field"
    ] == "amount"
    assert (await script.ask("/refunds?account=nobody&amount=1&method=cash&key=k&reason=x", "POST"))[0] == 404
    browser = await valley_panel.as_("billing")
    await send(browser, "/bank", "/bank/accounts", name="checking", csv_mapping=MAPPING)
    await upload(browser, "/bank", "/bank/import", CSV.format(number=row.number).encode(), act="import")
    lines = {one["payer_name"]: one for one in (await script.found("/bank-lines"))["lines"]}
    status, done = await script.ask(
        f"/bank-lines/{lines['Uncle Bob']['id']}/assign?account={row.number}", "POST"
    )
    assert (status, len(done["payments"])) == (200, 1)
    assert (await script.ask(f"/bank-lines/{lines['']['id']}/ignore?reason=fee", "POST"))[0] == 200
    assert (await script.found("/bank-lines"))["lines"] == []
    assert (await script.found("/ach/batches"))["batches"] == []
    assert (await script.found("/ach/returns"))["returns"] == []
    reader = await program(valley, valley_panel, "read", "reader")
    assert (await reader.ask(order, "POST"))[0] == 403


async def test_an_ach_batch_from_draft_to_file(valley: Provider, valley_panel: Panels) -> None:
    browser = await valley_panel.as_("billing")
    [owing, *_] = await rows(
        valley_panel,
        select(billing.invoice).where(
            billing.invoice.c.open_minor > 0, billing.invoice.c.status == "finalised"
        ),
    )
    account = owing.account_id
    bank = {
        "name": "main", "destination": "091400606", "destination_name": "Example Bank", "origin": "1234567890", "origin_name": "Hilltop",
        "company_name": "Hilltop", "company_id": "1234567890", "odfi": "09140060",
    }  # fmt: skip
    assert (
        await send(browser, "/ach", "/ach/originators", **{**bank, "destination": "091400607"})
    ).status == 422
    assert (await send(browser, "/ach", "/ach/originators", **bank)).status == 303
    where = f"/subscribers/{account}/bank-accounts"
    form = {
        "holder_name": "Ada Whitlock", "routing_number": "091000019", "account_number": "555123998", "account_type": "checking",
        "sec_code": "WEB", "authorised_on": "2026-01-02", "mandate": "web", "autopay": "yes",
    }  # fmt: skip
    wrong = await send(browser, where, where, **{**form, "routing_number": "091000018"})
    assert wrong.status == 422
    assert "555123998" not in wrong.text
    assert (await send(browser, where, where, **form)).status == 303
    shown = (await browser.get(where)).text
    assert "ending 3998" in shown and "555123998" not in shown
    drafted = await send(browser, "/ach", "/ach/batches", due_until=str(owing.due_on))
    assert drafted.status == 303, drafted.text
    page = drafted.headers["Location"].partition("?")[0]
    assert (await send(browser, page, f"{page}/approve")).status == 303
    made = await send(browser, page, f"{page}/file")
    again = await send(browser, page, f"{page}/file")
    assert made.status == 200
    assert made.text == again.text
    assert made.text.startswith("101 091400606")
    assert "attachment" in made.headers["Content-Disposition"]
    assert "in transit" not in (await browser.get(page)).text
    came = await upload(browser, "/ach", "/ach/returns/import", b"rubbish")
    assert came.status == 422
    assert "line 1" in came.text
    [entry] = await rows(valley_panel, select(billing.ach_entry))
    assert entry.state == "in_flight"
    assert (await send(browser, page, f"{page}/file")).status == 200
    audit = (await (await valley_panel.as_("owner")).get("/audit")).text
    assert "555123998" not in audit


async def test_what_payers_and_banks_write_is_only_text(valley: Provider, valley_panel: Panels) -> None:
    browser = await valley_panel.as_("billing")
    await send(
        browser, "/bank", "/bank/accounts", name="<b>bank</b>", csv_mapping=MAPPING, identification="=1+1<i>"
    )
    hostile = 'day,amount,text,payer\n2026-03-02,3,<script>window.hacked=1</script>,"""><img src=x onerror=1>"\n2026-03-03,4,=HYPERLINK(1),@x\n'
    seen = await upload(browser, "/bank", "/bank/import", hostile.encode(), act="preview")
    await upload(browser, "/bank", "/bank/import", hostile.encode(), act="import")
    for page in (seen.text, (await browser.get("/bank")).text):
        assert "<script>window" not in page
        assert "<img" not in page
        assert "<b>bank" not in page
        assert "&lt;script&gt;window.hacked=1" in page
    exported = (await browser.get("/bank?format=csv")).text
    assert "'=HYPERLINK(1)" in exported
    assert "'@x" in exported
