"""Bill runs in the panel and for programs: look ahead, drafts and their approval, parked accounts, progress."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select, update
from test_ui_api import program
from ui_client import Panels, open_panel
from ui_world import Provider

from billing.config import BillingSettings
from billing.store.tables import account, bill_run, draft, invoice, invoice_line, parked
from core.clock import FakeClock
from core.secrets import Sealer
from core.store.tables import audit

APRIL = timedelta(days=23)


@pytest.fixture
async def careful(valley: Provider, sealer: Sealer, wrist_watch: FakeClock) -> Any:
    """A panel over the valley on the second of April, where invoices wait for approval."""
    valley.clock.advance(APRIL)
    async with open_panel(
        valley.workplace, sealer, wrist_watch, billing=BillingSettings(approval=True)
    ) as browser:
        yield Panels(valley.workplace, browser)


async def _rows(valley: Provider, *query: Any) -> list[Any]:
    async with valley.workplace.reading() as connection:
        return list(await connection.execute(query[0]))


async def test_a_look_ahead_shows_sums_and_what_is_odd_and_issues_nothing(
    valley: Provider, careful: Panels
) -> None:
    browser = await careful.as_("billing")
    before = len(await _rows(valley, select(invoice.c.id)))
    empty = await browser.get("/bill-runs/preview")
    assert "No look ahead yet" in empty.text
    assert (await browser.get("/bill-runs/preview?format=csv")).status == 404
    page = "/bill-runs/preview"
    assert (await browser.submit(page, page, percent="1", amount="0")).location == page
    text = (await browser.get(page)).text
    assert "This run" in text
    assert "unlike the last ones" in text
    rows = list(csv.DictReader(io.StringIO((await browser.get(f"{page}?format=csv")).text)))
    assert len(rows) == 10
    assert len(await _rows(valley, select(invoice.c.id))) == before
    assert await _rows(valley, select(draft.c.id)) == []
    wrong = await browser.submit(page, page, percent="many")
    assert wrong.status == 422
    far = await browser.submit(page, page, through="2031-01-01")
    assert "within a year" in (await browser.get(far.location)).text


async def test_drafts_are_approved_rejected_and_drafted_again(valley: Provider, careful: Panels) -> None:
    browser = await careful.as_("billing")
    ran = await browser.submit("/bill-runs", "/bill-runs")
    assert ran.location == "/bill-runs?notice=bill_run"
    assert "10 drafts wait" in (await browser.get("/bill-runs")).text
    drafts = await _rows(valley, select(draft).order_by(draft.c.id))
    first, second, third = (f"/bill-runs/drafts/{one.id}" for one in drafts[:3])
    assert (await browser.submit(first, f"{first}/approve")).location == f"{first}?notice=draft_approved"
    assert "/invoices/inv_" in (await browser.get(first)).text
    assert (await browser.submit(second, f"{second}/reject", reason="")).status == 422
    rejected = await browser.submit(second, f"{second}/reject", reason="The visit is missing")
    assert rejected.location == f"{second}?notice=draft_rejected"
    assert "The visit is missing" in (await browser.get("/bill-runs/drafts?state=rejected")).text
    async with valley.workplace.work("operator:test") as work:  # another address: another invoice
        await work.connection.execute(
            update(account).where(account.c.id == drafts[2].account_id).values(street="9 Quarry Lane")
        )
    assert (await browser.submit(third, f"{third}/approve")).location == f"{third}?notice=draft_changed"
    assert "the newer draft" in (await browser.get(third)).text
    again = await browser.submit("/bill-runs/drafts?state=rejected", "/bill-runs/drafts/again")
    assert again.location == "/bill-runs/drafts?notice=bill_run"
    every = await browser.submit("/bill-runs/drafts", "/bill-runs/drafts/approve")
    assert every.location == "/bill-runs/drafts?notice=approved"
    assert "issued 9 invoices" in (await browser.get("/bill-runs/drafts")).text
    states = [row.state for row in await _rows(valley, select(draft.c.state))]
    assert (states.count("approved"), states.count("waiting")) == (10, 0)
    acts = {row.action for row in await _rows(valley, select(audit.c.action))}
    assert {"billing.draft_approved", "billing.draft_rejected", "billing.drafts_approved"} <= acts
    viewer = await careful.as_("viewer")
    assert "Approve" not in (await viewer.get(second)).text


async def test_parked_accounts_are_listed_and_tried_again(valley: Provider, valley_panel: Panels) -> None:
    valley.clock.advance(APRIL)
    ada = valley.accounts["Ada Whitlock"]
    async with valley.workplace.work("operator:test") as work:
        await work.connection.execute(update(account).where(account.c.id == ada).values(cycle_unit="eon"))
    browser = await valley_panel.as_("billing")
    await browser.submit("/bill-runs", "/bill-runs")
    page = (await browser.get("/bill-runs/parked")).text
    assert "Ada Whitlock" in page
    assert re.search(r"tried 1 time\b", page)
    rows = list(csv.DictReader(io.StringIO((await browser.get("/bill-runs/parked?format=csv")).text)))
    assert [row["account_name"] for row in rows] == ["Ada Whitlock"]
    again = await browser.submit("/bill-runs/parked", f"/bill-runs/parked/{ada}/retry")
    assert again.location == "/bill-runs/parked?notice=bill_run"
    assert "tried 2 times" in (await browser.get("/bill-runs/parked")).text
    async with valley.workplace.work("operator:test") as work:
        await work.connection.execute(update(account).where(account.c.id == ada).values(cycle_unit="month"))
    await browser.submit("/bill-runs/parked", "/bill-runs/parked/retry")
    assert "Nobody is parked" in (await browser.get("/bill-runs/parked")).text
    assert await _rows(valley, select(parked)) == []


async def test_a_run_of_any_process_is_followed_live(valley: Provider, valley_panel: Panels) -> None:
    now = valley.clock.now()
    async with valley.workplace.work("system:billing") as work:
        await work.connection.execute(
            insert(bill_run).values(
                id="run_z", through=now.date(), started_at=now, worked_since=now - timedelta(seconds=10),
                accounts=1_000, done=390, invoices=380, drafts=0, parked=[],
            )
        )  # fmt: skip
        await work.connection.execute(
            insert(parked).values(
                account_id=valley.accounts["Ada Whitlock"], run_id="run_z", reason="no meter", since=now,
                tried_at=now, tries=1,
            )
        )  # fmt: skip
    browser = await valley_panel.as_("viewer")
    text = (await browser.get("/bill-runs/live")).text
    assert "<html" not in text
    assert "390 of 1,000 accounts done, 1 parked, 609 left, 39 a second" in " ".join(text.split())
    assert 'value="391"' in text


async def test_programs_run_look_ahead_and_approve(valley: Provider, careful: Panels) -> None:
    script = await program(valley, careful, "act")
    ahead = await script.found("/bill-runs/preview?percent=0&amount=0")
    assert ahead["sums"][0]["now"]["invoices"] == 10
    assert ahead["flagged"]
    status, ran = await script.ask("/bill-runs", "POST")
    assert (status, ran["drafts"], ran["invoices"]) == (200, 10, 0)
    drafts = (await script.found("/bill-runs/drafts"))["drafts"]
    assert len(drafts) == 10
    one = drafts[0]["id"]
    status, told = await script.ask(f"/bill-runs/drafts/{one}/reject?reason=wrong", "POST")
    assert (status, told) == (200, {"state": "rejected"})
    assert (await script.ask(f"/bill-runs/drafts/{one}/approve", "POST"))[0] == 422
    assert (await script.ask(f"/bill-runs/drafts/{one}/again", "POST"))[1]["drafts"] == 1
    seen = valley.clock.now().isoformat().replace("+", "%2B")
    status, done = await script.ask(f"/bill-runs/drafts/approve?seen_until={seen}", "POST")
    assert (status, len(done["numbers"])) == (200, 10)
    assert (await script.found("/bill-runs/parked"))["parked"] == []
    assert (await script.ask("/bill-runs/parked/retry", "POST"))[1]["invoices"] == 0
    runs = (await script.found("/bill-runs"))["runs"]
    assert {(9, 10), (1, 1)} <= {(run["invoices"], run["drafts"]) for run in runs}


async def test_a_replay_says_what_is_the_same_and_names_what_is_not(
    valley: Provider, valley_panel: Panels
) -> None:
    browser, page = await valley_panel.as_("billing"), "/bill-runs/replay"
    assert "No replay yet" in (await browser.get(page)).text
    span = {"from": "2026-02-01", "to": "2026-03-10"}
    assert (await browser.submit(page, page, **span)).location == page
    assert "every line came out octet for octet the same" in (await browser.get(page)).text
    [number, line] = (
        await _rows(
            valley,
            select(invoice.c.number, invoice_line.c.id)
            .join(invoice_line, invoice_line.c.invoice_id == invoice.c.id)
            .where(invoice.c.issued_on >= date(2026, 2, 1), invoice_line.c.position == 1)
            .limit(1),
        )
    )[0]
    async with valley.workplace.work("system:test") as work:
        await work.connection.execute(
            update(invoice_line).where(invoice_line.c.id == line).values(description="<b>other</b>")
        )
    await browser.submit(page, page, **span)
    text = (await browser.get(f"{page}/live")).text
    assert number in text
    assert "&lt;b&gt;other" in text
    assert (await browser.submit(page, page, **(span | {"to": "2026-01-01"}))).status == 422
    script = await program(valley, valley_panel, "read")
    found = await script.found("/replay?from=2026-02-01&to=2026-03-10")
    assert found["invoices"] - found["same"] == 1
    assert [one["number"] for one in found["differing"]] == [number]


async def test_past_usage_is_priced_under_another_plan_in_page_and_program(
    valley: Provider, valley_panel: Panels
) -> None:
    browser, page = await valley_panel.as_("billing"), "/bill-runs/what-if"
    span = {"from": "2026-01-01", "to": "2026-03-10"}
    assert (await browser.submit(page, page, **span)).status == 422
    assert (await browser.submit(page, page, **span, text="{}")).status == 422
    done = await browser.submit(page, page, **span, plan="home-100", of="home-25")
    assert done.location == page
    text = (await browser.get(page)).text
    assert "would pay more" in text
    assert "Willa Thornbury" in text
    assert "Otis Marsh" not in text
    rows = list(csv.DictReader(io.StringIO((await browser.get(f"{page}?format=csv")).text)))
    script = await program(valley, valley_panel, "read")
    told = await script.found("/what-if?plan=home-100&of=home-25&from=2026-01-01&to=2026-03-10")
    assert [one["account_number"] for one in told["rows"]] == [one["account_number"] for one in rows]
    free = {"items": [{"code": "recurring", "kind": "recurring", "name": "Free", "price_minor": 0}]}
    await browser.submit(page, page, **span, text=json.dumps(free))
    assert "0 would pay more" in (await browser.get(f"{page}/live")).text
    assert (await script.ask("/what-if?plan=none"))[0] == 422
