"""Chromium at the real panel: every page without a CSP violation or a console error, in light, dark and on a phone."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser as Chromium
from playwright.async_api import BrowserContext, ConsoleMessage, Page, Request, async_playwright, expect
from ui_client import open_panel
from ui_poison import hostile, poison
from ui_world import PASSWORD, Provider

from core.clock import FakeClock
from core.refusal import granted
from core.secrets import Sealer
from provisioning.set_up import register_site

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not Path("/usr/bin/chromium").exists(), reason="needs Chromium (apt install chromium)"
    ),
]

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
HOSTILE = (
    "<script>window.hacked=1</script><img src=x onerror=window.hacked=1>\"'><svg onload=window.hacked=1>"
)


@pytest.fixture
async def chromium() -> AsyncIterator[Chromium]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        yield browser
        await browser.close()


@pytest.fixture
async def address(valley: Provider, sealer: Sealer, wrist_watch: FakeClock) -> AsyncIterator[str]:
    """Where the panel over the valley listens."""
    async with open_panel(valley.workplace, sealer, wrist_watch) as browser:
        yield browser.address


class Witness:
    """Listens to everything a page complains of."""

    def __init__(self, context: BrowserContext) -> None:
        self.complaints: list[str] = []
        context.on("console", self._console)
        context.on("weberror", lambda error: self.complaints.append(f"uncaught: {error.error}"))
        context.on("requestfailed", self._failed)

    def _failed(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # the page was left while it still loaded
            self.complaints.append(f"failed: {request.url} {request.failure}")

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(f"{message.type}: {message.text}")


async def signed_in(context: BrowserContext, address: str, name: str = "owner") -> Page:
    page = await context.new_page()
    await page.goto(f"{address}/sign-in")
    await page.fill("#f-name", name)
    await page.fill("#f-password", PASSWORD)
    await page.click("button[type=submit]")
    await page.wait_for_selector("h1:has-text('Dashboard')")
    return page


def paths(valley: Provider) -> list[str]:
    """Pages worth looking at."""
    return [
        "/", "/subscribers", f"/subscribers/{valley.accounts['Ada Whitlock']}",
        f"/subscribers/{valley.accounts['Hester Quill']}", "/subscribers/new", "/subscribers/import", "/towers",
        f"/towers/{valley.sites[0]}", f"/towers/{valley.sites[1]}", "/towers/new", "/devices", "/devices/new",
        "/sessions", "/sessions?state=all", "/sessions/at", "/dynauth-clients", "/pools", "/pools/new", "/realms",
        "/realms/new", "/home-servers/new", "/certificates", "/certificates/new", "/operators/gear",
        f"/services/{valley.services['Ada Whitlock']}/sign-ins", "/tokens", "/explain?user=ada@valley.example", "/nases", "/nases/new", "/rejects", "/profiles", "/profiles/new", "/templates", "/templates/edit", "/preview",
        f"/profiles/{valley.plans['home-25'][1]}", f"/profiles/{valley.plans['home-25'][1]}/edit",
        f"/preview?nas={valley.nases[0]}&profile={valley.plans['home-25'][1]}", "/plans", "/plans/new", "/taxes?try_price=49.00&try_region=CO", "/taxes/new", "/taxes/import", "/exemptions", "/exemptions/new", "/promotions", "/promotions/new", "/equipment", f"/subscribers/{valley.accounts['Ada Whitlock']}/agreements", f"/subscribers/{valley.accounts['Ada Whitlock']}/promotions", "/invoices",
        "/payments", "/dunning?on=2026-03-20", "/bill-runs", "/bill-runs/preview", "/bill-runs/drafts", "/bill-runs/parked",
        "/audit", "/operators", "/issues", "/movements",
        "/password", "/portal", "/snmp", "/snmp/new", f"/snmp/{valley.snmp_targets[0]}",
        f"/nases/{valley.nases[0]}/edit", f"/devices/{valley.devices[0]}/edit",
        f"/services/{valley.services['Ada Whitlock']}/change", f"/services/{valley.services['Ada Whitlock']}/usage",
        f"/subscribers/{valley.accounts['Ada Whitlock']}/next-invoice",
        f"/subscribers/{valley.accounts['Ada Whitlock']}/services/new",
    ]  # fmt: skip


async def linked(page: Page, address: str, account_id: str) -> list[str]:
    """An invoice with its document and the origin of its first line, and a transcript, as one finds them."""
    await page.goto(f"{address}/subscribers/{account_id}")
    session = await page.locator("a[href^='/sessions/ses']").first.get_attribute("href")
    invoice = await page.locator("a[href^='/invoices/inv']").first.get_attribute("href")
    transcript = await page.locator("a[href^='/transcripts/']").first.get_attribute("href")
    payment = await page.locator("a[href^='/payments/pay']").first.get_attribute("href")
    assert invoice is not None
    assert transcript is not None
    assert payment is not None
    assert session is not None
    await page.goto(address + invoice)
    line = await page.locator("a[href*='/lines/']").nth(1).get_attribute("href")
    assert line is not None
    return [invoice, f"{invoice}/document", line, transcript, payment, session]


WAYS = {
    "light": {"color_scheme": "light", "viewport": {"width": 1360, "height": 900}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1360, "height": 900}},
    "phone": {"color_scheme": "light", "viewport": {"width": 390, "height": 844}, "has_touch": True},
}


async def test_the_button_that_is_pressed_is_what_is_sent(
    valley: Provider, address: str, chromium: Chromium
) -> None:
    """To look at a template's reply and to save it are two buttons of one form."""
    context = await chromium.new_context()
    page = await signed_in(context, address)
    await page.goto(f"{address}/templates/edit")
    await page.fill("#f-lines", 'Reply-Message := "seen first"')
    await page.click("button:has-text('Preview first')")
    await expect(page.locator("#preview")).to_contain_text("seen first")
    await page.goto(f"{address}/templates")
    await expect(page.locator("main")).to_contain_text("No lines of your own")
    await page.goto(f"{address}/services/{valley.services['Ada Whitlock']}/sign-ins")
    asked: list[str] = []
    page.on("dialog", lambda dialog: asked.append(dialog.message))
    await page.click("button:has-text('Close it')")
    await page.wait_for_load_state()
    assert asked == [], "to close the window is not to open it"


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
async def test_every_page_is_quiet_fits_and_can_be_used_by_all(
    valley: Provider, address: str, chromium: Chromium, tmp_path: Path, way: str
) -> None:
    """Each page is loaded once a way, and looked at for everything there; pictures of them are kept by ``./dev soak``."""
    context = await chromium.new_context(**WAYS[way])  # type: ignore[arg-type]
    witness = Witness(context)
    page = await signed_in(context, address)
    found = await linked(page, address, valley.accounts["Ada Whitlock"])
    for number, path in enumerate([*paths(valley), *found]):
        answer = await page.goto(address + path)
        assert answer is not None
        assert answer.status == 200, path
        if re.fullmatch(r"/subscribers/acc_\w+", path):
            await page.wait_for_selector(".chart canvas")
        wider = await page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert wider <= 0, f"{path} is {wider} px wider than the {way} screen"
        if not path.endswith("/document"):  # laid out for paper
            if way == "light":
                await _has_landmarks_and_headings(page, path)
                await _has_names(page, path)
            if way != "phone":
                poor = await page.evaluate(_CONTRAST)
                assert poor == [], (way, path)
        if os.environ.get("HILLTOP_SOAK") == "1":
            name = re.sub(r"\W+", "-", path).strip("-")[:30] or "dashboard"
            await page.screenshot(path=tmp_path / f"{way}-{number:02}-{name}.png", full_page=True)
    assert witness.complaints == []
    await context.close()


