"""Documents and mail in the panel: letterhead, templates, bulk, outbox, server, words."""

from __future__ import annotations

import io
import re
import zipfile
from functools import partial

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer
from sqlalchemy import select, update
from test_ui_api import program
from ui_client import Panels
from ui_world import Provider

from appliance.panel_acts import panel_acts
from appliance.reactions import REACTIONS
from appliance.wiring import MeteredUsage
from billing.config import BillingSettings
from billing.delivery.queue import queue_invoice, queue_message
from billing.delivery.signed_names import document_link
from billing.documents.keep_look import find_look
from billing.documents.look import built_in
from billing.store import tables as billing
from core.outbox import dispatch_due
from core.refusal import granted
from core.secrets import Sealer
from ui.app import build_app
from ui.config import UiSettings
from ui.document_desk import document_at
from ui.portal import build_portal
from ui.web.visit import PANEL

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><rect width="8" height="8" fill="#123456"/></svg>'
SERVER = {
    "host": "smtp.test",
    "port": "587",
    "security": "starttls",
    "from_address": "b@mesa.test",
    "from_name": "Mesa",
}


async def test_the_letterhead_is_set_refused_and_shown_on_the_sample(valley_panel: Panels) -> None:
    browser = await valley_panel.as_("billing")
    refused = await browser.submit("/documents", "/documents/look", iban="DE00")
    assert refused.status == 422
    assert "IBAN" in refused.text
    saved = await browser.submit(
        "/documents", "/documents/look", name="Quail Valley Net", accent="#8a3b12", address="1 Ridge\nJuniper Flats",
        pay_url="https://pay.test/{number}", payment_code="yes", usage_chart="yes",
    )  # fmt: skip
    assert saved.location == "/documents?notice=look"
    page = (await browser.get("/documents")).text
    assert 'value="Quail Valley Net"' in page
    sample = await browser.get("/documents/sample/invoice.html.j2")
    assert "Quail Valley Net" in sample.text
    assert "#8a3b12" in sample.text
    viewer = await valley_panel.as_("viewer")
    assert "Save letterhead" not in (await viewer.get("/documents")).text
    assert (await viewer.ask("POST", "/documents/look")).status == 403


async def test_a_logo_is_uploaded_looked_at_and_taken_away(valley_panel: Panels) -> None:
    browser = await valley_panel.as_("billing")
    token = (await browser.get("/documents")).form("/documents/look")["csrf"]
    for content, status in ((b"no picture", 422), (SVG, 303)):
        files = aiohttp.FormData()
        files.add_field("csrf", token)
        files.add_field("logo", content, filename="logo.svg", content_type="image/svg+xml")
        assert (await browser.post("/documents/logo", {}, files=files)).status == status
    shown = await browser.get("/documents/files/logo")
    assert (shown.headers["Content-Type"], shown.body) == ("image/svg+xml", SVG)
    gone = await browser.post("/documents/logo", {"csrf": token, "act": "remove"})
    assert gone.location == "/documents?notice=look"
    assert (await browser.get("/documents/files/logo")).status == 404


async def test_a_template_is_tried_before_it_is_used(valley: Provider, valley_panel: Panels) -> None:
    browser, path = await valley_panel.as_("billing"), "/documents/templates/invoice.typ"
    refused = await browser.submit(path, path, source="#let sheet(doc) = [#doc.nothing_like_it]")
    assert refused.status == 422
    assert "nothing_like_it" in refused.text
    source = built_in("invoice.typ").replace("claim(doc)\n", "")
    sample = await browser.submit(path, path, source=source, act="preview")
    assert sample.headers["Content-Type"] == "application/pdf"
    assert (await browser.submit(path, path, source=source)).location == f"{path}?notice=look"
    async with valley.workplace.reading() as connection:
        assert (await find_look(connection, BillingSettings())).templates == {"invoice.typ": source}
    assert (await browser.submit(path, path, source="", act="reset")).status == 303
    async with valley.workplace.reading() as connection:
        assert (await find_look(connection, BillingSettings())).templates == {}
    assert (await browser.get("/documents/templates/secret.typ")).status == 404


