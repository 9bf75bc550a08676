"""The panel as an operator's browser sees it: signing in, setting up, looking around."""

from __future__ import annotations

import re
from dataclasses import dataclass

import aiohttp
from sqlalchemy import select

from appliance.story import sight
from appliance.story.timeline import StepFailed
from appliance.story.world import World
from billing.store.tables import account
from core.secrets import random_password
from provisioning.store.tables import site, transcript

_CSRF = re.compile(r'name="csrf" value="([^"]+)"')


@dataclass(slots=True)
class Browser:
    """One operator's browser: follows redirects, sends the forms' tokens back."""

    base: str
    http: aiohttp.ClientSession

    async def see(self, path: str) -> str:
        """The page at ``path``; raises ``StepFailed`` when it is not shown."""
        async with self.http.get(self.base + path) as answer:
            text = await answer.text(errors="replace")
            if answer.status != 200:
                raise StepFailed(f"{path} answered {answer.status}")
            return text

    async def send(self, form_path: str, **fields: str) -> str:
        """Fill in the form at ``form_path`` and send it."""
        found = _CSRF.search(await self.see(form_path))
        if found is None:
            raise StepFailed(f"{form_path} has no form")
        fields["csrf"] = found[1]
        async with self.http.post(
            self.base + form_path, data=fields, headers={"Origin": self.base}
        ) as answer:
            text = await answer.text()
            if answer.status != 200:
                raise StepFailed(f"{form_path} refused the form: {answer.status}")
            return text


async def sign_in(world: World, browser: Browser) -> None:
    """With a one-time password, which must be changed at once."""
    said = await world.appliance.command("operator add nora --role owner")
    one_time, own = said.rsplit(" ", 1)[-1], random_password()
    page = await browser.send("/sign-in", name="nora", password=one_time)
    if "/password" not in page:
        raise StepFailed("the one-time password need not be changed")
    await browser.send("/password", current=one_time, chosen=own, again=own)


async def look(world: World) -> None:
    """8. The panel: sign-in, a tower set up, every page of the month."""
    line, house = world.timeline, world.open_house
    line.chapter(8, "The panel")
    base = f"http://127.0.0.1:{world.appliance.ports.panel}"
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        browser = Browser(base, http)
        with line.step("no way in without signing in; a one-time password must be changed at once"):
            async with http.get(base + "/", allow_redirects=False) as answer:
                if answer.status not in {302, 303}:
                    raise StepFailed(f"the dashboard answered {answer.status} to a stranger")
            await sign_in(world, browser)
        with line.step("a tower set up through the panel"):
            await browser.send("/towers/new", name="East Bluff", latitude="39.05", longitude="-105.2")
            if not await sight.rows(house, select(site).where(site.c.name == "East Bluff")):
                raise StepFailed("the tower was not registered")
        with line.step(
            "dashboard, subscribers, the subscriber's page, towers, invoices, payments, transcript"
        ):
            first = await sight.scalar(house, select(account.c.id).where(account.c.number == "A-1"))
            said = await sight.scalar(
                house, select(transcript.c.id).where(transcript.c.outcome == "verified")
            )
            pages = ["/", "/subscribers", f"/subscribers/{first}", "/towers", "/invoices", "/payments"]
            sizes = [len(await browser.see(page)) for page in [*pages, f"/transcripts/{said}", "/audit"]]
            if "Fir Lane Cabin" not in await browser.see(f"/subscribers/{first}"):
                raise StepFailed("the subscriber's page does not name him")
            line.note(f"{len(sizes)} pages, {sum(sizes) // 1000} kB in all")
