"""A browser without a screen: cookies, forms with their hidden fields, and no redirects followed by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from typing import Any

import aiohttp
from aiohttp.test_utils import TestServer
from ui_world import PASSWORD

from appliance.panel_acts import panel_acts
from appliance.reactions import EFFECT_OF_STAGE
from appliance.wiring import MeteredUsage
from billing.config import BillingSettings
from core.clock import Clock
from core.secrets import Sealer
from core.work import Work, Workplace
from ui.app import build_app
from ui.config import UiSettings
from ui.ports import ImportFault, ImportReport


async def import_two_lines(work: Work, text: str) -> ImportReport:
    """An import that takes lines of two columns and, like the real one, writes as it goes."""
    faults = []
    for number, line in enumerate(text.splitlines()[1:], start=2):
        if line.count(",") != 1:
            faults.append(ImportFault(number, "line", f"has {line.count(',') + 1} columns, not 2: {line}"))
        await work.audit("test.imported", f"line {number}")
    return ImportReport(0 if faults else len(text.splitlines()) - 1, faults)


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[tuple[str, dict[str, str]]] = []
        self._select = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        name, value = given.get("name"), given.get("value") or ""
        if tag == "form":
            self.forms.append((given.get("action") or "", {}))
        elif not self.forms:
            return
        elif tag == "input" and name and given.get("type") != "file":
            if given.get("type") != "checkbox" or "checked" in given:
                self.forms[-1][1][name] = value
        elif tag == "select":
            self._select = name or ""
        elif tag == "option" and ("selected" in given or self._select not in self.forms[-1][1]):
            self.forms[-1][1][self._select] = value


@dataclass
class Page:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    @property
    def location(self) -> str:
        """Where the answer sends the browser."""
        return self.headers.get("Location", "")

    def form(self, action: str) -> dict[str, str]:
        """The fields of the form that posts to ``action``, as a browser would send them untouched."""
        parser = _Forms()
        parser.feed(self.text)
        found = [fields for where, fields in parser.forms if where == action]
        assert found, f"no form posts to {action}; there are {[where for where, _ in parser.forms]}"
        return found[0]


@dataclass
class Browser:
    """One person's browser."""

    address: str
    session: aiohttp.ClientSession
    opened: list[aiohttp.ClientSession]

    def another(self) -> Browser:
        """A browser of somebody else."""
        session = new_session()
        self.opened.append(session)
        return Browser(self.address, session, self.opened)

    async def get(self, path: str, **headers: str) -> Page:
        """Open a page."""
        return await self.ask("GET", path, headers=headers)

    async def ask(self, method: str, path: str, **options: Any) -> Page:
        """Any request; redirects are not followed."""
        answer = await self.session.request(method, self.address + path, allow_redirects=False, **options)
        async with answer:
            return Page(answer.status, answer.headers, await answer.read())

    async def post(
        self, path: str, fields: Mapping[str, str], *, origin: str | None = "", files: Any = None
    ) -> Page:
        """Post as a browser does: with the Origin of the panel unless another (or none) is given."""
        headers = {} if origin is None else {"Origin": origin or self.address}
        return await self.ask("POST", path, data=files or fields, headers=headers)

    async def submit(self, shown_on: str, action: str, **typed: str) -> Page:
        """Open a page, fill in the form that posts to ``action``, and send it."""
        page = await self.get(shown_on)
        assert page.status == 200, (page.status, page.location)
        return await self.post(action, page.form(action) | typed)

    async def sign_in(self, name: str, password: str = PASSWORD) -> Page:
        """Sign in at the door."""
        return await self.submit("/sign-in", "/sign-in", name=name, password=password)

    def cookie(self, name: str) -> str:
        """The value of a cookie, or nothing."""
        found = [one.value for one in self.session.cookie_jar if one.key == name]
        return found[0] if found else ""


@dataclass(frozen=True)
class Panels:
    """Opens browsers at one panel."""

    workplace: Workplace
    base: Browser

    async def as_(self, name: str) -> Browser:
        """A browser with ``name`` signed in."""
        browser = self.base.another()
        await browser.sign_in(name)
        return browser


def new_session() -> aiohttp.ClientSession:
    """A client with its own cookies that also keeps those of bare addresses."""
    return aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))


@asynccontextmanager
async def open_panel(
    workplace: Workplace,
    sealer: Sealer,
    watch: Clock,
    settings: UiSettings | None = None,
    billing: BillingSettings | None = None,
) -> AsyncIterator[Browser]:
    """Serve a panel on loopback and open a browser at it."""
    app = build_app(
        workplace, sealer, MeteredUsage(), settings or UiSettings(time_zone="America/Denver"), clock=watch,
        acts=replace(panel_acts(sealer), import_subscribers=import_two_lines), effect_of_stage=EFFECT_OF_STAGE, billing=billing,
    )  # fmt: skip
    server = TestServer(app)
    await server.start_server()
    session = new_session()
    opened = [session]
    try:
        yield Browser(str(server.make_url("")).rstrip("/"), session, opened)
    finally:
        for one in opened:
            await one.close()
        await server.close()