async def test_statements_receipts_and_slips_are_pdfs(valley: Provider, valley_panel: Panels) -> None:
    viewer = await valley_panel.as_("viewer")
    account_id = valley.accounts["Willa Thornbury"]
    async with valley.workplace.reading() as connection:
        query = select(billing.payment.c.id).where(billing.payment.c.method != "credit").limit(1)
        payment_id = (await connection.execute(query)).scalar_one()
    for path in (
        f"/subscribers/{account_id}/statement", f"/subscribers/{account_id}/statement?from=2026-01-01&until=2026-02-01",
        f"/payments/{payment_id}/receipt", "/documents/files/deposit-slip?slip_from=2026-01-01&slip_until=2026-03-01",
    ):  # fmt: skip
        page = await viewer.get(path)
        assert page.headers["Content-Type"] == "application/pdf", path
        assert page.body.startswith(b"%PDF-")
    for path in ("/subscribers/acc_none/statement", "/payments/pay_none/receipt"):
        assert (await viewer.get(path)).status == 404
    assert (
        await viewer.get("/documents/files/deposit-slip?slip_from=2026-03-01&slip_until=2026-01-01")
    ).status == 422


@pytest.mark.slow
async def test_many_invoices_come_as_one_archive(valley_panel: Panels) -> None:
    viewer = await valley_panel.as_("viewer")
    answer = await viewer.get("/documents/files/invoices?from=2026-02-01&until=2026-02-28")
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
    assert len(names) >= 8
    assert names == sorted(names)
    assert (await viewer.get("/documents/files/invoices")).status == 422
    assert "there is no such invoice" in (await viewer.get("/documents/files/invoices?from=2031-01-01")).text


async def test_the_outbox_shows_why_and_acts(valley: Provider, valley_panel: Panels) -> None:
    while await dispatch_due(valley.workplace, REACTIONS):
        pass
    async with valley.workplace.work("test") as work:
        account_id = valley.accounts["Hester Quill"]
        await work.connection.execute(
            update(billing.account).where(billing.account.c.id == account_id).values(email="hester@home.test")
        )
        query = select(billing.invoice.c.id).where(billing.invoice.c.account_id == account_id).limit(1)
        invoice_id = (await work.connection.execute(query)).scalar_one()
        granted(await queue_invoice(work, invoice_id, again=True))
        await queue_message(
            work, source="t:1", account_id=account_id, template="test", params={}, channel="letter"
        )
        await work.connection.execute(
            billing.mail_dead_address.insert().values(
                address="hester@home.test", since=work.now, reason="550 <b>gone</b>"
            )
        )
    browser = await valley_panel.as_("billing")
    page = (await browser.get("/mail")).text
    assert "no mail server is set up" in page
    assert "550 &lt;b&gt;gone&lt;/b&gt;" in page
    assert "1 letter waits to be printed" in " ".join(page.split())
    assert "550 &lt;b&gt;gone" in (await browser.get(f"/subscribers/{account_id}")).text
    path = re.findall(
        r'action="(/mail/messages/[^"]+/cancel)"', (await browser.get("/mail?channel=email")).text
    )[0]
    assert (await browser.submit("/mail", path)).location == "/mail?notice=saved"
    assert (await browser.submit("/mail", path.replace("cancel", "retry"))).location == "/mail?notice=saved"
    assert (await browser.submit("/mail", "/mail/addresses")).location == "/mail?notice=saved"
    letters = await browser.get("/documents/files/letters")
    assert letters.body.startswith(b"%PDF-")
    assert (await browser.submit("/mail", "/documents/letters/printed")).status == 303
    assert (
        await browser.get("/documents/files/letters")
    ).location == "/mail?channel=letter&notice=no_letters"
    sent = await browser.submit(f"/invoices/{invoice_id}", f"/invoices/{invoice_id}/send")
    assert sent.location.endswith("notice=mail_queued")
    assert "hester@home.test" in (await browser.get("/mail?format=csv")).text
    viewer = await valley_panel.as_("viewer")
    assert "/retry" not in (await viewer.get("/mail")).text


