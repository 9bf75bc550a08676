"""Chromium at the sessions pages: the list is live, an order asks before it is given, a report is downloaded."""

from __future__ import annotations

from pathlib import Path

from playwright.async_api import Browser as Chromium
from playwright.async_api import expect
from test_ui_browser import Witness, address, chromium, pytestmark, signed_in  # noqa: F401 - fixtures and marks
from test_ui_sessions import OneNas, linus_online, one_nas, two_more  # noqa: F401 - a fixture
from ui_world import Provider


async def test_the_list_is_live_and_an_order_asks_first(
    valley: Provider,
    address: str,  # noqa: F811 - the fixture
    chromium: Chromium,  # noqa: F811 - the fixture
    one_nas: OneNas,  # noqa: F811 - the fixture
    tmp_path: Path,
) -> None:
    context = await chromium.new_context(accept_downloads=True)
    witness = Witness(context)
    page = await signed_in(context, address)
    await page.clock.install()
    await page.goto(f"{address}/sessions")
    rows = page.locator("#rows tbody tr")
    await expect(rows).to_have_count(10)
    await two_more(valley)
    await page.clock.run_for(10_500)
    await expect(rows).to_have_count(11)
    await expect(rows.first).to_contain_text("stranger")
    await page.click("a:has-text('Closed')")
    await expect(rows).to_have_count(1)

    asked: list[str] = []

    async def refuse_once(dialog: object) -> None:
        asked.append(dialog.message)  # type: ignore[attr-defined]
        await (dialog.dismiss() if len(asked) == 1 else dialog.accept())  # type: ignore[attr-defined]

    page.on("dialog", refuse_once)
    await page.goto(f"{address}/sessions/{await linus_online(valley)}")
    await page.click("button:has-text('Disconnect')")
    assert one_nas.codes == [], "who says no has ordered nothing"
    await page.click("button:has-text('Disconnect')")
    await expect(page.locator("#orders")).to_contain_text("No Stop has arrived yet")
    assert one_nas.codes == [40]
    assert len(asked) == 2
    assert "linus@valley.example" in asked[0]

    await page.goto(f"{address}/sessions/at?address=100.64.2.99&at=2026-03-10+01:33")
    await page.fill("#f-reason", "Letter 77")
    await page.click("button:has-text('Look it up')")
    await expect(page.locator("h1")).to_have_text("Who had 100.64.2.99")
    for _ in range(2):  # the button is there for another one
        async with page.expect_download() as waiting:
            await page.click("button:has-text('Report as PDF')")
        saved = tmp_path / "report.pdf"
        await (await waiting.value).save_as(saved)
        assert saved.read_bytes().startswith(b"%PDF-")
    assert [one for one in witness.complaints if "net::ERR_ABORTED" not in one] == []
    await context.close()


async def test_a_refusal_of_the_nas_is_read_on_the_page(
    valley: Provider,
    address: str,  # noqa: F811 - the fixture
    chromium: Chromium,  # noqa: F811 - the fixture
    one_nas: OneNas,  # noqa: F811 - the fixture
) -> None:
    context = await chromium.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark")
    page = await signed_in(context, address, "network")
    one_nas.cause = 401
    await page.goto(f"{address}/sessions/{await linus_online(valley)}")
    await page.click("button:has-text('Apply current terms')")
    await expect(page.locator("[role=alert]")).to_contain_text("unsupported attribute")
    await expect(page.locator("#orders .badge").first).to_have_text("NAK")
    wider = await page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    assert wider <= 0
    await context.close()