async def test_live_search_filters_while_typing(valley: Provider, address: str, chromium: Chromium) -> None:
    context = await chromium.new_context()
    witness = Witness(context)
    page = await signed_in(context, address)
    await page.goto(f"{address}/subscribers")
    await page.locator("#q").press_sequentially("hester")
    await expect(page.locator("#rows tbody tr")).to_have_count(1)
    assert await page.inner_text("#rows tbody tr th a") == "Hester Quill"
    assert "q=hester" in page.url
    await page.click("#rows tbody tr th a")
    await page.wait_for_selector("h1:has-text('Hester Quill')")
    assert witness.complaints == []


async def test_the_dashboard_refreshes_itself(valley: Provider, address: str, chromium: Chromium) -> None:
    context = await chromium.new_context()
    page = await signed_in(context, address)
    async with valley.workplace.work("system:test") as work:
        granted(await register_site(work, name="Lone Pine"))
    assert await page.locator("#live >> text=Lone Pine").count() == 0
    await page.evaluate("htmx.ajax('GET', '/live', {target: '#live', swap: 'innerHTML'})")
    await page.wait_for_selector("#live >> text=Lone Pine")


async def test_theme_is_switched_and_remembered(valley: Provider, address: str, chromium: Chromium) -> None:
    context = await chromium.new_context(color_scheme="light")
    page = await signed_in(context, address)
    paper = "getComputedStyle(document.body).backgroundColor"
    light = await page.evaluate(paper)
    await page.click("[data-theme-switch]")
    dark = await page.evaluate(paper)
    assert dark != light
    await page.goto(f"{address}/towers")
    assert await page.evaluate(paper) == dark