async def test_text_messages_are_listed_tried_again_and_cancelled(
    valley: Provider, valley_panel: Panels
) -> None:
    browser = await valley_panel.as_("billing")
    page = "/mail/sms-gateway"
    refused = await browser.submit(page, page, url="https://sms.test/send", body="to={to}\nwhat is that")
    assert refused.status == 422
    assert "NAME=TEXT" in refused.text
    typed = {"url": "https://sms.test/send", "body": "to={to}\nmsg={text}", "auth": "Bearer goats-and-firs"}
    assert (await browser.submit(page, page, **typed)).location == f"{page}?notice=sms_gateway"
    shown = (await browser.get(page)).text
    assert "msg={text}" in shown
    assert "goats" not in shown
    account_id = valley.accounts["Hester Quill"]
    async with valley.workplace.work("test") as work:
        await work.connection.execute(
            billing.sms_message.insert().values(
                id="sms_1", source="t:1", account_id=account_id, template="reminder_1", to_number="5055550101",
                text="Pay <b>soon</b>", state="failed", attempts=5, reason="the gateway answered 503",
                created_at=work.now, ended_at=work.now,
            )
        )  # fmt: skip
    listed = (await browser.get("/mail/texts?state=failed")).text
    assert "Pay &lt;b&gt;soon" in listed
    assert "The gateway answered 503" in listed
    act = "/mail/texts/sms_1/"
    assert (await browser.submit("/mail/texts", act + "retry")).location == "/mail/texts?notice=saved"
    assert (await browser.submit("/mail/texts", act + "cancel")).location == "/mail/texts?notice=saved"
    assert "cancelled" in (await browser.get("/mail/texts?format=csv")).text
    viewer = await valley_panel.as_("viewer")
    assert "/retry" not in (await viewer.get("/mail/texts")).text
    script = await program(valley, valley_panel, "act")
    assert [one["state"] for one in (await script.found("/sms/messages"))["messages"]] == ["cancelled"]
    assert (await script.ask("/sms/messages/sms_1/cancel", "POST"))[0] == 422
    assert (await script.ask("/sms/messages/sms_1/retry", "POST"))[0] == 200
    assert (await script.found("/sms/messages?state=queued"))["messages"][0]["id"] == "sms_1"
    assert (await browser.submit(page, f"{page}/remove")).status == 303
    assert "No gateway is set up" in (await browser.get("/mail/texts")).text


async def test_the_mail_server_is_set_without_showing_its_password(valley_panel: Panels) -> None:
    browser = await valley_panel.as_("billing")
    refused = await browser.submit("/mail/server", "/mail/server", **SERVER, username="mesa")
    assert refused.status == 422
    assert "who signs in needs one" in refused.text
    saved = await browser.submit(
        "/mail/server", "/mail/server", **SERVER, username="mesa", password="goat paths"
    )
    assert saved.location == "/mail/server?notice=mail_server"
    page = (await browser.get("/mail/server")).text
    assert "goat paths" not in page
    assert "smtp.test" in page
    again = await browser.submit(
        "/mail/server", "/mail/server", **(SERVER | {"port": "2525"}), username="mesa"
    )
    assert again.status == 303
    assert (await browser.submit("/mail/server", "/mail/server/remove")).status == 303
    assert (await (await valley_panel.as_("viewer")).get("/mail/server")).status == 403


