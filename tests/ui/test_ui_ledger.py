"""The ledger's pages and what programs may ask of it, over the valley."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import select
from ui_client import Panels
from ui_world import Provider

from billing.ledger.close_day import close_days
from billing.ledger.verify import verify_ledger
from billing.store.tables import closing_act
from core.refusal import granted
from core.store.tables import audit
from ui.api_tokens import make_token


def _rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


async def _acts(valley: Provider) -> list[str]:
    async with valley.workplace.reading() as connection:
        query = select(closing_act.c.kind).order_by(closing_act.c.number)
        return list((await connection.execute(query)).scalars())


async def test_the_trial_balance_is_even_and_leads_to_the_journal(
    valley: Provider, valley_panel: Panels
) -> None:
    browser = await valley_panel.as_("viewer")
    rows = _rows((await browser.get("/ledger?format=csv")).text)
    assert sum(Decimal(row["debit"] or 0) - Decimal(row["credit"] or 0) for row in rows) == 0
    assert {"receivable", "cash:transfer"} <= {row["ledger_account"] for row in rows}
    early = _rows((await browser.get("/ledger?on=2026-01-20&format=csv")).text)
    assert 0 < len(early) <= len(rows)
    page = await browser.get("/ledger")
    link = re.findall(r'href="(/ledger/journal\?account=receivable[^"]*)"', page.text)[0].replace(
        "&amp;", "&"
    )
    entries = (await browser.get(link)).text
    assert "Invoice INV-" in entries
    first = _rows((await browser.get("/ledger/journal?format=csv&account=cash")).text)
    assert {row["ledger_account"].partition(":")[0] for row in first} > {"cash"}  # whole entries
    following = re.findall(
        r'href="(/ledger/journal\?before=[^"]+)"', (await browser.get("/ledger/journal")).text
    )[0].replace("&amp;", "&")
    assert (await browser.get(following)).status == 200
    ada = (await browser.get("/ledger/journal?customer=A-000009&kind=payment")).text
    assert "Ada Whitlock" in ada
    assert "Otis Marsh" not in ada
    assert "is unknown" in (await browser.get("/ledger/journal?customer=nobody")).text
    assert "is not a date" in (await browser.get("/ledger/journal?first=soon")).text


async def test_days_are_closed_locked_and_opened_again(valley: Provider, valley_panel: Panels) -> None:
    billing = await valley_panel.as_("billing")
    closed = await billing.submit("/ledger/closes", "/ledger/close")
    assert (closed.status, closed.location) == (303, "/ledger/closes?notice=days_closed")
    page = await billing.get("/ledger/closes")
    assert len(re.findall(r"\b[0-9a-f]{64}\b", page.text)) > 20
    refused = await billing.submit("/ledger/closes", "/ledger/lock", period="2026-03")
    assert refused.status == 422
    assert "is not over" in refused.text
    locked = await billing.submit("/ledger/closes", "/ledger/lock", period="2026-02", reason="reported")
    assert locked.location == "/ledger/closes?notice=period_locked"
    assert "/ledger/reopen" not in (await billing.get("/ledger/closes")).text
    owner = await valley_panel.as_("owner")
    opened = await owner.submit(
        "/ledger/closes", "/ledger/reopen", period="2026-02", reason="one bill was left"
    )
    assert opened.location == "/ledger/closes?notice=period_reopened"
    text = (await owner.get("/ledger/closes")).text
    assert "one bill was left" in text
    assert "Open again" in text
    assert (await _acts(valley))[-2:] == ["lock", "reopen"]
    async with valley.workplace.reading() as connection:
        query = select(audit.c.actor).where(audit.c.action == "billing.period_reopened")
        assert (await connection.execute(query)).scalars().all() == ["operator:owner"]
        assert await verify_ledger(connection) == []


async def test_recognition_shows_what_is_to_come_and_the_lines_behind(
    valley: Provider, valley_panel: Panels
) -> None:
    granted(
        await close_days(
            valley.workplace, through=valley.clock.now().date() - timedelta(days=2), trust_clock=True
        )
    )
    browser = await valley_panel.as_("viewer")
    text = (await browser.get("/ledger/recognition")).text
    link = re.findall(r'href="(/ledger/recognition/le_[^"]+)"', text)[0]
    assert "2026-03" in text
    page = await browser.get(link)
    assert "INV-" in page.text
    lines = _rows((await browser.get(f"{link}?format=csv")).text)
    total = sum(Decimal(line["earned"]) for line in lines)
    assert f"{total:,.2f}" in page.text
    assert (await browser.get("/ledger/recognition/le_none")).status == 404


async def test_the_books_are_taken_away_with_own_codes(valley: Provider, valley_panel: Panels) -> None:
    browser = await valley_panel.as_("billing")
    kept = await browser.submit("/ledger/accounts", "/ledger/accounts", ledger_account="tax", code="2200")
    assert kept.status == 303
    wrong = await browser.submit("/ledger/accounts", "/ledger/accounts", ledger_account="lost", code="1")
    assert wrong.status == 422
    assert "2200" in (await browser.get("/ledger/accounts")).text
    for name, mark in (
        ("beancount", "open Assets:Receivable"),
        ("hledger", "decimal-mark ."),
        ("iif", "!TRNS"),
    ):
        file = await browser.get(f"/ledger/export/{name}?first=2026-01-01&last=2026-02-28")
        assert file.status == 200
        assert re.fullmatch(r'attachment; filename="[\w.-]+"', file.headers["Content-Disposition"])
        assert mark in file.text
    journal = _rows((await browser.get("/ledger/export/journal")).text)
    assert {row["code"] for row in journal if row["ledger_account"].startswith("tax:")} == {"2200"}
    assert (await browser.get("/ledger/export/xls")).status == 404
    assert (await browser.get("/ledger/export/iif?first=x")).status == 422


async def test_programs_read_the_ledger(valley: Provider, valley_panel: Panels) -> None:
    async with valley.workplace.work("operator:owner") as work:
        token = granted(await make_token(work, "books", "read")).reveal()

    async def ask(path: str) -> Any:
        return await valley_panel.base.ask(
            "GET", f"/api/v1{path}", headers={"Authorization": f"Bearer {token}"}
        )

    balances = json.loads((await ask("/ledger/trial-balance")).text)["balances"]
    assert sum((one["debit_minor"] or 0) - (one["credit_minor"] or 0) for one in balances) == 0
    page = json.loads((await ask("/ledger/entries?limit=3&until=2026-02-28")).text)
    more = json.loads((await ask(f"/ledger/entries?limit=3&after={page['next_after']}")).text)
    assert {one["entry"] for one in page["postings"]}.isdisjoint({one["entry"] for one in more["postings"]})
    assert len({one["entry"] for one in page["postings"]}) == 3
    assert json.loads((await ask("/ledger/closes")).text) == {"acts": []}
    assert (await ask("/ledger/entries?customer=nobody")).status == 422
    assert (await ask("/ledger/entries?from=soon")).status == 422
    file = await ask("/ledger/export/beancount?until=2026-02-28")
    assert file.headers["Content-Type"].startswith("text/plain")
    assert "open Assets:Receivable" in file.text
    assert (await ask("/ledger/export/xls")).status == 422