async def test_the_menu_opens_on_a_phone(valley: Provider, address: str, chromium: Chromium) -> None:
    context = await chromium.new_context(viewport={"width": 390, "height": 844})
    page = await signed_in(context, address)
    link = page.locator("nav#menu a[href='/towers']")
    assert not await link.is_visible()
    await page.click("[data-menu]")
    assert await page.get_attribute("[data-menu]", "aria-expanded") == "true"
    await link.click()
    await page.wait_for_selector("h1:has-text('Towers')")


async def test_dangerous_buttons_ask_first_and_a_double_click_is_one_payment(
    valley: Provider, address: str, chromium: Chromium
) -> None:
    context = await chromium.new_context()
    page = await signed_in(context, address)
    await page.goto(f"{address}/subscribers/{valley.accounts['Hester Quill']}")
    asked: list[str] = []

    async def decline(dialog: object) -> None:
        asked.append(dialog.message)  # type: ignore[attr-defined]
        await dialog.dismiss()  # type: ignore[attr-defined]

    page.on("dialog", decline)
    await page.fill("input[name=reason]", "noise")
    await page.click("button:has-text('Place hold')")
    assert asked == ["Place this hold on Home?"]
    assert "notice=hold" not in page.url
    await page.fill("#f-amount", "15.00")
    await page.dblclick("button:has-text('Record payment')")
    await page.wait_for_url("**notice=payment**")
    assert await page.locator("section:has(#h-payments) tbody tr:has-text('$15.00')").count() == 1


async def test_hostile_text_runs_nothing(
    valley: Provider, address: str, chromium: Chromium, wrist_watch: FakeClock
) -> None:
    context = await chromium.new_context()
    witness = Witness(context)
    page = await signed_in(context, address)
    await page.goto(f"{address}/profiles/new")
    await page.fill("#f-name", HOSTILE[:70])
    await page.fill("#f-down_mbit", "25")
    await page.fill("#f-up_mbit", "5")
    await page.click("button:has-text('Create profile')")
    await page.wait_for_url("**/profiles?notice=created")
    await page.goto(f"{address}/subscribers/new")
    for name in ("name", "street", "city", "label"):
        await page.fill(f"#f-{name}", HOSTILE[:95])
    await page.fill("#f-username", "hostile")
    await page.fill("#f-password", "cpe words")
    await page.click("button:has-text('Create subscriber')")
    await page.wait_for_url("**notice=created")
    for path in (
        page.url,
        f"{address}/subscribers?q=%3Cscript%3E",
        f"{address}/profiles",
        f"{address}/audit",
    ):
        await page.goto(path)
        assert await page.evaluate("window.hacked") is None
    assert witness.complaints == []


@pytest.mark.slow
async def test_poisoned_records_run_nothing_and_break_no_page(
    valley: Provider, address: str, chromium: Chromium
) -> None:
    """Payloads in every field of every record, and names without a place to break, on a phone."""
    context = await chromium.new_context(viewport={"width": 390, "height": 844})
    witness = Witness(context)
    page = await signed_in(context, address)
    found = await linked(page, address, valley.accounts["Ada Whitlock"])
    visited = [*paths(valley)[:4], *paths(valley)[7:9], "/devices", "/nases", "/snmp", "/rejects", "/issues",
               "/payments", "/dunning?on=2026-03-20", "/audit", "/plans", f"/services/{valley.services['Ada Whitlock']}/change",
               f"/devices/{valley.devices[0]}/edit", *found]  # fmt: skip
    for text in (hostile(0), hostile(2), lambda _row, _place: "W" * 120):
        await poison(valley.workplace, text)
        for path in visited:
            await page.goto(address + path)
            assert await page.evaluate("window.hacked") is None, path
            assert page.url == address + path  # and nothing led away
            wider = await page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            assert wider <= 0 or path.endswith("/document"), path  # laid out for paper
    assert witness.complaints == []
    await context.close()


async def test_the_chart_tells_its_days_and_the_table_the_same(
    valley: Provider, address: str, chromium: Chromium
) -> None:
    context = await chromium.new_context(color_scheme="dark")
    page = await signed_in(context, address)
    await page.goto(f"{address}/subscribers/{valley.accounts['Otis Marsh']}")
    chart = page.locator("[data-usage] .chart")
    await chart.locator("canvas").wait_for()
    told = await chart.get_attribute("aria-label") or ""
    assert re.search(r"Usage of the last 31 days: [\d.]+ GB down, [\d.]+ GB up; most on \w+, \w+ \d+", told)
    whole = await page.inner_text("[data-down]")
    assert await page.inner_text("[data-span]") == "Last 31 days"
    await chart.hover(position={"x": 300, "y": 100})
    assert await page.inner_text("[data-span]") != "Last 31 days"
    assert await page.inner_text("[data-down]") != whole
    await page.click("a:has-text('As a table')")
    assert await page.locator("tbody tr").count() == 31
    assert (await page.inner_text("tfoot td:nth-child(2)")).split(".")[0] == whole.split(".")[0]
    await context.close()


