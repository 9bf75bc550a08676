"""Legal entities in the panel and the API, each with documents of its own."""

from __future__ import annotations

from urllib.parse import urlencode

from test_ui_api import program
from ui_client import Panels
from ui_world import Provider

NEW = {
    "entity_id": "valley-fiber", "name": "Valley Fiber", "invoice_prefix": "VF-", "credit_note_prefix": "VFC-",
    "address": "Main Street 1\nSalida", "tax_number": "85-123",
}  # fmt: skip


async def test_an_entity_is_made_and_has_documents_of_its_own(valley: Provider, valley_panel: Panels) -> None:
    browser = await valley_panel.as_("billing")
    made = await browser.submit("/entities", "/entities", **NEW)
    where = "/documents?entity=valley-fiber"
    assert made.location == f"{where}&notice=created"
    text = (await browser.get(where)).text
    assert 'value="85-123"' in text
    action = "/documents/look?entity=valley-fiber"
    look = (await browser.get(where)).form(action) | {"phone": "555-0100"}
    assert (await browser.post(action, look)).location == f"{where}&notice=look"
    assert 'value="555-0100"' not in (await browser.get("/documents")).text, "the house's is another"
    assert "Valley Fiber" in (await browser.get("/documents/sample/invoice.html.j2?entity=valley-fiber")).text
    assert (await browser.get("/documents?entity=nowhere")).status == 404
    again = await browser.submit("/entities", "/entities", **NEW | {"entity_id": "other"})
    assert again.status == 422
    assert "numbers another series" in again.text
    change = "/entities/valley-fiber"
    saved = await browser.submit("/entities", change, new_name="Valley Net", new_invoices="VN-")
    assert saved.location == "/entities?notice=saved"
    assert "VN-" in (await browser.get("/entities?format=csv")).text
    token = (await browser.get("/entities")).form(change)
    assert (await browser.post("/entities/nowhere", token | {"new_name": "x"})).status == 404
    assert 'name="entity_id"' in (await browser.get("/subscribers/new")).text
    account = next(iter(valley.accounts.values()))
    page = f"/subscribers/{account}/account"
    typed = (await browser.get(page)).form(f"{page}/billing") | {"entity_id": "valley-fiber"}
    assert "hold amounts of it" in (await browser.post(f"{page}/billing", typed)).text
    script = await program(valley, valley_panel, scope="act")
    asked = {
        "id": "east",
        "name": "East",
        "invoice_prefix": "E-",
        "credit_note_prefix": "EC-",
        "address": "a;b",
    }
    assert (await script.ask(f"/entities?{urlencode(asked)}", "POST"))[0] == 200
    assert [one["id"] for one in (await script.found("/entities"))["entities"]] == ["east", "valley-fiber"]