async def test_words_are_looked_at_saved_and_reset(valley_panel: Panels) -> None:
    browser, path = await valley_panel.as_("billing"), "/mail/templates/reminder_1/de"
    assert "Guten Tag" in (await browser.get(path)).text
    refused = await browser.submit(path, path, subject="S", body="{{ no_such }}")
    assert refused.status == 422
    assert "no_such" in refused.text
    shown = await browser.submit(
        path, path, subject="Los", body="{{ overdue_minor | money }} bitte", act="preview"
    )
    assert "59,44" in shown.text
    assert (await browser.submit(path, path, subject="Los", body="<script>x</script>")).status == 303
    assert "Your own" in (await browser.get("/mail/templates")).text
    html = await browser.get(f"{path}/html")
    assert "<script" not in html.text
    assert "script-src" not in html.headers["Content-Security-Policy"]
    assert (await browser.submit(path, path, subject="", body="", act="reset")).status == 303
    assert (await browser.get("/mail/templates/reminder_1/xx")).status == 404


async def test_a_mailed_link_opens_its_invoice_on_panel_and_portal_and_no_other(
    valley: Provider, valley_panel: Panels, sealer: Sealer
) -> None:
    async with valley.workplace.reading() as connection:
        row = (
            await connection.execute(select(billing.invoice.c.id, billing.invoice.c.number).limit(1))
        ).one()
    path = str(document_link(sealer, "/document", row.id))
    shown = await valley_panel.base.another().get(path)  # nobody is signed in there
    assert (shown.status, shown.body[:5]) == (200, b"%PDF-")
    assert f'filename="{row.number}.pdf"' in shown.headers["Content-Disposition"]
    assert (await valley_panel.base.get(path[:-2] + "aa")).status == 404
    app = build_app(valley.workplace, sealer, MeteredUsage(), UiSettings(), acts=panel_acts(sealer))
    panel = app[PANEL]
    portal = build_portal(
        valley.workplace, panel.templates, panel.settings, documents=partial(document_at, panel)
    )
    async with TestClient(TestServer(portal)) as client:
        assert await (await client.get(path)).read() == shown.body
        assert (await client.get("/document/inv_1-abc")).status == 404
    await panel.gateways.close()


async def test_programs_see_mail_statements_and_documents(valley: Provider, valley_panel: Panels) -> None:
    script = await program(valley, valley_panel, "act")
    account_id = valley.accounts["Hester Quill"]
    found = await script.found(f"/accounts/{account_id}/statement?from=2026-01-01&until=2026-03-10")
    moved = sum(one["amount_minor"] for one in found["movements"])
    assert found["closing_minor"] == found["opening_minor"] + moved == sum(found["ages_minor"])
    assert (await script.ask(f"/accounts/{account_id}/statement?from=yesterday"))[0] == 422
    async with valley.workplace.work("test") as work:
        await work.connection.execute(
            update(billing.account).where(billing.account.c.id == account_id).values(email="hester@home.test")
        )
        query = select(billing.invoice.c.number).where(billing.invoice.c.account_id == account_id).limit(1)
        number = (await work.connection.execute(query)).scalar_one()
    status, body = await script.ask(f"/invoices/{number}/send", "POST")
    assert status == 200, body
    await script.ask(f"/accounts/{account_id}/statement", "POST")
    listed = (await script.found("/mail/messages?state=queued&limit=100"))["messages"]
    assert {one["template"] for one in listed if one["to_address"] == "hester@home.test"} >= {
        "statement",
        "invoice",
    }
    assert body["message"] in {one["id"] for one in listed}
    for act in ("retry", "cancel"):
        assert (await script.ask(f"/mail/messages/{body['message']}/{act}", "POST"))[0] == 200
    assert (await script.ask(f"/mail/messages/{body['message']}/cancel", "POST"))[0] == 422
    path = (await script.found(f"/invoices/{number}/document"))["path"]
    assert (await valley_panel.base.get(path)).body.startswith(b"%PDF-")
    assert (await script.ask("/invoices/INV-none/document"))[0] == 422