async def test_a_service_without_usage_has_words_instead_of_a_chart(
    valley: Provider, address: str, chromium: Chromium
) -> None:
    context = await chromium.new_context()
    page = await signed_in(context, address)
    action = f"/subscribers/{valley.accounts['Otis Marsh']}/services/new"
    await page.goto(address + action)
    await page.fill("#f-label", "Barn")
    await page.fill("#f-username", "barn@valley.example")
    await page.fill("#f-password", "cpe words")
    await page.click("button:has-text('Create service')")
    await page.wait_for_url("**notice=created")
    empty = page.locator("section[aria-label='Usage of Barn']")
    await expect(empty.locator(".chart")).to_have_text("Nothing was used in the last 31 days.")
    assert not await empty.locator("figcaption").is_visible()
    await context.close()


async def test_a_dashboard_that_cannot_refresh_says_so(
    valley: Provider, address: str, chromium: Chromium
) -> None:
    context = await chromium.new_context()
    page = await signed_in(context, address)
    assert not await page.is_visible("#stale")
    await context.route("**/live", lambda route: route.fulfill(status=503, body="away"))
    await page.evaluate("htmx.ajax('GET', '/live', {source: '#live', target: '#live'})")
    await expect(page.locator("#stale")).to_be_visible()
    await context.unroute("**/live")
    await page.evaluate("htmx.ajax('GET', '/live', {source: '#live', target: '#live'})")
    await expect(page.locator("#stale")).to_be_hidden()
    await context.close()


async def test_focus_is_in_reading_order_and_visible(
    valley: Provider, address: str, chromium: Chromium
) -> None:
    context = await chromium.new_context()
    page = await signed_in(context, address)
    await page.goto(f"{address}/subscribers")
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.textContent") == "Skip to content"
    await page.keyboard.press("Enter")
    assert await page.evaluate("document.activeElement.id") == "main"
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.closest('main') !== null")
    assert await page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    await context.close()


async def _has_landmarks_and_headings(page: Page, path: str) -> None:
    """One main landmark, headings without gaps, no order of focus but that of reading, tables with headings."""
    assert await page.locator("main").count() == 1, path
    levels = await page.evaluate(
        "[...document.querySelectorAll('main h1, main h2, main h3')].map((e) => Number(e.tagName[1]))"
    )
    assert levels[0] == 1, path
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels)), (path, levels)
    ordered = "document.querySelectorAll('[tabindex]:not([tabindex=\"-1\"])').length"
    assert await page.evaluate(ordered) == 0, path
    unnamed = await page.evaluate(
        "[...document.querySelectorAll('table')].filter((e) => !e.querySelector('th[scope=col]')).length"
    )
    assert unnamed == 0, path


# WCAG 1.4.3: 4.5 to 1 for text, checked on computed colours of every text of a page; what falls short of it.
_CONTRAST = """() => {
  const parse = (c) => { const m = c.match(/[\\d.]+/g).map(Number); return c.startsWith('color(srgb') ? [m[0]*255, m[1]*255, m[2]*255, m[3] ?? 1] : [m[0], m[1], m[2], m[3] ?? 1]; };
  const light = ([r, g, b]) => { const f = (v) => { v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; }; return .2126 * f(r) + .7152 * f(g) + .0722 * f(b); };
  const ground = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c[3] > .99) return c; } return [255, 255, 255, 1]; };
  const poor = new Set();
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.checkVisibility()) continue;
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    if (ratio < 4.5) poor.add(`${e.tagName}.${e.className} ${ratio.toFixed(2)} "${e.textContent.trim().slice(0, 30)}"`);
  }
  return [...poor];
}"""


async def _has_names(page: Page, path: str) -> None:
    """WCAG 4.1.2 and 3.3.2: every field has a label, every button and link a name, every page one h1 and a title."""
    nameless = await page.evaluate(
        """() => [
          ...[...document.querySelectorAll('input:not([type=hidden]):not([hidden]), select, textarea')].filter((e) => !e.labels?.length),
          ...[...document.querySelectorAll('a, button')].filter((e) => !(e.textContent.trim() || e.getAttribute('aria-label'))),
        ].map((e) => e.outerHTML.slice(0, 120))"""
    )
    assert nameless == [], path
    assert await page.locator("h1").count() == 1, path
    twice = await page.evaluate(
        "() => { const ids = [...document.querySelectorAll('[id]')].map((e) => e.id); return ids.filter((id, i) => ids.indexOf(id) !== i); }"
    )
    assert twice == [], path
    assert await page.title()
